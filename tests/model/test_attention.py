"""The attention splits features without loss, begins evenly, and can learn in all its parts."""

import math

import pytest
import torch
from torch import Tensor

from daam.model.attention import FactorisedAttention, split_features


def make_attention(**changes) -> FactorisedAttention:
    settings = {"reduction": 4, "initial_bias": 1.0, "kernel": 3, "temperature": 1.0}
    return FactorisedAttention(16, **{**settings, **changes})


def make_features(num_images: int = 3, *, scale: float = 1.0) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return scale * torch.randn(num_images, 16, 5, 3, generator=generator)


def shake(attention: FactorisedAttention, *, by: float) -> None:
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in attention.parameters():
            weight += by * torch.randn(weight.shape, generator=generator)


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_shared_and_specific_features_add_up_to_all_features(scale):
    attention, features = make_attention(), make_features(scale=scale)
    shake(attention, by=0.5)
    shared, specific = split_features(features, attention(features))
    torch.testing.assert_close(shared + specific, features, rtol=1e-6, atol=1e-6 * scale)


def test_each_part_is_its_share_of_each_feature():
    attention, features = make_attention(), make_features()
    shake(attention, by=0.5)
    share = attention(features)
    shared, specific = split_features(features, share)
    for index in [(0, 0, 0, 0), (1, 7, 4, 2), (2, 15, 2, 1)]:
        a, f = share[index].item(), features[index].item()
        assert shared[index].item() == pytest.approx(a * f, rel=1e-5)
        assert specific[index].item() == pytest.approx((1 - a) * f, rel=1e-4, abs=1e-6)


@pytest.mark.parametrize("kernel", [1, 3, 5, 7])
def test_attention_is_between_0_and_1_and_as_large_as_the_features(kernel):
    attention, features = make_attention(kernel=kernel), make_features()
    shake(attention, by=0.5)
    share = attention(features)
    assert share.shape == features.shape
    assert ((share > 0) & (share < 1)).all()
    assert share.std() > 0.01


@pytest.mark.parametrize(("bias", "temperature"), [(1.0, 1.0), (-2.0, 0.5), (3.0, 4.0), (0.0, 1.0)])
def test_attention_starts_even_at_the_sigmoid_of_its_bias(bias, temperature):
    attention = make_attention(initial_bias=bias, temperature=temperature)
    start = 1 / (1 + math.exp(-bias / temperature))
    share = attention(make_features(scale=100.0))
    torch.testing.assert_close(share, torch.full_like(share, start), rtol=1e-6, atol=0)


@torch.no_grad()
def test_attention_matches_the_loop():
    attention, features = make_attention(temperature=2.0), make_features(2)
    shake(attention, by=0.5)
    share = attention(features)
    for image in range(2):
        mean_C = features[image].mean(dim=(1, 2))
        hidden = torch.relu(attention.squeeze.weight @ mean_C + attention.squeeze.bias)
        channel_C = attention.excite.weight @ hidden
        mean_HW = features[image].mean(dim=0)
        for channel, y, x in [(0, 0, 0), (5, 2, 1), (15, 4, 2)]:
            spatial = 0.0
            for dy in range(3):
                for dx in range(3):
                    at_y, at_x = y + dy - 1, x + dx - 1
                    if 0 <= at_y < 5 and 0 <= at_x < 3:
                        spatial += attention.spatial.weight[0, 0, dy, dx] * mean_HW[at_y, at_x]
            logit = float(channel_C[channel] + spatial + attention.bias)
            by_hand = 1 / (1 + math.exp(-logit / 2.0))
            assert share[image, channel, y, x].item() == pytest.approx(by_hand, abs=1e-6)


def test_gradients_reach_the_channel_and_the_spatial_part_and_the_bias():
    attention, features = make_attention(), make_features()
    generator = torch.Generator().manual_seed(2)
    direction = torch.randn(features.shape, generator=generator)
    for started in (False, True):
        attention.zero_grad()
        shared, _ = split_features(features, attention(features))
        (shared * direction).sum().backward()
        gradients = {name: weight.grad for name, weight in attention.named_parameters()}
        reached = {name for name, grad in gradients.items() if grad is not None and grad.any()}
        assert all(grad is not None and grad.isfinite().all() for grad in gradients.values())
        # The squeeze learns from the second step on: at first nothing of it comes through.
        if started:
            assert reached == gradients.keys()
        else:
            assert reached == {"excite.weight", "spatial.weight", "bias"}
        shake(attention, by=0.1)


@pytest.mark.parametrize(("reduction", "kept"), [(1, 16), (2, 8), (4, 4), (16, 4), (64, 4)])
def test_the_squeeze_keeps_at_least_four_channels(reduction, kept):
    assert make_attention(reduction=reduction).squeeze.out_features == kept

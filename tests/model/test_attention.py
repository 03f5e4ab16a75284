"""Each kind of attention splits features without loss, begins evenly, and learns everywhere."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from daam.model.attention import (
    Attention,
    ChannelAttention,
    FactorisedAttention,
    FullAttention,
    SpatialAttention,
)

C, H, W = 16, 5, 3
KINDS: dict[str, Callable[..., Attention]] = {
    "factorised": lambda kernel=3, reduction=4, **rest: FactorisedAttention(
        C, kernel=kernel, reduction=reduction, **rest
    ),
    "channel": lambda reduction=4, **rest: ChannelAttention(C, reduction=reduction, **rest),
    "spatial": lambda kernel=3, **rest: SpatialAttention(kernel=kernel, **rest),
    "full": lambda reduction=4, **rest: FullAttention(C, reduction=reduction, **rest),
}
every_kind = pytest.mark.parametrize("kind", KINDS)


def make_attention(
    kind: str, *, initial_bias: float = 1.0, temperature: float = 1.0, **changes
) -> Any:
    return KINDS[kind](initial_bias=initial_bias, temperature=temperature, **changes)


def make_features(num_images: int = 3, *, scale: float = 1.0) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return scale * torch.randn(num_images, C, H, W, generator=generator)


def shake(attention: Attention, *, by: float) -> None:
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in attention.parameters():
            weight += by * torch.randn(weight.shape, generator=generator)


@pytest.mark.parametrize(
    ("kind", "shape"),
    [
        ("factorised", (3, C, H, W)),
        ("channel", (3, C, 1, 1)),
        ("spatial", (3, 1, H, W)),
        ("full", (3, C, H, W)),
    ],
)
def test_attention_is_between_0_and_1_and_differs_where_its_kind_says(kind, shape):
    attention, features = make_attention(kind), make_features()
    shake(attention, by=0.5)
    share = attention(features)
    assert share.shape == shape
    assert ((share > 0) & (share < 1)).all()
    assert share.std() > 0.01


@pytest.mark.parametrize("kernel", [1, 3, 5, 7])
@pytest.mark.parametrize("kind", ["factorised", "spatial"])
def test_any_odd_kernel_keeps_the_size_of_the_map(kind, kernel):
    assert make_attention(kind, kernel=kernel)(make_features()).shape[2:] == (H, W)


@every_kind
@pytest.mark.parametrize(("bias", "temperature"), [(1.0, 1.0), (-2.0, 0.5), (3.0, 4.0), (0.0, 1.0)])
def test_attention_starts_even_at_the_sigmoid_of_its_bias(kind, bias, temperature):
    attention = make_attention(kind, initial_bias=bias, temperature=temperature)
    start = 1 / (1 + math.exp(-bias / temperature))
    share = attention(make_features(scale=100.0))
    torch.testing.assert_close(share, torch.full_like(share, start), rtol=1e-6, atol=0)


def test_an_even_map_gets_an_even_attention_up_to_its_border():
    attention = make_attention("spatial")
    shake(attention, by=0.5)
    share = attention(torch.ones(1, C, H, W))
    torch.testing.assert_close(share, share[:, :, :1, :1].expand_as(share))


def channel_by_hand(attention: Any, features_CHW: Tensor) -> list[float]:
    mean_C = features_CHW.mean(dim=(1, 2))
    hidden = torch.relu(attention.squeeze.weight @ mean_C + attention.squeeze.bias)
    return (attention.excite.weight @ hidden).tolist()


def spatial_by_hand(attention: Any, features_CHW: Tensor, y: int, x: int) -> float:
    mean_HW = features_CHW.mean(dim=0)
    total = 0.0
    for dy in range(3):
        for dx in range(3):
            at_y, at_x = min(max(y + dy - 1, 0), H - 1), min(max(x + dx - 1, 0), W - 1)
            total += float(attention.spatial.weight[0, 0, dy, dx] * mean_HW[at_y, at_x])
    return total


def full_by_hand(attention: Any, features_CHW: Tensor, y: int, x: int) -> list[float]:
    squeeze, excite = attention.squeeze.weight[:, :, 0, 0], attention.excite.weight[:, :, 0, 0]
    hidden = torch.relu(squeeze @ features_CHW[:, y, x] + attention.squeeze.bias)
    return (excite @ hidden).tolist()


@torch.no_grad()
@every_kind
def test_attention_matches_the_loop(kind):
    attention, features = make_attention(kind, temperature=2.0), make_features(2)
    shake(attention, by=0.5)
    share = attention(features).expand_as(features)
    for image in range(2):
        for channel, y, x in [(0, 0, 0), (5, 2, 1), (15, 4, 2)]:
            logit = float(attention.bias)
            if kind in ("factorised", "channel"):
                logit += channel_by_hand(attention, features[image])[channel]
            if kind in ("factorised", "spatial"):
                logit += spatial_by_hand(attention, features[image], y, x)
            if kind == "full":
                logit += full_by_hand(attention, features[image], y, x)[channel]
            by_hand = 1 / (1 + math.exp(-logit / 2.0))
            assert share[image, channel, y, x].item() == pytest.approx(by_hand, abs=1e-6)


@every_kind
def test_gradients_reach_every_part(kind):
    attention, features = make_attention(kind), make_features()
    direction = torch.randn(features.shape, generator=torch.Generator().manual_seed(2))
    for started in (False, True):
        attention.zero_grad()
        (attention(features) * features * direction).sum().backward()
        gradients = {name: weight.grad for name, weight in attention.named_parameters()}
        reached = {name for name, grad in gradients.items() if grad is not None and grad.any()}
        assert all(grad is not None and grad.isfinite().all() for grad in gradients.values())
        # The squeeze learns from the second step on: at first nothing of it comes through.
        squeeze = {name for name in gradients if name.startswith("squeeze.")}
        assert reached == (gradients.keys() if started else gradients.keys() - squeeze)
        shake(attention, by=0.1)


@every_kind
@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
def test_the_parts_keep_the_memory_layout_of_the_features(kind, layout):
    attention, features = make_attention(kind), make_features()
    shake(attention, by=0.5)
    expected = attention(features)
    features = features.contiguous(memory_format=layout)
    share = attention(features)
    torch.testing.assert_close(share, expected)
    if share.shape == features.shape:
        assert share.stride() == features.stride()
    for part in (share * features, features - share * features):
        assert part.is_contiguous(memory_format=layout)


@every_kind
def test_attention_is_finite_under_autocast(kind):
    attention, features = make_attention(kind), make_features(scale=100.0).requires_grad_()
    shake(attention, by=0.5)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        share = attention(features.bfloat16())
    assert share.isfinite().all()
    share.float().sum().backward()
    assert features.grad is not None
    assert features.grad.isfinite().all()


@pytest.mark.parametrize("kind", ["factorised", "channel", "full"])
@pytest.mark.parametrize(("reduction", "kept"), [(1, 16), (2, 8), (4, 4), (16, 4), (64, 4)])
def test_the_squeeze_keeps_at_least_four_channels(kind, reduction, kept):
    assert make_attention(kind, reduction=reduction).squeeze.weight.shape[:2] == (kept, C)

"""Pooling against loops, and its gradients where powers and roots have none."""

import pytest
import torch
from torch import Tensor

from daam.model.pooling import (
    AveragePooling,
    GemPooling,
    mean_over_channels,
    mean_over_positions,
)


def make_maps(scale: float = 1.0) -> Tensor:
    return scale * torch.randn(2, 4, 3, 2, generator=torch.Generator().manual_seed(0))


def make_gem(p: float = 3.0) -> GemPooling:
    gem = GemPooling()
    torch.nn.init.constant_(gem.p, p)
    return gem


def gem_by_hand(values: list[float], p: float) -> float:
    return (sum(max(value, 1e-6) ** p for value in values) / len(values)) ** (1 / p)


def test_average_pooling_is_the_mean_of_each_channel():
    maps, pooled = make_maps(), AveragePooling()(make_maps())
    for image in range(2):
        for channel in range(4):
            values = maps[image, channel].flatten().tolist()
            assert pooled[image, channel].item() == pytest.approx(sum(values) / 6, abs=1e-6)


def test_means_and_their_gradients_are_those_of_torch():
    ours, torchs = make_maps().requires_grad_(), make_maps().requires_grad_()
    weight_BC, weight_B1HW = torch.randn(2, 4), torch.randn(2, 1, 3, 2)
    (mean_over_positions(ours) * weight_BC).sum().backward()
    (mean_over_channels(ours) * weight_B1HW).sum().backward()
    (torchs.mean(dim=(2, 3)) * weight_BC).sum().backward()
    (torchs.mean(dim=1, keepdim=True) * weight_B1HW).sum().backward()
    torch.testing.assert_close(ours.grad, torchs.grad)


@pytest.mark.parametrize("p", [1.0, 2.0, 3.0, 6.5])
@pytest.mark.parametrize("scale", [1e-2, 1.0, 1e4])
def test_gem_matches_the_loop(p, scale):
    maps = make_maps(scale)
    pooled = make_gem(p)(maps)
    for image in range(2):
        for channel in range(4):
            by_hand = gem_by_hand(maps[image, channel].flatten().tolist(), p)
            assert pooled[image, channel].item() == pytest.approx(by_hand, rel=1e-5)


def test_gem_begins_at_3_and_lies_between_the_average_and_the_maximum():
    maps = make_maps().abs()
    gem = GemPooling()
    assert gem.p.item() == 3
    average, largest = maps.mean(dim=(2, 3)), maps.amax(dim=(2, 3))
    assert (gem(maps) > average).all()
    assert (gem(maps) < largest).all()
    torch.testing.assert_close(make_gem(1.0)(maps), average)
    torch.testing.assert_close(make_gem(500.0)(maps), largest, rtol=0.01, atol=0)


def test_the_gradients_of_gem_are_those_of_finite_differences():
    maps = make_maps().abs().double().requires_grad_()
    gem = make_gem(2.5)

    def exact(maps: Tensor, p: Tensor) -> Tensor:
        return (maps.clamp(min=1e-6) ** p).mean(dim=(2, 3)) ** (1 / p)

    direction = torch.randn(2, 4, generator=torch.Generator().manual_seed(1))
    (gem(maps) * direction).sum().backward()
    reference, p = maps.detach().clone().requires_grad_(), torch.tensor(2.5, dtype=torch.float64)
    p.requires_grad_()
    assert torch.autograd.gradcheck(exact, (reference, p))
    (exact(reference, p) * direction).sum().backward()
    torch.testing.assert_close(maps.grad, reference.grad, rtol=1e-4, atol=1e-6)
    assert gem.p.grad is not None
    torch.testing.assert_close(gem.p.grad.double(), p.grad, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    "maps",
    [
        torch.zeros(2, 4, 3, 2),
        torch.full((2, 4, 3, 2), -3.0),
        torch.full((2, 4, 3, 2), 1e-30),
        torch.full((2, 4, 3, 2), 1e30),
        torch.tensor([0.0, 1e20]).expand(2, 4, 3, 2),
    ],
    ids=["zero", "negative", "tiny", "huge", "mixed"],
)
@pytest.mark.parametrize("p", [-1.0, 0.0, 1.0, 3.0, 100.0])
def test_gem_and_its_gradients_are_finite_on_the_edges(maps, p):
    gem, maps = make_gem(p), maps.clone().requires_grad_()
    pooled = gem(maps)
    pooled.log().sum().backward()
    assert pooled.isfinite().all()
    assert maps.grad is not None
    assert gem.p.grad is not None
    assert maps.grad.isfinite().all()
    assert gem.p.grad.isfinite()


def test_gem_is_float32_under_autocast():
    maps = make_maps(100.0).bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        pooled = GemPooling()(maps)
    assert pooled.dtype == torch.float32
    assert torch.equal(pooled, GemPooling()(maps.float()))

"""Re-estimated batch-norm statistics are those of the given images, and nothing else changes."""

import pytest
import torch
from torch import Tensor, nn

from daam.model.attention import FactorisedAttention
from daam.model.backbone import tiny_backbone
from daam.model.network import DaamNetwork
from daam.model.norm import reestimate_statistics


def make_network() -> DaamNetwork:
    torch.manual_seed(0)
    return DaamNetwork(
        tiny_backbone(),
        num_channels=128,
        num_identities=5,
        attention=FactorisedAttention(
            128, reduction=8, initial_bias=1.0, kernel=3, temperature=1.0
        ),
    )


def make_batches(num_batches: int, *, shift: float = 0.0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [
        torch.randn(4, 3, 32, 16, generator=generator) * (2 + number) + shift
        for number in range(num_batches)
    ]


def norms_of(network: nn.Module) -> list[nn.modules.batchnorm._BatchNorm]:
    return [m for m in network.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]


def statistics_by_hand(network: DaamNetwork, batches: list[Tensor]) -> list[tuple[Tensor, Tensor]]:
    """For each norm the mean over batches of the mean and unbiased variance of its inputs."""
    seen: list[list[tuple[Tensor, Tensor]]] = [[] for _ in norms_of(network)]

    def watch(at: int):
        def note(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            channels_first = inputs[0].detach().double().transpose(0, 1).flatten(1)
            seen[at].append((channels_first.mean(dim=1), channels_first.var(dim=1, unbiased=True)))

        return note

    hooks = [norm.register_forward_pre_hook(watch(at)) for at, norm in enumerate(norms_of(network))]
    network.train()
    for images in batches:
        network(images, num_source=0)
    for hook in hooks:
        hook.remove()
    return [
        (
            torch.stack([mean for mean, _ in of_norm]).mean(dim=0),
            torch.stack([variance for _, variance in of_norm]).mean(dim=0),
        )
        for of_norm in seen
    ]


@pytest.mark.parametrize("num_batches", [1, 3])
def test_statistics_equal_those_of_a_naive_pass(num_batches):
    network, batches = make_network(), make_batches(num_batches, shift=3.0)
    network(make_batches(1)[0], num_source=4)  # statistics that must be forgotten
    reestimate_statistics(network, batches)
    by_hand = statistics_by_hand(make_network(), batches)
    assert len(by_hand) == len(norms_of(network)) == 11
    for norm, (mean, variance) in zip(norms_of(network), by_hand, strict=True):
        assert norm.running_mean is not None
        assert norm.running_var is not None
        torch.testing.assert_close(norm.running_mean.double(), mean, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(norm.running_var.double(), variance, rtol=1e-4, atol=1e-5)


def test_all_batches_weigh_the_same_in_any_order():
    forwards, backwards = make_network(), make_network()
    reestimate_statistics(forwards, make_batches(4))
    reestimate_statistics(backwards, make_batches(4)[::-1])
    for one, other in zip(norms_of(forwards), norms_of(backwards), strict=True):
        torch.testing.assert_close(one.running_mean, other.running_mean, rtol=1e-4, atol=1e-5)


def test_modes_weights_and_momentum_stay():
    network = make_network().eval()
    network.shared.train()
    norms_of(network)[0].momentum = 0.37
    weights = {name: weight.detach().clone() for name, weight in network.named_parameters()}
    modes = {name: module.training for name, module in network.named_modules()}
    momenta = [norm.momentum for norm in norms_of(network)]
    reestimate_statistics(network, make_batches(2))
    assert {name: module.training for name, module in network.named_modules()} == modes
    assert [norm.momentum for norm in norms_of(network)] == momenta
    assert 0.37 in momenta
    for name, weight in network.named_parameters():
        assert torch.equal(weight, weights[name])
        assert weight.grad is None


def test_doing_it_twice_changes_nothing_more():
    network = make_network()
    reestimate_statistics(network, make_batches(2))
    once = {name: value.clone() for name, value in network.state_dict().items()}
    reestimate_statistics(network, make_batches(2))
    assert all(torch.equal(value, once[name]) for name, value in network.state_dict().items())

"""A norm for each domain is a plain one on its images; re-estimated statistics are the images'."""

import copy
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from daam.errors import ConfigError
from daam.model.attention import FactorisedAttention
from daam.model.backbone import resnet_backbone, tiny_backbone
from daam.model.network import DaamNetwork
from daam.model.norm import (
    SOURCE,
    TARGET,
    BatchDomains,
    DomainBatchNorm,
    copy_source_norms_to_target,
    reestimate_statistics,
    with_domain_norms,
    with_plain_norms,
)

REPOSITORY = Path(__file__).resolve().parents[2]
C = 6


def make_network(*, norm: str = "shared", seed: int = 0) -> DaamNetwork:
    torch.manual_seed(seed)
    network = DaamNetwork(
        tiny_backbone(),
        num_channels=128,
        num_identities=5,
        attention=FactorisedAttention(
            128, reduction=8, initial_bias=1.0, kernel=3, temperature=1.0
        ),
    )
    if norm == "domain_specific":
        with_domain_norms(network, domains=network.batch_domains)
    return network


def make_batches(num_batches: int, *, shift: float = 0.0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [
        torch.randn(4, 3, 32, 16, generator=generator) * (2 + number) + shift
        for number in range(num_batches)
    ]


def norms_of(network: nn.Module) -> list[_BatchNorm]:
    return [module for module in network.modules() if isinstance(module, _BatchNorm)]


def domain_norms_of(network: nn.Module) -> list[DomainBatchNorm]:
    return [module for module in network.modules() if isinstance(module, DomainBatchNorm)]


# One norm for each domain


def shaken(norm: _BatchNorm, *, seed: int = 0) -> _BatchNorm:
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for values in (norm.weight, norm.bias, norm.running_mean, norm.running_var):
            assert values is not None
            values += torch.rand(values.shape, generator=generator)
    return norm


def make_norm(*, flat: bool) -> tuple[DomainBatchNorm, list[_BatchNorm], BatchDomains]:
    """A norm whose two sets differ, and the two plain norms that it must equal."""
    plain_type = nn.BatchNorm1d if flat else nn.BatchNorm2d
    plain_norms = [shaken(plain_type(C, eps=1e-4, momentum=0.3), seed=seed) for seed in (0, 1)]
    domains = BatchDomains()
    norm = DomainBatchNorm(plain_norms[0], domains=domains)
    with torch.no_grad():
        for name in ("weight", "bias", "running_mean", "running_var"):
            getattr(norm, name)[TARGET] = getattr(plain_norms[TARGET], name)
    return norm, plain_norms, domains


def make_features(num_images: int, *, flat: bool) -> Tensor:
    shape = (num_images, C) if flat else (num_images, C, 3, 2)
    return torch.randn(shape, generator=torch.Generator().manual_seed(num_images)) + 1


COMPOSITIONS = {
    "even": [0, 0, 0, 1, 1, 1],
    "odd": [0, 0, 0, 0, 1, 1, 1],
    "target first": [1, 1, 0, 0, 0],
    "any order": [1, 0, 0, 1, 0, 1, 1, 0, 1],
    "source alone": [0, 0, 0],
    "target alone": [1, 1, 1, 1],
    "one image of the target": [0, 0, 0, 1],
    "one image of the source": [0, 1, 1, 1],
    "one image": [1],
}


@pytest.mark.parametrize("flat", [True, False], ids=["flat", "map"])
@pytest.mark.parametrize("training", [True, False], ids=["training", "eval"])
@pytest.mark.parametrize("composition", COMPOSITIONS)
def test_each_domain_is_normalised_as_by_a_plain_norm_of_its_own(composition, training, flat):
    norm, plain_norms, domains = make_norm(flat=flat)
    index_B = torch.tensor(COMPOSITIONS[composition])
    features = make_features(len(index_B), flat=flat).requires_grad_()
    expected = torch.empty_like(features)
    for domain, plain_norm in enumerate(plain_norms):
        rows = [row for row, of in enumerate(index_B.tolist()) if of == domain]
        if rows:
            # A single vector has no variance: the running statistics serve.
            plain_norm.train(training and not (flat and len(rows) == 1))
            expected[rows] = plain_norm(features[rows])
    direction = torch.randn(features.shape, generator=torch.Generator().manual_seed(5))
    (expected * direction).sum().backward()
    expected_gradient, features.grad = features.grad, None

    norm.train(training)
    domains.set_each(index_B)
    found = norm(features)
    (found * direction).sum().backward()
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(features.grad, expected_gradient)
    assert norm.weight.grad is not None
    assert norm.bias.grad is not None
    for domain, plain_norm in enumerate(plain_norms):
        for name in ("running_mean", "running_var", "num_batches_tracked"):
            assert torch.equal(getattr(norm, name)[domain], getattr(plain_norm, name)), name
        for name in ("weight", "bias"):
            expected_grad = getattr(plain_norm, name).grad
            if expected_grad is None:  # a domain without images
                expected_grad = torch.zeros(C)
            torch.testing.assert_close(getattr(norm, name).grad[domain], expected_grad)


@pytest.mark.parametrize("num_source", [0, 1, 3, 7])
def test_a_sorted_batch_needs_no_index(num_source):
    norm, _, domains = make_norm(flat=False)
    features, index_B = make_features(7, flat=False), (torch.arange(7) >= num_source).long()
    norm.eval()
    domains.set_each(index_B)
    expected = norm(features)
    domains.set_source_first(num_source, num_images=7)
    assert domains.order_B is None
    assert torch.equal(norm(features), expected)
    assert norm(features.contiguous(memory_format=torch.channels_last)).is_contiguous(
        memory_format=torch.channels_last
    )


def test_a_batch_without_domains_is_a_programming_error():
    norm, _, domains = make_norm(flat=True)
    domains.set_all(TARGET, num_images=3)
    with pytest.raises(AssertionError, match=r"but domains were set for \(0, 3\)"):
        norm(make_features(4, flat=True))


@pytest.mark.parametrize("changes", [{"affine": False}, {"track_running_stats": False}])
def test_a_norm_without_weights_or_statistics_is_refused(changes):
    with pytest.raises(ConfigError, match="create it with affine=True"):
        with_domain_norms(nn.Sequential(nn.BatchNorm2d(3, **changes)), domains=BatchDomains())


# Whole networks


@pytest.mark.parametrize("domain", [SOURCE, TARGET])
def test_a_converted_network_gives_what_the_plain_one_gave(domain):
    network, images = make_network(), make_batches(2)
    network(images[1], num_source=4)
    network.eval()
    embeddings, output = network.embed(images[0]), network(images[0], num_source=2)
    converted = with_domain_norms(copy.deepcopy(network), domains=BatchDomains())
    assert not domain_norms_of(network)  # the copy alone was changed
    converted = with_domain_norms(network, domains=network.batch_domains)
    assert converted is network
    assert len(domain_norms_of(network)) == 11
    assert not norms_of(network)
    torch.testing.assert_close(network.embed(images[0], domain=domain), embeddings)
    found = network(images[0], num_source=2)
    torch.testing.assert_close(found.identity_logits_SI, output.identity_logits_SI)
    torch.testing.assert_close(found.domain_logits_B2, output.domain_logits_B2)


def test_images_of_both_domains_embed_together_as_they_do_apart():
    network, images = make_network(norm="domain_specific"), make_batches(3, shift=1.0)
    for number, num_source in enumerate((3, 0, 4)):
        network(images[number], num_source=num_source)
    network.eval()
    domains_B = torch.arange(len(images[0])) % 2
    mixed = network.embed(images[0], domain=domains_B)
    for domain in (SOURCE, TARGET):
        alone = network.embed(images[0], domain=domain)
        torch.testing.assert_close(mixed[domains_B == domain], alone[domains_B == domain])


@pytest.mark.parametrize("domain", [SOURCE, TARGET])
def test_back_in_plain_form_a_network_gives_what_it_gave_for_that_domain(domain):
    network, images = make_network(norm="domain_specific"), make_batches(3, shift=1.0)
    for number, num_source in enumerate((3, 0, 4)):
        network(images[number], num_source=num_source)
    network.eval()
    expected = {of: network.embed(images[0], domain=of) for of in (SOURCE, TARGET)}
    assert not torch.allclose(expected[SOURCE], expected[TARGET], atol=1e-2)
    simple = with_plain_norms(copy.deepcopy(network), domain=domain)
    assert not domain_norms_of(simple)
    assert len(norms_of(simple)) == 11
    assert torch.equal(simple.embed(images[0]), expected[domain])
    assert simple.state_dict().keys() == make_network().state_dict().keys()
    make_network().load_state_dict(simple.state_dict())
    assert not simple.shared.bottleneck.bias.requires_grad
    assert torch.equal(network.embed(images[0]), expected[TARGET])


def test_converting_there_and_back_changes_no_weight():
    torch.manual_seed(0)
    network = resnet_backbone("resnet18", weights="none")
    before = {name: value.clone() for name, value in network.state_dict().items()}
    modes = [module.training for module in network.eval().modules()]
    back = with_plain_norms(with_domain_norms(network, domains=BatchDomains()), domain=TARGET)
    assert back.state_dict().keys() == before.keys()
    assert all(torch.equal(value, before[name]) for name, value in back.state_dict().items())
    assert [module.training for module in back.modules()] == modes


def test_a_network_that_is_converted_stays():
    network = make_network(norm="domain_specific")
    norms = domain_norms_of(network)
    assert domain_norms_of(with_domain_norms(network, domains=network.batch_domains)) == norms


def test_a_batch_moves_the_statistics_of_its_domains_alone():
    network = make_network(norm="domain_specific")
    before = [norm.running_mean.clone() for norm in domain_norms_of(network)]
    network(make_batches(1, shift=3.0)[0], num_source=4)
    for norm, mean_2C in zip(domain_norms_of(network), before, strict=True):
        assert not torch.equal(norm.running_mean[SOURCE], mean_2C[SOURCE])
        assert torch.equal(norm.running_mean[TARGET], mean_2C[TARGET])
        assert norm.num_batches_tracked.tolist() == [1, 0]


def test_a_copy_and_a_loaded_state_are_networks_of_their_own(tmp_path):
    network, images = make_network(norm="domain_specific"), make_batches(2, shift=1.0)
    network(images[0], num_source=2)
    network.eval()
    torch.save(network.state_dict(), tmp_path / "state.pt")
    assert not any("domains" in name for name in network.state_dict())
    loaded = make_network(norm="domain_specific", seed=7).eval()
    loaded.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    copied = copy.deepcopy(network)
    assert {norm.domains for norm in domain_norms_of(copied)} == {copied.batch_domains}
    assert copied.batch_domains is not network.batch_domains
    network.batch_domains.set_source_first(1, num_images=1)  # must not be what the copy asks
    for other in (copied, loaded):
        assert torch.equal(other.embed(images[1]), network.embed(images[1]))


@pytest.mark.parametrize("num_source", [0, 2, 4])
def test_the_step_compiles_into_one_graph_for_any_composition(num_source):
    network, images = make_network(norm="domain_specific").eval(), make_batches(1)[0]
    expected = network(images, num_source=num_source).bottleneck_BC
    torch.compiler.reset()
    compiled = torch.compile(network, backend="eager", fullgraph=True)
    for _ in range(2):
        found = compiled(images, num_source=num_source).bottleneck_BC
        torch.testing.assert_close(found, expected)


def test_the_target_can_begin_where_the_source_is():
    network = make_network(norm="domain_specific")
    network(make_batches(1, shift=2.0)[0], num_source=4)
    images = make_batches(1)[0]
    network.eval()
    assert not torch.allclose(network.embed(images), network.embed(images, domain=SOURCE))
    copy_source_norms_to_target(network)
    assert torch.equal(network.embed(images), network.embed(images, domain=SOURCE))


@pytest.mark.parametrize("norm", ["shared", "domain_specific"])
@pytest.mark.parametrize("num_source", [0, 2, 4])
def test_every_weight_gets_a_gradient_whatever_domains_the_batch_has(norm, num_source):
    network = make_network(norm=norm)
    output = network(make_batches(1)[0], num_source=num_source)
    assert output.domain_logits_B2 is not None
    (output.identity_logits_SI.sum() + 0 * output.domain_logits_B2.sum()).backward()
    for name, weight in network.named_parameters():
        if weight.requires_grad:
            assert weight.grad is not None, name
            assert weight.grad.isfinite().all(), name
    for domain_norm in domain_norms_of(network):
        for domain, absent in ((SOURCE, num_source == 0), (TARGET, num_source == 4)):
            if absent:
                assert domain_norm.weight.grad is not None
                assert not domain_norm.weight.grad[domain].any()


TWO_RANKS = """
import sys, torch
from torch import distributed
from torch.nn.parallel import DistributedDataParallel
from tests.model.test_norm import make_batches, make_network
from tests.support.rank_end import end_rank
torch.set_num_threads(1)
rank = int(sys.argv[1])
distributed.init_process_group("gloo", init_method=f"file://{sys.argv[2]}", rank=rank, world_size=2)
network = make_network(norm="domain_specific")
parallel = DistributedDataParallel(network)  # would hang or raise if a weight had no gradient
for num_source in (4, 4, 2, 0):  # epochs of the source alone come first
    output = parallel(make_batches(2)[rank], num_source=num_source)
    network.zero_grad(set_to_none=True)
    (output.identity_logits_SI.sum() + output.domain_logits_B2.square().sum()).backward()
    gradients = torch.cat([w.grad.flatten() for w in network.parameters() if w.requires_grad])
    other = [torch.empty_like(gradients) for _ in range(2)]
    distributed.all_gather(other, gradients)
    assert torch.equal(*other)
end_rank()
"""


@pytest.mark.slow
def test_data_parallel_training_goes_on_in_batches_without_target_images(tmp_path):
    environment = os.environ | {"OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", TWO_RANKS, str(rank), str(tmp_path / "meeting")],
            cwd=REPOSITORY,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(2)
    ]
    try:
        said = [process.communicate(timeout=120)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0, 0], "\n".join(said)


# Re-estimation


def statistics_by_hand(network: DaamNetwork, batches: list[Tensor]) -> list[tuple[Tensor, Tensor]]:
    """For each norm the mean over batches of the mean and unbiased variance of its inputs."""
    norms = [m for m in network.modules() if isinstance(m, _BatchNorm | DomainBatchNorm)]
    seen: list[list[tuple[Tensor, Tensor]]] = [[] for _ in norms]

    def watch(at: int):
        def note(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            channels_first = inputs[0].detach().double().transpose(0, 1).flatten(1)
            seen[at].append((channels_first.mean(dim=1), channels_first.var(dim=1, unbiased=True)))

        return note

    hooks = [norm.register_forward_pre_hook(watch(at)) for at, norm in enumerate(norms)]
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


def test_of_domain_specific_norms_the_targets_statistics_alone_are_taken_anew():
    network, batches = make_network(norm="domain_specific"), make_batches(3, shift=3.0)
    network(make_batches(1)[0], num_source=2)
    before = [norm.running_var[SOURCE].clone() for norm in domain_norms_of(network)]
    reestimate_statistics(network, batches)
    by_hand = statistics_by_hand(make_network(norm="domain_specific"), batches)
    for norm, variance_C, (mean, variance) in zip(
        domain_norms_of(network), before, by_hand, strict=True
    ):
        found = norm.running_mean[TARGET].double(), norm.running_var[TARGET].double()
        torch.testing.assert_close(found, (mean, variance), rtol=1e-4, atol=1e-5)
        assert torch.equal(norm.running_var[SOURCE], variance_C)
        assert norm.momentum == 0.1


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


@pytest.mark.parametrize("norm", ["shared", "domain_specific"])
def test_doing_it_twice_changes_nothing_more(norm):
    network = make_network(norm=norm)
    reestimate_statistics(network, make_batches(2))
    once = {name: value.clone() for name, value in network.state_dict().items()}
    reestimate_statistics(network, make_batches(2))
    assert all(torch.equal(value, once[name]) for name, value in network.state_dict().items())

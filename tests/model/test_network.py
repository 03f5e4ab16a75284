"""The whole network: one pass for both domains, and embeddings that hold only what is shared."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from daam.errors import ConfigError
from daam.model.attention import (
    Attention,
    ChannelAttention,
    FactorisedAttention,
    FullAttention,
    SpatialAttention,
)
from daam.model.backbone import num_output_channels, split_last_stage, tiny_backbone
from daam.model.heads import ConfusionHead, NominalHead, ReversalHead
from daam.model.network import DaamNetwork
from daam.model.pooling import GemPooling


def make_network(*, with_attention: bool = True, seed: int = 0) -> DaamNetwork:
    torch.manual_seed(seed)
    attention = None
    if with_attention:
        attention = FactorisedAttention(
            128, reduction=8, initial_bias=0.5, kernel=3, temperature=1.0
        )
        nn.init.normal_(attention.excite.weight, std=0.5)
        nn.init.normal_(attention.spatial.weight, std=0.5)
    return DaamNetwork(tiny_backbone(), num_channels=128, num_identities=7, attention=attention)


def attention_of(kind: Any, *, num_channels: int = 128) -> Attention:
    """An attention of any kind that has learnt something."""
    torch.manual_seed(5)
    even: dict[str, Any] = {"initial_bias": 0.5, "temperature": 1.0}
    if kind in (FactorisedAttention, SpatialAttention):
        even["kernel"] = 3
    if kind is not SpatialAttention:
        even |= {"num_channels": num_channels, "reduction": 8}
    attention = kind(**even)
    for weight in attention.parameters():
        nn.init.normal_(weight, std=0.3)
    return attention


def make_images(num_images: int = 6) -> Tensor:
    return torch.randn(num_images, 3, 32, 16, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("with_attention", [True, False])
def test_embeddings_have_length_1(with_attention):
    network = make_network(with_attention=with_attention).eval()
    embeddings = network.embed(make_images())
    assert embeddings.shape == (6, 128)
    assert embeddings.dtype == torch.float32
    torch.testing.assert_close(embeddings.norm(dim=1), torch.ones(6), rtol=0, atol=1e-6)


def test_embeddings_stay_float32_under_autocast():
    network = make_network().eval()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        embeddings = network.embed(make_images())
    assert embeddings.dtype == torch.float32
    torch.testing.assert_close(embeddings.norm(dim=1), torch.ones(6), rtol=0, atol=1e-6)


def test_the_specific_branch_has_no_say_in_an_embedding():
    network = make_network().eval()
    before = network.embed(make_images())
    assert network.specific is not None
    with torch.no_grad():
        for weight in network.specific.parameters():
            weight.normal_(std=100.0)
    assert torch.equal(network.embed(make_images()), before)


def test_the_attention_has_a_say_in_an_embedding():
    network = make_network().eval()
    before = network.embed(make_images())
    assert isinstance(network.attention, FactorisedAttention)
    nn.init.normal_(network.attention.spatial.weight, std=5.0)
    assert not torch.allclose(network.embed(make_images()), before, atol=1e-3)


@pytest.mark.parametrize("with_attention", [True, False])
def test_an_embedding_is_the_normalised_bottleneck_of_the_training_pass(with_attention):
    network = make_network(with_attention=with_attention).eval()
    output = network(make_images(), num_source=4)
    torch.testing.assert_close(
        network.embed(make_images()), nn.functional.normalize(output.bottleneck_BC, dim=1)
    )


def test_the_pooled_embedding_can_be_asked_for_or_be_the_one_for_retrieval():
    network = make_network()
    network(make_images(), num_source=4)  # statistics that are not those of the start
    network.eval()
    pooled = nn.functional.normalize(network(make_images(), num_source=4).shared_BC, dim=1)
    torch.testing.assert_close(network.embed(make_images(), embedding="pooled"), pooled)
    bottleneck = network.embed(make_images())
    network.retrieval_embedding = "pooled"
    torch.testing.assert_close(network.embed(make_images()), pooled)
    assert torch.equal(network.embed(make_images(), embedding="bottleneck"), bottleneck)
    assert not torch.allclose(bottleneck, pooled, atol=1e-2)


@pytest.mark.parametrize("num_source", [0, 1, 4, 6])
def test_only_source_images_get_identity_logits(num_source):
    network = make_network().eval()
    output = network(make_images(), num_source=num_source)
    assert output.identity_logits_SI.shape == (num_source, 7)
    whole = network(make_images(), num_source=6)
    torch.testing.assert_close(output.identity_logits_SI, whole.identity_logits_SI[:num_source])
    assert output.shared_BC.shape == output.bottleneck_BC.shape == (6, 128)
    assert output.domain_logits_B2 is not None
    assert output.domain_logits_B2.shape == (6, 2)


@pytest.mark.parametrize(
    "kind", [FactorisedAttention, ChannelAttention, SpatialAttention, FullAttention]
)
def test_the_branches_see_two_parts_that_add_up_to_the_features(kind):
    network = make_network()
    network.attention = attention_of(kind)
    shared_maps: list[Tensor] = []
    network.shared.register_forward_pre_hook(lambda _, inputs: shared_maps.append(inputs[0]))
    output = network.eval()(make_images(), num_source=4)
    (shared,) = shared_maps
    features = output.features_BCHW
    torch.testing.assert_close(shared, output.attention_BCHW * features)
    specific = (features - shared).mean(dim=(2, 3))
    torch.testing.assert_close(output.specific_BC, specific, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(
        output.shared_BC + output.specific_BC, features.mean(dim=(2, 3)), rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize(
    "kind", [FactorisedAttention, ChannelAttention, SpatialAttention, FullAttention]
)
def test_before_the_last_stage_two_maps_add_up_to_the_features(kind):
    network = make_early_network()
    network.attention = attention_of(kind, num_channels=64)
    assert network.shared_stage is not None
    assert network.specific_stage is not None
    maps: list[Tensor] = []
    for stage in (network.shared_stage, network.specific_stage):
        stage.register_forward_pre_hook(lambda _, inputs: maps.append(inputs[0]))
    output = network.eval()(make_images(), num_source=4)
    shared, specific = maps
    torch.testing.assert_close(shared + specific, output.features_BCHW, rtol=1e-6, atol=1e-6)
    assert specific.abs().sum() > 1


def test_attention_maps_are_those_of_the_training_pass():
    network = make_network().eval()
    maps = network.attention_maps(make_images())
    assert maps is not None
    assert maps.shape == (6, 128, 4, 2)
    assert torch.equal(maps, network(make_images(), num_source=6).attention_BCHW)


def test_a_network_without_attention_shares_all_features_and_has_no_specific_part():
    network = make_network(with_attention=False).eval()
    output = network(make_images(), num_source=4)
    assert output.attention_BCHW is output.specific_BC is output.domain_logits_B2 is None
    assert network.attention_maps(make_images()) is None
    torch.testing.assert_close(output.shared_BC, network.backbone(make_images()).mean(dim=(2, 3)))


@pytest.mark.parametrize("with_attention", [True, False])
def test_a_loss_on_every_output_reaches_every_weight(with_attention):
    assert_every_weight_is_reached(make_network(with_attention=with_attention))


def assert_every_weight_is_reached(network: DaamNetwork) -> None:
    output = network.train()(make_images(), num_source=4)
    total = output.identity_logits_SI.square().sum() + output.shared_BC.square().sum()
    if output.domain_logits_B2 is not None:
        total = total + output.domain_logits_B2.square().sum()
    if output.similarity_logits is not None:
        total = total + sum(
            logits.square().sum() for logits in output.similarity_logits if logits is not None
        )
    total.backward()
    for name, weight in network.named_parameters():
        if weight.requires_grad:
            assert weight.grad is not None, name
            assert weight.grad.isfinite().all(), name
            assert weight.grad.abs().sum() > 0, name


@pytest.mark.parametrize(
    "attention",
    [
        ChannelAttention(128, reduction=8, initial_bias=0.5, temperature=1.0),
        SpatialAttention(kernel=3, initial_bias=0.5, temperature=1.0),
    ],
    ids=["channel", "spatial"],
)
def test_attention_maps_are_as_large_as_the_features_whatever_the_kind(attention):
    torch.manual_seed(0)
    network = DaamNetwork(
        tiny_backbone(), num_channels=128, num_identities=7, attention=attention
    ).eval()
    output = network(make_images(), num_source=4)
    maps = network.attention_maps(make_images())
    assert maps is not None
    assert output.attention_BCHW is not None
    assert maps.shape == output.attention_BCHW.shape == output.features_BCHW.shape
    assert torch.equal(maps, output.attention_BCHW)


def test_the_features_are_those_the_attention_splits_and_pass_all_gradients():
    network = make_network().train()
    output = network(make_images(), num_source=4)
    assert torch.equal(output.features_BCHW, network.backbone(make_images()))
    assert output.domain_logits_B2 is not None
    for loss in (output.identity_logits_SI.square().sum(), output.domain_logits_B2.square().sum()):
        (gradient,) = torch.autograd.grad(loss, output.features_BCHW, retain_graph=True)
        assert gradient.any()


def make_early_network(*, with_attention: bool = True) -> DaamNetwork:
    """A network whose attention sits before the last stage."""
    torch.manual_seed(0)
    trunk, last_stage = split_last_stage(tiny_backbone())
    attention = None
    if with_attention:
        num_channels = num_output_channels(trunk)
        attention = SpatialAttention(kernel=3, initial_bias=0.5, temperature=1.0)
        assert num_channels == 64
        nn.init.normal_(attention.spatial.weight, std=0.5)
    return DaamNetwork(
        trunk,
        num_channels=128,
        num_identities=7,
        attention=attention,
        branch_stage=last_stage,
    )


def test_with_the_attention_before_the_last_stage_each_branch_runs_its_own():
    network = make_early_network().eval()
    assert network.shared_stage is not None
    assert network.specific_stage is not None
    features = network.backbone(make_images())
    output = network(make_images(), num_source=4)
    assert output.features_BCHW.shape == (6, 64, 4, 2)
    torch.testing.assert_close(output.features_BCHW, features)
    shared = output.attention_BCHW * features
    torch.testing.assert_close(output.shared_BC, network.shared_stage(shared).mean(dim=(2, 3)))
    halved = nn.functional.avg_pool2d(features - shared, 2)
    own_stage = network.specific_stage[1]
    torch.testing.assert_close(output.specific_BC, own_stage(halved).mean(dim=(2, 3)))


def test_both_branches_begin_with_the_same_last_stage_and_share_no_weight():
    network = make_early_network()
    assert network.shared_stage is not None
    assert network.specific_stage is not None
    ours, others = network.shared_stage.state_dict(), network.specific_stage[1].state_dict()
    assert ours.keys() == others.keys()
    assert all(torch.equal(ours[name], others[name]) for name in ours)
    assert not {id(weight) for weight in network.shared_stage.parameters()} & {
        id(weight) for weight in network.specific_stage.parameters()
    }


def test_embedding_before_the_last_stage_leaves_the_specific_branch_out():
    network = make_early_network().eval()
    expected = network(make_images(), num_source=4).bottleneck_BC
    network.specific_stage = nn.Sequential(nn.Linear(1, 1))  # would fail if it were run
    torch.testing.assert_close(
        network.embed(make_images()), nn.functional.normalize(expected, dim=1)
    )


@pytest.mark.parametrize("with_attention", [True, False])
def test_every_weight_learns_with_the_attention_before_the_last_stage(with_attention):
    assert_every_weight_is_reached(make_early_network(with_attention=with_attention))


def test_without_attention_a_split_network_is_the_whole_one():
    early, whole = make_early_network(with_attention=False), make_network(with_attention=False)
    assert isinstance(whole.backbone, nn.Sequential)
    trunk, last_stage = split_last_stage(copy.deepcopy(whole.backbone))
    early.backbone, early.shared_stage = trunk, last_stage
    early.shared = whole.shared
    assert torch.equal(early.eval().embed(make_images()), whole.eval().embed(make_images()))


def test_a_map_of_odd_size_has_a_specific_part_too():
    output = make_early_network().eval()(torch.randn(2, 3, 40, 24), num_source=1)
    assert output.features_BCHW.shape[2:] == (5, 3)
    assert output.specific_BC is not None
    assert output.specific_BC.isfinite().all()


def test_gem_pools_the_shared_part_and_learns_its_power():
    torch.manual_seed(0)
    attention = ChannelAttention(128, reduction=8, initial_bias=0.5, temperature=1.0)
    network = DaamNetwork(
        tiny_backbone(),
        num_channels=128,
        num_identities=7,
        attention=attention,
        pooling=GemPooling(),
    )
    output = network.eval()(make_images(), num_source=4)
    shared, features = output.attention_BCHW * output.features_BCHW, output.features_BCHW
    torch.testing.assert_close(output.shared_BC, GemPooling()(shared))
    torch.testing.assert_close(
        output.specific_BC, (features - shared).mean(dim=(2, 3)), rtol=1e-5, atol=1e-6
    )
    nn.init.normal_(attention.excite.weight, std=0.5)
    assert_every_weight_is_reached(network)


@pytest.mark.parametrize(
    ("head", "shapes"),
    [
        (NominalHead, [(6, 3), (6, 3)]),
        (ConfusionHead, [(6, 2), (6, 2)]),
        (ReversalHead, [(6, 2), None]),
    ],
)
@pytest.mark.parametrize("autocast", [False, True])
def test_a_similarity_head_sees_embeddings_of_length_1_in_float32(head, shapes, autocast):
    torch.manual_seed(0)
    network = DaamNetwork(
        tiny_backbone(),
        num_channels=128,
        num_identities=7,
        attention=ChannelAttention(128, reduction=8, initial_bias=0.5, temperature=1.0),
        similarity_head=head(128),
    )
    seen: list[tuple[Tensor, ...]] = []
    assert network.similarity_head is not None
    network.similarity_head.register_forward_pre_hook(lambda _, inputs: seen.append(inputs))
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        output = network(make_images(), num_source=4)
    assert output.similarity_logits is not None
    assert [
        None if logits is None else tuple(logits.shape) for logits in output.similarity_logits
    ] == shapes
    parts = [output.shared_BC, output.specific_BC][: len(seen[0])]
    assert len(parts) == (2 if head is NominalHead else 1)
    for part, given in zip(parts, seen[0], strict=True):
        assert part is not None
        assert given.dtype == torch.float32
        torch.testing.assert_close(given, nn.functional.normalize(part.float(), dim=1))
    assert all(
        logits.dtype == torch.float32 for logits in output.similarity_logits if logits is not None
    )


@pytest.mark.parametrize("head", [NominalHead, ConfusionHead, ReversalHead])
def test_a_network_with_a_similarity_head_learns_in_every_weight(head):
    network = make_network()
    network.similarity_head = head(128)
    assert_every_weight_is_reached(network)


def test_a_nominal_head_without_attention_is_refused():
    with pytest.raises(ConfigError, match="turn attention on"):
        DaamNetwork(
            tiny_backbone(),
            num_channels=128,
            num_identities=7,
            attention=None,
            similarity_head=NominalHead(128),
        )

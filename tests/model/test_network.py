"""The whole network: one pass for both domains, and embeddings that hold only what is shared."""

import pytest
import torch
from torch import Tensor, nn

from daam.model.attention import FactorisedAttention
from daam.model.backbone import tiny_backbone
from daam.model.network import DaamNetwork


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
    assert network.attention is not None
    nn.init.normal_(network.attention.spatial.weight, std=5.0)
    assert not torch.allclose(network.embed(make_images()), before, atol=1e-3)


@pytest.mark.parametrize("with_attention", [True, False])
def test_an_embedding_is_the_normalised_bottleneck_of_the_training_pass(with_attention):
    network = make_network(with_attention=with_attention).eval()
    output = network(make_images(), num_source=4)
    torch.testing.assert_close(
        network.embed(make_images()), nn.functional.normalize(output.bottleneck_BC, dim=1)
    )


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


def test_the_branches_see_the_two_parts_of_one_map():
    network = make_network().eval()
    features = network.backbone(make_images())
    output = network(make_images(), num_source=4)
    torch.testing.assert_close(
        output.shared_BC, (output.attention_BCHW * features).mean(dim=(2, 3))
    )
    torch.testing.assert_close(
        output.shared_BC + output.specific_BC, features.mean(dim=(2, 3)), rtol=1e-5, atol=1e-6
    )


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
    network = make_network(with_attention=with_attention).train()
    output = network(make_images(), num_source=4)
    total = output.identity_logits_SI.square().sum() + output.shared_BC.square().sum()
    if output.domain_logits_B2 is not None:
        total = total + output.domain_logits_B2.square().sum()
    total.backward()
    for name, weight in network.named_parameters():
        if weight.requires_grad:
            assert weight.grad is not None, name
            assert weight.grad.isfinite().all(), name
            assert weight.grad.abs().sum() > 0, name

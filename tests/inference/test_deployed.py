"""The module that is exported embeds what the network embeds, and holds no more than it needs."""

import pytest
import torch

from daam.dataset.pixels.normalise import normalise
from daam.inference.deployed import DeployedEmbedder
from daam.model.network import DaamNetwork
from tests.support.kinds_of_networks import KINDS, NUM_IDENTITIES, network_of


@pytest.fixture(params=KINDS)
def network(request: pytest.FixtureRequest) -> DaamNetwork:
    return network_of(request.param)


def levels(count: int) -> torch.Tensor:
    """Random images, (B, H, W, 3) uint8."""
    generator = torch.Generator().manual_seed(2)
    return torch.randint(0, 256, (count, 32, 16, 3), dtype=torch.uint8, generator=generator)


def test_it_takes_levels_and_embeds_as_the_network(network: DaamNetwork) -> None:
    images_BHWC = levels(6)
    deployed = DeployedEmbedder(network)
    found = deployed(images_BHWC.permute(0, 3, 1, 2).float())
    wanted = network.eval().embed(normalise(images_BHWC))
    torch.testing.assert_close(found, wanted.detach(), rtol=0, atol=1e-5)


def test_the_network_itself_stays_as_it_is(network: DaamNetwork) -> None:
    before = {name: value.clone() for name, value in network.state_dict().items()}
    DeployedEmbedder(network)
    assert network.training
    assert network.shared.classifier.out_features == NUM_IDENTITIES
    assert all(weight.requires_grad for weight in network.shared.classifier.parameters())
    after = network.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_every_weight_it_holds_has_a_part_in_the_embedding(network: DaamNetwork) -> None:
    deployed = DeployedEmbedder(network).requires_grad_()
    embeddings = deployed(levels(4).permute(0, 3, 1, 2).float())
    (embeddings * torch.randn(embeddings.shape)).sum().backward()
    unused = [name for name, weight in deployed.named_parameters() if weight.grad is None]
    assert unused == []

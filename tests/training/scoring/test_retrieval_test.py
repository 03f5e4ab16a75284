"""Scores of a network: on the people held out, on the test, with the statistics asked for."""

import math
import re

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from daam.config.schema import RunConfig
from daam.dataset.reading.labels import read_names
from daam.domains import WHOLE_TRAIN_SPLITS, Split
from daam.model.network import DaamNetwork
from daam.storage import open_store
from daam.training.scoring.retrieval_test import RetrievalTest, score
from daam.training.setup.data import manifest_of, shard_cache
from daam.training.setup.network import build_network
from tests.support.known import known


class Colours(nn.Module):
    """What tells the people of the tiny domains apart: the colours of the upper and lower half."""

    def forward(self, images_BCHW: Tensor) -> Tensor:
        halves_BC2 = nn.functional.adaptive_avg_pool2d(images_BCHW, (2, 1)).squeeze(3)
        return halves_BC2.flatten(1)[:, :, None, None]


class Nothing(nn.Module):
    """Features in which everyone looks the same."""

    def forward(self, images_BCHW: Tensor) -> Tensor:
        return images_BCHW.new_ones(len(images_BCHW), 6, 1, 1)


def network_of(backbone: nn.Module) -> DaamNetwork:
    return DaamNetwork(backbone, num_channels=6, num_identities=2, attention=None)


def identity_of(name: str) -> int:
    found = re.search(r"(\d{4})_c", name)
    assert found
    return int(found[1])


def names_of(config: RunConfig, *, domain: str, splits: tuple[Split, ...]) -> list[str]:
    return read_names(
        open_store(config.data.root),
        manifest=manifest_of(config, domain),
        splits=splits,
        cache=shard_cache(config),
    )


@pytest.fixture
def config(config_of) -> RunConfig:
    return config_of()


def test_validation_is_on_people_held_out_of_the_targets_train_split(config):
    test = RetrievalTest.on_validation(config, manifest=manifest_of(config, "campus"))
    assert test.domain == "campus"
    trained_on = {identity_of(n) for n in names_of(config, domain="campus", splits=(Split.TRAIN,))}
    asked, offered = (
        set(test.query.labels.identities.tolist()),
        set(test.gallery.labels.identities.tolist()),
    )
    assert asked <= offered
    assert len(asked) == 3
    assert not offered & trained_on
    for split, side in (
        (Split.VALIDATION_QUERY, test.query),
        (Split.VALIDATION_GALLERY, test.gallery),
    ):
        names = names_of(config, domain="campus", splits=(split,))
        assert side.labels.identities.tolist() == [identity_of(name) for name in names]
        assert len(known(side.labels.cameras)) == side.reader.num_rows == len(names)
    assert test.unlabelled.num_rows == 54  # none of them held out


def test_the_test_is_on_a_domains_query_and_gallery(config):
    test = RetrievalTest.on_test(config, domain="plaza")
    assert test.domain == "plaza"
    asked = names_of(config, domain="plaza", splits=(Split.QUERY,))
    offered = names_of(config, domain="plaza", splits=(Split.GALLERY,))
    assert test.query.labels.identities.tolist() == [identity_of(name) for name in asked]
    assert test.gallery.labels.identities.tolist() == [identity_of(name) for name in offered]
    trained_on = names_of(config, domain="plaza", splits=WHOLE_TRAIN_SPLITS)
    assert not {*map(identity_of, offered)} & {*map(identity_of, trained_on)}
    assert test.unlabelled.num_rows == len(trained_on) == 72


@pytest.mark.parametrize("flip", [False, True])
def test_an_embedding_that_knows_everyone_scores_1(config_of, flip):
    config = config_of({"evaluation.flip": flip})
    for test in (
        RetrievalTest.on_validation(config, manifest=manifest_of(config, "campus")),
        RetrievalTest.on_test(config, domain="plaza"),
    ):
        scores = score(network_of(Colours()), test, config).scores
        assert scores.mean_average_precision == 1
        assert scores.cmc[1] == 1
        assert scores.num_queries == test.query.reader.num_rows
        assert scores.num_left_out == 0


def test_an_embedding_that_knows_nobody_scores_low(config_of):
    config = config_of({"evaluation.reestimate_norm": False})
    test = RetrievalTest.on_validation(config, manifest=manifest_of(config, "campus"))
    scores = score(network_of(Nothing()), test, config).scores
    assert scores.mean_average_precision < 0.9


def average_precision(distances: list[float], good: list[bool], junk: list[bool]) -> float:
    order = sorted(range(len(distances)), key=lambda at: distances[at])
    kept = [good[at] for at in order if not junk[at]]
    precisions = [sum(kept[: rank + 1]) / (rank + 1) for rank, hit in enumerate(kept) if hit]
    return sum(precisions) / len(precisions)


def test_the_scores_are_those_of_the_embeddings_returned(config):
    test = RetrievalTest.on_test(config, domain="campus")
    torch.manual_seed(4)
    result = score(build_network(config, num_identities=3), test, config)
    by_hand = []
    for row, (identity, camera) in enumerate(
        zip(test.query.labels.identities, known(test.query.labels.cameras), strict=True)
    ):
        same = test.gallery.labels.identities == identity
        seen = test.gallery.labels.cameras == camera
        distances = [
            1 - math.fsum((result.query_NC[row].double() * other.double()).tolist())
            for other in result.gallery_NC
        ]
        by_hand.append(average_precision(distances, list(same & ~seen), list(same & seen)))
    assert result.scores.mean_average_precision == pytest.approx(np.mean(by_hand), abs=1e-6)
    assert result.scores.mean_average_precision < 1


@pytest.mark.parametrize("reestimate", [False, True])
def test_statistics_are_the_domains_if_asked_for_and_the_network_keeps_its_own(
    config_of, reestimate
):
    config = config_of({"evaluation.reestimate_norm": reestimate})
    test = RetrievalTest.on_validation(config, manifest=manifest_of(config, "campus"))
    torch.manual_seed(4)
    network = build_network(config, num_identities=3)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    result = score(network, test, config)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert (result.embedder is network) is (not reestimate)
    found = result.embedder.state_dict()["shared.bottleneck.running_var"]
    assert torch.equal(found, before["shared.bottleneck.running_var"]) is (not reestimate)


@pytest.mark.parametrize("reestimate", [False, True])
def test_with_norms_for_each_domain_only_the_source_is_tested_with_its_own(config_of, reestimate):
    changes = {"model.norm": "domain_specific", "evaluation.reestimate_norm": reestimate}
    config = config_of(changes)
    network = build_network(config, num_identities=3)
    with torch.no_grad():
        network.get_parameter("shared.bottleneck.weight").copy_(
            torch.tensor([[2.0], [3.0]]).expand(2, 128)
        )
    for domain, weight in (("plaza", 2.0), ("campus", 3.0)):
        test = RetrievalTest.on_test(config, domain=domain)
        embedder = score(network, test, config).embedder
        assert embedder.get_parameter("shared.bottleneck.weight").tolist() == [weight] * 128

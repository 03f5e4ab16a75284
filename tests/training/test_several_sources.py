"""A transfer from several sources: their people are told apart, their batches are mixed."""

from itertools import chain

import numpy as np
import pytest
import torch

from daam.config.schema import RunConfig
from daam.dataset.format.manifest import read_manifest
from daam.dataset.importing.import_domain import import_domain
from daam.dataset.importing.layouts import read_layout
from daam.errors import CheckpointError
from daam.storage import open_store
from daam.training.batches import source_batches
from daam.training.loop import fit
from daam.training.scoring.retrieval_test import with_norms_of
from daam.training.setup.assemble import Run, assemble
from daam.training.setup.data import source_digest
from daam.training.state import load_state_dict, state_dict
from tests.support.known import known
from tests.support.tiny_runs import same, untimed_metrics

TRANSFER = "plaza+station->campus"


@pytest.fixture
def both(config_of) -> Run:
    return assemble(config_of({"transfer": TRANSFER}))


@pytest.fixture
def each(config_of) -> list[Run]:
    return [assemble(config_of({"transfer": f"{name}->campus"})) for name in ("plaza", "station")]


def test_the_sources_images_follow_one_another(both, each):
    rows = np.arange(both.source.reader.num_rows)
    alone = [run.source.reader.read(np.arange(run.source.reader.num_rows)) for run in each]
    assert torch.equal(both.source.reader.read(rows), torch.cat(alone))


def test_no_two_sources_share_a_person_or_a_camera(both, each):
    first, second = (run.source for run in each)
    assert both.source.num_identities == first.num_identities + second.num_identities == 24
    assert both.network.shared.classifier.out_features == 24
    people = [first.identities, second.identities + first.num_identities]
    assert (both.source.identities == np.concatenate(people)).all()
    cameras = known(both.source.cameras)
    assert set(cameras[: first.reader.num_rows]).isdisjoint(cameras[first.reader.num_rows :])
    assert len(set(cameras)) == 4


def test_every_batch_may_hold_people_of_each_source(both):
    num_first = 12
    batches = list(source_batches(both, epoch=0, steps=range(6)))
    identities = [batch.identities.tolist() for batch in batches if batch.identities is not None]
    assert len(identities) == 6
    assert any(min(step) < num_first <= max(step) for step in identities)
    seen = set(chain.from_iterable(identities))
    assert len(seen) > num_first
    for batch, step in zip(batches, identities, strict=True):
        assert step == both.source.identities[batch.rows].tolist()


def test_a_resumed_run_is_the_uninterrupted_one_to_the_bit(config_of):
    config = config_of({"transfer": TRANSFER, "optimiser.num_epochs": 3}, preset="strong")
    whole = assemble(config)
    expected = untimed_metrics(fit(whole))
    first = assemble(config)
    reports = fit(first)
    next(reports)
    reports.close()
    second = assemble(config)
    load_state_dict(second, state_dict(first), where="memory")
    assert untimed_metrics(fit(second)) == expected[1:]
    assert same(state_dict(second), state_dict(whole))


def test_sources_larger_than_the_cache_are_read_in_windows_of_both(
    config_of, domains, s3_uri, tmp_path
):
    for name in ("plaza", "station", "campus"):
        index = read_layout("market1501", domains.parent / name)
        import_domain(index, domain=name, to=open_store(s3_uri), shard_size_bytes=10_000)

    def config(cache: str) -> RunConfig:
        where = {"data.root": s3_uri, "data.cache": str(tmp_path / cache)}
        return config_of(where | {"transfer": TRANSFER, "data.cache_gb": 0.0001})

    whole = assemble(config("one"))
    assert whole.windows.source is not None
    assert whole.windows.counts[0] > 1
    assert len(whole.windows.source.shards) == len(whole.source.reader.source.shards) > 4
    expected = untimed_metrics(fit(whole))
    first = assemble(config("other"))
    reports = fit(first)
    next(reports)
    reports.close()
    second = assemble(config("other"))
    load_state_dict(second, state_dict(first), where="memory")
    assert untimed_metrics(fit(second)) == expected[1:]
    assert same(state_dict(second)["network"], state_dict(whole)["network"])


def test_a_source_that_was_imported_anew_is_noticed(config_of, both):
    state = state_dict(both) | {"source_digest": "0" * 64}
    with pytest.raises(CheckpointError, match=r"another import of plaza\+station than"):
        load_state_dict(assemble(config_of({"transfer": TRANSFER})), state, where="memory")


def test_the_digest_is_of_every_source_in_order(config_of):
    config = config_of()
    store = open_store(config.data.root)
    plaza, campus, station = (read_manifest(store, name) for name in ("plaza", "campus", "station"))
    digests = {
        source_digest(config, manifests)
        for manifests in ([plaza], [plaza, station], [station, plaza], [plaza, campus])
    }
    assert len(digests) == 4


def test_every_source_is_embedded_with_the_sources_norms(config_of):
    config = config_of({"transfer": TRANSFER}, preset="strong")
    run = assemble(config)
    list(fit(run))
    states = {
        domain: with_norms_of(domain, run.network, config).state_dict()
        for domain in ("plaza", "station", "campus", "elsewhere")
    }
    assert same(states["plaza"], states["station"])
    assert same(states["campus"], states["elsewhere"])
    assert not same(states["plaza"], states["campus"])

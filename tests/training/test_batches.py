import numpy as np
import pytest
import torch

from daam.dataset.format.manifest import ShardEntry
from daam.dataset.importing.import_domain import import_domain
from daam.dataset.importing.layouts import read_layout
from daam.dataset.loader.batches import DomainBatch, iterate_batches
from daam.dataset.sampling.samplers import IdentityBatches, RowsByIdentity
from daam.dataset.sampling.windows import ShardWindows
from daam.domains import WHOLE_TRAIN_SPLITS, Split
from daam.storage import open_store
from daam.training.batches import source_batches, target_batches
from daam.training.loop import fit
from daam.training.scoring.retrieval_test import RetrievalTest, score
from daam.training.setup.assemble import assemble
from daam.training.setup.data import Windows, lay_out_windows
from tests.support.tiny_domains import write_market
from tests.support.tiny_runs import same, untimed_metrics, weights_of

SEED, NUM_STEPS = 3, 6


def of_ranks(run, *, epoch: int, steps: range, num_ranks: int, groups: np.ndarray):
    """Each step's global batch, put together from what each of some ranks makes by itself."""
    made = [
        iterate_batches(
            run.source.reader,
            sampler=IdentityBatches(
                RowsByIdentity(groups, run.source.cameras),
                identities_per_batch=4,
                images_per_identity=2,
                seed=SEED,
                epoch=epoch,
            ),
            steps=steps,
            rank=rank,
            num_ranks=num_ranks,
            identities=groups,
            augmentation=run.augmentation,
            seed=SEED,
            epoch=epoch,
            num_threads=2,
        )
        for rank in range(num_ranks)
    ]
    return [joined(parts) for parts in zip(*made, strict=True)]


def joined(parts: tuple[DomainBatch, ...]) -> dict[str, torch.Tensor]:
    identities = [part.identities for part in parts if part.identities is not None]
    return {
        "images": torch.cat([part.images for part in parts]),
        "identities": torch.cat(identities),
        "rows": torch.cat([part.rows for part in parts]),
    }


def test_a_run_whose_ranks_come_and_go_sees_the_data_of_one_that_was_never_interrupted(config_of):
    run = assemble(config_of())
    first_groups = run.source.identities
    # New pseudo-labels each epoch, with outliers.
    later_groups = np.random.default_rng(0).integers(-1, 6, len(first_groups))
    undisturbed, elastic = [], []
    for epoch, groups in enumerate((first_groups, later_groups)):
        whole = {"epoch": epoch, "groups": groups}
        undisturbed += of_ranks(run, steps=range(NUM_STEPS), num_ranks=1, **whole)
        for steps, num_ranks in ((range(2), 4), (range(2, 3), 1), (range(3, NUM_STEPS), 2)):
            elastic += of_ranks(run, steps=steps, num_ranks=num_ranks, **whole)
    assert len(elastic) == 2 * NUM_STEPS
    assert same(elastic, undisturbed)
    assert (elastic[-1]["identities"] >= 0).all()
    assert not same(elastic[0], elastic[NUM_STEPS])


def windows_of(run, *, num_shards: int = 4) -> Windows:
    """As if each domain were in shards, two of which can be used at a time."""

    def split(num_rows: int, *, batch_size: int, seed: int) -> ShardWindows:
        edges = np.linspace(0, num_rows, num_shards + 1).astype(int).tolist()
        shards = [range(edges[i], edges[i + 1]) for i in range(num_shards)]
        return ShardWindows(shards, shards_per_window=2, batch_size=batch_size, seed=seed)

    data = run.config.data
    return Windows(
        source=split(
            run.source.reader.num_rows,
            batch_size=data.identities_per_batch * data.images_per_identity,
            seed=0,
        ),
        target=split(run.target.reader.num_rows, batch_size=data.target_batch_size, seed=1),
    )


def test_a_run_in_windows_draws_from_a_steps_shards_and_goes_on_through_epochs(config_of):
    run = assemble(config_of())
    run.windows = windows_of(run)
    assert run.windows.source is not None
    assert run.windows.target is not None
    steps_per_epoch = run.config.optimiser.steps_per_epoch
    numbers = set()
    for epoch in range(6):
        steps = range(steps_per_epoch)
        for windows, batches in (
            (run.windows.source, source_batches(run, epoch=epoch, steps=steps)),
            (run.windows.target, target_batches(run, epoch=epoch, steps=steps, labels=None)),
        ):
            for step, batch in enumerate(batches, epoch * steps_per_epoch):
                window = windows.at(step)
                numbers.add(window.number)
                inside = {row for shard in window.shards for row in windows.shards[shard]}
                assert set(batch.rows.tolist()) <= inside
    assert len(numbers) > 2


def test_a_run_in_windows_trains_the_same_each_time_and_otherwise_than_on_all_rows(config_of):
    weights, reports = [], []
    for in_windows in (True, True, False):
        run = assemble(config_of())
        if in_windows:
            run.windows = windows_of(run)
        reports.append(untimed_metrics(fit(run)))
        weights.append(weights_of(run))
    assert same(weights[0], weights[1])
    assert reports[0] == reports[1]
    assert not same(weights[0], weights[2])


def shards_of(size_bytes: int) -> list[ShardEntry]:
    """16 shards of a thousand rows, together of about that size."""
    return [
        ShardEntry(key=f"{number}", num_rows=1000, size_bytes=size_bytes // 16, sha256="")
        for number in range(16)
    ]


def test_windows_come_when_both_domains_together_are_more_than_the_cache(config_of, caplog):
    config = config_of({"data.root": "s3://bucket/domains", "data.cache_gb": 8})
    windows = lay_out_windows(config, source=shards_of(2 * 10**9), target=shards_of(6 * 10**9))
    assert windows == Windows()
    assert not windows.are_used
    caplog.set_level("INFO")
    windows = lay_out_windows(config, source=shards_of(6 * 10**9), target=shards_of(10 * 10**9))
    assert windows.source is not None
    assert windows.target is not None
    assert windows.are_used
    # 8 GB for two windows of 16 GB: 4 of 16 shards each.
    assert len(windows.source.at(0).shards) == len(windows.target.at(0).shards) == 4
    assert "16.0 GB of images are more than the cache of 8.0 GB" in caplog.text


def test_a_run_in_windows_and_the_test_beside_it_stay_within_the_cache(config_of, s3_uri, tmp_path):
    store, size_bytes = open_store(s3_uri), 0
    for name in ("plaza", "campus"):
        write_market(tmp_path / name, name=name)
        index = read_layout("market1501", tmp_path / name)
        manifest = import_domain(index, domain=name, to=store, shard_size_bytes=10_000)
        shards = manifest.shards(WHOLE_TRAIN_SPLITS if name == "plaza" else [Split.TRAIN])
        size_bytes += sum(shard.size_bytes for shard in shards)
    capacity_bytes = int(0.98 * size_bytes)
    config = config_of(
        {
            "data.root": s3_uri,
            "data.cache": str(tmp_path / "cache"),
            "data.cache_gb": capacity_bytes / 1e9,
            "data.identities_per_batch": 2,
        }
    )
    run = assemble(config)
    assert run.windows.are_used
    test = RetrievalTest.on_validation(
        config, manifest=run.target.manifest, only_prefetched=run.windows.are_used
    )
    for _ in fit(run):
        score(run.embedder, test, config)
        files = (tmp_path / "cache" / "shards").iterdir()
        assert 0 < sum(file.stat().st_size for file in files) <= capacity_bytes


@pytest.mark.parametrize("changes", [{"data.cache_gb": 0}, {"data.root": "folder"}])
def test_without_a_cache_or_in_a_local_folder_batches_come_from_all_rows(config_of, changes):
    config = config_of({"data.root": "s3://bucket/domains", "data.cache_gb": 1, **changes})
    far = shards_of(10**12)
    assert lay_out_windows(config, source=far, target=far) == Windows()

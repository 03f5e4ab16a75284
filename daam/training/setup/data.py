"""The images of a run: source and target opened, and windows of shards where the cache is small."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from daam.config.schema import RunConfig
from daam.dataset.cache import ShardCache
from daam.dataset.format.manifest import DomainManifest, ShardEntry, read_manifest
from daam.dataset.pixels.device_decode import DevicePixels
from daam.dataset.pixels.reader import PixelReader, Pixels
from daam.dataset.reading.image_table import ImageTable, open_images, rows_of_shards
from daam.dataset.reading.labels import read_identities
from daam.dataset.sampling.samplers import RowsByIdentity
from daam.dataset.sampling.windows import ShardWindows
from daam.domains import Split
from daam.storage import open_store
from daam.training import collectives
from daam.training.setup.compute import compute_of

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledRows:
    """The source: pixels, and for each row its identity (counted from 0) and camera.

    Attributes:
        manifest: of its domain.
        digest: of its images and labels.
        cameras: (N,); None: unknown.
    """

    manifest: DomainManifest
    digest: str
    reader: Pixels
    identities: np.ndarray
    by_identity: RowsByIdentity
    cameras: np.ndarray | None
    num_identities: int


@dataclass(frozen=True, slots=True, kw_only=True)
class UnlabelledRows:
    """The target: pixels, cameras and tracks. Its identities, if any, are in a file that training
    never opens.

    Attributes:
        manifest: of its domain.
        digest: of its images (and tracks), without labels.
        cameras: (N,); None: unknown.
        tracks: (N,); None: unknown.
    """

    manifest: DomainManifest
    digest: str
    reader: Pixels
    cameras: np.ndarray | None
    tracks: np.ndarray | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Windows:
    """Where batches come from a few shards at a time; None: from all rows."""

    source: ShardWindows | None = None
    target: ShardWindows | None = None

    @property
    def counts(self) -> tuple[int, int]:
        """Windows in a pass over source and target; 0 where batches are drawn from all rows."""
        source, target = (
            0 if windows is None else windows.windows_per_pass
            for windows in (self.source, self.target)
        )
        return source, target

    @property
    def are_used(self) -> bool:
        """Whether either domain's batches come from windows."""
        return any(self.counts)


def manifest_of(config: RunConfig, domain: str) -> DomainManifest:
    """Read a domain's manifest. Collective: all ranks get what rank 0 read.

    Raises:
        ShardError, StorageError: as `read_manifest`.
    """
    found = []
    if collectives.rank() == 0:
        found = [read_manifest(open_store(config.data.root), domain)]
    (manifest,) = collectives.from_rank_zero(found)
    return manifest


def open_source(
    config: RunConfig, manifest: DomainManifest, *, only_prefetched: bool = False
) -> LabelledRows:
    """Open the domain that is learnt from with its labels; its identities are renumbered from 0.

    That is the source, or with `data.oracle_labels` the target.

    Args:
        only_prefetched: as in `open_images`, and so below.

    Raises:
        ShardError: the domain knows no identities; or as `open_images`.
        StorageError: as `open_images`.
    """
    splits = source_splits(config, manifest)
    store, cache = open_store(config.data.root), shard_cache(config)
    images = open_images(
        store, manifest=manifest, splits=splits, cache=cache, only_prefetched=only_prefetched
    )
    identities = read_identities(store, manifest=manifest, splits=splits, cache=cache)
    known, numbered = np.unique(identities, return_inverse=True)
    return LabelledRows(
        manifest=manifest,
        digest=manifest.digest(splits, with_labels=True),
        reader=pixel_reader(config, images),
        identities=numbered.astype(np.int64),
        by_identity=RowsByIdentity(numbered, images.cameras),
        cameras=images.cameras,
        num_identities=len(known),
    )


def open_target(
    config: RunConfig, manifest: DomainManifest, *, only_prefetched: bool = False
) -> UnlabelledRows:
    """Open a domain without its labels."""
    splits = target_splits(config, manifest)
    images = open_images(
        open_store(config.data.root),
        manifest=manifest,
        splits=splits,
        cache=shard_cache(config),
        only_prefetched=only_prefetched,
    )
    return UnlabelledRows(
        manifest=manifest,
        digest=manifest.digest(splits, with_labels=False),
        reader=pixel_reader(config, images),
        cameras=images.cameras,
        tracks=images.tracks,
    )


def lay_out_windows(
    config: RunConfig, *, source: Sequence[ShardEntry], target: Sequence[ShardEntry]
) -> Windows:
    """Lay out windows of shards if the images of both domains don't fit into the cache together.

    Then half of the cache is for the windows in use, in proportion to the domains' sizes, and half
    for the next ones. Images in a local folder need no cache.

    Args:
        source: the shards of the source's images.
        target: those of the target's.
    """
    capacity_bytes = shard_cache(config).capacity_bytes
    is_local = open_store(config.data.root).local_path("manifest") is not None
    total_bytes = sum(entry.size_bytes for entry in (*source, *target))
    if is_local or not capacity_bytes or total_bytes <= capacity_bytes:
        return Windows()
    data, seed = config.data, 2 * config.seed
    share = capacity_bytes / (2 * total_bytes)
    of_source, of_target = (max(1, int(len(shards) * share)) for shards in (source, target))
    log.info(
        "%.1f GB of images are more than the cache of %.1f GB: batches come from windows of %d of "
        "%d shards of the source and %d of %d of the target",
        total_bytes / 1e9,
        capacity_bytes / 1e9,
        of_source,
        len(source),
        of_target,
        len(target),
    )
    return Windows(
        source=ShardWindows(
            rows_of_shards(source),
            shards_per_window=of_source,
            batch_size=data.identities_per_batch * data.images_per_identity,
            seed=seed,
        ),
        target=ShardWindows(
            rows_of_shards(target),
            shards_per_window=of_target,
            batch_size=data.target_batch_size,
            seed=seed + 1,
        ),
    )


def source_splits(config: RunConfig, manifest: DomainManifest) -> tuple[Split, ...]:
    """Name the splits that are learnt from with their labels."""
    if config.data.oracle_labels:
        return target_splits(config, manifest)
    return manifest.whole_train_splits


def target_splits(config: RunConfig, manifest: DomainManifest) -> tuple[Split, ...]:
    """Name the splits of the target that may be trained on."""
    return (Split.TRAIN,) if config.evaluation.hold_out else manifest.whole_train_splits


def shard_cache(config: RunConfig) -> ShardCache:
    """The node's cache of shards."""
    return ShardCache(Path(config.data.cache), capacity_bytes=int(config.data.cache_gb * 1e9))


def pixel_reader(config: RunConfig, images: ImageTable) -> Pixels:
    """Read a domain's images at the run's size, decoded where `data.decode` says."""
    height, width = config.data.height, config.data.width
    if config.data.decode == "cuda":
        return DevicePixels(images, height=height, width=width, device=compute_of(config).device)
    return PixelReader(images, height=height, width=width)

"""The images of a run: source and target opened, and windows of shards where the cache is small."""

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from daam.config.schema import RunConfig
from daam.dataset.cache import ShardCache
from daam.dataset.format.manifest import DomainManifest, ShardEntry, read_manifest
from daam.dataset.pixels.device_decode import DevicePixels
from daam.dataset.pixels.reader import ImageSource, PixelReader, Pixels
from daam.dataset.reading.image_table import (
    ImageTable,
    numbered_through,
    open_images,
    rows_of_shards,
)
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
    """The sources: pixels, and for each row its identity (counted from 0) and camera.

    Attributes:
        domain: its name, or the names of several.
        digest: of its images and labels.
        cameras: (N,); None: unknown.
    """

    domain: str
    digest: str
    reader: Pixels
    identities: np.ndarray
    by_identity: RowsByIdentity
    cameras: np.ndarray | None
    num_identities: int


@dataclass(frozen=True, slots=True, kw_only=True)
class UnlabelledRows:
    """The target: pixels, cameras and tracks; no training opens the file of its identities.

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


def open_sources(
    config: RunConfig, manifests: Sequence[DomainManifest], *, only_prefetched: bool = False
) -> LabelledRows:
    """Open the domains that are learnt from with their labels; identities are renumbered from 0.

    Those are the sources, or with `data.oracle_labels` the target. No two domains share an identity
    or a camera.

    Args:
        manifests: of the domains, at least one.
        only_prefetched: as in `open_images`, and so below.

    Raises:
        ShardError: a domain knows no identities; or as `open_images`.
        StorageError: as `open_images`.
    """
    store, cache = open_store(config.data.root), shard_cache(config)
    opened, identities = [], []
    for manifest in manifests:
        where = {"manifest": manifest, "splits": source_splits(config, manifest), "cache": cache}
        opened.append(open_images(store, only_prefetched=only_prefetched, **where))
        identities.append(read_identities(store, **where))
    images = opened[0] if len(opened) == 1 else ImageTable.joined(opened)
    numbered = numbered_through(identities)
    return LabelledRows(
        domain="+".join(manifest.domain for manifest in manifests),
        digest=source_digest(config, manifests),
        reader=pixel_reader(config, images),
        identities=numbered,
        by_identity=RowsByIdentity(numbered, images.cameras),
        cameras=images.cameras,
        num_identities=int(numbered.max(initial=-1)) + 1,
    )


def source_digest(config: RunConfig, manifests: Sequence[DomainManifest]) -> str:
    """The digest of the images and labels of the domains that are learnt from, in their order."""
    digests = [
        manifest.digest(source_splits(config, manifest), with_labels=True) for manifest in manifests
    ]
    if len(digests) == 1:
        return digests[0]
    return hashlib.sha256(" ".join(digests).encode()).hexdigest()


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


def windows_of(
    config: RunConfig, *, sources: Sequence[DomainManifest], target: DomainManifest
) -> Windows:
    """Lay out the windows of a run: see `lay_out_windows`."""
    return lay_out_windows(
        config,
        source=[
            entry
            for manifest in sources
            for entry in manifest.shards(source_splits(config, manifest))
        ],
        target=target.shards(target_splits(config, target)),
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


def pixel_reader(config: RunConfig, images: ImageSource) -> Pixels:
    """Read a domain's images at the run's size, decoded where `data.decode` says."""
    height, width = config.data.height, config.data.width
    if config.data.decode == "cuda":
        return DevicePixels(images, height=height, width=width, device=compute_of(config).device)
    return PixelReader(images, height=height, width=width)

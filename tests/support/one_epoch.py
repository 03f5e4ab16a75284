"""A small domain on a server, and a check of an epoch against the files it was imported from."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import simplejpeg

from daam.dataset.cache import ShardCache
from daam.dataset.format.manifest import read_manifest
from daam.dataset.importing.import_domain import import_domain
from daam.dataset.importing.layouts import read_layout
from daam.dataset.loader.batches import iterate_batches
from daam.dataset.loader.ordered import ordered_batches
from daam.dataset.pixels.augmentation import Augmentation
from daam.dataset.pixels.reader import PixelReader
from daam.dataset.reading.image_table import ImageTable, open_images
from daam.dataset.reading.labels import read_identities, read_names
from daam.dataset.sampling.samplers import IdentityBatches, RowsByIdentity
from daam.domains import Split
from daam.storage import Store
from tests.support.known import known
from tests.support.tiny_domains import HEIGHT, WIDTH, write_market

DOMAIN = "plaza"
# A few images: each split has several shards.
SHARD_SIZE_BYTES = 25_000
NUM_STEPS = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceFile:
    """A file of the data set, read without daam."""

    jpeg: bytes
    identity: int
    camera: int

    @property
    def pixels(self) -> np.ndarray:
        return simplejpeg.decode_jpeg(self.jpeg)


def write_source(root: Path) -> dict[str, SourceFile]:
    """Write the data set's folder, whose name seeds what is in it; its files by their names."""
    write_market(root, name=root.name)
    return read_source(root)


def read_source(root: Path) -> dict[str, SourceFile]:
    """The files of such a folder by their names."""
    return {
        path.relative_to(root).as_posix(): SourceFile(
            jpeg=path.read_bytes(), identity=int(path.name[:4]), camera=int(path.name[6])
        )
        for path in root.rglob("*.jpg")
    }


def import_source(root: Path, *, to: Store) -> None:
    """Import the folder as a domain of many small shards."""
    import_domain(
        read_layout("market1501", root), domain=DOMAIN, to=to, shard_size_bytes=SHARD_SIZE_BYTES
    )


def check_an_epoch(
    store: Store,
    *,
    source: dict[str, SourceFile],
    cache: Path,
    capacity_bytes: int | None = None,
    meanwhile: Callable[[], None] = lambda: None,
) -> None:
    """Read the domain as training and evaluation do, and check every row against its source file.

    Args:
        capacity_bytes: of the cache.
        meanwhile: called once, between two batches.

    Raises:
        DaamError: as the readers do.
    """
    manifest = read_manifest(store, DOMAIN)
    where = {
        "manifest": manifest,
        "splits": tuple(Split),
        "cache": ShardCache(cache, capacity_bytes=capacity_bytes),
    }
    with open_images(store, **where) as images:
        identities = read_identities(store, **where)
        names = read_names(store, **where)
        _check_rows(images, identities, names, source=source, meanwhile=meanwhile)


def _check_rows(
    images: ImageTable,
    identities: np.ndarray,
    names: list[str],
    *,
    source: dict[str, SourceFile],
    meanwhile: Callable[[], None],
) -> None:
    assert sorted(names) == sorted(source)
    files = [source[name] for name in names]
    assert identities.tolist() == [file.identity for file in files]
    assert known(images.cameras).tolist() == [file.camera for file in files]

    reader = PixelReader(images, height=HEIGHT, width=WIDTH, keep_decoded_bytes=0)
    sampler = IdentityBatches(
        RowsByIdentity(identities, images.cameras),
        identities_per_batch=4,
        images_per_identity=2,
        seed=0,
        epoch=0,
    )
    batches = iterate_batches(
        reader,
        sampler=sampler,
        steps=range(NUM_STEPS),
        rank=0,
        num_ranks=1,
        identities=identities,
        augmentation=Augmentation(),
        seed=0,
        epoch=0,
        num_threads=2,
        prefetch=1,
    )
    num_images = 0
    for batch in batches:
        assert batch.identities is not None
        for row, identity, pixels in zip(
            batch.rows.tolist(), batch.identities.tolist(), batch.images.numpy(), strict=True
        ):
            assert identity == files[row].identity
            assert (pixels == files[row].pixels).all()
            num_images += 1
        if num_images == sampler.batch_size:
            meanwhile()
    assert num_images == NUM_STEPS * sampler.batch_size

    rows_in_order: list[int] = []
    for rows, pixels in ordered_batches(reader, batch_size=16, rank=0, num_ranks=1, num_threads=2):
        rows_in_order += rows.tolist()
        assert (pixels.numpy() == [files[row].pixels for row in rows]).all()
    assert rows_in_order == list(range(len(files)))
    assert [bytes(jpeg) for jpeg in images.jpegs(np.arange(len(files)))] == [
        file.jpeg for file in files
    ]

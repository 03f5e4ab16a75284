"""The images that are searched: those of a domain, or of any folder.

Shapes: N = images of the gallery, B = images of a batch, H = height, W = width.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from torch import Tensor

from daam.config.schema import RunConfig
from daam.dataset.format.manifest import DomainManifest, manifest_key, read_manifest
from daam.dataset.importing.image_files import UnreadableFile, is_image_name, read_image_files
from daam.dataset.parallel import parallel_map
from daam.dataset.pixels.image_file import decode_image
from daam.dataset.pixels.reader import PixelReader
from daam.dataset.reading.image_table import open_images
from daam.dataset.reading.labels import read_names
from daam.domains import is_domain_name
from daam.errors import ConfigError, DataError
from daam.storage import Store, open_store
from daam.training.setup.data import shard_cache

KEY_BYTES = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class GalleryBatch:
    """Some of a gallery's images.

    Attributes:
        rows: (B,) int64, those that could be read.
        images: (B, H, W, 3) uint8.
        unreadable: the files that could not.
    """

    rows: np.ndarray
    images: Tensor
    unreadable: list[UnreadableFile]


@dataclass(frozen=True, slots=True, kw_only=True)
class Gallery:
    """Images to search.

    Attributes:
        name: of the domain or the folder.
        names: N file names, relative to the folder, or to the data set that was imported.
        keys: (N,) binary, what each image is: where it is equal, so are the pixels.
        cameras: (N,) int32; None: unknown.
        times: (N,) int64; None: unknown.
        camera_names: number -> name, where the data set has names.
        batches: reads rows, in order, at the size that the network sees.
        pixels: a row's image at its own size, (H, W, 3) uint8.
    """

    name: str
    names: list[str]
    keys: pa.Array
    cameras: np.ndarray | None
    times: np.ndarray | None
    camera_names: Mapping[int, str]
    batches: Callable[[np.ndarray], Iterator[GalleryBatch]]
    pixels: Callable[[int], np.ndarray]

    def __len__(self) -> int:
        return len(self.names)


def named_domain(gallery: str, config: RunConfig) -> str | None:
    """Return the domain that a gallery's name means, or None if it means a folder.

    Raises:
        ConfigError: there is neither such a domain nor such a folder.
    """
    if not is_domain_name(gallery):
        return None
    store = open_store(config.data.root)
    if store.exists(manifest_key(gallery)):
        return gallery
    if Path(gallery).is_dir():
        return None
    raise ConfigError(
        f"there is neither a domain {gallery} in {store.uri} nor a folder of that name; import "
        "one, say where it is (--at), or give the path of a folder with images"
    )


def open_domain_gallery(config: RunConfig, *, domain: str) -> Gallery:
    """Open all images of a domain.

    Raises:
        ShardError, StorageError: the domain is missing or damaged, or cannot be read.
    """
    store, cache = open_store(config.data.root), shard_cache(config)
    manifest = read_manifest(store, domain)
    splits = tuple(manifest.splits)
    images = open_images(store, manifest=manifest, splits=splits, cache=cache)
    reader = PixelReader(images, height=config.data.height, width=config.data.width)

    def read(rows: np.ndarray) -> GalleryBatch:
        return GalleryBatch(rows=rows, images=reader.read(rows), unreadable=[])

    def batches(rows: np.ndarray) -> Iterator[GalleryBatch]:
        size = config.evaluation.batch_size
        parts = (rows[first : first + size] for first in range(0, len(rows), size))
        return parallel_map(read, parts, num_threads=config.data.num_threads, prefetch=2)

    return Gallery(
        name=domain,
        names=read_names(store, manifest=manifest, splits=splits, cache=cache),
        keys=pa.array(_keys_of_rows(manifest), pa.binary()),
        cameras=images.cameras,
        times=images.times,
        camera_names=manifest.cameras,
        batches=batches,
        pixels=lambda row: decode_image(bytes(images.jpegs(np.array([row]))[0])),
    )


def open_folder_gallery(config: RunConfig, *, folder: Store) -> Gallery:
    """Open all images below a folder or in a bucket.

    Raises:
        DataError: there is none.
        StorageError: the folder cannot be read.
    """
    versions = {key: version for key, version in folder.versions().items() if is_image_name(key)}
    if not versions:
        raise DataError(f"{folder.uri} holds no images; give the folder or bucket that has them")
    names = [*versions]

    def batches(rows: np.ndarray) -> Iterator[GalleryBatch]:
        row_of = {names[row]: row for row in rows}
        files = read_image_files(
            folder,
            names=[*row_of],
            height=config.data.height,
            width=config.data.width,
            batch_size=config.evaluation.batch_size,
            num_threads=config.data.num_threads,
        )
        for batch in files:
            read = np.array([row_of[name] for name in batch.names], np.int64)
            yield GalleryBatch(rows=read, images=batch.images, unreadable=batch.unreadable)

    return Gallery(
        name=folder.name,
        names=names,
        keys=pa.array([_key_of_file(folder.uri, *item) for item in versions.items()], pa.binary()),
        cameras=None,
        times=None,
        camera_names={},
        batches=batches,
        pixels=lambda row: decode_image(folder.read(names[row])),
    )


def _keys_of_rows(manifest: DomainManifest) -> Iterator[bytes]:
    for entry in manifest.shards(tuple(manifest.splits)):
        shard = bytes.fromhex(entry.sha256)[: KEY_BYTES - 4]
        yield from (shard + row.to_bytes(4, "big") for row in range(entry.num_rows))


def _key_of_file(folder: str, name: str, version: str) -> bytes:
    content = f"{folder}\0{name}\0{version}".encode(errors="surrogateescape")
    return hashlib.blake2b(content, digest_size=KEY_BYTES).digest()

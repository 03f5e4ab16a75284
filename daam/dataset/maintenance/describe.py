"""Counts and distributions of a stored domain, from index and labels alone.

Shapes: N = images, P = identities, S = pairs of an identity and a camera that saw it.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from daam.dataset.format.download import checked_chunks
from daam.dataset.format.manifest import DomainManifest, ShardEntry, SplitManifest
from daam.dataset.format.shards import numbers
from daam.domains import DISTRACTOR, JUNK, Split
from daam.errors import ShardError
from daam.storage import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitDescription:
    """One split. Distractors and junk are images, but not identities.

    Attributes:
        num_distractors: images of people that no query shows.
        num_junk: images that count neither as right nor as wrong.
        sightings: (S, 3) int64, identity, camera and number of images, for each identity and each
            camera that saw it.
        images_per_camera: camera -> number of images.
        image_sizes: (N,) bytes of each JPEG.
        size_bytes: of its image shards.
    """

    num_distractors: int
    num_junk: int
    sightings: np.ndarray
    images_per_camera: Mapping[int, int]
    image_sizes: np.ndarray
    size_bytes: int

    @property
    def num_images(self) -> int:
        return len(self.image_sizes)

    @property
    def num_identities(self) -> int:
        return len(np.unique(self.sightings[:, 0]))

    @property
    def num_cameras(self) -> int:
        return len(self.images_per_camera)


def describe_domain(store: Store, manifest: DomainManifest) -> dict[Split, SplitDescription]:
    """Count what each split holds; no image is read.

    Raises:
        ShardError: an index or labels file is missing or damaged.
        StorageError: the store cannot be read.
    """
    return {split: _describe_split(store, content) for split, content in manifest.splits.items()}


def images_per_identity(sightings: np.ndarray) -> np.ndarray:
    """Images of each identity under all cameras: (S, 3) -> (P,), of one or more splits."""
    _, identity = np.unique(sightings[:, 0], return_inverse=True)
    return np.bincount(identity, weights=sightings[:, 2]).astype(np.int64)


def cameras_per_identity(sightings: np.ndarray) -> np.ndarray:
    """Cameras that saw each identity: (S, 3) -> (P,), of one or more splits."""
    _, counts = np.unique(np.unique(sightings[:, :2], axis=0)[:, 0], return_counts=True)
    return counts


def _describe_split(store: Store, content: SplitManifest) -> SplitDescription:
    index = _table(store, content.index)
    identities = numbers(_table(store, content.labels)["identity"])
    cameras = numbers(index["camera"])
    people = identities > DISTRACTOR
    pairs, images = np.unique(
        np.stack([identities[people], cameras[people]], axis=1), axis=0, return_counts=True
    )
    camera_numbers, counts = np.unique(cameras, return_counts=True)
    return SplitDescription(
        num_distractors=int((identities == DISTRACTOR).sum()),
        num_junk=int((identities == JUNK).sum()),
        sightings=np.column_stack([pairs, images]),
        images_per_camera=dict(zip(camera_numbers.tolist(), counts.tolist(), strict=True)),
        image_sizes=numbers(index["size"]),
        size_bytes=sum(entry.size_bytes for entry in content.shards),
    )


def _table(store: Store, entry: ShardEntry) -> pa.Table:
    data = b"".join(checked_chunks(store, entry))
    try:
        return pa.ipc.open_file(data).read_all()
    except (pa.ArrowException, KeyError) as error:
        raise ShardError(
            f"{entry.key} in {store.uri} is not a file of ours: {error}; import the domain again"
        ) from error

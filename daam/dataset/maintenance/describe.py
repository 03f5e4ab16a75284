"""Counts and distributions of a stored domain, from index and labels alone.

Shapes: N = images, P = identities, S = pairs of an identity and a camera that saw it. What a split
does not know is None.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from daam.dataset.format.download import checked_chunks
from daam.dataset.format.manifest import DomainManifest, ShardEntry, SplitManifest
from daam.dataset.format.shards import (
    INDEX_SCHEMA,
    LABEL_SCHEMA,
    known_numbers,
    numbers,
    open_shard,
)
from daam.domains import DISTRACTOR, JUNK, Split
from daam.storage import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitDescription:
    """One split. Distractors and junk are images, but not identities.

    Attributes:
        num_distractors: images of people that no query shows; None without identities.
        num_junk: images that count neither as right nor as wrong; None without identities.
        people: (P, 2) int64, each identity and its number of images; None without identities.
        sightings: (S, 2) int64, each identity and each camera that saw it; None if either is
            unknown.
        images_per_camera: camera -> number of images; None without cameras.
        num_tracks: None without tracks.
        image_sizes: (N,) bytes of each JPEG.
        size_bytes: of its image shards.
    """

    num_distractors: int | None
    num_junk: int | None
    people: np.ndarray | None
    sightings: np.ndarray | None
    images_per_camera: Mapping[int, int] | None
    num_tracks: int | None
    image_sizes: np.ndarray
    size_bytes: int

    @property
    def num_images(self) -> int:
        return len(self.image_sizes)

    @property
    def num_identities(self) -> int | None:
        return None if self.people is None else len(self.people)

    @property
    def num_cameras(self) -> int | None:
        return None if self.images_per_camera is None else len(self.images_per_camera)


def describe_domain(store: Store, manifest: DomainManifest) -> dict[Split, SplitDescription]:
    """Count what each split holds; no image is read.

    Raises:
        ShardError: an index or labels file is missing or damaged.
        StorageError: the store cannot be read.
    """
    return {split: _describe_split(store, content) for split, content in manifest.splits.items()}


def images_per_identity(people: np.ndarray) -> np.ndarray:
    """Images of each identity: the `people` of one or more splits, one after the other -> (P,)."""
    _, identity = np.unique(people[:, 0], return_inverse=True)
    return np.bincount(identity, weights=people[:, 1]).astype(np.int64)


def cameras_per_identity(sightings: np.ndarray) -> np.ndarray:
    """Cameras that saw each identity: the `sightings` of one or more splits -> (P,)."""
    _, counts = np.unique(np.unique(sightings, axis=0)[:, 0], return_counts=True)
    return counts


def _describe_split(store: Store, content: SplitManifest) -> SplitDescription:
    index = _table(store, content.index, schema=INDEX_SCHEMA)
    labels = _table(store, content.labels, schema=LABEL_SCHEMA)
    identities = known_numbers(labels["identity"], entry=content.labels)
    cameras = known_numbers(index["camera"], entry=content.index)
    people = sightings = images_per_camera = None
    if identities is not None:
        shows_person = identities > DISTRACTOR
        people = np.column_stack(np.unique(identities[shows_person], return_counts=True))
        if cameras is not None:
            pairs = np.column_stack([identities[shows_person], cameras[shows_person]])
            sightings = np.unique(pairs, axis=0)
    if cameras is not None:
        values, counts = np.unique(cameras, return_counts=True)
        images_per_camera = dict(zip(values.tolist(), counts.tolist(), strict=True))
    return SplitDescription(
        num_distractors=None if identities is None else int((identities == DISTRACTOR).sum()),
        num_junk=None if identities is None else int((identities == JUNK).sum()),
        people=people,
        sightings=sightings,
        images_per_camera=images_per_camera,
        num_tracks=content.num_tracks,
        image_sizes=numbers(index["size"]),
        size_bytes=sum(entry.size_bytes for entry in content.shards),
    )


def _table(store: Store, entry: ShardEntry, *, schema: pa.Schema) -> pa.Table:
    return open_shard(b"".join(checked_chunks(store, entry)), entry=entry, schema=schema)

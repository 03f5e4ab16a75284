"""What a stored domain consists of, and whether every byte of it is right."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from daam.data.cache import checked_chunks
from daam.data.manifest import ShardEntry, read_manifest
from daam.domains import DISTRACTOR, JUNK, Split
from daam.errors import DaamError, ShardError
from daam.storage import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class FileCheck:
    """One file of a domain; `problem` says what is wrong and how to mend it, None if nothing."""

    key: str
    size_bytes: int
    problem: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitDescription:
    """Counts of one split. Distractors and junk are images, but not identities."""

    split: Split
    num_images: int
    num_identities: int
    num_cameras: int
    num_distractors: int
    num_junk: int
    size_bytes: int


def verify_domain(store: Store, domain: str) -> Iterator[FileCheck]:
    """Read every byte of a domain and compare it with the manifest, file by file.

    Raises:
        ShardError: the domain is not in the store, or its manifest cannot be used.
        StorageError: the manifest cannot be read; for other files it is a problem.
    """
    manifest = read_manifest(store, domain)
    for split in manifest.splits.values():
        for entry in split.files:
            yield FileCheck(
                key=entry.key, size_bytes=entry.size_bytes, problem=_problem(store, entry)
            )


def describe_domain(store: Store, domain: str) -> tuple[SplitDescription, ...]:
    """Count the images, identities and cameras of each split; of the shards, only labels are read.

    Raises:
        ShardError: the domain is not in the store, or a labels file is missing or damaged.
        StorageError: the store cannot be read.
    """
    manifest = read_manifest(store, domain)
    descriptions: list[SplitDescription] = []
    for split, content in manifest.splits.items():
        identities = _identities(store, content.labels)
        descriptions.append(
            SplitDescription(
                split=split,
                num_images=content.num_rows,
                num_identities=len(np.unique(identities[identities > DISTRACTOR])),
                num_cameras=content.num_cameras,
                num_distractors=int((identities == DISTRACTOR).sum()),
                num_junk=int((identities == JUNK).sum()),
                size_bytes=sum(entry.size_bytes for entry in content.shards),
            )
        )
    return tuple(descriptions)


def _problem(store: Store, entry: ShardEntry) -> str | None:
    try:
        for _ in checked_chunks(store, entry):
            pass
    except DaamError as error:
        return str(error)
    return None


def _identities(store: Store, entry: ShardEntry) -> np.ndarray:
    data = b"".join(checked_chunks(store, entry))
    try:
        table = pa.ipc.open_file(data).read_all()
        return table["identity"].to_numpy()
    except (pa.ArrowException, KeyError) as error:
        raise ShardError(
            f"labels {entry.key} in {store.uri} are no labels of ours: {error}; import the domain "
            "again"
        ) from error

"""Whether every byte of a stored domain is right, and how to mend it if not."""

import shlex
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from daam.dataset.format.download import BadFileError, BytesSeen, Progress, verified_file
from daam.dataset.format.manifest import DomainManifest, ShardEntry, SplitManifest
from daam.dataset.format.shards import (
    DIGEST_DIGITS,
    IMAGE_SCHEMA,
    INDEX_SCHEMA,
    LABEL_SCHEMA,
    index_of,
    numbers,
    open_shard,
)
from daam.dataset.importing.import_domain import SHARD_SIZE_BYTES, VALIDATION_SHARE
from daam.dataset.prefetch import work_ahead
from daam.domains import JUNK
from daam.errors import DaamError
from daam.storage import Store

FILES_AT_ONCE = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class FileCheck:
    """One file of a domain; `problem` says what is wrong with it, None if nothing."""

    key: str
    size_bytes: int
    problem: str | None


def verify_domain(
    store: Store, manifest: DomainManifest, *, progress: Progress | None = None
) -> Iterator[FileCheck]:
    """Read every byte of a domain, several files at once, and compare it with the manifest.

    Beyond the checksums: that the rows of shards and labels are numbered through, and that the
    index tells of each image its camera, place, size and checksum. Yields each file in turn.

    Args:
        progress: called with (bytes read, bytes in all).

    Raises:
        StorageError: the disk is full; a store that fails is a problem of the file.
    """
    seen = BytesSeen(sum(entry.size_bytes for entry in manifest.files), report=progress)
    for split in manifest.splits.values():
        with tempfile.TemporaryDirectory(prefix="daam-verify-") as scratch, ExitStack() as stack:
            checker = _Checker(store, scratch=Path(scratch), seen=seen)
            index, problem = checker.index(split, stack=stack)
            yield _check(split.index, problem)
            yield _check(split.labels, checker.problem_of_labels(split.labels))
            yield from work_ahead(
                checker.check_shard,
                _with_index(split, index),
                num_threads=FILES_AT_ONCE,
                prefetch=FILES_AT_ONCE,
            )


def repair_commands(manifest: DomainManifest, *, at: str) -> tuple[str, str]:
    """The commands that mend a domain: by importing it again, and from a whole copy of it.

    What is in capitals is for the user to fill in.
    """
    settings = manifest.settings
    place = shlex.quote(at)
    words = [
        f"daam data import --layout {manifest.layout} --root FOLDER",
        f"--domain {manifest.domain} --to {place} --recheck",
    ]
    if settings.validation_share != VALIDATION_SHARE:
        words.append(f"--validation-share {settings.validation_share:.17g}")
    if settings.shard_size_bytes != SHARD_SIZE_BYTES:
        words.append(f"--shard-mib {settings.shard_size_bytes / 2**20:.17g}")
    if settings.without_val:
        words.append("--without-val")
    if manifest.layout == "dukemtmc":
        words.append("--acknowledge-withdrawal")
    if settings.reencoded is not None:
        words.append("--reencode {}x{}".format(*settings.reencoded))
    copy = f"daam data copy --domain {manifest.domain} --from STORE --to {place} --recheck"
    return " ".join(words), copy


class _Checker:
    def __init__(self, store: Store, *, scratch: Path, seen: BytesSeen) -> None:
        self._store = store
        self._where = {"scratch": scratch, "seen": seen}

    def index(
        self, split: SplitManifest, *, stack: ExitStack
    ) -> tuple[pa.Table | None, str | None]:
        """The index, which stays there until the stack is closed, or what is wrong with it."""
        try:
            path = stack.enter_context(verified_file(self._store, split.index, **self._where))
            index = open_shard(path, entry=split.index, schema=INDEX_SCHEMA)
        except DaamError as error:
            return None, _told(error)
        num_cameras = len(np.unique(numbers(index["camera"])))
        if num_cameras != split.num_cameras:
            return index, f"has {num_cameras} cameras, its manifest says {split.num_cameras}"
        return index, _misnamed(split.index)

    def problem_of_labels(self, entry: ShardEntry) -> str | None:
        try:
            with verified_file(self._store, entry, **self._where) as path:
                labels = open_shard(path, entry=entry, schema=LABEL_SCHEMA)
                if not _numbered(labels, first_row=0):
                    return "has rows that are not numbered through from 0"
                if (numbers(labels["identity"]) < JUNK).any():
                    return f"has identities below {JUNK}"
        except DaamError as error:
            return _told(error)
        return _misnamed(entry)

    def check_shard(self, part: tuple[ShardEntry, int, pa.Table | None]) -> FileCheck:
        entry, first_row, index = part
        return _check(entry, self._problem_of_shard(entry, first_row=first_row, index=index))

    def _problem_of_shard(
        self, entry: ShardEntry, *, first_row: int, index: pa.Table | None
    ) -> str | None:
        try:
            with verified_file(self._store, entry, **self._where) as path:
                images = open_shard(path, entry=entry, schema=IMAGE_SCHEMA)
                if not _numbered(images, first_row=first_row):
                    return f"has rows that are not numbered through from {first_row}"
                if index is not None and not pa.Table.from_batches([index_of(path)]).equals(index):
                    return "has other images or cameras than its split's index says"
        except DaamError as error:
            return _told(error)
        return _misnamed(entry)


def _with_index(
    split: SplitManifest, index: pa.Table | None
) -> Iterator[tuple[ShardEntry, int, pa.Table | None]]:
    """Each shard, its first row and its part of the index."""
    first_row = 0
    for entry in split.shards:
        part = None if index is None else index.slice(first_row, entry.num_rows)
        yield entry, first_row, part
        first_row += entry.num_rows


def _numbered(table: pa.Table, *, first_row: int) -> bool:
    rows = numbers(table["row"])
    return np.array_equal(rows, np.arange(first_row, first_row + len(rows)))


def _misnamed(entry: ShardEntry) -> str | None:
    if entry.key.endswith(f"-{entry.sha256[:DIGEST_DIGITS]}.arrow"):
        return None
    return "does not carry its own checksum in its name"


def _check(entry: ShardEntry, problem: str | None) -> FileCheck:
    return FileCheck(key=entry.key, size_bytes=entry.size_bytes, problem=problem)


def _told(error: DaamError) -> str:
    if isinstance(error, BadFileError):
        return error.problem
    return str(error)

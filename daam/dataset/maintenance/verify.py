"""Verify every byte of a stored domain, and say how to repair it."""

import shlex
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from daam.dataset.format.download import BadFileError, ByteProgress, Progress, verified_file
from daam.dataset.format.manifest import DomainManifest, ShardEntry, SplitManifest
from daam.dataset.format.shard_index import read_index
from daam.dataset.format.shards import (
    DIGEST_DIGITS,
    IMAGE_SCHEMA,
    INDEX_SCHEMA,
    LABEL_SCHEMA,
    PLACE_SCHEMA,
    bad_content,
    index_of,
    known_numbers,
    numbers,
    open_shard,
)
from daam.dataset.importing.import_domain import SHARD_SIZE_BYTES, VALIDATION_SHARE
from daam.dataset.parallel import parallel_map
from daam.dataset.pixels.image_file import decode_jpeg, image_size
from daam.domains import JUNK
from daam.errors import DaamError, DataError
from daam.storage import Store
from daam.storage.scratch import scratch_folder

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

    Beyond checksums: that files are valid Arrow of the right columns, their rows are numbered
    consecutively, the index has the camera, place, size and checksum of each image, and each image
    can be decoded. Yields each file in turn.

    Args:
        progress: called with (bytes read, bytes in all).

    Raises:
        StorageError: the disk is full; a store that fails is a problem of the file.
    """
    read = ByteProgress(sum(entry.size_bytes for entry in manifest.files), report=progress)
    for split in manifest.splits.values():
        with scratch_folder() as scratch:
            yield from _verify_split(store, split, scratch=scratch, progress=read)


def repair_commands(manifest: DomainManifest, *, at: str) -> tuple[str, str]:
    """The commands that repair a domain: by importing it again, and from an intact copy.

    The user has to fill in what is in capitals.
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
    if settings.cut_test:
        words.append(f"--cut-test {settings.cut_test:.17g}")
    words += [f"--{name} {shlex.quote(value)}" for name, value in settings.options.items()]
    if settings.without_unreadable:
        words.append("--skip-unreadable")
    if settings.without_val:
        words.append("--without-val")
    if manifest.layout == "dukemtmc":
        words.append("--acknowledge-withdrawal")
    if settings.reencoded is not None:
        words.append("--reencode {}x{}".format(*settings.reencoded))
    copy = f"daam data copy --domain {manifest.domain} --from STORE --to {place} --recheck"
    return " ".join(words), copy


def _verify_split(
    store: Store, split: SplitManifest, *, scratch: Path, progress: ByteProgress
) -> Iterator[FileCheck]:
    def check(entry: ShardEntry, problem_of: Callable[[Path], str | None]) -> FileCheck:
        try:
            with verified_file(store, entry, scratch=scratch, progress=progress) as path:
                problem = problem_of(path)
        except BadFileError as error:
            problem = error.problem
        except DaamError as error:
            problem = str(error)
        if problem is None and not entry.key.endswith(f"-{entry.sha256[:DIGEST_DIGITS]}.arrow"):
            problem = "does not carry its own checksum in its name"
        return FileCheck(key=entry.key, size_bytes=entry.size_bytes, problem=problem)

    index: pa.Table | None = None

    def problem_of_index(path: Path) -> str | None:
        nonlocal index
        read_index(path, entry=split.index, shards=split.shards)
        table = open_shard(path, entry=split.index, schema=INDEX_SCHEMA)
        index = table  # memory-mapped, so it outlives the file
        for name, expected in (("camera", split.num_cameras), ("track", split.num_tracks)):
            values = known_numbers(table[name], entry=split.index)
            found = None if values is None else len(np.unique(values))
            if found != expected:
                return f"has {_counted(found, name)}, its manifest says {_counted(expected, name)}"
        if (known_numbers(table["time"], entry=split.index) is not None) != split.has_times:
            return "and its manifest do not agree on whether times are known"
        return None

    def problem_of_labels(path: Path) -> str | None:
        labels = open_shard(path, entry=split.labels, schema=LABEL_SCHEMA)
        if not _is_numbered(labels, first_row=0):
            return "has rows that are not numbered consecutively from 0"
        identities = known_numbers(labels["identity"], entry=split.labels)
        if (identities is not None) != split.has_identities:
            return "and its manifest do not agree on whether identities are known"
        if identities is not None and (identities < JUNK).any():
            return f"has identities below {JUNK}"
        return None

    def check_shard(part: tuple[ShardEntry, int]) -> FileCheck:
        entry, first_row = part

        def problem_of_shard(path: Path) -> str | None:
            images = open_shard(path, entry=entry, schema=IMAGE_SCHEMA)
            if not _is_numbered(images, first_row=first_row):
                return f"has rows that are not numbered consecutively from {first_row}"
            if index is None:
                return None
            expected = index.slice(first_row, entry.num_rows).select(PLACE_SCHEMA.names)
            expected = expected.cast(PLACE_SCHEMA)
            try:
                found = pa.Table.from_batches([index_of(path)])
            except ValueError as error:
                raise bad_content(entry, str(error)) from error
            if not found.equals(expected):
                return "has other images or cameras than its split's index says"
            return _problem_of_images(images["image"], first_row=first_row)

        return check(entry, problem_of_shard)

    yield check(split.index, problem_of_index)
    yield check(split.labels, problem_of_labels)
    first_rows = np.cumsum([0, *(entry.num_rows for entry in split.shards)]).tolist()
    yield from parallel_map(
        check_shard,
        zip(split.shards, first_rows[:-1], strict=True),
        num_threads=FILES_AT_ONCE,
        prefetch=FILES_AT_ONCE,
    )


def _counted(count: int | None, name: str) -> str:
    return f"no {name}s" if count is None else f"{count} {name}s"


def _is_numbered(table: pa.Table, *, first_row: int) -> bool:
    rows = numbers(table["row"])
    return np.array_equal(rows, np.arange(first_row, first_row + len(rows)))


def _problem_of_images(images: pa.ChunkedArray, *, first_row: int) -> str | None:
    for row, image in enumerate(images, start=first_row):
        jpeg = memoryview(image.as_buffer()).cast("B")
        try:
            image_size(jpeg)  # before memory is allocated
            decode_jpeg(jpeg)
        except (ValueError, DataError) as error:
            return f"has an image in row {row} that cannot be decoded: {error}"
    return None

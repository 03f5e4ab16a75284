"""From a data set's folder to a domain in a store."""

import logging
import os
import random
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from itertools import chain
from pathlib import Path

import pyarrow as pa

from daam.dataset.format.manifest import (
    DomainManifest,
    ImportSettings,
    ShardEntry,
    SplitManifest,
    manifest_key,
)
from daam.dataset.format.publishing import FilesGoneError, publish, send
from daam.dataset.format.shards import (
    WrittenShard,
    in_groups,
    index_of,
    write_image_shards,
    write_index,
    write_labels,
)
from daam.dataset.importing.duplicates import CopiesOfQueries
from daam.dataset.importing.encoding import check_size, read_jpeg
from daam.dataset.importing.hold_out import hold_out_validation
from daam.dataset.importing.layouts import DatasetIndex, ImageRecord
from daam.dataset.prefetch import work_ahead
from daam.domains import Split
from daam.errors import StorageError
from daam.storage import Store

SHARD_SIZE_BYTES = 64 << 20
VALIDATION_SHARE = 0.25
# Handing images to threads one by one would take as long as decoding small ones.
IMAGES_AT_A_TIME = 16
# While these are sent the next one is written, so three lie on the disk at most.
SHARDS_SENT_AT_ONCE = 2
# Of imports of one domain at once, each may have to begin anew because of the others.
ATTEMPTS, FIRST_PAUSE_S = 6, 0.1

Progress = Callable[[int, int], None]
FileReport = Callable[[ShardEntry, bool], None]

log = logging.getLogger(__name__)


def import_domain(
    index: DatasetIndex,
    *,
    domain: str,
    to: Store,
    shard_size_bytes: int = SHARD_SIZE_BYTES,
    validation_share: float = VALIDATION_SHARE,
    reencode: tuple[int, int] | None = None,
    recheck: bool = False,
    verify_images: bool = True,
    progress: Progress | None = None,
    on_file: FileReport | None = None,
) -> DomainManifest:
    """Write the images of a data set to a store as a domain, and return its manifest.

    JPEGs are stored byte for byte, unless another size is asked for. PNG and BMP images become
    JPEGs. Memory does not grow with the number of images, but for 12 KB a shard while the manifest
    is made. That is published last: a reader sees the whole domain or none of it, and an import
    that was cut short is repeated by running it again, without uploading the files that are there
    already. The same input gives the same keys and bytes. Gallery images that are copies of a query
    are kept, and reported in a warning.

    Args:
        index: as a layout gives it, without validation splits.
        domain: the name to give it.
        shard_size_bytes: most JPEG bytes in a shard.
        validation_share: of the train identities, held out for validation, see
            `hold_out_validation`.
        reencode: (height, width) to store all images at; None keeps them as they are.
        recheck: read back every file that is there, and send those that are damaged again; by
            default name and size are enough.
        verify_images: decode every JPEG once, to find damaged ones now and not in training.
        progress: called with (images done, images in all).
        on_file: called with each file that the store has now, and whether it was uploaded.

    Raises:
        ConfigError: `domain` can be no domain's name.
        DataError: an image is damaged or unreadable, validation people cannot be held out, or
            `reencode` makes no sense for the data set.
        StorageError: the store cannot be written.
    """
    manifest_key(domain)
    if reencode is not None:
        check_size(reencode, index=index)
    index = hold_out_validation(index, share=validation_share)
    settings = ImportSettings(
        validation_share=float(validation_share),
        without_val=index.without_val,
        reencoded=reencode,
        shard_size_bytes=shard_size_bytes,
    )

    def stored(shard: WrittenShard) -> ShardEntry:
        sent = send(shard.path, shard.entry, to=to, recheck=recheck)
        shard.path.unlink()
        if on_file is not None:
            on_file(shard.entry, sent)
        return shard.entry

    def attempt() -> tuple[DomainManifest, CopiesOfQueries]:
        copies = CopiesOfQueries()
        manifest = _write_files(
            index,
            domain=domain,
            settings=settings,
            stored=stored,
            copies=copies,
            verify_images=verify_images,
            progress=progress,
        )
        publish(manifest, manifest.to_json(), to=to)
        return manifest, copies

    num_attempts = 0
    while True:
        num_attempts += 1
        try:
            manifest, copies = attempt()
            break
        except FilesGoneError as error:
            if num_attempts == ATTEMPTS:
                raise
            log.warning("%s; importing once more", error)
            # Imports that were in each other's way are not to meet again.
            time.sleep(random.uniform(0, FIRST_PAUSE_S * 2**num_attempts))
    if (found := copies.report()) is not None:
        log.warning("%s: %s", domain, found)
    return manifest


def _write_files(
    index: DatasetIndex,
    *,
    domain: str,
    settings: ImportSettings,
    stored: Callable[[WrittenShard], ShardEntry],
    copies: CopiesOfQueries,
    verify_images: bool,
    progress: Progress | None,
) -> DomainManifest:
    splits: dict[Split, SplitManifest] = {}
    done = 0
    counts = index.counts()
    for split in counts:
        images = _read_images(
            index.shuffled(split), root=index.root, verify=verify_images, size=settings.reencoded
        )
        images = copies.watched(images)
        if progress is not None:
            images = _counted(images, already=done, total=sum(counts.values()), report=progress)
        splits[split] = _import_split(
            images,
            index,
            domain=domain,
            split=split,
            shard_size_bytes=settings.shard_size_bytes,
            stored=stored,
        )
        done += splits[split].num_rows
    return DomainManifest(
        domain=domain,
        layout=index.layout,
        settings=settings,
        splits=splits,
        skipped=dict(Counter(file.reason for file in index.skipped())),
    )


def _import_split(
    images: Iterable[tuple[bytes, ImageRecord]],
    index: DatasetIndex,
    *,
    domain: str,
    split: Split,
    shard_size_bytes: int,
    stored: Callable[[WrittenShard], ShardEntry],
) -> SplitManifest:
    entries: list[ShardEntry] = []

    def indexed(shard: WrittenShard) -> tuple[ShardEntry, pa.RecordBatch]:
        rows = index_of(shard.path)
        return stored(shard), rows

    def noted(shards: Iterable[tuple[ShardEntry, pa.RecordBatch]]) -> Iterator[pa.RecordBatch]:
        for entry, rows in shards:
            entries.append(entry)
            yield rows

    with_cameras = ((jpeg, record.camera) for jpeg, record in images)
    try:
        with tempfile.TemporaryDirectory(prefix="daam-import-") as name:
            where = {"domain": domain, "split": split, "folder": Path(name)}
            shards = work_ahead(
                indexed,
                write_image_shards(with_cameras, shard_size_bytes=shard_size_bytes, **where),
                num_threads=SHARDS_SENT_AT_ONCE,
                prefetch=0,
            )
            with closing(shards):
                written = write_index(noted(shards), **where)
            return SplitManifest(
                num_rows=written.entry.num_rows,
                num_cameras=sum(1 for _ in index.cameras(split)),
                shards=tuple(entries),
                index=stored(written),
                labels=stored(write_labels(index.shuffled_names(split), **where)),
            )
    except OSError as error:
        raise StorageError(
            f"cannot write a shard in {tempfile.gettempdir()} before it is published: {error}; "
            "free some space or set TMPDIR to a folder that has it"
        ) from error


def _read_images(
    records: Iterable[ImageRecord], *, root: Path, verify: bool, size: tuple[int, int] | None
) -> Iterator[tuple[bytes, ImageRecord]]:
    def read(group: list[ImageRecord]) -> list[tuple[bytes, ImageRecord]]:
        return [
            (read_jpeg(root / record.path, verify=verify, size=size), record) for record in group
        ]

    num_threads = _num_processors()
    return chain.from_iterable(
        work_ahead(
            read,
            in_groups(records, size=IMAGES_AT_A_TIME),
            num_threads=num_threads,
            prefetch=num_threads,
        )
    )


def _num_processors() -> int:
    # A container may have some of the machine's; only Linux tells.
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _counted(
    images: Iterable[tuple[bytes, ImageRecord]], *, already: int, total: int, report: Progress
) -> Iterator[tuple[bytes, ImageRecord]]:
    for done, image in enumerate(images, start=already + 1):
        yield image
        report(done, total)

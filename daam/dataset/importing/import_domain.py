"""From a data set's folder to a domain in a store."""

import logging
import random
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, nullcontext
from functools import partial
from itertools import chain, count
from pathlib import Path
from typing import Any

import pyarrow as pa

from daam.dataset.format.manifest import (
    DomainManifest,
    ImportSettings,
    ShardEntry,
    SplitManifest,
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
from daam.dataset.importing.dataset_index import DatasetIndex
from daam.dataset.importing.duplicates import Duplicates
from daam.dataset.importing.encoding import IMAGES_PER_TASK, check_size, read_jpeg
from daam.dataset.importing.findings import findings
from daam.dataset.importing.hold_out import hold_out_validation
from daam.dataset.parallel import num_processors, parallel_map
from daam.domains import Split, check_domain
from daam.errors import StorageError
from daam.storage import Store
from daam.storage.scratch import scratch_folder

SHARD_SIZE_BYTES = 64 << 20
VALIDATION_SHARE = 0.25
# While these are sent the next one is written, so at most three are on the disk.
SHARDS_SENT_AT_ONCE = 2
# Concurrent imports of one domain may each have to restart because of the others.
MAX_ATTEMPTS, FIRST_PAUSE_S = 6, 0.1

Progress = Callable[[int, int], None]
FileReport = Callable[[ShardEntry, bool], None]
NoteReport = Callable[[str], None]

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
    progress: Progress | None = None,
    on_file: FileReport | None = None,
    on_note: NoteReport | None = None,
) -> DomainManifest:
    """Write the images of a data set to a store as a domain, and return its manifest.

    JPEGs are stored byte for byte, unless another size is requested, and decoded once to find
    damaged ones now and not in training. PNG and BMP images become JPEGs. The manifest is published
    last: a reader sees the whole domain or none of it, and an interrupted import is resumed by
    running it again, which uploads only what the store lacks. The same input gives the same keys
    and bytes. Gallery images that duplicate a query are kept, and reported in a note. Memory
    holds the paths of all images and a few shards.

    Args:
        index: from a layout, without validation splits.
        domain: its name in the store.
        shard_size_bytes: most JPEG bytes in a shard.
        validation_share: of the train identities, held out for validation, see
            `hold_out_validation`.
        reencode: (height, width) to store all images at; None keeps them as they are.
        recheck: read back every file that the store has, and send damaged ones again; by default
            name and size are enough.
        progress: called with (images done, images in all).
        on_file: called with each file that the store has now, and whether it was uploaded.
        on_note: called with each line of `findings`, before anything is written, and at the end
            with one about duplicates; by default these are logged as warnings.

    Raises:
        ConfigError: `domain` is not a valid domain name.
        DataError: an image is damaged or unreadable, validation people cannot be held out, or
            `reencode` makes no sense for the data set.
        StorageError: the store cannot be written.
    """
    check_domain(domain)
    if reencode is not None:
        check_size(reencode, index=index)
    index = hold_out_validation(index, share=validation_share)
    note = on_note or partial(log.warning, "%s: %s", domain)
    for line in findings(index):
        note(line)
    to.child(domain).remove_unfinished()
    settings = ImportSettings(
        validation_share=float(validation_share),
        without_val=index.without_val,
        reencoded=reencode,
        shard_size_bytes=shard_size_bytes,
        cut_test=index.cut_test,
        options=index.options,
        without_unreadable=index.without_unreadable,
    )

    def store_file(file: WrittenShard) -> ShardEntry:
        sent = send(file.entry, nullcontext(file.path), to=to, recheck=recheck)
        file.path.unlink()
        if on_file is not None:
            on_file(file.entry, sent)
        return file.entry

    def write_files(duplicates: Duplicates) -> DomainManifest:
        done = count(1)
        splits = {}

        def read_jpegs(images: pa.Table, split: Split) -> Iterator[bytes]:
            jpegs = _read_jpegs(images, root=index.root, size=reencode)
            for jpeg in duplicates.watch(jpegs, split=split):
                yield jpeg
                if progress is not None:
                    progress(next(done), len(index))

        for split in index.splits:
            images = index.shuffled(split)
            splits[split] = _write_split(
                images,
                read_jpegs(images, split),
                domain=domain,
                split=split,
                shard_size_bytes=shard_size_bytes,
                store_file=store_file,
            )
        return DomainManifest(
            domain=domain,
            layout=index.layout,
            settings=settings,
            splits=splits,
            skipped=dict(Counter(file.reason for file in index.skipped)),
            cameras=dict(index.camera_names),
        )

    attempt = 0
    while True:
        attempt += 1
        duplicates = Duplicates()
        manifest = write_files(duplicates)
        try:
            publish(manifest, manifest.to_json(), to=to)
            break
        except FilesGoneError as error:
            if attempt == MAX_ATTEMPTS:
                raise
            log.warning("%s; importing once more", error)
            # Random, so that imports that collided do not collide again.
            time.sleep(random.uniform(0, FIRST_PAUSE_S * 2**attempt))
    if (found := duplicates.report(index)) is not None:
        note(found)
    return manifest


def _write_split(
    images: pa.Table,
    jpegs: Iterable[bytes],
    *,
    domain: str,
    split: Split,
    shard_size_bytes: int,
    store_file: Callable[[WrittenShard], ShardEntry],
) -> SplitManifest:
    entries: list[ShardEntry] = []

    def store_shard(shard: WrittenShard) -> tuple[ShardEntry, pa.RecordBatch]:
        rows = index_of(shard.path)
        return store_file(shard), rows

    def collected(shards: Iterable[tuple[ShardEntry, pa.RecordBatch]]) -> Iterator[pa.RecordBatch]:
        for entry, rows in shards:
            entries.append(entry)
            yield rows

    try:
        with scratch_folder() as scratch:
            where = {"domain": domain, "split": split, "folder": scratch}
            with_cameras = zip(jpegs, _values(images["camera"]), strict=True)
            labels = zip(_values(images["identity"]), _values(images["path"]), strict=True)
            shards = parallel_map(
                store_shard,
                write_image_shards(with_cameras, shard_size_bytes=shard_size_bytes, **where),
                num_threads=SHARDS_SENT_AT_ONCE,
                prefetch=0,
            )
            with closing(shards):
                index = write_index(
                    collected(shards), tracks=images["track"], times=images["time"], **where
                )
            return SplitManifest(
                num_rows=images.num_rows,
                num_cameras=_num_known(images["camera"]),
                num_tracks=_num_known(images["track"]),
                has_times=not images["time"].null_count,
                has_identities=not images["identity"].null_count,
                shards=tuple(entries),
                index=store_file(index),
                labels=store_file(write_labels(labels, **where)),
            )
    except OSError as error:
        raise StorageError(
            f"cannot write a shard in {tempfile.gettempdir()} before it is published: {error}; "
            "free some space or set TMPDIR to a folder that has it"
        ) from error


def _read_jpegs(images: pa.Table, *, root: Path, size: tuple[int, int] | None) -> Iterator[bytes]:
    def read(paths: list[str]) -> list[bytes]:
        return [read_jpeg(root / path, size=size) for path in paths]

    num_threads = num_processors()
    tasks = in_groups(_values(images["path"]), size=IMAGES_PER_TASK)
    return chain.from_iterable(
        parallel_map(read, tasks, num_threads=num_threads, prefetch=num_threads)
    )


def _num_known(column: pa.ChunkedArray) -> int | None:
    return None if column.null_count else len(column.unique())


def _values(column: pa.ChunkedArray) -> Iterator[Any]:
    return (value.as_py() for value in column)

"""From a data set's folder to a domain in a store."""

import hashlib
import logging
import os
import tempfile
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from io import BytesIO
from pathlib import Path

import numpy as np
import pyarrow as pa
import simplejpeg
from PIL import Image, UnidentifiedImageError

from daam.data.copies import CopiesOfQueries
from daam.data.layouts import DatasetIndex, ImageRecord
from daam.data.manifest import DomainManifest, ShardEntry, SplitManifest, manifest_key
from daam.data.shards import (
    WrittenShard,
    index_of,
    write_image_shards,
    write_index,
    write_labels,
)
from daam.data.validation import hold_out_validation
from daam.domains import Split
from daam.errors import DataError, StorageError
from daam.storage import MissingKeyError, Store

SHARD_SIZE_BYTES = 64 << 20
VALIDATION_SHARE = 0.25
REENCODED_QUALITY = 95
JPEG_START = b"\xff\xd8\xff"
# Enough to keep every thread busy, few enough to stay far below a shard in memory.
IMAGES_IN_FLIGHT_PER_THREAD = 16

Progress = Callable[[int, int], None]

log = logging.getLogger(__name__)


def import_domain(
    index: DatasetIndex,
    *,
    domain: str,
    to: Store,
    shard_size_bytes: int = SHARD_SIZE_BYTES,
    validation_share: float = VALIDATION_SHARE,
    verify_images: bool = True,
    progress: Progress | None = None,
) -> DomainManifest:
    """Write the images of a data set to a store as a domain, and return its manifest.

    JPEGs are stored byte for byte. PNG and BMP images are re-encoded as JPEG of quality 95, the
    only place where pixels change. Memory stays the same for any number of images (apart from the
    index). The manifest is published last: a reader sees the whole domain or none of it, and an
    import that was cut short is repeated by running it again, without uploading the shards that
    are there already. The same input gives the same keys and bytes. Gallery images that are copies
    of a query are kept, and reported in a warning.

    Args:
        index: as a layout gives it, without validation splits.
        domain: the name to give it.
        shard_size_bytes: most JPEG bytes in a shard.
        validation_share: of the train identities, held out for validation, see
            `hold_out_validation`.
        verify_images: decode every JPEG once, to find damaged ones now and not in training.
        progress: called with (images done, images in all).

    Raises:
        ConfigError: `domain` can be no domain's name.
        DataError: an image is damaged or unreadable, or validation people cannot be held out.
        StorageError: the store cannot be written.
    """
    key = manifest_key(domain)
    index = hold_out_validation(index, share=validation_share)
    report = progress or _silent
    done = 0
    copies = CopiesOfQueries()
    splits: dict[Split, SplitManifest] = {}
    for split in Split:
        records = in_shard_order(index.of(split))
        if not records:
            continue
        images = _read_images(records, root=index.root, verify=verify_images)
        images = copies.watched(images, records)
        images = _counted(images, already=done, total=len(index.records), report=report)
        splits[split] = _import_split(
            images, records, domain=domain, split=split, to=to, shard_size_bytes=shard_size_bytes
        )
        done += len(records)
    manifest = DomainManifest(
        domain=domain,
        layout=index.layout,
        splits=splits,
        skipped=dict(Counter(file.reason for file in index.skipped)),
    )
    to.write(key, manifest.to_json())
    if (found := copies.report()) is not None:
        log.warning("%s: %s", domain, found)
    return manifest


def in_shard_order(records: Iterable[ImageRecord]) -> list[ImageRecord]:
    """Records by a hash of their names: the order of rows, in which neighbours are strangers."""
    return sorted(
        records, key=lambda record: hashlib.sha256(record.path.as_posix().encode()).digest()
    )


def read_jpeg(path: Path, *, verify: bool) -> bytes:
    """The image of a file as JPEG: as it is, or re-encoded if it is of another format.

    Args:
        path: an image file; what counts is its content, not its suffix.
        verify: decode a JPEG to make sure that all of it is there.

    Raises:
        DataError: the file cannot be read, is truncated or damaged, or is no image.
    """
    try:
        data = path.read_bytes()
        if not data.startswith(JPEG_START):
            with Image.open(BytesIO(data)) as image:
                pixels = np.asarray(image.convert("RGB"))
            return simplejpeg.encode_jpeg(pixels, quality=REENCODED_QUALITY)
        if verify:
            simplejpeg.decode_jpeg(data)
    except UnidentifiedImageError as error:
        raise DataError(
            f"{path} is no image that can be read; replace or remove it, then import again"
        ) from error
    except (OSError, ValueError, SyntaxError) as error:
        raise DataError(
            f"{path} cannot be read or is damaged ({error}); replace or remove it, then import "
            "again"
        ) from error
    return data


def _import_split(
    images: Iterable[tuple[bytes, int]],
    records: Sequence[ImageRecord],
    *,
    domain: str,
    split: Split,
    to: Store,
    shard_size_bytes: int,
) -> SplitManifest:
    labels = [(record.identity, record.path.as_posix()) for record in records]
    try:
        with tempfile.TemporaryDirectory(prefix="daam-import-") as name:
            folder = Path(name)
            shards = write_image_shards(
                images,
                domain=domain,
                split=split,
                folder=folder,
                shard_size_bytes=shard_size_bytes,
            )
            entries: list[ShardEntry] = []
            places: list[pa.RecordBatch] = []
            for shard in shards:
                places.append(index_of(shard.path))
                entries.append(_publish(shard, to=to))
            where = {"domain": domain, "split": split, "folder": folder}
            return SplitManifest(
                num_rows=len(records),
                num_cameras=len({record.camera for record in records}),
                shards=tuple(entries),
                index=_publish(write_index(places, **where), to=to),
                labels=_publish(write_labels(labels, **where), to=to),
            )
    except OSError as error:
        raise StorageError(
            f"cannot write a shard in {tempfile.gettempdir()} before it is published: {error}; "
            "free some space or set TMPDIR to a folder that has it"
        ) from error


def _publish(shard: WrittenShard, *, to: Store) -> ShardEntry:
    if not _is_there(shard.entry, store=to):
        to.upload(shard.path, shard.entry.key)
    shard.path.unlink()
    return shard.entry


def _is_there(entry: ShardEntry, *, store: Store) -> bool:
    # The key carries the digest, so a file of that name and size is this shard.
    try:
        return store.size(entry.key) == entry.size_bytes
    except MissingKeyError:
        return False


def _read_images(
    records: Iterable[ImageRecord], *, root: Path, verify: bool
) -> Iterator[tuple[bytes, int]]:
    num_threads = len(os.sched_getaffinity(0))
    pending: deque[tuple[Future[bytes], int]] = deque()
    with ThreadPoolExecutor(num_threads, thread_name_prefix="daam-import") as pool:
        for record in records:
            future = pool.submit(read_jpeg, root / record.path, verify=verify)
            pending.append((future, record.camera))
            if len(pending) == num_threads * IMAGES_IN_FLIGHT_PER_THREAD:
                first, camera = pending.popleft()
                yield first.result(), camera
        for future, camera in pending:
            yield future.result(), camera


def _counted(
    images: Iterable[tuple[bytes, int]], *, already: int, total: int, report: Progress
) -> Iterator[tuple[bytes, int]]:
    for done, image in enumerate(images, start=already + 1):
        yield image
        report(done, total)


def _silent(done: int, total: int) -> None:
    del done, total

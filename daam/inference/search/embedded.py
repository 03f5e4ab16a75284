"""A gallery's embeddings, kept on the disk; and exact search in them.

Each file holds up to 4,096 embeddings with the keys of their images, as an Arrow IPC file that is
memory-mapped. It appears complete or not at all and is never changed, so an interrupted pass goes
on where it was, images that were added are all that is embedded later, and several processes may
share a folder.

Shapes: N = images of the gallery, F = embeddings in a file, Q = queries, C = embedding width,
k = matches.
"""

import logging
import os
import secrets
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from numpy.typing import NDArray
from torch import Tensor

from daam.dataset.format.arrow_file import read_table
from daam.dataset.importing.image_files import UnreadableFile
from daam.dataset.pixels.normalise import normalise
from daam.errors import DataError
from daam.inference.contract import KEY
from daam.inference.embedder import Embedder
from daam.inference.search.gallery import Gallery
from daam.storage.atomic import atomic_file
from daam.storage.private import make_folder
from daam.storage.scratch import scratch_folder
from daam.training.scoring.extract import embed_batch
from daam.training.setup.compute import compute_of

EMBEDDINGS_PER_FILE = 4096
QUERIES_AT_ONCE = 256
SUFFIX = ".arrow"

Progress = Callable[[int, int], None]

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddedGallery:
    """A gallery with its embeddings.

    Attributes:
        gallery: the images.
        unreadable: those of its files that could not be read, and are not searched.
        names: of the files of embeddings.
        files: (F, C) float32 of each file, mapped.
        rows: of each file, the gallery's images in it.
        places: of each file, where in it those images are, rising.
    """

    gallery: Gallery
    unreadable: list[UnreadableFile]
    names: list[str]
    files: list[Tensor]
    rows: list[NDArray[np.int64]]
    places: list[NDArray[np.int64]]

    @property
    def num_images(self) -> int:
        """How many are searched."""
        return sum(map(len, self.rows))

    def nearest(
        self, queries_QC: NDArray[np.float32], *, count: int, allowed_N: NDArray[np.bool_] | None
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Search all images for the nearest to each query.

        Args:
            queries_QC: of length 1.
            count: k; fewer come back where fewer are allowed.
            allowed_N: the images to search; None: all.

        Returns:
            (Q, k) their rows, nearest first, equally near ones by row; and (Q, k) the cosines.
        """
        found = [
            self._nearest(
                torch.from_numpy(queries_QC[first : first + QUERIES_AT_ONCE]), count, allowed_N
            )
            for first in range(0, len(queries_QC), QUERIES_AT_ONCE)
        ]
        rows, cosines = zip(*found, strict=True)
        return np.concatenate(rows), np.concatenate(cosines)

    def vectors(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """The embeddings of some rows that are searched, (len(rows), C)."""
        vectors = torch.empty((len(rows), self.files[0].shape[1]))
        for embeddings_FC, own, places in zip(self.files, self.rows, self.places, strict=True):
            order = np.argsort(own)
            at = np.searchsorted(own, rows, sorter=order).clip(max=len(own) - 1)
            here = own[order[at]] == rows
            vectors[here] = embeddings_FC[places[order[at[here]]]]
        return vectors.numpy()

    def _nearest(
        self, queries_QC: Tensor, count: int, allowed_N: NDArray[np.bool_] | None
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        num_queries = len(queries_QC)
        rows_Qk = np.empty((num_queries, 0), np.int64)
        cosines_Qk = np.empty((num_queries, 0), np.float32)
        for embeddings_FC, rows, places in zip(self.files, self.rows, self.places, strict=True):
            if allowed_N is not None:
                allowed = allowed_N[rows]
                rows, places = rows[allowed], places[allowed]
            if len(rows) == 0:
                continue
            # NumPy's product of one query takes ten times as long where cores are busy.
            cosines_QF = queries_QC @ embeddings_FC.T
            if len(rows) < len(embeddings_FC):
                cosines_QF = cosines_QF[:, places]
            best = cosines_QF.topk(min(count, len(rows)), dim=1)
            cosines_Qk = np.concatenate([cosines_Qk, best.values.numpy()], axis=1)
            rows_Qk = np.concatenate([rows_Qk, rows[best.indices.numpy()]], axis=1)
            if cosines_Qk.shape[1] > count:
                kept = np.argpartition(-cosines_Qk, count - 1, axis=1)[:, :count]
                cosines_Qk = np.take_along_axis(cosines_Qk, kept, axis=1)
                rows_Qk = np.take_along_axis(rows_Qk, kept, axis=1)
        order = np.lexsort((rows_Qk, -cosines_Qk), axis=1)
        return (
            np.take_along_axis(rows_Qk, order, axis=1),
            np.take_along_axis(cosines_Qk, order, axis=1),
        )


def embed_gallery(
    gallery: Gallery, embedder: Embedder, *, folder: Path, progress: Progress | None = None
) -> EmbeddedGallery:
    """Return a gallery with its embeddings, computing those that the folder does not have.

    Args:
        gallery: the images.
        embedder: the network.
        folder: of the embeddings of this gallery by this embedder. Where it cannot be written, they
            are kept for the life of the result, and a warning is logged.
        progress: called with the images done and the images in all.

    Raises:
        DataError: no image can be read.
        StorageError: the disk is full, or images cannot be read from their store.
    """
    if (problem := _unwritable(folder)) is not None:
        log.warning("embeddings are not kept for the next search: %s %s", folder, problem)
        with scratch_folder() as scratch:
            # Its files stay mapped after they are removed.
            return embed_gallery(gallery, embedder, folder=scratch, progress=progress)
    width = embedder.contract.embedding_width
    keys, names, files = read_embeddings(folder, width=width)
    missing = np.flatnonzero(_index_in(gallery.keys, keys).is_null())
    unreadable: list[UnreadableFile] = []
    if len(missing):
        unreadable = _embed_into(folder, gallery, embedder, rows=missing, progress=progress)
        keys, names, files = read_embeddings(folder, width=width)
    elif progress is not None:
        progress(len(gallery), len(gallery))
    rows, places = _placed(_index_in(gallery.keys, keys), files)
    if not any(map(len, rows)):
        first = unreadable[0]
        raise DataError(
            f"none of the {len(gallery)} images of {gallery.name} can be read; the first is "
            f"{first.name}: {first.reason}"
        )
    return EmbeddedGallery(
        gallery=gallery,
        unreadable=unreadable,
        names=names,
        files=files,
        rows=rows,
        places=places,
    )


def read_embeddings(folder: Path, *, width: int) -> tuple[pa.Array, list[str], list[Tensor]]:
    """Read the kept embeddings of a gallery; a damaged file is ignored, with a warning.

    Args:
        folder: of the files.
        width: C of the embeddings.

    Returns:
        The keys in all files, the files' names, and the embeddings of each: (F, C) float32, mapped.
    """
    keys: list[pa.Array] = [pa.array([], pa.binary())]
    names: list[str] = []
    files: list[Tensor] = []
    schema = pa.schema({"key": pa.binary(), "embedding": pa.list_(pa.float32(), width)})
    for path in sorted(folder.glob(f"*{SUFFIX}")):
        try:
            table = read_table(path, schema=schema)
            (embeddings,) = table["embedding"].chunks
            # Both raise on nulls, in numbers and in lists.
            values_FC = embeddings.flatten().to_numpy().reshape(len(embeddings), width)
        except ValueError as error:
            log.warning("%s is damaged and ignored: %s", path, error)
            continue
        keys += table["key"].chunks
        names.append(path.name)
        with warnings.catch_warnings():  # torch warns of read-only memory, which is only read here
            warnings.simplefilter("ignore", UserWarning)
            files.append(torch.from_numpy(values_FC))
    return pa.concat_arrays(keys), names, files


def embed_images(embedder: Embedder, images_BHWC: torch.Tensor) -> NDArray[np.float32]:
    """Embed (B, H, W, 3) uint8 images: (B, C) of length 1, as the run's test does."""
    compute = compute_of(embedder.config)
    with torch.inference_mode(), compute.autocast():
        images_BCHW = normalise(compute.move(images_BHWC))
        embeddings_BC = embed_batch(
            embedder.network, images_BCHW, flip=embedder.config.evaluation.flip
        )
    return embeddings_BC.float().cpu().numpy()


def _embed_into(
    folder: Path,
    gallery: Gallery,
    embedder: Embedder,
    *,
    rows: NDArray[np.int64],
    progress: Progress | None,
) -> list[UnreadableFile]:
    unreadable: list[UnreadableFile] = []
    waiting: list[pa.RecordBatch] = []
    num_done = len(gallery) - len(rows)
    try:
        for batch in gallery.batches(rows):
            unreadable += batch.unreadable
            num_done += len(batch.rows) + len(batch.unreadable)
            if len(batch.rows):
                embeddings_BC = embed_images(embedder, batch.images)
                waiting.append(
                    _record_batch(gallery.keys.take(pa.array(batch.rows)), embeddings_BC)
                )
            if sum(map(len, waiting)) >= EMBEDDINGS_PER_FILE:
                _write_file(folder, waiting, contract=embedder.contract.to_json())
                waiting = []
            if progress is not None:
                progress(num_done, len(gallery))
    finally:  # after Ctrl-C too
        if waiting:
            _write_file(folder, waiting, contract=embedder.contract.to_json())
    return unreadable


def _record_batch(keys: pa.Array, embeddings_BC: NDArray[np.float32]) -> pa.RecordBatch:
    values = pa.array(embeddings_BC.reshape(-1), pa.float32())
    column = pa.FixedSizeListArray.from_arrays(values, embeddings_BC.shape[1])
    return pa.record_batch({"key": keys, "embedding": column})


def _write_file(folder: Path, batches: Iterable[pa.RecordBatch], *, contract: str) -> None:
    table = pa.Table.from_batches(batches).combine_chunks()
    table = table.replace_schema_metadata({KEY: contract})
    with (
        atomic_file(folder / f"{secrets.token_hex(8)}{SUFFIX}") as file,
        pa.ipc.new_file(file, table.schema) as writer,
    ):
        writer.write_table(table)


def _placed(
    found: pa.Array, files: list[Tensor]
) -> tuple[list[NDArray[np.int64]], list[NDArray[np.int64]]]:
    """The gallery's images in each file, and their places in it."""
    if not files:
        return [], []
    rows = np.flatnonzero(found.is_valid())
    places = np.asarray(found.drop_null(), np.int64)
    order = np.argsort(places, kind="stable")
    rows, places = rows[order], places[order]
    ends = np.cumsum([len(embeddings) for embeddings in files])
    cuts = np.searchsorted(places, ends[:-1])
    starts = ends - [len(embeddings) for embeddings in files]
    return np.split(rows, cuts), [
        part - start for part, start in zip(np.split(places, cuts), starts, strict=True)
    ]


def _index_in(values: pa.Array, among: pa.Array) -> pa.Array:
    """Where each value first is among others; null where it is not."""
    return pc.call_function("index_in", [values], pc.SetLookupOptions(value_set=among))


def _unwritable(folder: Path) -> str | None:
    """Make a folder; return why nothing can be written there."""
    try:
        make_folder(folder)
    except OSError as error:
        return f"cannot be made: {error.strerror}"
    return None if os.access(folder, os.W_OK) else "is not writable"

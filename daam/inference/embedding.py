"""Embeddings of any folder of images: in memory, or in a Parquet file.

Shapes: N = images, B = images in a batch, C = embedding width.
"""

import json
import os
from collections.abc import Callable, Generator, Iterable
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from daam.dataset.importing.image_files import UnreadableFile, list_image_files, read_image_files
from daam.dataset.pixels.normalise import normalise
from daam.errors import DataError
from daam.inference.contract import KEY, EmbeddingContract
from daam.inference.embedder import Embedder, open_embedder
from daam.storage import Store, open_parent, open_store
from daam.storage.atomic import atomic_file
from daam.storage.scratch import scratch_folder
from daam.training.setup.compute import compute_of

UNREADABLE_KEY = "unreadable"
ROWS_PER_GROUP = 4096

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Embeddings:
    """The embeddings of a folder's images, in the order of their names.

    Attributes:
        names: of the images, relative to the folder.
        embeddings: (N, C) float32, each row of length 1; the dot product of two is their
            similarity.
        unreadable: files that look like images and could not be read, each with the reason.
        contract: how the embeddings were made, so that others can be made that compare with them.
    """

    names: list[str]
    embeddings: np.ndarray
    unreadable: list[UnreadableFile]
    contract: EmbeddingContract

    def to_arrow(self) -> pa.Table:
        """Return a table with the columns `name` and `embedding`, as `daam embed` writes it."""
        return pa.Table.from_batches([batch_of(self.names, self.embeddings, self.contract)])


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddedFile:
    """What a file of embeddings holds, and what it could not hold."""

    num_images: int
    unreadable: list[UnreadableFile]
    contract: EmbeddingContract


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddedBatch:
    """Some of a folder's images."""

    names: list[str]
    embeddings_BC: np.ndarray
    unreadable: list[UnreadableFile]


def embed(
    run: str | Path,
    *,
    images: str | Path,
    domain: str | None = None,
    data_root: str | None = None,
    progress: Progress | None = None,
) -> Embeddings:
    """Embed every image below a folder as the exported embedder would.

    All embeddings are kept in memory; `daam embed` writes them to a file as it goes.

    Args:
        run: folder of the run, local or on S3.
        images: the folder or bucket; subfolders are searched, too.
        domain: whose norm statistics are used; by default the run's target.
        data_root: where the domains are, if they have moved since the run.
        progress: called with the files done and the files in total.

    Raises:
        DataError: there is no image, or none that can be read.
        DaamError: there is no such run or domain, or one of them is damaged.
    """
    embedder = open_embedder(os.fspath(run), domain=domain, data_root=data_root)
    found = list(embedded_batches(embedder, open_store(os.fspath(images)), progress=progress))
    return Embeddings(
        names=[name for batch in found for name in batch.names],
        embeddings=np.concatenate([batch.embeddings_BC for batch in found]),
        unreadable=[file for batch in found for file in batch.unreadable],
        contract=embedder.contract,
    )


def embed_to_file(
    run: str | Path,
    *,
    images: str | Path,
    to: str | Path,
    domain: str | None = None,
    data_root: str | None = None,
    progress: Progress | None = None,
) -> EmbeddedFile:
    """Embed every image below a folder into a Parquet file, a few batches at a time.

    The file has a row per image, sorted by name: `name` (text, relative to the folder) and
    `embedding` (C float32 of length 1). Its metadata hold the contract and the files that could not
    be read. It appears when it is complete.

    Args:
        run: folder of the run, local or on S3.
        images: the folder or bucket; subfolders are searched, too.
        to: the Parquet file, local or on S3; replaced if it exists.
        domain: whose norm statistics are used; by default the run's target.
        data_root: where the domains are, if they have moved since the run.
        progress: called with the files done and the files in total.

    Raises:
        DataError: `to` is a folder, there is no image, or none that can be read; nothing is
            written.
        DaamError: there is no such run or domain, or one of them is damaged.
    """
    to = os.fspath(to)
    if to.endswith("/") or Path(to).is_dir():
        raise DataError(f"{to} is a folder; name the file to write")
    folder, name = open_parent(to)
    embedder = open_embedder(os.fspath(run), domain=domain, data_root=data_root)
    batches = embedded_batches(embedder, open_store(os.fspath(images)), progress=progress)
    with closing(batches):
        if "://" not in to:
            with atomic_file(Path(to)) as file:
                return write_embeddings(batches, file, contract=embedder.contract)
        with scratch_folder() as scratch:
            path = scratch / "embeddings.parquet"
            with path.open("wb") as file:
                written = write_embeddings(batches, file, contract=embedder.contract)
            folder.upload(path, name)
        return written


def embedded_batches(
    embedder: Embedder, store: Store, *, progress: Progress | None
) -> Generator[EmbeddedBatch, None, None]:
    """Embed every image in a store, in the order of their names.

    Raises:
        DataError: there is no image, or, after the last file, none could be read.
    """
    names = list_image_files(store)
    if not names:
        raise DataError(f"{store.uri} holds no images; give the folder or bucket that has them")
    contract, compute = embedder.contract, compute_of(embedder.config)
    batches = read_image_files(
        store,
        names=names,
        height=contract.height,
        width=contract.width,
        batch_size=embedder.config.evaluation.batch_size,
        num_threads=embedder.config.data.num_threads,
    )
    num_read, num_done = 0, 0
    first: UnreadableFile | None = None
    with closing(batches):
        for batch in batches:
            embeddings_BC = np.empty((0, contract.embedding_width), np.float32)
            if batch.names:
                with torch.inference_mode(), compute.autocast():
                    images_BCHW = normalise(compute.move(batch.images))
                    embeddings_BC = embedder.network.embed(images_BCHW).cpu().numpy()
            num_read += len(batch.names)
            num_done += len(batch.names) + len(batch.unreadable)
            first = first or next(iter(batch.unreadable), None)
            if progress is not None:
                progress(num_done, len(names))
            yield EmbeddedBatch(
                names=batch.names, embeddings_BC=embeddings_BC, unreadable=batch.unreadable
            )
    if num_read == 0 and first is not None:
        raise DataError(
            f"none of the {len(names)} images in {store.uri} can be read; the first is "
            f"{first.name}: {first.reason}"
        )


def write_embeddings(
    batches: Iterable[EmbeddedBatch], file: BinaryIO, *, contract: EmbeddingContract
) -> EmbeddedFile:
    """Write embeddings as Parquet, in row groups of about 4,096."""
    unreadable: list[UnreadableFile] = []
    waiting: list[pa.RecordBatch] = []
    num_images = 0
    schema = batch_of([], np.empty(0, np.float32), contract).schema
    # Embeddings do not compress: they are as good as random.
    with pq.ParquetWriter(file, schema, compression="none", use_dictionary=False) as writer:
        for batch in batches:
            unreadable += batch.unreadable
            num_images += len(batch.names)
            waiting.append(batch_of(batch.names, batch.embeddings_BC, contract))
            if sum(map(len, waiting)) >= ROWS_PER_GROUP:
                writer.write_table(pa.Table.from_batches(waiting))
                waiting = []
        if any(map(len, waiting)):
            writer.write_table(pa.Table.from_batches(waiting))
        if unreadable:
            listed = json.dumps([asdict(file) for file in unreadable])
            writer.add_key_value_metadata({UNREADABLE_KEY: listed})
    return EmbeddedFile(num_images=num_images, unreadable=unreadable, contract=contract)


def batch_of(
    names: list[str], embeddings_BC: np.ndarray, contract: EmbeddingContract
) -> pa.RecordBatch:
    """Return names and embeddings as Arrow, with the contract in the metadata."""
    width = contract.embedding_width
    schema = pa.schema(
        {"name": pa.string(), "embedding": pa.list_(pa.float32(), width)},
        metadata={KEY: contract.to_json()},
    )
    values = pa.array(embeddings_BC.reshape(-1), pa.float32())
    column = pa.FixedSizeListArray.from_arrays(values, width)
    return pa.record_batch([pa.array(names, pa.string()), column], schema=schema)

"""Embeddings of any folder of images, in a Parquet file.

Shapes: B = images, C = embedding width.
"""

import json
import tempfile
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO

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
from daam.training.setup.assemble import compute_of

UNREADABLE_KEY = "unreadable"
ROWS_PER_GROUP = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddedFolder:
    """What was embedded and what could not be."""

    num_images: int
    unreadable: list[UnreadableFile]
    contract: EmbeddingContract


def embed_folder(
    folder_uri: str,
    *,
    images: str,
    to: str,
    domain: str | None = None,
    data_root: str | None = None,
    progress: Callable[[int, int], None],
) -> EmbeddedFolder:
    """Embed every image below a folder as the exported embedder would.

    The file has a row an image, sorted by name: `name` (text, relative to the folder) and
    `embedding` (C float32 of length 1). Its metadata hold the contract and the files that could not
    be read. It appears when it is whole.

    Args:
        folder_uri: of the run, local or on S3.
        images: the folder or bucket, searched with all that is below.
        to: the Parquet file, local or on S3; replaced if it is there.
        domain: whose norm statistics are used; by default the run's target.
        data_root: where the domains are, if not where the run had them.
        progress: called with files done and in all.

    Raises:
        DataError: `to` is a folder, there is no image, or none that can be read; nothing is
            written.
        DaamError: there is no such run or domain, or one of them is damaged.
    """
    if to.endswith("/") or Path(to).is_dir():
        raise DataError(f"{to} is a folder; name the file to write")
    folder, name = open_parent(to)
    embedder = open_embedder(folder_uri, domain=domain, data_root=data_root)
    store = open_store(images)
    names = list_image_files(store)
    if not names:
        raise DataError(f"{store.uri} holds no images; give the folder or bucket that has them")
    if "://" not in to:
        with atomic_file(Path(to)) as file:
            return write_embeddings(embedder, store, names, file, progress)
    with tempfile.TemporaryDirectory(prefix="daam-embed-") as scratch:
        path = Path(scratch) / "embeddings.parquet"
        with path.open("wb") as file:
            result = write_embeddings(embedder, store, names, file, progress)
        folder.upload(path, name)
    return result


def write_embeddings(
    embedder: Embedder,
    store: Store,
    names: list[str],
    file: BinaryIO,
    progress: Callable[[int, int], None],
) -> EmbeddedFolder:
    """Write the embeddings of files, a few batches at a time."""
    contract, compute = embedder.contract, compute_of(embedder.config)
    schema = pa.schema(
        {"name": pa.string(), "embedding": pa.list_(pa.float32(), contract.embedding_width)},
        metadata={KEY: contract.to_json()},
    )
    batches = read_image_files(
        store,
        names=names,
        height=contract.height,
        width=contract.width,
        batch_size=embedder.config.evaluation.batch_size,
        num_threads=embedder.config.data.num_threads,
    )
    unreadable: list[UnreadableFile] = []
    waiting: list[pa.RecordBatch] = []
    num_images = num_waiting = 0
    # Embeddings are as good as random to a compressor.
    with (
        closing(batches),
        pq.ParquetWriter(file, schema, compression="none", use_dictionary=False) as writer,
    ):
        for batch in batches:
            unreadable += batch.unreadable
            if batch.names:
                with torch.inference_mode(), compute.autocast():
                    images_BCHW = normalise(compute.move(batch.images))
                    embeddings_BC = embedder.network.embed(images_BCHW).cpu()
                values = pa.array(embeddings_BC.flatten().numpy())
                column = pa.FixedSizeListArray.from_arrays(values, contract.embedding_width)
                waiting.append(
                    pa.record_batch([pa.array(batch.names, pa.string()), column], schema=schema)
                )
                num_images += len(batch.names)
                num_waiting += len(batch.names)
            if num_waiting >= ROWS_PER_GROUP:
                writer.write_table(pa.Table.from_batches(waiting, schema))
                waiting, num_waiting = [], 0
            progress(num_images + len(unreadable), len(names))
        if num_images == 0:
            first = unreadable[0]
            raise DataError(
                f"none of the {len(names)} images in {store.uri} can be read; the first is "
                f"{first.name}: {first.reason}"
            )
        if waiting:
            writer.write_table(pa.Table.from_batches(waiting, schema))
        if unreadable:
            listed = json.dumps([asdict(file) for file in unreadable])
            writer.add_key_value_metadata({UNREADABLE_KEY: listed})
    return EmbeddedFolder(num_images=num_images, unreadable=unreadable, contract=contract)

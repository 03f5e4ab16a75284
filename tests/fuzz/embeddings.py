"""Embeddings of a gallery that a search has kept."""

from functools import cache
from pathlib import Path

import numpy as np
import pyarrow as pa

from daam.inference.search.embedded import read_embeddings
from tests.fuzz.domain import offsets_in
from tests.fuzz.mutations import mutated_bytes
from tests.fuzz.target import Target

NUM_ROWS, WIDTH = 6, 4
KEYS = [bytes([row]) * 16 for row in range(NUM_ROWS)]
VALUES = np.arange(NUM_ROWS * WIDTH, dtype=np.float32)


def target() -> Target:
    """What is not ignored is one embedding of the right width for each key."""
    samples = [_sample()]
    mutated = mutated_bytes(samples, places=offsets_in)
    return Target(name="kept embeddings", samples=samples, mutated=mutated, read=_read)


@cache
def _sample() -> bytes:
    embeddings = pa.FixedSizeListArray.from_arrays(pa.array(VALUES), WIDTH)
    table = pa.table({"key": pa.array(KEYS, pa.binary()), "embedding": embeddings})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()


def _read(data: bytes, folder: Path) -> None:
    (folder / "kept.arrow").write_bytes(data)
    keys, names, files = read_embeddings(folder, width=WIDTH)
    assert len(names) == len(files)
    assert sum(map(len, files)) == len(keys)
    assert all(embeddings_FC.shape[1] == WIDTH for embeddings_FC in files)
    assert all(isinstance(key, bytes | None) for key in keys.to_pylist())
    for embeddings_FC in files:
        embeddings_FC.sum()  # reads all of them
    if data == _sample():
        assert keys.to_pylist() == KEYS
        assert files[0].flatten().tolist() == VALUES.tolist()

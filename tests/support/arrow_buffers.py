"""Where the buffers of an Arrow file are, to overwrite what Arrow's own writers would refuse."""

import pyarrow as pa

OFFSETS, VALUES = 1, 2  # of text and bytes
NUMBERS = 1


def buffers_of(data: bytes) -> dict[tuple[str, int], list[range]]:
    """The bytes of each uncompressed buffer: (column, its number in Arrow's layout) -> one range
    per record batch."""
    file = pa.py_buffer(data)
    found: dict[tuple[str, int], list[range]] = {}
    for batch in pa.ipc.open_file(file).read_all().to_batches():
        for name, column in zip(batch.schema.names, batch.columns, strict=True):
            for number, buffer in enumerate(column.buffers()):
                if buffer is not None and 0 <= buffer.address - file.address < file.size:
                    start = buffer.address - file.address
                    place = range(start, start + buffer.size)
                    found.setdefault((name, number), []).append(place)
    return found


def overwritten(data: bytes, *, column: str, buffer: int, at: int, value: bytes) -> bytes:
    """The file with some bytes of a buffer of its first record batch replaced."""
    start = buffers_of(data)[column, buffer][0].start + at
    return data[:start] + value + data[start + len(value) :]


def uncompressed(data: bytes) -> bytes:
    """The same table in a file without compression."""
    table = pa.ipc.open_file(data).read_all()
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()

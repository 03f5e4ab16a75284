"""Arrow IPC files, validated when they are opened. Nothing else in daam opens one.

Arrow trusts the offsets in a file: reading a value of one that was made to mislead can crash the
process. A checksum only proves that a file is the one its manifest names.
"""

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa

COLUMNS_SHOWN = 200  # characters


def read_table(
    source: Path | bytes | pa.Buffer, *, schema: pa.Schema, columns: Sequence[str] | None = None
) -> pa.Table:
    """Read an Arrow IPC file and validate every value: offsets, UTF-8, nulls.

    Args:
        source: a file, which is memory-mapped, or its content.
        schema: that it must have. The last columns may be missing if they are nullable: they are
            null then.
        columns: which to read and validate, in the order of the schema; None: all. Compressed
            columns are read into memory at once.

    Raises:
        ValueError: it is no Arrow file, has other columns, or an invalid value.
    """
    fields = None if columns is None else [schema.get_field_index(name) for name in columns]
    try:
        if isinstance(source, Path):
            with pa.memory_map(str(source)) as file:  # the mapping outlives the open file
                table = _read(file, schema=schema, fields=fields)
        else:
            table = _read(source, schema=schema, fields=fields)
        table.validate(full=True)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise ValueError(f"it is no valid Arrow file ({_first_line(error)})") from error
    for field in table.schema:
        if not field.nullable and table[field.name].null_count:
            raise ValueError(f"column {field.name} has nulls")
    if columns is None:
        for field in list(schema)[table.num_columns :]:
            table = table.append_column(field, pa.nulls(table.num_rows, field.type))
    return table


def _read(
    source: pa.NativeFile | bytes | pa.Buffer, *, schema: pa.Schema, fields: list[int] | None
) -> pa.Table:
    found = pa.ipc.open_file(source).schema
    if not _fits(found, schema):
        raise ValueError(f"it has columns {_columns(found)}; not {_columns(schema)}")
    options = pa.ipc.IpcReadOptions(included_fields=fields)
    return pa.ipc.open_file(source, options=options).read_all()


def _fits(found: pa.Schema, schema: pa.Schema) -> bool:
    """Whether a file has these columns, or fewer where the last ones are nullable."""
    shared = list(zip(found, schema, strict=False))
    return all(
        have.name == want.name and have.type == want.type and have.nullable <= want.nullable
        for have, want in shared
    ) and all(field.nullable for field in list(schema)[len(shared) :])


def _columns(schema: pa.Schema) -> str:
    lines = schema.remove_metadata().to_string(show_field_metadata=False).splitlines()
    text = ", ".join(lines)
    return text if len(text) <= COLUMNS_SHOWN else f"{text[:COLUMNS_SHOWN]}…"


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]

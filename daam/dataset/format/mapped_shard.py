"""A shard in a local folder: mapped where it is, each image verified at its first use."""

import zlib
from pathlib import Path

import pyarrow as pa

from daam.dataset.format.shard_index import ShardIndex
from daam.errors import ShardError, StorageError


class MappedShard:
    """The images of a local file and their `index`. Any number of threads may read."""

    def __init__(self, path: Path, *, index: ShardIndex) -> None:
        """
        Raises:
            ShardError: the file is missing, or its size is not that of its manifest.
            StorageError: it cannot be read.
        """
        self._path = path
        self.index = index
        self._is_checked = bytearray(index.entry.num_rows)
        try:
            # The mapping outlives the open file, so no descriptor is kept.
            with pa.memory_map(str(path)) as source:
                self._data = memoryview(source.read_buffer()).cast("B")  # decoders want unsigned
        except FileNotFoundError as error:
            raise ShardError(
                f"shard {index.entry.key} is missing: there is no {path}; run daam "
                "data verify to see how to repair it"
            ) from error
        except (OSError, pa.ArrowException) as error:
            raise StorageError(f"cannot read shard {path}: {error}") from error
        if len(self._data) != index.entry.size_bytes:
            raise damaged_shard(index, place=str(path))

    def image(self, row: int) -> memoryview:
        """The JPEG of a row of this shard, without a copy; it stays valid as long as it is held.

        Raises:
            ShardError: its bytes are not those that were imported.
        """
        start = self.index.offsets[row]
        image = self._data[start : start + self.index.sizes[row]]
        if not self._is_checked[row]:
            if zlib.crc32(image) != self.index.checksums[row]:
                raise damaged_shard(self.index, place=str(self._path), row=row)
            self._is_checked[row] = 1
        return image


def damaged_shard(index: ShardIndex, *, place: str, row: int | None = None) -> ShardError:
    """The error for bytes that are not those of the import."""
    where = f"shard {index.entry.key}" if row is None else f"row {row} of shard {index.entry.key}"
    return ShardError(
        f"{where} is damaged in {place}: its bytes are not those that were imported; "
        "run daam data verify to find all damage and how to repair it"
    )

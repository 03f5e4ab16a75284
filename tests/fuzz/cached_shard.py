"""A shard's file in the cache of a node, which any process of its user may have damaged."""

from contextlib import suppress
from pathlib import Path

from daam.dataset.cache import ShardCache
from daam.dataset.format.shard_index import read_index
from tests.fuzz.domain import INDEX, NUM_ROWS, SHARD, domain, jpegs
from tests.fuzz.mutations import mutated_bytes
from tests.fuzz.target import Target


def target() -> Target:
    """Its images are the imported ones, or missing."""
    entry = domain().entry(SHARD)
    whole = domain().files[SHARD] + b"\1" * NUM_ROWS
    half = domain().files[SHARD] + b"\1\0" * (NUM_ROWS // 2)
    marks = range(entry.size_bytes, entry.size_bytes + NUM_ROWS)
    mutated = mutated_bytes([whole, half], places=lambda _: [marks])
    return Target(name="shard in the cache", samples=[whole, half], mutated=mutated, read=_read)


def _read(data: bytes, folder: Path) -> None:
    index_file = folder / "index.arrow"
    index_file.write_bytes(domain().files[INDEX])
    entry = domain().entry(SHARD)
    (index,) = read_index(index_file, entry=domain().entry(INDEX), shards=[entry])
    directory = folder / "cache"
    cached = directory / "shards" / f"{entry.sha256}.images"
    for each in (directory, directory / "shards", directory / "locks"):
        each.mkdir(exist_ok=True, mode=0o700)
    with suppress(FileNotFoundError):
        cached.unlink()
    cached.write_bytes(data)
    cached.chmod(0o600)
    cache = ShardCache(directory, capacity_bytes=1 << 20)
    file = cache.open(index, create=True, timeout_s=5)
    assert file is not None
    whole_size = entry.size_bytes + NUM_ROWS
    images = [file.image(row) for row in range(NUM_ROWS)]
    assert all(image in (None, jpeg) for image, jpeg in zip(images, jpegs(), strict=True))
    if data[: entry.size_bytes] == domain().files[SHARD] and len(data) == whole_size:
        marks = data[entry.size_bytes :]
        assert [image is not None for image in images] == [mark != 0 for mark in marks]

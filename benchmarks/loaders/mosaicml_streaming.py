"""MosaicML Streaming: MDS shards, copied whole to a local cache, shuffled in blocks."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from streaming import MDSWriter, StreamingDataset  # pyright: ignore[reportMissingImports]
from streaming.base.util import clean_stale_shared_memory  # pyright: ignore[reportMissingImports]
from torch import Tensor
from torch.utils.data import DataLoader

from benchmarks.loaders.place import Place
from benchmarks.loaders.work import BATCH_SIZE, NUM_WORKERS, Work

SHARD_SIZE_BYTES = 16 << 20


def prepare(images: Path, folder: Path) -> None:
    """Write MDS shards."""
    with MDSWriter(
        out=str(folder), columns={"image": "bytes"}, size_limit=SHARD_SIZE_BYTES
    ) as writer:
        for path in sorted(images.glob("*/*.jpg")):
            writer.write({"image": path.read_bytes()})


def batches(place: Place, work: Work, *, shuffle: bool) -> Iterator[Tensor]:
    """Yield an epoch's batches."""
    clean_stale_shared_memory()
    where = (
        {"local": str(place.folder / "mosaicml_streaming")}
        if place.endpoint is None
        else {"local": str(place.cache), "remote": place.s3("mosaicml_streaming")}
    )
    dataset = _Images(work, shuffle=shuffle, batch_size=BATCH_SIZE, **where)
    for stream in dataset.streams:
        # It has read its index through a connection that two forked workers would share: they get
        # parts of each other's answers.
        stream._downloader.clean_up()
    loader = DataLoader(
        dataset,
        batch_size=BATCH_SIZE,
        num_workers=NUM_WORKERS,
        drop_last=shuffle,
        collate_fn=work.collate,
    )
    return map(work.finish, loader)


class _Images(StreamingDataset):
    def __init__(self, work: Work, **settings: Any) -> None:
        super().__init__(**settings)
        self._work = work

    def __getitem__(self, at: int) -> Any:
        return self._work.each(super().__getitem__(at)["image"])

"""LitData: optimised chunks, read in a shuffled order of chunks and of images within."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import litdata  # pyright: ignore[reportMissingImports]
from litdata.streaming import downloader  # pyright: ignore[reportMissingImports]
from torch import Tensor

from benchmarks.loaders.place import Place
from benchmarks.loaders.work import BATCH_SIZE, NUM_WORKERS, Work

CHUNK_SIZE = "16MB"


def prepare(images: Path, folder: Path) -> None:
    """Write chunks."""
    litdata.optimize(
        fn=_read,
        inputs=[str(path) for path in sorted(images.glob("*/*.jpg"))],
        output_dir=str(folder),
        chunk_bytes=CHUNK_SIZE,
        num_workers=1,
        verbose=False,
    )


def batches(place: Place, work: Work, *, shuffle: bool) -> Iterator[Tensor]:
    """Yield an epoch's batches."""
    where: dict[str, Any] = {"input_dir": str(place.folder / "lit_data")}
    if place.endpoint is not None:
        # Its client wants https and has no setting for that.
        downloader._OBSTORE_CLIENT_OPTIONS["allow_http"] = True
        where = {
            "input_dir": place.s3("lit_data"),
            "cache_dir": str(place.cache),
            "storage_options": {"endpoint_url": place.endpoint},
        }
    dataset = litdata.StreamingDataset(
        **where,
        shuffle=shuffle,
        drop_last=shuffle,
        transform=lambda sample: work.each(sample["image"]),
    )
    loader = litdata.StreamingDataLoader(
        dataset,
        batch_size=BATCH_SIZE,
        num_workers=NUM_WORKERS,
        drop_last=shuffle,
        collate_fn=work.collate,
    )
    return map(work.finish, loader)


def _read(path: str) -> dict[str, bytes]:
    return {"image": Path(path).read_bytes()}

"""Lance: rows of a batch taken at random, in worker processes, as its guide for PyTorch has it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lance  # pyright: ignore[reportMissingImports]
import pyarrow as pa
from lance.torch.data import (  # pyright: ignore[reportMissingImports]
    SafeLanceDataset,
    get_safe_loader,
)
from torch import Tensor

from benchmarks.loaders.place import KEY, Place
from benchmarks.loaders.work import BATCH_SIZE, NUM_WORKERS, Work

NAME = "images.lance"


def prepare(images: Path, folder: Path) -> None:
    """Write one data set."""
    jpegs = [path.read_bytes() for path in sorted(images.glob("*/*.jpg"))]
    table = pa.table({"image": pa.array(jpegs, pa.binary())})
    lance.write_dataset(table, str(folder / NAME))


def batches(place: Place, work: Work, *, shuffle: bool) -> Iterator[Tensor]:
    """Yield an epoch's batches."""
    address, options = str(place.folder / "lance_take" / NAME), {}
    if place.endpoint is not None:
        address = f"{place.s3('lance_take')}/{NAME}"
        options = {
            "storage_options": {
                "aws_endpoint": place.endpoint,
                "aws_access_key_id": KEY,
                "aws_secret_access_key": KEY,
                "aws_region": "us-east-1",
                "allow_http": "true",
            }
        }
    loader = get_safe_loader(
        SafeLanceDataset(address, dataset_options=options),
        batch_size=BATCH_SIZE,
        num_workers=NUM_WORKERS,
        shuffle=shuffle,
        drop_last=shuffle,
        collate_fn=_Collate(work),
    )
    return map(work.finish, loader)


class _Collate:
    """A class, since its workers start anew and are sent it."""

    def __init__(self, work: Work) -> None:
        self._work = work

    def __call__(self, rows: list[dict[str, Any]]) -> Tensor:
        return self._work.collate([self._work.each(row["image"]) for row in rows])

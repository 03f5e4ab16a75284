"""HF datasets: Arrow files memory-mapped from local disk; from a server, Parquet as a stream."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import datasets  # pyright: ignore[reportMissingImports]
from torch import Tensor
from torch.utils.data import DataLoader

from benchmarks.loaders.place import Place
from benchmarks.loaders.work import BATCH_SIZE, NUM_WORKERS, Work

NUM_SHARDS = 8
BUFFERED = 1000


def prepare(images: Path, folder: Path) -> None:
    """Write Arrow files, and Parquet files for the stream."""
    dataset = datasets.Dataset.from_dict(
        {"image": [path.read_bytes() for path in sorted(images.glob("*/*.jpg"))]}
    )
    dataset.save_to_disk(str(folder / "arrow"), num_shards=NUM_SHARDS)
    for index in range(NUM_SHARDS):
        shard = dataset.shard(num_shards=NUM_SHARDS, index=index)
        shard.to_parquet(str(folder / "parquet" / f"{index:05d}.parquet"))


def batches(place: Place, work: Work, *, shuffle: bool) -> Iterator[Tensor]:
    """Yield an epoch's batches."""
    folder = place.folder / "hf_datasets"
    dataset: Any
    if place.endpoint is None:
        dataset = datasets.load_from_disk(str(folder / "arrow")).with_transform(
            lambda batch: {"image": [work.each(jpeg) for jpeg in batch["image"]]}
        )
    else:
        files = [place.http(path) for path in sorted((folder / "parquet").glob("*.parquet"))]
        dataset = datasets.load_dataset(
            "parquet",
            data_files=files,
            split="train",
            streaming=True,
            cache_dir=str(place.cache),
        )
        if shuffle:
            dataset = dataset.shuffle(seed=0, buffer_size=BUFFERED)
        dataset = dataset.map(lambda sample: {"image": work.each(sample["image"])})
    loader = DataLoader(
        dataset,
        batch_size=BATCH_SIZE,
        shuffle=shuffle if place.endpoint is None else None,
        num_workers=NUM_WORKERS,
        drop_last=shuffle,
        collate_fn=lambda samples: work.collate([sample["image"] for sample in samples]),
    )
    return map(work.finish, loader)

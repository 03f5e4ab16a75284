"""Ray Data: Parquet blocks transformed by Ray's workers, shuffled by file and in a buffer."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pyarrow as pa
import pyarrow.fs
import pyarrow.parquet as pq
import ray
import torch
from torch import Tensor

from benchmarks.loaders.place import BUCKET, KEY, Place
from benchmarks.loaders.work import BATCH_SIZE, NUM_WORKERS, Work

IMAGES_PER_FILE = 1024
BUFFERED = 1000


def prepare(images: Path, folder: Path) -> None:
    """Write Parquet files."""
    paths = sorted(images.glob("*/*.jpg"))
    for first in range(0, len(paths), IMAGES_PER_FILE):
        jpegs = [path.read_bytes() for path in paths[first : first + IMAGES_PER_FILE]]
        table = pa.table({"image": pa.array(jpegs, pa.binary())})
        pq.write_table(table, folder / f"{first:07d}.parquet", compression="none")


def batches(place: Place, work: Work, *, shuffle: bool) -> Iterator[Tensor]:
    """Yield an epoch's batches."""
    _start_ray()
    filesystem, path = None, str(place.folder / "ray_data")
    if place.endpoint is not None:
        path = f"{BUCKET}/ray_data"
        filesystem = pyarrow.fs.S3FileSystem(
            endpoint_override=urlsplit(place.endpoint).netloc,
            scheme="http",
            access_key=KEY,
            secret_key=KEY,
            region="us-east-1",
        )

    def transform(batch: Any) -> Any:
        return {"image": work.collate([work.each(jpeg) for jpeg in batch["image"]]).numpy()}

    dataset = ray.data.read_parquet(
        path, filesystem=filesystem, shuffle="files" if shuffle else None
    ).map_batches(transform, batch_size=BATCH_SIZE)
    loader = dataset.iter_torch_batches(
        batch_size=BATCH_SIZE,
        drop_last=shuffle,
        local_shuffle_buffer_size=BUFFERED if shuffle else None,
    )
    return (work.finish(torch.as_tensor(batch["image"])) for batch in loader)


def _start_ray() -> None:
    if ray.is_initialized():
        return
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    ray.init(num_cpus=NUM_WORKERS, include_dashboard=False, log_to_driver=False)
    ray.data.DataContext.get_current().enable_progress_bars = False

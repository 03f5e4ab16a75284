"""WebDataset: tar files read in order, shuffled by shard and in a buffer of 1,000 images."""

from collections.abc import Iterator
from pathlib import Path

import webdataset  # pyright: ignore[reportMissingImports]
from torch import Tensor

from benchmarks.loaders.place import Place
from benchmarks.loaders.work import BATCH_SIZE, NUM_WORKERS, Work

IMAGES_PER_SHARD = 1000
BUFFERED = 1000


def prepare(images: Path, folder: Path) -> None:
    """Write tar files."""
    pattern = str(folder / "%05d.tar")
    with webdataset.ShardWriter(pattern, maxcount=IMAGES_PER_SHARD, verbose=0) as writer:
        for path in sorted(images.glob("*/*.jpg")):
            writer.write({"__key__": path.stem, "jpg": path.read_bytes()})


def batches(place: Place, work: Work, *, shuffle: bool) -> Iterator[Tensor]:
    """Yield an epoch's batches; those of each worker are its own, so two are not full."""
    shards = sorted((place.folder / "web_dataset").glob("*.tar"))
    urls = [str(shard) if place.endpoint is None else place.http(shard) for shard in shards]
    dataset = webdataset.WebDataset(urls, shardshuffle=len(urls) if shuffle else False, seed=0)
    if shuffle:
        dataset = dataset.shuffle(BUFFERED)
    dataset = (
        dataset.to_tuple("jpg")
        .map(lambda sample: work.each(sample[0]))
        .batched(BATCH_SIZE, collation_fn=work.collate, partial=not shuffle)
    )
    loader = webdataset.WebLoader(dataset, batch_size=None, num_workers=NUM_WORKERS)
    return map(work.finish, loader)

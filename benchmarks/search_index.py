"""`daam search --index` beside exact search: time, memory and recall for millions of images.

    python benchmarks/search_index.py --images 1000000 --width 512
    python benchmarks/search_index.py --images 1000000 --run runs/assessment/airport-school.00.npz

Embeddings are drawn: people with 20 images each, who differ in 24 directions, so that cosines
within a person (.55) and between people (0, deviation .2) are like those of the runs of
`assessment.py`, whose embeddings vary in 12 to 23 directions (participation ratio).
`--directions 64` is harder. With `--run` they are those of a trained run (a file of
`assessment.py`), each repeated with noise as large as the distance to its nearest other image; the
queries are then cropped photos, also with noise. Queries are never in the gallery. One thread; CPU
time, since machines are rarely idle.

Shapes: N = images, M = images of the run, Q = queries, C = embedding width.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from measuring import forget_peak, resident_bytes, timed
from torch.nn.functional import normalize

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from daam.inference.search.embedded import EMBEDDINGS_PER_FILE, EmbeddedGallery
from daam.inference.search.gallery import Gallery
from daam.inference.search.index import FILE_NAME, open_index

NUM_QUERIES, IMAGES_PER_PERSON = 100, 20
PERSON, SIGHT = 0.7, 0.6  # size of the difference between people, and within a person's images

Draw = Callable[[torch.Generator, int], torch.Tensor]
"""Embeddings, (count, C), of length 1."""


def main() -> None:
    """Build, read and search an index; print what each costs and how much it finds."""
    parser = argparse.ArgumentParser(description="An approximate index beside exact search")
    parser.add_argument("--images", type=int, default=1_000_000)
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--directions", type=int, default=24)
    parser.add_argument("--run", type=Path, help="embeddings of a run: a file of assessment.py")
    parser.add_argument("--scratch", type=Path, default=Path(tempfile.gettempdir()))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.run is None:
        gallery, queries = drawn_people(
            arguments.images, width=arguments.width, num_directions=arguments.directions
        )
    else:
        gallery, queries = repeated_run(arguments.run)
    with tempfile.TemporaryDirectory(dir=arguments.scratch, prefix="daam-index-") as folder:
        measure(Path(folder), gallery=gallery, queries=queries, num_images=arguments.images)


def measure(folder: Path, *, gallery: Draw, queries: Draw, num_images: int) -> None:
    """Print the costs and the recall of one gallery, whose embeddings lie in a file."""
    embedded = written(folder / "embeddings", draw=gallery, num_images=num_images)
    queries_QC = queries(torch.Generator().manual_seed(2), NUM_QUERIES).numpy()
    width = queries_QC.shape[1]
    one, _ = timed(lambda: embedded.nearest(queries_QC[:1], count=10, allowed_N=None))
    many, (exact_Qk, _) = timed(lambda: embedded.nearest(queries_QC, count=100, allowed_N=None))
    print(
        f"{num_images:,} x {width}: exact {one.cpu_s:.2f} s of CPU for one query, "
        f"{many.cpu_s / NUM_QUERIES:.3f} s each for {NUM_QUERIES} at once",
        flush=True,
    )
    forget_peak()
    before = resident_bytes("RssAnon")
    build, index = timed(lambda: open_index(embedded, folder=folder))
    lists = index.lists
    print(
        f"built in {build.cpu_s:.0f} s of CPU ({build.wall_s:.0f} s): {lists.nlist:,} lists, of "
        f"which {lists.nprobe} are searched; {(folder / FILE_NAME).stat().st_size / 1e6:,.0f} MB, "
        f"{(resident_bytes('RssAnon') - before) / 1e6:,.0f} MB of memory beside the embeddings",
        flush=True,
    )
    read, index = timed(lambda: open_index(embedded, folder=folder))
    single, _ = timed(lambda: [index.nearest(query_C[None], count=10) for query_C in queries_QC])
    batch, (found_Qk, _) = timed(lambda: index.nearest(queries_QC, count=10))
    deep_Qk, _ = index.nearest(queries_QC, count=100)
    print(
        f"read in {read.cpu_s:.1f} s; {1e3 * single.cpu_s / NUM_QUERIES:.1f} ms of CPU a query, "
        f"{1e3 * batch.cpu_s / NUM_QUERIES:.1f} ms each for {NUM_QUERIES} at once"
    )
    print(
        f"recall with new photos: {recall(found_Qk, exact_Qk[:, :10]):.3f} of 10, "
        f"{recall(deep_Qk, exact_Qk):.3f} of 100; it says {index.quality.recall_at_10:.3f} and "
        f"{index.quality.recall_at_100:.3f}"
    )


def recall(found_Qk: np.ndarray, exact_Qk: np.ndarray) -> float:
    """Share of the nearest that are found."""
    hits = [np.isin(exact, found).mean() for found, exact in zip(found_Qk, exact_Qk, strict=True)]
    return float(np.mean(hits))


def drawn_people(num_images: int, *, width: int, num_directions: int) -> tuple[Draw, Draw]:
    """A gallery of people, and queries that show some of them."""
    generator = torch.Generator().manual_seed(0)
    directions = torch.randn(num_directions, width, generator=generator) / width**0.5
    people = torch.randn(num_images // IMAGES_PER_PERSON, num_directions, generator=generator)

    def draw(generator: torch.Generator, count: int) -> torch.Tensor:
        who = torch.randint(len(people), (count,), generator=generator)
        seen = PERSON * people[who] + SIGHT * torch.randn(
            count, num_directions, generator=generator
        )
        noise = torch.randn(count, width, generator=generator) / width**0.5
        return normalize(seen @ directions / num_directions**0.5 + 0.3 * noise, dim=1)

    return draw, draw


def repeated_run(path: Path) -> tuple[Draw, Draw]:
    """A gallery of a run's embeddings with noise, and queries from cropped images."""
    stored = np.load(path)
    plain_MC, cropped_MC = (
        normalize(torch.from_numpy(stored[name].astype(np.float32)), dim=1)
        for name in ("plain", "cropped")
    )
    nearest_M = (plain_MC @ plain_MC.T).fill_diagonal_(-1).amax(dim=1)
    # The squared distance of two unit vectors is twice their cosine distance.
    size = float((2 * (1 - nearest_M.median())) ** 0.5) / plain_MC.shape[1] ** 0.5
    print(f"{len(plain_MC):,} embeddings of {path.name}, each noise of {size:.3f}")

    def drawn_from(embeddings_MC: torch.Tensor) -> Draw:
        def draw(generator: torch.Generator, count: int) -> torch.Tensor:
            rows = torch.randint(len(embeddings_MC), (count,), generator=generator)
            noise = torch.randn(count, embeddings_MC.shape[1], generator=generator)
            return normalize(embeddings_MC[rows] + size * noise, dim=1)

        return draw

    return drawn_from(plain_MC), drawn_from(cropped_MC)


def written(path: Path, *, draw: Draw, num_images: int) -> EmbeddedGallery:
    """A gallery of so many images, its embeddings mapped from a file."""
    generator = torch.Generator().manual_seed(1)
    sizes = [
        min(EMBEDDINGS_PER_FILE, num_images - first)
        for first in range(0, num_images, EMBEDDINGS_PER_FILE)
    ]
    with path.open("wb") as file:
        for size in sizes:
            file.write(draw(generator, size).numpy().tobytes())
    width = path.stat().st_size // 4 // num_images
    with warnings.catch_warnings():  # torch warns of read-only memory, which is only read here
        warnings.simplefilter("ignore", UserWarning)
        embeddings_NC = torch.from_numpy(
            np.memmap(path, np.float32, mode="r", shape=(num_images, width))
        )
    gallery = Gallery(
        name="drawn",
        names=[],
        keys=pa.array([], pa.binary()),
        cameras=None,
        times=None,
        camera_names={},
        batches=lambda _: iter(()),
        pixels=lambda _: np.zeros((1, 1, 3), np.uint8),
    )
    return EmbeddedGallery(
        gallery=gallery,
        unreadable=[],
        names=[f"{number}" for number in range(len(sizes))],
        files=list(embeddings_NC.split(EMBEDDINGS_PER_FILE)),
        rows=np.split(np.arange(num_images), np.cumsum(sizes)[:-1]),
        places=[np.arange(size) for size in sizes],
    )


if __name__ == "__main__":
    main()

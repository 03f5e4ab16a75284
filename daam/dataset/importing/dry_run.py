"""Look at a data set before it is imported: what was understood of it, and what cannot be read."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain

import pyarrow as pa

from daam.dataset.format.shards import in_groups
from daam.dataset.importing.dataset_index import DatasetIndex, SkippedFile
from daam.dataset.importing.encoding import IMAGES_PER_TASK, problem_of
from daam.dataset.parallel import num_processors, parallel_map
from daam.domains import Split
from daam.spread import spread_evenly


@dataclass(frozen=True, slots=True, kw_only=True)
class ExampleImage:
    """What is known of an image; None is unknown. Cameras and people have their names."""

    path: str
    split: Split
    camera: str | None
    identity: str | None
    track: int | None
    time: int | None


def example_images(index: DatasetIndex, *, count: int) -> list[ExampleImage]:
    """Some images, spread evenly over each split, in proportion to its size."""
    examples = []
    for split, images in index.splits.items():
        share = max(1, round(count * images.num_rows / len(index)))
        rows = images.take(pa.array(spread_evenly(images.num_rows, count=share)))
        for row in rows.to_pylist():
            camera, identity = row["camera"], row["identity"]
            examples.append(
                ExampleImage(
                    path=row["path"],
                    split=split,
                    camera=None if camera is None else index.camera_names.get(camera, str(camera)),
                    identity=None
                    if identity is None
                    else index.identity_names.get(identity, str(identity)),
                    track=row["track"],
                    time=row["time"],
                )
            )
    return examples


def unreadable_images(
    index: DatasetIndex, *, progress: Callable[[int, int], None] | None = None
) -> list[SkippedFile]:
    """Decode all images, and return those at which an import would stop, and why.

    Args:
        progress: called with (images done, images in all).
    """
    paths = (path.as_py() for images in index.splits.values() for path in images["path"])
    num_threads = num_processors()

    def check(group: list[str]) -> list[tuple[str, str | None]]:
        return [(path, problem_of(index.root / path)) for path in group]

    checked = parallel_map(
        check,
        in_groups(paths, size=IMAGES_PER_TASK),
        num_threads=num_threads,
        prefetch=num_threads,
    )
    unreadable = []
    for done, (path, problem) in enumerate(chain.from_iterable(checked), start=1):
        if problem is not None:
            unreadable.append(SkippedFile(path=path, reason=problem))
        if progress is not None:
            progress(done, len(index))
    return unreadable

"""Images of a data set that cannot be read: found before an import, and left out of it."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import chain

import pyarrow as pa

from daam.dataset.format.shards import in_groups
from daam.dataset.importing.dataset_index import (
    DatasetIndex,
    SkippedFile,
    check_index,
    sorted_files,
)
from daam.dataset.importing.encoding import IMAGES_PER_TASK, problem_of
from daam.dataset.parallel import num_processors, parallel_map

REASON = "cannot be read"


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


def without_unreadable(index: DatasetIndex, unreadable: Sequence[SkippedFile]) -> DatasetIndex:
    """Return an index without the images that cannot be read; they become skipped files.

    Args:
        index: from a layout, before people are held out.
        unreadable: from `unreadable_images`.

    Raises:
        LayoutError: nothing is left, or only one of query and gallery.
    """
    paths = {file.path for file in unreadable}
    splits = {
        split: images.filter(pa.array([path.as_py() not in paths for path in images["path"]]))
        for split, images in index.splits.items()
    }
    skipped = [SkippedFile(path=file.path, reason=REASON) for file in unreadable]
    return check_index(
        replace(
            index,
            splits={split: images for split, images in splits.items() if images.num_rows},
            skipped=sorted_files([*index.skipped, *skipped]),
            without_unreadable=True,
        )
    )

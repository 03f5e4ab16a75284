"""What `daam data import` prints about a data set: as it was understood, left out, and odd."""

from collections.abc import Callable, Sequence
from itertools import groupby, islice

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from daam.commands.terminal.screen import console, print_line
from daam.dataset.format.shards import numbers
from daam.dataset.importing.dataset_index import DatasetIndex, SkippedFile
from daam.dataset.importing.dry_run import ExampleImage, example_images

NUM_EXAMPLES = 10
SKIPPED_FILES_NAMED = 3
CAMERAS_NAMED = 12
UNREADABLE_NAMED = 20
COLUMNS = (("identity", "people"), ("camera", "cameras"), ("track", "tracks"))


def print_understood(index: DatasetIndex) -> None:
    """Print some images with what is known of them, and how much of it there is in each split."""
    _print_examples(example_images(index, count=NUM_EXAMPLES))
    table = Table(title=f"{len(index):,} images", box=SIMPLE_HEAD, pad_edge=False, show_edge=False)
    table.add_column("split", no_wrap=True)
    for header in ("images", *(plural for _, plural in COLUMNS), "times"):
        table.add_column(header, justify="right")
    for split, images in index.splits.items():
        counts = []
        for name, _ in COLUMNS:
            column = images[name]
            counts.append("unknown" if column.null_count else f"{len(column.unique()):,}")
        times = "unknown" if images["time"].null_count else "known"
        table.add_row(str(split), f"{images.num_rows:,}", *counts, times)
    console.print(table)
    _print_cameras(index)


def print_skipped(skipped: Sequence[SkippedFile]) -> None:
    """Print how many files are left out for each reason, and name the first."""
    for reason, files in groupby(skipped, key=lambda file: file.reason):
        named = [file.path for file in islice(files, SKIPPED_FILES_NAMED)]
        num_more = sum(1 for _ in files)
        more = ", …" if num_more else ""
        print_line(f"skipped {len(named) + num_more}, {reason}: {', '.join(named)}{more}")


def print_unreadable(unreadable: Sequence[SkippedFile], *, is_skipped: bool) -> None:
    """Print the images that an import leaves out, or at which it would stop."""
    if not unreadable:
        print_line("all images can be read")
        return
    count = f"{len(unreadable):,} images" if len(unreadable) > 1 else "1 image"
    advice = (
        "left out"
        if is_skipped
        else "replace or remove them before the import, or leave them out (--skip-unreadable)"
    )
    print_line(f"{count} cannot be read; {advice}:")
    for file in unreadable[:UNREADABLE_NAMED]:
        print_line(f"  {file.path}: {file.reason}")
    if len(unreadable) > UNREADABLE_NAMED:
        print_line(f"  … and {len(unreadable) - UNREADABLE_NAMED:,} more")


def print_note(note: str) -> None:
    """Print something that a user should look at."""
    print_line(f"note: {note}")


def _print_examples(examples: Sequence[ExampleImage]) -> None:
    columns: dict[str, Callable[[ExampleImage], object]] = {
        "image": lambda image: image.path,
        "split": lambda image: image.split,
        "person": lambda image: image.identity,
        "camera": lambda image: image.camera,
        "track": lambda image: image.track,
        "time": lambda image: image.time,
    }
    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for header in columns:
        table.add_column(header, overflow="fold")
    for image in examples:
        values = [value(image) for value in columns.values()]
        # As text: a path may hold what rich takes for markup or an emoji.
        table.add_row(*(Text("unknown" if value is None else str(value)) for value in values))
    console.print(table)


def _print_cameras(index: DatasetIndex) -> None:
    counts: dict[int, int] = {}
    for images in index.splits.values():
        if not images["camera"].null_count:
            values, of_camera = np.unique(numbers(images["camera"]), return_counts=True)
            for camera, count in zip(values.tolist(), of_camera.tolist(), strict=True):
                counts[camera] = counts.get(camera, 0) + count
    if counts:
        shown = [
            f"{index.camera_names.get(camera, camera)}: {counts[camera]:,}"
            for camera in sorted(counts)[:CAMERAS_NAMED]
        ]
        more = ", …" if len(counts) > CAMERAS_NAMED else ""
        print_line(f"images per camera: {', '.join(shown)}{more}")

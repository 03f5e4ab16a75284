"""Look at a data set before it is imported: examples of what was understood of it."""

from dataclasses import dataclass

import pyarrow as pa

from daam.dataset.importing.dataset_index import DatasetIndex
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

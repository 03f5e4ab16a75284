"""The distributions of a domain: how many images, of whom, seen by which cameras.

Shapes: S = images of identified people.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from daam.dataset.format.manifest import DomainManifest
from daam.dataset.maintenance.describe import (
    SplitDescription,
    cameras_per_identity,
    images_per_identity,
)
from daam.domains import VALIDATION_SPLITS, Split
from daam.errors import DataError
from daam.plots.palette import BLUE, GREEN, GREY, INK, ORANGE, PALE, PAPER
from daam.plots.sheet import Box, Sheet, check_format

MOST_BARS = 24
MOST_NUMBERED_CAMERAS = 24


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """Splits that are shown as one, in one colour."""

    name: str
    splits: tuple[Split, ...]
    colour: str


PARTS = (
    Part(name="train", splits=(Split.TRAIN,), colour=BLUE),
    Part(name="validation", splits=VALIDATION_SPLITS, colour=ORANGE),
    Part(name="test", splits=(Split.QUERY, Split.GALLERY), colour=GREEN),
)


def draw_description(
    splits: Mapping[Split, SplitDescription], *, manifest: DomainManifest, to: Path
) -> None:
    """Draw a domain: images per split, camera and identity, cameras per identity, size per image.

    Query and gallery show the same people and are counted as one, as are those of validation.

    Raises:
        ConfigError: the file's name ends in neither .png nor .svg.
        DataError: the domain has no images.
        StorageError: the file cannot be written.
    """
    check_format(to)
    if not splits:
        raise DataError(f"domain {manifest.domain} has no images to draw")
    # Each part with what is in it: its splits that have images.
    parts = {
        part: [splits[split] for split in part.splits if split in splits]
        for part in PARTS
        if any(split in splits for split in part.splits)
    }
    sightings = {
        part: np.concatenate([content.sightings for content in contents])
        for part, contents in parts.items()
    }
    num_people = sum(len(np.unique(seen_S3[:, 0])) for seen_S3 in sightings.values())
    sheet = Sheet(
        width=1320,
        height=820,
        title=manifest.domain,
        subtitle=_subtitle(splits, manifest, num_people=num_people),
    )
    sheet.legend({part.name: part.colour for part in parts})
    _draw_splits(
        sheet.chart(Box(left=165, top=139, width=429, height=246), title="Images per split"), splits
    )
    cameras = sorted({camera for split in splits.values() for camera in split.images_per_camera})
    by_camera = sheet.chart(
        Box(left=700, top=139, width=581, height=246), title="Images per camera", x="camera"
    )
    base = np.zeros(len(cameras))
    for part, contents in parts.items():
        heights = [sum(c.images_per_camera.get(camera, 0) for c in contents) for camera in cameras]
        by_camera.bar(range(len(cameras)), heights, bottom=base, color=part.colour, width=0.72)
        base += heights
    numbered = cameras if len(cameras) <= MOST_NUMBERED_CAMERAS else []
    by_camera.set_xticks(range(len(numbered)), [str(camera) for camera in numbered])

    _draw_counts(
        sheet.chart(
            Box(left=66, top=504, width=356, height=246),
            title="Images per identity",
            x="images",
            y="identities",
        ),
        {part: images_per_identity(seen_S3) for part, seen_S3 in sightings.items()},
    )
    _draw_counts(
        sheet.chart(
            Box(left=502, top=504, width=330, height=246),
            title="Cameras per identity",
            x="cameras",
            y="identities",
        ),
        {part: cameras_per_identity(seen_S3) for part, seen_S3 in sightings.items()},
    )
    _draw_sizes(
        sheet.chart(
            Box(left=911, top=504, width=370, height=246),
            title="Size per image",
            x="kB",
            y="images",
        ),
        np.concatenate([content.image_sizes for content in splits.values()]) / 1e3,
    )
    sheet.save(to)


def _subtitle(
    splits: Mapping[Split, SplitDescription], manifest: DomainManifest, *, num_people: int
) -> str:
    num_images = sum(content.num_images for content in splits.values())
    cameras = {camera for content in splits.values() for camera in content.images_per_camera}
    megabytes = sum(content.size_bytes for content in splits.values()) / 1e6
    size = "as they are in the data set"
    if manifest.settings.reencoded is not None:
        size = "at {} x {} pixels".format(*manifest.settings.reencoded)
    return (
        f"{num_images:,} images of {num_people:,} identities, {len(cameras)} cameras, "
        f"{megabytes:,.1f} MB · layout {manifest.layout} · stored {size}"
    )


def _draw_splits(axes: Axes, splits: Mapping[Split, SplitDescription]) -> None:
    places = np.arange(len(splits))[::-1]
    longest = max(content.num_images for content in splits.values())
    for place, (split, content) in zip(places, splits.items(), strict=True):
        colour = next(part.colour for part in PARTS if split in part.splits)
        nobody = content.num_distractors + content.num_junk
        of_people = content.num_images - nobody
        axes.barh(place, of_people, color=colour, height=0.62)
        axes.barh(place, nobody, left=of_people, color=PALE, height=0.62)
        inside = content.num_images > 0.55 * longest
        axes.text(
            0.012 * longest + (0 if inside else content.num_images),
            place,
            f"{content.num_images:,}" + (f", of which {nobody:,} of nobody" if nobody else ""),
            va="center",
            size=14,
            color=PAPER if inside else INK,
        )
    axes.set_yticks(places, [split.replace("_", " ") for split in splits], size=14, color=INK)
    axes.set(xticks=[], xlim=(0, longest * 1.02))
    axes.yaxis.grid(visible=False)
    axes.spines["bottom"].set_visible(False)


def _draw_counts(axes: Axes, counts: Mapping[Part, np.ndarray]) -> None:
    most = max((int(values.max()) for values in counts.values() if len(values)), default=1)
    width = -(-most // MOST_BARS)
    edges = np.arange(1, most + width + 1, width)
    base = np.zeros(len(edges) - 1)
    for part, values in counts.items():
        heights, _ = np.histogram(values, bins=edges)
        axes.bar(
            edges[:-1], heights, bottom=base, width=0.86 * width, align="edge", color=part.colour
        )
        base += heights
    axes.set_xlim(1 - 0.2 * width, edges[-1])
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    if most <= MOST_BARS:
        step = -(-most // 12)
        axes.set_xticks(edges[:-1:step] + 0.43, [str(edge) for edge in edges[:-1:step]])


def _draw_sizes(axes: Axes, kilobytes: np.ndarray) -> None:
    # One image of a thousand times the bytes must not squeeze all others into one bar.
    most = float(np.quantile(kilobytes, 0.995))
    axes.hist(kilobytes.clip(max=most), bins=40, range=(0, most), color=GREY, rwidth=0.86)
    median = float(np.median(kilobytes))
    axes.axvline(median, color=INK, linewidth=1.7, linestyle=(0, (4, 3)))
    axes.set_title(f"median {median:,.1f} kB", loc="right", size=14, color=GREY, pad=12)

"""The distributions of a domain: how many images, of whom, seen by which cameras."""

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

    A distribution of what no split knows is left blank and says so. Query and gallery show the same
    people and are counted as one, as are those of validation.

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
    per_identity = {
        part: images_per_identity(np.concatenate(known))
        for part, contents in parts.items()
        if (known := [content.people for content in contents if content.people is not None])
    }
    cameras_of_identity = {
        part: cameras_per_identity(np.concatenate(known))
        for part, contents in parts.items()
        if (known := [content.sightings for content in contents if content.sightings is not None])
    }
    sheet = Sheet(
        width=1320,
        height=820,
        title=manifest.domain,
        subtitle=_subtitle(
            splits,
            manifest,
            num_people=sum(map(len, per_identity.values())) if per_identity else None,
        ),
    )
    sheet.legend({part.name: part.colour for part in parts})
    _draw_splits(
        sheet.chart(Box(left=165, top=139, width=429, height=246), title="Images per split"), splits
    )
    cameras = sorted({camera for c in splits.values() for camera in c.images_per_camera or ()})
    by_camera = sheet.chart(
        Box(left=700, top=139, width=581, height=246), title="Images per camera", x="camera"
    )
    base = np.zeros(len(cameras))
    for part, contents in parts.items():
        counts = [c.images_per_camera for c in contents if c.images_per_camera is not None]
        heights = [sum(count.get(camera, 0) for count in counts) for camera in cameras]
        by_camera.bar(range(len(cameras)), heights, bottom=base, color=part.colour, width=0.72)
        base += heights
    if not cameras:
        _say_unknown(by_camera, "cameras")
    numbered = cameras if len(cameras) <= MOST_NUMBERED_CAMERAS else []
    by_camera.set_xticks(range(len(numbered)), [str(camera) for camera in numbered])

    _draw_counts(
        sheet.chart(
            Box(left=66, top=504, width=356, height=246),
            title="Images per identity",
            x="images",
            y="identities",
        ),
        per_identity,
        unknown="identities",
    )
    _draw_counts(
        sheet.chart(
            Box(left=502, top=504, width=330, height=246),
            title="Cameras per identity",
            x="cameras",
            y="identities",
        ),
        cameras_of_identity,
        unknown="cameras" if per_identity else "identities",
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
    splits: Mapping[Split, SplitDescription], manifest: DomainManifest, *, num_people: int | None
) -> str:
    num_images = sum(content.num_images for content in splits.values())
    cameras = {camera for c in splits.values() for camera in c.images_per_camera or ()}
    people = "unknown identities" if num_people is None else f"{num_people:,} identities"
    seen_by = f"{len(cameras)} cameras" if cameras else "unknown cameras"
    megabytes = sum(content.size_bytes for content in splits.values()) / 1e6
    size = "as they are in the data set"
    if manifest.settings.reencoded is not None:
        size = "at {} x {} pixels".format(*manifest.settings.reencoded)
    return (
        f"{num_images:,} images of {people}, {seen_by}, "
        f"{megabytes:,.1f} MB · layout {manifest.layout} · stored {size}"
    )


def _draw_splits(axes: Axes, splits: Mapping[Split, SplitDescription]) -> None:
    places = np.arange(len(splits))[::-1]
    longest = max(content.num_images for content in splits.values())
    for place, (split, content) in zip(places, splits.items(), strict=True):
        colour = next(part.colour for part in PARTS if split in part.splits)
        nobody = (content.num_distractors or 0) + (content.num_junk or 0)
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


def _say_unknown(axes: Axes, what: str) -> None:
    axes.text(0.5, 0.5, f"{what} unknown", transform=axes.transAxes, ha="center", color=GREY)
    axes.set(xticks=[], yticks=[])


def _draw_counts(axes: Axes, counts: Mapping[Part, np.ndarray], *, unknown: str) -> None:
    if not counts:
        _say_unknown(axes, unknown)
        return
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

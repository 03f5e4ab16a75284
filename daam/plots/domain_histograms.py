"""A domain's distributions as one picture: how many images, of whom, seen by which cameras.

Shapes: P = identities, N = images.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from daam.dataset.format.manifest import DomainManifest
from daam.dataset.maintenance.describe import (
    SplitDescription,
    cameras_per_identity,
    images_per_identity,
)
from daam.domains import VALIDATION_SPLITS, Split
from daam.errors import ConfigError, DataError
from daam.storage.atomic import atomic_write

FORMATS = (".png", ".svg")
# Okabe and Ito's colours: apart under every common colour blindness.
BLUE, ORANGE, GREEN, PALE = "#0072b2", "#e69f00", "#009e73", "#c8c8ce"
INK, GREY, LINE = "#26262a", "#686870", "#dedee2"
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
    """Draw a domain into a PNG or SVG: images of each split, images and cameras of an identity,
    images of each camera, bytes of an image.

    Query and gallery show the same people and are taken together, here as those of validation.

    Raises:
        ConfigError: the file is to be of another format.
        DataError: the domain has no images.
        StorageError: the file cannot be written.
    """
    if to.suffix.lower() not in FORMATS:
        raise ConfigError(f"{to} is neither .png nor .svg; name it one of them")
    if not splits:
        raise DataError(f"domain {manifest.domain} has no images to draw")
    figure = Figure(figsize=(13.2, 8.2), dpi=100, facecolor="white")
    figure.text(0.03, 0.965, manifest.domain, size=19, weight="bold", color=INK, va="top")
    figure.text(0.03, 0.917, _subtitle(splits, manifest), size=11.5, color=GREY, va="top")
    shown = [part for part in PARTS if any(split in splits for split in part.splits)]
    figure.legend(
        handles=[Patch(color=part.colour, label=part.name) for part in shown],
        loc="upper right",
        bbox_to_anchor=(0.98, 0.975),
        ncols=len(shown),
        frameon=False,
        fontsize=11.5,
        labelcolor=INK,
        handlelength=1,
        handleheight=1,
    )
    _draw_splits(figure.add_axes((0.125, 0.53, 0.325, 0.30)), splits)
    _draw_cameras(figure.add_axes((0.53, 0.53, 0.44, 0.30)), splits, parts=shown)
    seen = {part: _sightings(splits, part) for part in shown}
    _draw_counts(
        figure.add_axes((0.05, 0.085, 0.27, 0.30)),
        {part: images_per_identity(sightings) for part, sightings in seen.items()},
        title="Images of an identity",
        noun="images",
    )
    _draw_counts(
        figure.add_axes((0.38, 0.085, 0.25, 0.30)),
        {part: cameras_per_identity(sightings) for part, sightings in seen.items()},
        title="Cameras that saw an identity",
        noun="cameras",
    )
    _draw_sizes(figure.add_axes((0.69, 0.085, 0.28, 0.30)), splits)
    content = BytesIO()
    # Without a date and with a fixed salt, the same domain gives the same file.
    with mpl.rc_context({"svg.hashsalt": "daam"}):
        kind = to.suffix[1:].lower()
        figure.savefig(
            content, format=kind, metadata={"Date": None} if kind == "svg" else {"Software": None}
        )
    atomic_write(to, [content.getvalue()])


def _subtitle(splits: Mapping[Split, SplitDescription], manifest: DomainManifest) -> str:
    num_images = sum(content.num_images for content in splits.values())
    cameras = {camera for content in splits.values() for camera in content.images_per_camera}
    megabytes = sum(content.size_bytes for content in splits.values()) / 1e6
    size = "as they are in the data set"
    if manifest.settings.reencoded is not None:
        size = "at {} x {} pixels".format(*manifest.settings.reencoded)
    return (
        f"{num_images:,} images of {_num_people(splits):,} identities, {len(cameras)} cameras, "
        f"{megabytes:,.1f} MB · layout {manifest.layout} · stored {size}"
    )


def _num_people(splits: Mapping[Split, SplitDescription]) -> int:
    return sum(len(np.unique(_sightings(splits, part)[:, 0])) for part in PARTS)


def _sightings(splits: Mapping[Split, SplitDescription], part: Part) -> np.ndarray:
    nothing = np.empty((0, 3), np.int64)
    of_part = [splits[split].sightings for split in part.splits if split in splits]
    return np.concatenate([nothing, *of_part])


def _draw_splits(axes: Axes, splits: Mapping[Split, SplitDescription]) -> None:
    _dress(axes, title="Images of a split")
    places = np.arange(len(splits))[::-1]
    longest = max(content.num_images for content in splits.values())
    for place, (split, content) in zip(places, splits.items(), strict=True):
        colour = next(part.colour for part in PARTS if split in part.splits)
        nobody = content.num_distractors + content.num_junk
        of_people = content.num_images - nobody
        axes.barh(place, of_people, color=colour, height=0.62)
        axes.barh(place, nobody, left=of_people, color=PALE, height=0.62)
        told = f"{content.num_images:,}"
        if nobody:
            told += f", of which {nobody:,} of nobody"
        inside = content.num_images > 0.55 * longest
        axes.text(
            content.num_images + 0.012 * longest if not inside else 0.012 * longest,
            place,
            told,
            va="center",
            size=10,
            color="white" if inside else INK,
        )
    axes.set_yticks(places, [split.replace("_", " ") for split in splits], size=10.5, color=INK)
    axes.set_xticks([])
    axes.yaxis.grid(visible=False)
    axes.set_xlim(0, longest * 1.02)
    axes.spines["bottom"].set_visible(False)


def _draw_cameras(
    axes: Axes, splits: Mapping[Split, SplitDescription], *, parts: Sequence[Part]
) -> None:
    _dress(axes, title="Images of a camera")
    cameras = sorted(
        {camera for content in splits.values() for camera in content.images_per_camera}
    )
    places = np.arange(len(cameras))
    base = np.zeros(len(cameras))
    for part in parts:
        heights = np.zeros(len(cameras))
        for split in part.splits:
            if split in splits:
                heights += [splits[split].images_per_camera.get(camera, 0) for camera in cameras]
        axes.bar(places, heights, bottom=base, color=part.colour, width=0.72)
        base += heights
    if len(cameras) <= MOST_NUMBERED_CAMERAS:
        axes.set_xticks(places, [str(camera) for camera in cameras])
    axes.set_xlabel("camera", size=10, color=GREY)


def _draw_counts(axes: Axes, counts: Mapping[Part, np.ndarray], *, title: str, noun: str) -> None:
    _dress(axes, title=title)
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
    if most <= MOST_BARS:
        step = -(-most // 12)
        axes.set_xticks(edges[:-1:step] + 0.43, [str(edge) for edge in edges[:-1:step]])
    axes.set_xlabel(noun, size=10, color=GREY)
    axes.set_ylabel("identities", size=10, color=GREY)


def _draw_sizes(axes: Axes, splits: Mapping[Split, SplitDescription]) -> None:
    _dress(axes, title="Size of an image")
    sizes = np.concatenate([content.image_sizes for content in splits.values()]) / 1e3
    # One image of a thousand times the bytes must not squeeze all others into one bar.
    most = float(np.quantile(sizes, 0.995))
    axes.hist(sizes.clip(max=most), bins=40, range=(0, most), color=GREY, rwidth=0.86)
    middle = float(np.median(sizes))
    axes.axvline(middle, color=INK, linewidth=1.2, linestyle=(0, (4, 3)))
    axes.set_title(f"median {middle:,.1f} kB", loc="right", size=10, color=GREY, pad=10)
    axes.set_xlabel("kB", size=10, color=GREY)
    axes.set_ylabel("images", size=10, color=GREY)


def _dress(axes: Axes, *, title: str) -> None:
    axes.set_title(title, loc="left", size=12.5, weight="bold", color=INK, pad=10)
    axes.tick_params(colors=GREY, labelsize=9.5, length=0)
    axes.set_axisbelow(True)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(LINE)
    axes.yaxis.grid(visible=True, color=LINE, linewidth=0.7)

"""What stands around in a place: trees, bikes, benches, pillars, lamps, parasols, signs, bins."""

import math
from itertools import pairwise

import numpy as np
from PIL import Image, ImageDraw

from daam.synthetic.camera.raster import Projection
from daam.synthetic.kinds import RGB, Prop, linear
from daam.synthetic.settings import CameraLook, DomainLook
from daam.synthetic.streams import choose, pick

Level = tuple[int, int, int]


def add_props(
    image: Image.Image,
    *,
    look: DomainLook,
    view: CameraLook,
    wall_m: float,
    edge_m: float,
    rng: np.random.Generator,
) -> None:
    """Draw what stands between the walkway's far edge and the wall, furthest first."""
    count = int(rng.integers(5, 10))
    reach = 0.55 * image.width / view.focal_px
    spots = []
    for _ in range(count):
        away = rng.uniform(edge_m, max(wall_m - 0.4, edge_m + 0.3))
        spots.append((away, rng.uniform(-reach, reach) * away, choose(rng, look.props)))
    for away, right, prop in sorted(spots, key=lambda spot: -spot[0]):
        at = Projection(
            camera=view,
            right_m=right,
            away_m=away,
            left_px=-image.width / 2,
            top_px=-image.height / 2,
        )
        draw_prop(image, prop=prop, look=look, projection=at, rng=rng)


def draw_prop(
    image: Image.Image,
    *,
    prop: Prop,
    look: DomainLook,
    projection: Projection,
    rng: np.random.Generator,
) -> None:
    """Draw one thing that stands at the projection's spot of the ground."""
    _DRAW[prop](_Brush(image, look=look, projection=projection, rng=rng))


class _Brush:
    """Draws upright things at one spot of the ground, in metres, in the light of the place."""

    def __init__(
        self,
        image: Image.Image,
        *,
        look: DomainLook,
        projection: Projection,
        rng: np.random.Generator,
    ) -> None:
        self.look, self.rng = look, rng
        self._draw = ImageDraw.Draw(image, "RGBA")
        self._projection, view = projection, projection.camera
        self._px_per_m = view.focal_px / projection.away_m * projection.zoom_y
        sky, sun = np.asarray(view.sky_colour), np.asarray(view.sun_colour)
        near = max(0.0, view.sun_direction[2])
        self._light = 0.62 * sky + near * view.sun * sun

    def at(self, x: float, y: float) -> tuple[float, float]:
        """Pixel of a point x metres right of the spot and y metres above the ground."""
        across, down, _ = self._projection.crop(np.array([x, y, 0.0]))
        return float(across), float(down)

    def size(self, metres: float) -> int:
        """A line's width in whole pixels."""
        return max(1, round(metres * self._px_per_m))

    def colour(self, colour: RGB, *, shade: float = 1.0) -> Level:
        """The plate level of a surface of this colour in this light."""
        light = np.clip(linear(colour) * self._light * shade / 2.5, 0, 1) ** (1 / 2.2) * 255
        return int(light[0]), int(light[1]), int(light[2])

    def box(self, x0: float, y0: float, x1: float, y1: float, *, fill: Level) -> None:
        (left, low), (right, top) = self.at(x0, y0), self.at(x1, y1)
        self._draw.rectangle(
            (min(left, right), min(low, top), max(left, right), max(low, top)), fill=fill
        )

    def line(self, points: list[tuple[float, float]], *, width: float, fill: Level) -> None:
        self._draw.line([self.at(*p) for p in points], fill=fill, width=self.size(width))

    def shape(self, points: list[tuple[float, float]], *, fill: Level) -> None:
        self._draw.polygon([self.at(*p) for p in points], fill=fill)

    def disc(
        self,
        x: float,
        y: float,
        radius: float,
        *,
        fill: Level | None = None,
        rim: Level | None = None,
        width: float = 0.04,
        flat: float = 1.0,
    ) -> None:
        cx, cy = self.at(x, y)
        r = radius * self._px_per_m
        self._draw.ellipse(
            (cx - r, cy - r * flat, cx + r, cy + r * flat),
            fill=fill,
            outline=rim,
            width=self.size(width) if rim else 0,
        )

    def shadow(self, radius: float) -> None:
        """Darken the ground under the thing."""
        cx, cy = self.at(0, 0)
        r = radius * self._px_per_m
        for grow in (1.0, 0.75, 0.5):
            box = (cx - r * grow, cy - 0.3 * r * grow, cx + r * grow, cy + 0.3 * r * grow)
            self._draw.ellipse(box, fill=(0, 0, 0, 55))


def _tree(brush: _Brush) -> None:
    brush.shadow(1.1)
    height, crown = brush.rng.uniform(2.0, 2.8), brush.rng.uniform(1.1, 1.7)
    bark: RGB = (0.36, 0.28, 0.22)
    brush.shape([(-0.16, 0), (0.16, 0), (0.09, height), (-0.09, height)], fill=brush.colour(bark))
    brush.shape(
        [(0.05, 0), (0.16, 0), (0.09, height), (0.03, height)], fill=brush.colour(bark, shade=0.5)
    )
    for _ in range(46):
        angle, away = brush.rng.uniform(0, 2 * math.pi), crown * math.sqrt(brush.rng.random())
        x, y = away * math.cos(angle), height + 0.5 * crown + 0.75 * away * math.sin(angle)
        leaf = pick(brush.rng, brush.look.foliage)
        shade = 0.55 + 0.45 * (y - height) / crown + brush.rng.uniform(-0.15, 0.2)
        brush.disc(
            x, y, brush.rng.uniform(0.14, 0.36), fill=brush.colour(leaf, shade=max(shade, 0.2))
        )


def _bare_tree(brush: _Brush) -> None:
    brush.shadow(0.6)
    bark = brush.colour((0.30, 0.25, 0.21))

    def grow(x: float, y: float, angle: float, length: float, width: float) -> None:
        end = (x + length * math.sin(angle), y + length * math.cos(angle))
        brush.line([(x, y), end], width=width, fill=bark)
        if length > 0.35:
            for turn in (-1, 1):
                grow(*end, angle + turn * brush.rng.uniform(0.2, 0.6), length * 0.72, width * 0.62)

    grow(0.0, 0.0, 0.0, 1.7, 0.2)


def _bike(brush: _Brush) -> None:
    brush.shadow(0.8)
    dark = brush.colour((0.1, 0.1, 0.11))
    frame = brush.colour(pick(brush.rng, brush.look.accent_palette))
    for x in (-0.52, 0.52):
        brush.disc(x, 0.34, 0.34, rim=dark, width=0.05)
    for points in (
        [(-0.52, 0.34), (-0.2, 0.78), (0.36, 0.8), (0.0, 0.32), (-0.52, 0.34)],
        [(0.0, 0.32), (-0.22, 0.9)],
        [(0.52, 0.34), (0.36, 0.95), (0.46, 1.0)],
    ):
        brush.line(points, width=0.045, fill=frame)
    brush.line([(-0.34, 0.92), (-0.1, 0.92)], width=0.07, fill=dark)


def _bench(brush: _Brush) -> None:
    brush.shadow(1.0)
    wood: RGB = (0.5, 0.36, 0.24) if brush.rng.random() < 0.6 else (0.45, 0.47, 0.48)
    brush.box(-0.9, 0.42, 0.9, 0.48, fill=brush.colour(wood))
    for y in (0.56, 0.68, 0.8):
        brush.box(-0.9, y, 0.9, y + 0.08, fill=brush.colour(wood, shade=0.85))
    for x in (-0.75, 0.75):
        brush.box(x - 0.03, 0, x + 0.03, 0.85, fill=brush.colour((0.16, 0.16, 0.17)))


def _pillar(brush: _Brush) -> None:
    brush.shadow(0.6)
    colour = pick(brush.rng, brush.look.wall_palette)
    for left, shade in ((-0.3, 0.75), (-0.16, 1.1), (0.0, 0.95), (0.15, 0.6)):
        brush.box(left, 0, left + 0.16, 4.5, fill=brush.colour(colour, shade=shade))
    brush.box(-0.32, 0, 0.32, 0.25, fill=brush.colour((0.2, 0.2, 0.2)))
    if brush.rng.random() < 0.5:
        accent = pick(brush.rng, brush.look.accent_palette)
        brush.box(-0.3, 1.5, 0.31, 1.9, fill=brush.colour(accent))


def _lamp(brush: _Brush) -> None:
    brush.shadow(0.3)
    grey = brush.colour((0.22, 0.24, 0.24))
    brush.box(-0.06, 0, 0.06, 4.2, fill=grey)
    brush.box(-0.1, 0, 0.1, 0.6, fill=grey)


def _parasol(brush: _Brush) -> None:
    brush.shadow(1.2)
    colour = pick(brush.rng, brush.look.accent_palette)
    brush.box(-0.03, 0, 0.03, 2.5, fill=brush.colour((0.8, 0.78, 0.74)))
    edges = np.linspace(-1.5, 1.5, 7)
    for index, (left, right) in enumerate(pairwise(edges)):
        shade = 1.1 - 0.12 * index
        brush.shape(
            [(float(left), 2.1), (float(right), 2.1), (0.0, 2.75)],
            fill=brush.colour(colour, shade=shade),
        )
    brush.box(-0.45, 0.7, 0.45, 0.75, fill=brush.colour((0.75, 0.72, 0.66)))
    for x in (-0.75, 0.75):
        chair = brush.colour((0.4, 0.3, 0.22))
        brush.box(x - 0.2, 0.42, x + 0.2, 0.48, fill=chair)
        back = x + (0.18 if x > 0 else -0.22)
        brush.box(back, 0, back + 0.05, 0.9, fill=chair)


def _sign(brush: _Brush) -> None:
    brush.shadow(0.4)
    accent = pick(brush.rng, brush.look.accent_palette)
    brush.box(-0.5, 0, -0.44, 2.3, fill=brush.colour((0.3, 0.3, 0.31)))
    brush.box(0.44, 0, 0.5, 2.3, fill=brush.colour((0.3, 0.3, 0.31)))
    brush.box(-0.55, 0.8, 0.55, 2.3, fill=brush.colour((0.85, 0.86, 0.84)))
    brush.box(-0.5, 1.9, 0.5, 2.25, fill=brush.colour(accent))
    for row in range(5):
        width = float(brush.rng.uniform(0.3, 0.85))
        y = 0.95 + 0.18 * row
        brush.box(-0.42, y, -0.42 + width, y + 0.05, fill=brush.colour((0.35, 0.36, 0.38)))


def _bin(brush: _Brush) -> None:
    brush.shadow(0.5)
    green: RGB = (0.2, 0.35, 0.26) if brush.rng.random() < 0.5 else (0.3, 0.31, 0.33)
    for left, shade in ((-0.27, 0.8), (-0.1, 1.1), (0.1, 0.6)):
        brush.box(left, 0.05, left + 0.2, 0.95, fill=brush.colour(green, shade=shade))
    brush.box(-0.3, 0.9, 0.33, 1.0, fill=brush.colour((0.12, 0.12, 0.13)))


_DRAW = {
    Prop.TREE: _tree,
    Prop.BARE_TREE: _bare_tree,
    Prop.BIKE: _bike,
    Prop.BENCH: _bench,
    Prop.PILLAR: _pillar,
    Prop.LAMP: _lamp,
    Prop.PARASOL: _parasol,
    Prop.SIGN: _sign,
    Prop.BIN: _bin,
}

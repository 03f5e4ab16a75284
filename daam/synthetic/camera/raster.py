"""Limbs to pixels: perspective projection, then a depth buffer that remembers each surface.

Shapes: L = limbs, H, W = raster size (a whole multiple of the image), N = covered pixels.
"""

import math
from dataclasses import dataclass

import numpy as np

from daam.synthetic.person.limbs import LimbTable
from daam.synthetic.settings import CameraLook

FAR = np.float32(np.inf)
EMPTY = np.uint32(0x7F800000)
"""The bits of infinity: below those of NaN, above those of every distance."""
LIMB_BITS = np.uint32(63)
"""The lowest bits of a distance hold the limb it is of. What orders positive floats orders their
bits, so one minimum of integers keeps the nearest limb and its name: 1/500 pixel is lost."""
MIDDLE = np.float32(512)
"""Distance of the person's middle, raster pixels: what makes all distances positive."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Projection:
    """From view coordinates around one person's feet to pixels of one crop."""

    camera: CameraLook
    right_m: float
    """Where the person stands: to the right of the camera's axis."""
    away_m: float
    """Where the person stands: distance along the ground."""
    left_px: float = 0
    top_px: float = 0
    zoom_x: float = 1
    zoom_y: float = 1
    """The crop's corner in plate pixels, and crop pixels per plate pixel."""

    def plate(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Points (..., 3) to plate x, plate y (pixels from the optical axis) and distance (m)."""
        sine, cosine = math.sin(self.camera.pitch), math.cos(self.camera.pitch)
        across = points[..., 0] + self.right_m
        up = points[..., 1] - self.camera.height_m
        away = points[..., 2] + self.away_m
        distance = away * cosine - up * sine
        scale = self.camera.focal_px / distance
        return across * scale, -(up * cosine + away * sine) * scale, distance

    def crop(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Points (..., 3) to crop x, crop y (pixels) and distance (m)."""
        x, y, distance = self.plate(points)
        return (x - self.left_px) * self.zoom_x, (y - self.top_px) * self.zoom_y, distance


@dataclass(frozen=True, slots=True, kw_only=True)
class Surface:
    """What is nearest at every covered pixel of a raster."""

    shape: tuple[int, int]
    pixels: np.ndarray
    """(N,) int64, position in the flattened raster."""
    line: np.ndarray
    column: np.ndarray
    """(N,) int64, the same position in two numbers."""
    limb: np.ndarray
    """(N,) int64, row of the `LimbTable`."""
    along: np.ndarray
    """(N,) float32, 0 at the limb's start, 1 at its end."""
    normal: np.ndarray
    """(3, N) float32, right, up, towards the camera; unit length."""
    depth: np.ndarray
    """(H, W) float32, in raster pixels behind the person's middle; FAR where nothing is."""


def rasterise(limbs: LimbTable, *, projection: Projection, shape: tuple[int, int]) -> Surface:
    """The surface that limbs show to the camera."""
    height, width = shape
    count = len(limbs.parts)
    points = np.concatenate([limbs.starts, limbs.ends])
    x, y, distance = projection.crop(points)
    middle = projection.away_m / math.cos(projection.camera.pitch)
    zoom = math.sqrt(projection.zoom_x * projection.zoom_y)
    radius = limbs.radii.T.ravel() * projection.camera.focal_px * zoom
    radius = np.maximum(radius / distance, 0.6)
    depth = (distance - middle) * projection.camera.focal_px * zoom / middle

    both = np.stack([x, y, radius, depth], axis=1)
    screen = _on_screen(both[:count], both[count:])
    nearest = np.full(shape, EMPTY)
    hem = np.float32(math.sin(projection.camera.pitch))
    boxes = _boxes(screen, height=height, width=width).tolist()
    lines = _lines(screen, height=height, width=width, squash=limbs.squash, flat=limbs.flat)
    # Beside a limb the root is of a negative number, and NaN's bits are above every distance's.
    with np.errstate(invalid="ignore"):
        for row, ((left, right, top, low), flat) in enumerate(
            zip(boxes, limbs.flat.tolist(), strict=True)
        ):
            if left >= right or top >= low:
                continue
            length, start, slope, narrowing, radius_there = lines.scalars[row]
            down, across = slice(top, low), slice(left, right)
            axial = lines.axial_y[row, down, None] + lines.axial_x[row, across]
            foot = np.minimum(axial, length)
            np.maximum(foot, 0, out=foot)
            bulge = foot * narrowing
            if flat:
                bulge += radius_there
                bulge *= bulge
                off = lines.off_y[row, down, None] + lines.off_x[row, across]
                off *= off
                bulge -= off
            else:
                bulge += lines.reach_y[row, down, None] + lines.reach_x[row, across]
                bulge *= foot
                bulge -= lines.off_y[row, down, None] + lines.off_x[row, across]
            np.sqrt(bulge, out=bulge)
            foot *= slope
            foot += start
            foot -= bulge
            if flat:
                # Cut at the ends; seen from above, the near side of a hem hangs lower.
                bulge *= hem
                bulge += length
                foot[(axial < 0) | (axial > bulge)] = np.nan
            marked = foot.view(np.uint32)
            marked &= ~LIMB_BITS
            marked |= np.uint32(row)
            there = nearest[down, across]
            np.minimum(there, marked, out=there)

    pixels = np.flatnonzero(nearest != EMPTY)
    line = pixels.astype(np.int32) // np.int32(width)
    column = pixels - line * width
    limb = (nearest.ravel().take(pixels) & LIMB_BITS).astype(np.int64)
    distances = (nearest & ~LIMB_BITS).view(np.float32)
    distances -= MIDDLE  # what is infinitely far stays so
    along, normal = _surface(screen, line, column, limb, flat=limbs.flat)
    return Surface(
        shape=shape,
        pixels=pixels,
        line=line,
        column=column,
        limb=limb,
        along=along,
        normal=normal,
        depth=distances,
    )


@dataclass(frozen=True, slots=True)
class _Lines:
    """What a limb's surface is computed from, a row of each table a limb: (L, W) for `_x`, (L, H)
    for `_y`; the sum of both is the term's value at a pixel.

    With a the way along the axis, f the same held between both ends, d the distance from the start,
    r the radius at the start, g what it gains along the axis and s the squash, a round limb bulges
    towards the camera by sqrt(s^2 ((r + g f)^2 - d^2 + f (2 a - f))), which is
    sqrt(f (s^2 (g^2 - 1) f + reach) - off), and a flat one by sqrt((s (r + g f))^2 - off^2).
    """

    scalars: list[np.ndarray]
    """Of each limb (5,): length, distance at the start, its gain, f's factor, s r."""
    axial_x: np.ndarray
    axial_y: np.ndarray
    reach_x: np.ndarray
    reach_y: np.ndarray
    off_x: np.ndarray
    off_y: np.ndarray


def _on_screen(starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """(L, 9) float32 from (L, 4) x, y, radius, depth at both ends, in pixels: start x, y,
    radius, depth, axis x, y, length, and what is gained along the axis in radius and depth."""
    gained = ends - starts
    length = np.maximum(np.hypot(gained[:, 0], gained[:, 1]), 1e-3)
    axis = gained[:, :2] / length[:, None]
    rows = np.concatenate([starts, axis, length[:, None], gained[:, 2:]], axis=1)
    return rows.astype(np.float32)


def _boxes(rows: np.ndarray, *, height: int, width: int) -> np.ndarray:
    """(L, 4) int: left, right, top and low end of what each limb may cover of the raster."""
    ax, ay, ar, _, ux, uy, length, dr, _ = rows.T.astype(np.float64)
    bx, by, br = ax + ux * length, ay + uy * length, ar + dr
    left, top = np.minimum(ax - ar, bx - br), np.minimum(ay - ar, by - br)
    right, low = np.maximum(ax + ar, bx + br) + 2, np.maximum(ay + ar, by + br) + 2
    box = np.stack([left, right, top, low], axis=1)
    return np.clip(box, 0, [width, width, height, height]).astype(np.int64)


def _lines(
    rows: np.ndarray, *, height: int, width: int, squash: np.ndarray, flat: np.ndarray
) -> _Lines:
    """The terms of each limb's surface that belong to one column or line of the raster."""
    ax, ay, ar, az, ux, uy, length, dr, dz = rows.T.astype(np.float64)[..., None]
    dx, dy = np.arange(width) + 0.5 - ax, np.arange(height) + 0.5 - ay
    slope, squash, flat = dr / length, squash[:, None], flat[:, None]
    of_square = squash * squash
    narrowing = np.where(flat, squash * slope, of_square * (slope * slope - 1))
    scalars = np.concatenate([length, MIDDLE + az, dz / length, narrowing, squash * ar], axis=1)
    tables = (
        dx * ux,
        dy * uy,
        2 * of_square * (dx * ux + ar * slope),
        2 * of_square * (dy * uy),
        np.where(flat, squash * dx * uy, of_square * (dx * dx - ar * ar)),
        np.where(flat, -squash * dy * ux, of_square * (dy * dy)),
    )
    return _Lines(list(scalars.astype(np.float32)), *(t.astype(np.float32) for t in tables))


def _surface(
    rows: np.ndarray, line: np.ndarray, column: np.ndarray, limb: np.ndarray, *, flat: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Share of the way along the limb (N,) and normal (3, N) at pixels of known limbs."""
    columns = np.ascontiguousarray(rows.T)
    ax, ay, ar, _, ux, uy, length, dr, _ = (column.take(limb) for column in columns)
    dx = column.astype(np.float32) + np.float32(0.5) - ax
    dy = line.astype(np.float32) + np.float32(0.5) - ay
    axial = dx * ux + dy * uy
    along = axial / length
    np.minimum(np.maximum(along, 0, out=along), 1, out=along)
    foot = np.where(flat[limb], axial, along * length)
    inverse = 1 / (ar + along * dr)
    normal = np.empty((3, len(limb)), np.float32)
    normal[0] = (dx - foot * ux) * inverse
    normal[1] = (foot * uy - dy) * inverse
    left = 1 - normal[0] * normal[0] - normal[1] * normal[1]
    normal[2] = np.sqrt(np.maximum(left, 0, out=left), out=left)
    return along, normal

"""Limbs to pixels: perspective projection, then a depth buffer that remembers each surface.

Shapes: L = limbs, H, W = raster size (a whole multiple of the image), N = covered pixels.
"""

import math
from dataclasses import dataclass

import numpy as np

from daam.data.render.limbs import LimbTable
from daam.data.render.settings import CameraLook

FAR = np.float32(1e9)


@dataclass(frozen=True, slots=True, kw_only=True)
class Projection:
    """From view coordinates around one person's feet to pixels of one crop."""

    camera: CameraLook
    right_m: float
    """Where the person stands: to the right of the camera's axis."""
    away_m: float
    """Where the person stands: distance along the ground."""
    left_px: float
    top_px: float
    zoom_x: float
    zoom_y: float
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
    limb: np.ndarray
    """(N,) uint8, row of the `LimbTable`."""
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

    owner = np.zeros(shape, np.uint8)
    nearest = np.full(shape, FAR)
    columns = np.arange(width, dtype=np.float32) + np.float32(0.5)
    lines = (np.arange(height, dtype=np.float32) + np.float32(0.5))[:, None]
    hem = math.sin(projection.camera.pitch)

    both = np.stack([x, y, radius, depth], axis=1)
    screen = _Screen.of(both[:count], both[count:])
    squashes, flats = limbs.squash.tolist(), limbs.flat.tolist()
    for row, (ax, ay, ar, az, ux, uy, length, dr, dz) in enumerate(screen.rows.tolist()):
        bx, by, br = ax + ux * length, ay + uy * length, ar + dr
        left = max(0, int(min(ax - ar, bx - br)))
        right = min(width, int(max(ax + ar, bx + br)) + 2)
        top = max(0, int(min(ay - ar, by - br)))
        low = min(height, int(max(ay + ar, by + br)) + 2)
        if left >= right or top >= low:
            continue
        squash, flat = squashes[row], flats[row]
        dx, dy = columns[left:right] - np.float32(ax), lines[top:low] - np.float32(ay)
        axial = dx * np.float32(ux) + dy * np.float32(uy)
        foot = np.minimum(axial, np.float32(length))
        np.maximum(foot, 0, out=foot)
        # The squared distance from the axis, without the offset itself: d2 - f (2 a - f).
        across = axial if flat else 2 * axial - foot
        across = across * (axial if flat else foot)
        space = foot * np.float32(dr / length)
        space += np.float32(ar)
        space *= space
        space -= dx * dx + dy * dy
        space += across
        hit = space > 0
        bulge = np.sqrt(np.maximum(space, 0, out=space), out=space)
        bulge *= np.float32(squash)
        if flat:
            # Cut at the ends; seen from above, the near side of a hem hangs lower.
            hit &= (axial >= 0) & (axial <= np.float32(hem) * bulge + np.float32(length))
        foot *= np.float32(dz / length)
        foot += np.float32(az)
        foot -= bulge
        there = nearest[top:low, left:right]
        hit &= foot < there
        np.copyto(there, foot, where=hit)
        np.copyto(owner[top:low, left:right], np.uint8(row + 1), where=hit)

    pixels = np.flatnonzero(owner)
    limb = owner.ravel()[pixels] - np.uint8(1)
    along, normal = screen.surface(pixels, limb, width=width, flat=limbs.flat)
    return Surface(shape=shape, pixels=pixels, limb=limb, along=along, normal=normal, depth=nearest)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Screen:
    """Limbs in pixels: a row of start x, y, radius, depth, axis x, y, length, and what is gained
    along the axis in radius and depth."""

    rows: np.ndarray

    @classmethod
    def of(cls, starts: np.ndarray, ends: np.ndarray) -> "_Screen":
        """From (L, 4) x, y, radius, depth at both ends."""
        gained = ends - starts
        length = np.maximum(np.hypot(gained[:, 0], gained[:, 1]), 1e-3)
        axis = gained[:, :2] / length[:, None]
        rows = np.concatenate([starts, axis, length[:, None], gained[:, 2:]], axis=1)
        return cls(rows=rows.astype(np.float32))

    def surface(
        self, pixels: np.ndarray, limb: np.ndarray, *, width: int, flat: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Share of the way along the limb (N,) and normal (3, N) at pixels of known limbs."""
        columns = np.ascontiguousarray(self.rows.T)
        ax, ay, ar, _, ux, uy, length, dr, _ = (column.take(limb) for column in columns)
        line, column = np.divmod(pixels.astype(np.int32), np.int32(width))
        dx = column.astype(np.float32) + np.float32(0.5) - ax
        dy = line.astype(np.float32) + np.float32(0.5) - ay
        axial = dx * ux + dy * uy
        along = np.clip(axial / length, 0, 1)
        foot = np.where(flat[limb], axial, along * length)
        inverse = 1 / (ar + along * dr)
        normal = np.empty((3, len(pixels)), np.float32)
        normal[0] = (dx - foot * ux) * inverse
        normal[1] = (foot * uy - dy) * inverse
        left = 1 - normal[0] * normal[0] - normal[1] * normal[1]
        normal[2] = np.sqrt(np.maximum(left, 0, out=left), out=left)
        return along, normal

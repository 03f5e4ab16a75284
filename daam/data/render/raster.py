"""Limbs to pixels: perspective projection, then a depth buffer that remembers each surface.

Shapes: L = limbs, H, W = raster size (a whole multiple of the image), N = covered pixels.
"""

import math
from dataclasses import dataclass

import numpy as np

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
    """(N,) uint8, row of the limb table."""
    along: np.ndarray
    """(N,) float32, 0 at the limb's start, 1 at its end."""
    normal: np.ndarray
    """(3, N) float32, right, up, towards the camera; unit length."""
    depth: np.ndarray
    """(H, W) float32, in raster pixels behind the person's middle; FAR where nothing is."""


def rasterise(table: np.ndarray, *, projection: Projection, shape: tuple[int, int]) -> Surface:
    """The surface that a limb table (see `Limbs.table`) shows to the camera."""
    height, width = shape
    count = len(table)
    points = np.concatenate([table[:, 0:3], table[:, 3:6]])
    x, y, distance = projection.crop(points)
    middle = projection.away_m / math.cos(projection.camera.pitch)
    zoom = math.sqrt(projection.zoom_x * projection.zoom_y)
    radius = np.concatenate([table[:, 6], table[:, 7]]) * projection.camera.focal_px * zoom
    radius = np.maximum(radius / distance, 0.6)
    depth = (distance - middle) * projection.camera.focal_px * zoom / middle

    owner = np.zeros(shape, np.uint8)
    nearest = np.full(shape, FAR)
    offset_x, offset_y, reach, along = (np.zeros(shape, np.float32) for _ in range(4))
    columns = np.arange(width, dtype=np.float32) + np.float32(0.5)
    lines = (np.arange(height, dtype=np.float32) + np.float32(0.5))[:, None]
    hem = math.sin(projection.camera.pitch)

    ends = np.stack([x, y, radius, depth], axis=1).astype(np.float32)
    for row, (start, end) in enumerate(
        zip(ends[:count].tolist(), ends[count:].tolist(), strict=True)
    ):
        ax, ay, ar, az = start
        bx, by, br, bz = end
        left = max(0, int(min(ax - ar, bx - br)))
        right = min(width, int(max(ax + ar, bx + br)) + 2)
        top = max(0, int(min(ay - ar, by - br)))
        low = min(height, int(max(ay + ar, by + br)) + 2)
        if left >= right or top >= low:
            continue
        window = (slice(top, low), slice(left, right))
        dx = columns[left:right] - ax
        dy = lines[top:low] - ay
        length = max(math.hypot(bx - ax, by - ay), 1e-3)
        ux, uy = (bx - ax) / length, (by - ay) / length
        squash, flat = table[row, 8], table[row, 10]
        axial = dx * ux + dy * uy
        share = np.clip(axial * (1 / length), 0.0, 1.0)
        foot = share * length
        if flat:
            # Only the distance from the axis counts, so that the limb ends in a hem.
            side = dx * -uy + dy * ux
            ex, ey = side * -uy, side * ux
        else:
            ex, ey = dx - foot * ux, dy - foot * uy
        size = ar + share * (br - ar)
        space = size * size - ex * ex - ey * ey
        bulge = np.sqrt(np.maximum(space, 0.0)) * squash
        here = az + share * (bz - az) - bulge
        hit = (space > 0) & (here < nearest[window])
        if flat:
            hit &= (axial >= 0) & (axial <= length + hem * bulge)
        np.copyto(nearest[window], here, where=hit)
        np.copyto(owner[window], row + 1, where=hit)
        np.copyto(offset_x[window], ex, where=hit)
        np.copyto(offset_y[window], ey, where=hit)
        np.copyto(reach[window], size, where=hit)
        np.copyto(along[window], share, where=hit)

    pixels = np.flatnonzero(owner)
    normal = np.empty((3, len(pixels)), np.float32)
    inverse = 1 / reach.ravel()[pixels]
    normal[0] = offset_x.ravel()[pixels] * inverse
    normal[1] = -offset_y.ravel()[pixels] * inverse
    normal[2] = np.sqrt(np.maximum(1 - normal[0] ** 2 - normal[1] ** 2, 0.0))
    return Surface(
        shape=shape,
        pixels=pixels,
        limb=owner.ravel()[pixels] - np.uint8(1),
        along=along.ravel()[pixels],
        normal=normal,
        depth=nearest,
    )

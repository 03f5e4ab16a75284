"""A lit person on nothing: linear colour and coverage at image size.

Shapes: H, W = image size, N = covered pixels of the raster.
"""

from dataclasses import dataclass

import numpy as np

from daam.synthetic.camera.paint import folds, paint
from daam.synthetic.camera.raster import FAR, Projection, Surface, rasterise
from daam.synthetic.person.body import build_body
from daam.synthetic.person.stance import Stance
from daam.synthetic.settings import CameraLook

OVERSAMPLING = 2
"""Raster pixels per image pixel along each side: the anti-aliasing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A person ready to be laid over a background."""

    colour: np.ndarray
    """(H, W, 3) float32, linear light, already multiplied by coverage."""
    cover: np.ndarray
    """(H, W) float32, 0..1."""


def draw_figure(stance: Stance, *, projection: Projection, shape: tuple[int, int]) -> Figure:
    """A person as the camera of the projection sees them, in a crop of size `shape`.

    Args:
        projection: to pixels of the raster, which is `OVERSAMPLING` times as large as `shape`.
    """
    raster = (shape[0] * OVERSAMPLING, shape[1] * OVERSAMPLING)
    limbs = build_body(stance).table()
    surface = rasterise(limbs, projection=projection, shape=raster)
    albedo = paint(stance, surface=surface, limbs=limbs, projection=projection)
    _, _, distance = projection.crop(stance.seen([stance.pose.hip]))
    per_m = projection.camera.focal_px * projection.zoom_y / float(distance[0])
    lit = albedo * _light_on(
        surface.normal,
        camera=projection.camera,
        reached=folds(surface, limbs=limbs) * _crevices(surface, per_m=per_m),
    )

    canvas = np.zeros((raster[0] * raster[1], 4), np.float32)
    canvas[surface.pixels] = np.concatenate([lit, np.ones((len(lit), 1), np.float32)], axis=1)
    small = _halved(canvas.reshape(*raster, 4))
    return Figure(colour=small[..., :3], cover=np.ascontiguousarray(small[..., 3]))


def _light_on(normal: np.ndarray, *, camera: CameraLook, reached: np.ndarray) -> np.ndarray:
    """Light (N, 3) on surfaces with these normals (3, N): sky and sun, as far as they reach."""
    right, up, near = (np.float32(0.85 * part) for part in camera.sun_direction)
    direct = normal[0] * right + normal[1] * up + normal[2] * near + np.float32(0.15)
    sources = np.empty((len(direct), 2), np.float32)
    sources[:, 0] = (np.float32(0.62) + np.float32(0.38) * normal[1]) * reached
    sources[:, 1] = np.maximum(direct, 0) * reached
    sun = np.asarray(camera.sun_colour) * camera.sun
    return sources @ np.array([camera.sky_colour, sun], np.float32)


def _crevices(surface: Surface, *, per_m: float) -> np.ndarray:
    """(N,) brightness where something nearer stands beside: under arms, between legs."""
    depth = surface.depth[::2, ::2]
    depth = np.where(depth == FAR, np.float32(0.12 * per_m), depth)
    radius = max(2, int(0.05 * per_m / 2))
    around = _box(_box(depth, radius).T, radius).T
    behind = np.clip((depth - around) * np.float32(1 / (0.14 * per_m)), 0.0, 1.0)
    light = 1.0 - np.float32(0.6) * behind
    return light[surface.line >> 1, surface.column >> 1]


def _box(values: np.ndarray, radius: int) -> np.ndarray:
    """Mean over 2 radius + 1 neighbours along the first axis; edges repeat."""
    padded = np.concatenate(
        [values[:1].repeat(radius + 1, 0), values, values[-1:].repeat(radius, 0)]
    )
    total = np.cumsum(padded, axis=0, dtype=np.float32)
    return (total[2 * radius + 1 :] - total[: -2 * radius - 1]) / np.float32(2 * radius + 1)


def _halved(raster: np.ndarray) -> np.ndarray:
    """Mean over 2x2 pixels of (2H, 2W, C)."""
    lines = raster[0::2] + raster[1::2]
    return (lines[:, 0::2] + lines[:, 1::2]) * np.float32(0.25)

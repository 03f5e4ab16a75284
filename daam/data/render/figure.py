"""A lit person on nothing: linear colour and coverage at image size.

Shapes: H, W = image size, N = covered pixels of the raster.
"""

import math
from dataclasses import dataclass

import numpy as np

from daam.data.render.body import build_body
from daam.data.render.cloth import paint
from daam.data.render.people import Person
from daam.data.render.pose import Pose
from daam.data.render.raster import FAR, Projection, Surface, rasterise
from daam.data.render.settings import CameraLook

OVERSAMPLING = 2
"""Raster pixels per image pixel along each side: the anti-aliasing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A person ready to be laid over a background."""

    colour: np.ndarray
    """(H, W, 3) float32, linear light, already multiplied by coverage."""
    cover: np.ndarray
    """(H, W) float32, 0..1."""


def draw_figure(
    person: Person,
    *,
    pose: Pose,
    turn: float,
    head_turn: float,
    projection: Projection,
    shape: tuple[int, int],
) -> Figure:
    """A posed person as the camera of the projection sees them, in a crop of size `shape`.

    Args:
        projection: to pixels of the raster, which is `OVERSAMPLING` times as large as `shape`.
    """
    raster = (shape[0] * OVERSAMPLING, shape[1] * OVERSAMPLING)
    table = build_body(person, pose=pose, turn=turn).table()
    surface = rasterise(table, projection=projection, shape=raster)
    joints = np.array([pose.hip, pose.neck])
    cosine, sine = math.cos(turn), math.sin(turn)
    turned = np.stack(
        [
            joints[:, 0] * cosine + joints[:, 2] * sine,
            joints[:, 1],
            joints[:, 0] * sine - joints[:, 2] * cosine,
        ],
        axis=1,
    )
    x, y, distance = projection.crop(turned)
    half = 0.17 * pose.scale * person.girth**0.6 * math.hypot(cosine, 0.75 * sine)
    half_px = half * projection.camera.focal_px / float(distance[0]) * projection.zoom_x
    albedo = paint(
        person,
        surface=surface,
        table=table,
        turn=turn,
        head_turn=head_turn,
        trunk=(float(x[0]), float(y[0]), float(x[1]), float(y[1]), half_px),
    )
    per_m = projection.camera.focal_px * projection.zoom_y / float(distance[0])
    lit = albedo * light_on(surface.normal, camera=projection.camera)
    lit *= _crevices(surface, per_m=per_m)[:, None]

    canvas = np.zeros((4, *raster), np.float32)
    flat = canvas.reshape(4, -1)
    flat[0:3, surface.pixels] = lit.T
    flat[3, surface.pixels] = 1.0
    small = _halved(canvas)
    return Figure(colour=np.ascontiguousarray(small[0:3].transpose(1, 2, 0)), cover=small[3])


def light_on(normal: np.ndarray, *, camera: CameraLook) -> np.ndarray:
    """Light (N, 3) that falls on surfaces with these normals (3, N): sky, ground and sun."""
    right, up, near = camera.sun_direction
    facing = normal[0] * right + normal[1] * up + normal[2] * near
    direct = np.maximum(facing * np.float32(0.85) + np.float32(0.15), 0.0) * np.float32(camera.sun)
    open_sky = np.float32(0.62) + np.float32(0.38) * normal[1]
    sky = np.asarray(camera.sky_colour, np.float32)
    sun = np.asarray(camera.sun_colour, np.float32)
    return open_sky[:, None] * sky + direct[:, None] * sun


def _crevices(surface: Surface, *, per_m: float) -> np.ndarray:
    """(N,) brightness where something nearer stands beside: under arms, between legs."""
    depth = surface.depth[::2, ::2]
    depth = np.where(depth == FAR, np.float32(0.12 * per_m), depth)
    radius = max(2, int(0.05 * per_m / 2))
    around = _box(_box(depth, radius).T, radius).T
    behind = np.clip((depth - around) * np.float32(1 / (0.14 * per_m)), 0.0, 1.0)
    light = 1.0 - np.float32(0.6) * behind
    width = surface.shape[1]
    return light[surface.pixels // (2 * width), (surface.pixels % width) // 2]


def _box(values: np.ndarray, radius: int) -> np.ndarray:
    """Mean over 2 radius + 1 neighbours along the first axis; edges repeat."""
    padded = np.concatenate(
        [values[:1].repeat(radius + 1, 0), values, values[-1:].repeat(radius, 0)]
    )
    total = np.cumsum(padded, axis=0, dtype=np.float32)
    return (total[2 * radius + 1 :] - total[: -2 * radius - 1]) / np.float32(2 * radius + 1)


def _halved(planes: np.ndarray) -> np.ndarray:
    """Mean over 2x2 pixels of (C, 2H, 2W) planes."""
    lines = planes[:, 0::2] + planes[:, 1::2]
    return (lines[:, :, 0::2] + lines[:, :, 1::2]) * np.float32(0.25)

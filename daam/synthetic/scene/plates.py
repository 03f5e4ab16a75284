"""Empty places: one large picture per camera from which the backgrounds of its crops are cut.

Shapes: H, W = plate size. Ground and wall coordinates are metres: x right, y up, z away.
"""

import math
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from PIL import Image, ImageFilter

from daam.synthetic.kinds import Strip, Wall, linear
from daam.synthetic.scene.props import add_props
from daam.synthetic.scene.surfaces import TableNoise, ground_albedo, strip_albedo, wall_albedo
from daam.synthetic.settings import CameraLook, DomainLook, camera_look
from daam.synthetic.streams import choose, pick, stream

PLATE_WIDTH, PLATE_HEIGHT = 640, 400
PLATES_PER_CAMERA = 3
FULL_SCALE = 2.5
"""Linear light that a plate's level 255 stands for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plate:
    """A place as one camera sees it, before the sensor."""

    camera: CameraLook
    image: Image.Image
    """RGB, levels are (light / FULL_SCALE) ** (1 / 2.2)."""
    wall_m: float
    """Distance of the wall behind everybody."""
    edge_m: float
    """Distance of the far edge of where people walk."""


@lru_cache(maxsize=24)
def plate_of(look: DomainLook, *, camera: int, number: int) -> Plate:
    """Plate `number` of a camera: the same place with other things standing around."""
    place = _place_of(look, camera=camera)
    image = place.image.copy()
    things = stream("things", look.seed, look.name, camera, number)
    add_props(
        image, look=look, view=place.camera, wall_m=place.wall_m, edge_m=place.edge_m, rng=things
    )
    softened = image.filter(ImageFilter.GaussianBlur(0.5))
    return replace(place, image=softened)


@lru_cache(maxsize=16)
def _place_of(look: DomainLook, *, camera: int) -> Plate:
    """A camera's ground and wall, with nothing standing around yet."""
    view = camera_look(look, camera=camera)
    place = stream("place", look.seed, look.name, camera)
    noise = TableNoise(rng=place)
    wall_m = view.far_m + place.uniform(2.0, 4.5)
    ground = choose(place, look.grounds)
    wall = choose(place, look.walls)
    strip = choose(place, look.strips)
    if wall is Wall.TRAIN:
        strip = Strip.TRACKS
    edge_m = view.far_m + 0.5
    ground_colour = linear(pick(place, look.ground_palette))
    wall_colour = linear(pick(place, look.wall_palette))

    right, up, away = _rays(view)
    skew = place.uniform(-0.18, 0.18)
    wall_t = wall_m / np.maximum(away - skew * right, 0.05)
    ground_t = np.where(up < -1e-3, view.height_m / np.maximum(-up, 1e-3), 1e6)
    on_ground = ground_t < wall_t
    x, z = right * ground_t, away * ground_t

    albedo = np.empty((PLATE_HEIGHT, PLATE_WIDTH, 3), np.float32)
    floor = np.flatnonzero(on_ground)
    fx, fz = x.ravel()[floor], z.ravel()[floor]
    footprint = fz / view.focal_px
    flat = albedo.reshape(-1, 3)
    turn = place.uniform(-0.5, 0.5)
    flat[floor] = ground_albedo(
        ground, x=fx, z=fz, turn=turn, footprint=footprint, colour=ground_colour, noise=noise
    )
    behind = fz - skew * fx > edge_m
    flat[floor[behind]] = strip_albedo(
        strip,
        flat[floor[behind]],
        x=fx[behind],
        z=(fz - skew * fx)[behind] - edge_m,
        footprint=footprint[behind],
        noise=noise,
        wetness=look.wetness,
    )
    litter = look.leaf_litter
    if litter:
        leafy = noise.fine(fx * 9, fz * 9) + 0.5 * noise.smooth(fx * 0.6, fz * 0.6) > 1.75 - litter
        leaf = linear(look.foliage[0])
        flat[floor[leafy]] = leaf * (0.7 + 0.3 * noise.fine(fx * 3, fz * 3)[leafy])[:, None]

    above = np.flatnonzero(~on_ground)
    wt = wall_t.ravel()[above]
    wx, wy = right.ravel()[above] * wt, view.height_m + up.ravel()[above] * wt
    flat[above] = wall_albedo(
        wall, x=wx, y=wy, footprint=wt / view.focal_px, colour=wall_colour, noise=noise
    )

    light = _light(
        look, view, on_ground=on_ground, x=x, z=z, wall_gap=wall_t - ground_t, noise=noise
    )
    scene = albedo * light
    if look.wetness:
        scene = _reflected(scene, on_ground=on_ground, share=look.wetness, noise=noise)
    image = Image.fromarray(to_levels(scene))
    return Plate(camera=view, image=image, wall_m=wall_m, edge_m=edge_m)


def to_levels(light: np.ndarray) -> np.ndarray:
    """Linear light to the uint8 levels of a plate."""
    scaled = np.clip(light * np.float32(1 / FULL_SCALE), 0.0, 1.0)
    return (scaled ** np.float32(1 / 2.2) * 255 + 0.5).astype(np.uint8)


@lru_cache(maxsize=1)
def from_levels() -> np.ndarray:
    """(256,) float32: the linear light each level of a plate stands for."""
    return (FULL_SCALE * np.linspace(0, 1, 256) ** 2.2).astype(np.float32)


def _rays(view: CameraLook) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Direction of every pixel's line of sight: right, up and away, (H, W) each; length 1 along the
    optical axis."""
    sine, cosine = math.sin(view.pitch), math.cos(view.pitch)
    columns = (np.arange(PLATE_WIDTH, dtype=np.float32) - PLATE_WIDTH / 2 + 0.5) / view.focal_px
    lines = (PLATE_HEIGHT / 2 - 0.5 - np.arange(PLATE_HEIGHT, dtype=np.float32)) / view.focal_px
    parts = columns, (lines * cosine - sine)[:, None], (cosine + lines * sine)[:, None]
    right, up, away = np.broadcast_arrays(*(part.astype(np.float32) for part in parts))
    return right, up, away


def _light(
    look: DomainLook,
    view: CameraLook,
    *,
    on_ground: np.ndarray,
    x: np.ndarray,
    z: np.ndarray,
    wall_gap: np.ndarray,
    noise: TableNoise,
) -> np.ndarray:
    """Light (H, W, 3) on ground and wall, with the dapple of things out of sight."""
    _, up, near = view.sun_direction
    direct = np.where(on_ground, max(up, 0.0), max(0.85 * near + 0.15, 0.0)).astype(np.float32)
    if look.sun > 0.8:
        patches = noise.smooth(
            np.where(on_ground, x, 0.0) * 0.45, np.where(on_ground, z, 0.0) * 0.45
        )
        direct *= np.clip(0.75 + 2.2 * (patches + 0.45), 0.12, 1.0)
    sky = np.where(on_ground, 0.95, 0.6).astype(np.float32)
    # Ground darkens towards the foot of the wall, which hides half of the sky.
    sky *= np.where(on_ground, np.clip(0.62 + 0.3 * wall_gap, 0.62, 1.0), 1.0)
    sky_colour = np.asarray(view.sky_colour, np.float32)
    sun_colour = np.asarray(view.sun_colour, np.float32)
    return sky[..., None] * sky_colour + (direct * np.float32(view.sun))[..., None] * sun_colour


def _reflected(
    scene: np.ndarray, *, on_ground: np.ndarray, share: float, noise: TableNoise
) -> np.ndarray:
    """A wet or polished floor: the wall mirrored below its foot, in streaks."""
    foot = on_ground.argmax(axis=0)
    lines = np.arange(scene.shape[0])[:, None]
    mirrored = np.clip(2 * foot[None, :] - lines, 0, scene.shape[0] - 1)
    columns = np.broadcast_to(np.arange(scene.shape[1]), mirrored.shape)
    fade = np.clip(1 - (lines - foot) / 240, 0, 1) * on_ground
    streaks = 0.6 + 0.4 * noise.smooth(columns * 0.05, lines * 0.012 + 0.0 * columns)
    weight = (share * fade * np.clip(streaks, 0, 1))[..., None].astype(np.float32)
    return scene * (1 - 0.6 * weight) + 0.75 * weight * scene[mirrored, columns]

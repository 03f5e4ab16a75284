"""Every parameter of the renderer: what a domain and a camera look like, and how hard they are.

A `DomainLook` describes a domain: people, clothes, place, light, weather and make of camera. Its
cameras follow from it. The named domains are in `named.py`. The fields under "difficulty" are the
ones to tune with `dataclasses.replace`; each docstring names the neutral value.
"""

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from daam.synthetic.kinds import (
    RGB,
    Bag,
    Bottom,
    Ground,
    Hair,
    Hat,
    Pattern,
    Prop,
    Shoe,
    Strip,
    Top,
    Wall,
)
from daam.synthetic.streams import stream


@dataclass(frozen=True, slots=True, kw_only=True)
class DomainLook:
    """A domain. Choices are pairs of an option and its weight; colours are sRGB in 0..1."""

    name: str
    seed: int

    # Difficulty -------------------------------------------------------------------------------
    look_alike_size: int = 3
    """People in a group that may share clothes; 1: nobody shares."""
    look_alike_share: float = 0.35
    """Chance that a person wears the clothes of the group instead of their own; 0..1."""
    colour_jitter: float = 0.03
    """Spread of a garment's colour around its palette entry; 0: the palette exactly."""
    camera_strength: float = 0.5
    """How much the cameras differ in exposure, colour and light; 0: not at all."""
    gap_strength: float = 1.0
    """How far the domain's tint, contrast and haze leave neutral; 0: no grading."""
    viewpoint_spread: float = 0.25
    """Spread of the walking direction around a camera's own two directions, in radians."""
    occlusion_share: float = 0.06
    """Share of images with a thing or another person in front of the person; 0..1."""
    crop_jitter: float = 0.02
    """Spread of the bounding box's edges, in shares of its height; 0: a perfect detector."""
    crowd_share: float = 0.05
    """Share of images with another person further back; 0..1."""
    blur: float = 0.3
    """Strength of motion and focus blur; 0: sharp."""
    noise: float = 0.25
    """Strength of sensor noise; 0: clean."""

    # People -----------------------------------------------------------------------------------
    tops: tuple[tuple[Top, float], ...]
    bottoms: tuple[tuple[Bottom, float], ...]
    shoes: tuple[tuple[Shoe, float], ...]
    hair: tuple[tuple[Hair, float], ...] = (
        (Hair.SHORT, 5),
        (Hair.LONG, 2),
        (Hair.BOB, 1.5),
        (Hair.PONYTAIL, 1.5),
        (Hair.BUN, 1),
        (Hair.BALD, 0.8),
        (Hair.CURLY, 1),
    )
    bags: tuple[tuple[Bag, float], ...]
    hats: tuple[tuple[Hat, float], ...]
    patterns: tuple[tuple[Pattern, float], ...]
    scarf_share: float
    top_palette: tuple[RGB, ...]
    bottom_palette: tuple[RGB, ...]
    accent_palette: tuple[RGB, ...]
    """Bags, hats, scarves, prints."""

    # Place ------------------------------------------------------------------------------------
    grounds: tuple[tuple[Ground, float], ...]
    ground_palette: tuple[RGB, ...]
    walls: tuple[tuple[Wall, float], ...]
    wall_palette: tuple[RGB, ...]
    strips: tuple[tuple[Strip, float], ...]
    props: tuple[tuple[Prop, float], ...]
    foliage: tuple[RGB, ...]
    leaf_litter: float
    """Fallen leaves on the ground; 0..1."""

    # Light and weather ------------------------------------------------------------------------
    sun: float
    """Strength of the directed light against the sky; 0: overcast."""
    sun_colour: RGB
    sky_colour: RGB
    haze: float
    """Share of the light that rain, mist or glare puts over a person at 10 m; 0..1."""
    wetness: float
    """Reflections on the ground; 0..1."""

    # Make of camera ---------------------------------------------------------------------------
    tint: RGB
    contrast: float
    saturation: float
    native_height: tuple[float, float]
    """Pixels a person is really seen with before the crop is scaled; low, high."""
    noise_level: float
    """Standard deviation of the sensor noise at exposure 1, in display levels of 0..1."""
    sharpening: float
    vignette: float
    jpeg_quality: tuple[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class CameraLook:
    """One camera of a domain: where it hangs, what light it sees, how it turns light to colour."""

    camera: int
    height_m: float
    pitch: float
    """Downwards, radians."""
    focal_px: float
    near_m: float
    far_m: float
    walking_direction: float
    """Angle between the main walking direction and the line to the camera, radians."""
    one_way: float
    """Share of the people who walk in the main direction instead of against it."""
    sun_direction: tuple[float, float, float]
    """Towards the light: right, up, towards the camera; unit length."""
    sun: float
    sun_colour: RGB
    sky_colour: RGB
    exposure: float
    colour_matrix: np.ndarray
    """(3, 3), linear scene colour to linear sensor colour: white balance, channel mixing, tint,
    saturation."""
    gamma: float
    contrast: float
    haze: float
    haze_colour: RGB
    noise_level: float
    vignette: float
    native_height: float
    sharpening: float
    jpeg_quality: int


@lru_cache(maxsize=64)
def camera_look(look: DomainLook, *, camera: int) -> CameraLook:
    """Camera number `camera` (from 1) of a domain; depends on nothing but the domain and it."""
    rng = stream("camera", look.seed, look.name, camera)
    strength, gap = look.camera_strength, look.gap_strength

    height_m = rng.uniform(2.6, 5.2)
    near_m = rng.uniform(6.0, 8.5)
    far_m = near_m + rng.uniform(4.0, 7.0)
    azimuth = rng.uniform(-math.pi, math.pi)
    elevation = rng.uniform(0.5, 1.1)
    direction = (
        math.cos(elevation) * math.sin(azimuth),
        math.sin(elevation),
        math.cos(elevation) * math.cos(azimuth),
    )
    # Directions are spread over the whole circle, so that some camera sees mostly fronts, another
    # backs or sides.
    walking_direction = (camera * 0.618 % 1.0) * math.pi + strength * rng.normal(0, 0.25)

    balance = np.exp(strength * rng.normal(0, 0.055, 3))
    balance /= balance.mean()
    mixing = np.eye(3) + strength * rng.normal(0, 0.025, (3, 3))
    mixing /= mixing.sum(axis=1, keepdims=True)
    tint = np.asarray(look.tint) ** gap
    saturation = look.saturation**gap * math.exp(strength * rng.normal(0, 0.07))
    to_grey = np.array([0.30, 0.59, 0.11])[None, :].repeat(3, axis=0)
    saturating = saturation * np.eye(3) + (1 - saturation) * to_grey
    matrix = ((saturating @ mixing) * balance[:, None] * tint[:, None]).astype(np.float32)

    sky = np.asarray(look.sky_colour) * np.exp(strength * rng.normal(0, 0.03, 3))
    return CameraLook(
        camera=camera,
        height_m=height_m,
        pitch=math.atan((height_m - 0.9) / (0.5 * (near_m + far_m))),
        focal_px=rng.uniform(560, 720),
        near_m=near_m,
        far_m=far_m,
        walking_direction=walking_direction,
        one_way=rng.uniform(0.35, 0.75),
        sun_direction=direction,
        sun=look.sun * math.exp(strength * rng.normal(0, 0.3)),
        sun_colour=look.sun_colour,
        sky_colour=tuple(sky.tolist()),
        exposure=math.exp(strength * rng.normal(0, 0.16)),
        colour_matrix=matrix,
        gamma=math.exp(strength * rng.normal(0, 0.06)),
        contrast=look.contrast**gap * math.exp(strength * rng.normal(0, 0.04)),
        haze=min(0.7, gap * look.haze * math.exp(strength * rng.normal(0, 0.3))),
        haze_colour=tuple((0.25 + 0.75 * sky).tolist()),
        noise_level=look.noise * look.noise_level * math.exp(strength * rng.normal(0, 0.3)),
        vignette=look.vignette,
        native_height=rng.uniform(*look.native_height),
        sharpening=look.sharpening,
        jpeg_quality=int(rng.integers(*look.jpeg_quality, endpoint=True)),
    )

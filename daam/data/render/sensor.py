"""From light to levels: haze, exposure, colour response, blur, noise, sharpening.

Shapes: H, W = image size.
"""

import math
from functools import lru_cache

import numpy as np
from PIL import Image, ImageFilter

from daam.data.render.settings import CameraLook

_STEPS = 2048
_BRIGHTEST = 3.0


def expose(
    scene: np.ndarray,
    *,
    camera: CameraLook,
    away_m: float,
    blur: float,
    rng: np.random.Generator,
) -> np.ndarray:
    """What a camera makes of linear light (H, W, 3): levels (H, W, 3) uint8.

    Args:
        away_m: distance of the person, which sets haze and how many pixels they are seen with.
        blur: strength of motion and focus blur.
    """
    height, width = scene.shape[:2]
    mist = np.float32(min(0.8, camera.haze * away_m / 10.0))
    if mist > 0:
        veil = np.asarray(camera.haze_colour, np.float32) * np.float32(white_light(camera))
        scene = scene * (1 - mist) + mist * veil
    if rng.random() < 0.3 * blur:
        scene = _smeared(scene, length=1 + int(rng.integers(1, max(2, height // 40))))
    gain = camera.exposure / white_light(camera) * math.exp(rng.normal(0, 0.06))
    seen = scene.reshape(-1, 3) @ (camera.colour_matrix.T * np.float32(gain))
    levels = _tones(camera.gamma, camera.contrast)[
        np.clip(seen * np.float32(_STEPS / _BRIGHTEST), 0, _STEPS - 1).astype(np.int16)
    ].reshape(height, width, 3)
    grey = levels @ np.array([0.30, 0.59, 0.11], np.float32)
    levels = grey[..., None] + np.float32(camera.saturation) * (levels - grey[..., None])
    if camera.vignette:
        levels *= _vignette(height, width, camera.vignette)

    nearness = 0.5 * (camera.near_m + camera.far_m) / away_m
    native = camera.native_height * nearness * math.exp(-0.15 * blur * abs(rng.normal()))
    native = int(min(height, max(0.25 * height, native)))
    if native < height:
        narrow = max(8, round(native * width / height))
        small = np.asarray(_image(levels).resize((narrow, native), Image.Resampling.BOX))
        noisy = _image(small / np.float32(255) + _noise((native, narrow), camera, rng=rng))
        picture = noisy.resize((width, height), Image.Resampling.BICUBIC)
    else:
        picture = _image(levels + _noise((height, width), camera, rng=rng))
    if camera.sharpening > 0.05:
        edge = -camera.sharpening / 8
        kernel = (edge, edge, edge, edge, 1 - 8 * edge, edge, edge, edge, edge)
        picture = picture.filter(ImageFilter.Kernel((3, 3), kernel, scale=1.0))
    return np.asarray(picture)


def white_light(camera: CameraLook) -> float:
    """The light on white ground, which automatic exposure brings to the top of the range."""
    sky = sum(camera.sky_colour) / 3
    return 0.72 * (sky + 0.75 * camera.sun * max(camera.sun_direction[1], 0.3)) + 0.1


def _noise(shape: tuple[int, int], camera: CameraLook, *, rng: np.random.Generator) -> np.ndarray:
    """(H, W, 3): mostly the same in all channels, a little of each one's own."""
    grain = rng.standard_normal((*shape, 4), np.float32) * np.float32(camera.noise_level)
    return grain[..., :1] + np.float32(0.5) * grain[..., 1:]


def _smeared(scene: np.ndarray, *, length: int) -> np.ndarray:
    """Mean over `length` + 1 pixels sideways: a person who moves during the exposure."""
    padded = np.pad(scene, ((0, 0), (length, 0), (0, 0)), mode="edge")
    width = scene.shape[1]
    total = sum(padded[:, shift : shift + width] for shift in range(length + 1))
    return np.asarray(total, np.float32) * np.float32(1 / (length + 1))


@lru_cache(maxsize=64)
def _tones(gamma: float, contrast: float) -> np.ndarray:
    """(_STEPS,) display level 0..1 for linear light, with a soft shoulder."""
    light = np.linspace(0, _BRIGHTEST, _STEPS)
    shoulder = light * (1 + light / _BRIGHTEST**2) / (1 + 0.45 * light)
    shown = np.clip(shoulder * 1.25, 0, 1) ** (gamma / 2.2)
    return np.clip(0.5 + contrast * (shown - 0.5), 0, 1).astype(np.float32)


@lru_cache(maxsize=16)
def _vignette(height: int, width: int, strength: float) -> np.ndarray:
    """(H, W, 1) brightness that falls off towards the corners."""
    y = np.linspace(-1, 1, height)[:, None] ** 2
    x = np.linspace(-1, 1, width)[None, :] ** 2
    return (1 - 0.5 * strength * (x + y))[..., None].astype(np.float32)


def _image(levels: np.ndarray) -> Image.Image:
    return Image.fromarray((np.clip(levels, 0, 1) * np.float32(255) + 0.5).astype(np.uint8))

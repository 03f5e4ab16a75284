"""From light to levels: haze, exposure, colour response, blur, noise, sharpening.

Shapes: H, W = image size.
"""

import math
from functools import lru_cache

import numpy as np

from daam.synthetic.settings import CameraLook
from daam.synthetic.streams import stream

_STEPS = 2048
_BRIGHTEST = 3.0


def native_height(
    height: int, *, camera: CameraLook, away_m: float, blur: float, rng: np.random.Generator
) -> int:
    """Lines of pixels that a camera resolves a person at this distance with, at most `height`.

    With fewer than the image will have, the person is soft once enlarged.
    """
    nearness = 0.5 * (camera.near_m + camera.far_m) / away_m
    tall = camera.native_height * nearness * math.exp(-0.15 * blur * abs(rng.normal()))
    return round(min(height, max(0.25 * height, tall)))


def expose(
    scene: np.ndarray, *, camera: CameraLook, away_m: float, blur: float, rng: np.random.Generator
) -> np.ndarray:
    """What a camera makes of linear light (H, W, 3): levels (H, W, 3) uint8.

    Args:
        away_m: distance of the person, over which haze gathers.
        blur: strength of motion blur.
    """
    height, width = scene.shape[:2]
    mist = np.float32(min(0.8, camera.haze * away_m / 10.0))
    if mist > 0:
        veil = np.asarray(camera.haze_colour, np.float32) * np.float32(white_light(camera))
        scene = scene * (1 - mist) + mist * veil
    if rng.random() < 0.2 * blur:
        scene = _smeared(scene, length=1 + int(rng.integers(1, max(2, height // 40))))
    gain = camera.exposure / white_light(camera) * math.exp(rng.normal(0, 0.06))
    if camera.vignette:
        scene = scene * _vignette(height, width, camera.vignette)
    seen = scene.reshape(-1, 3) @ (camera.colour_matrix.T * np.float32(gain * _STEPS / _BRIGHTEST))
    steps = np.minimum(np.maximum(seen, 0, out=seen), _STEPS - 1, out=seen).astype(np.int16)
    levels = _tones(camera.gamma, camera.contrast).take(steps).reshape(height, width, 3)
    levels = _sharpened(levels, strength=camera.sharpening)
    levels += _noise(height, width, rng=rng) * np.float32(255 * camera.noise_level)
    return np.clip(levels, 0, 255, out=levels).astype(np.uint8)


def white_light(camera: CameraLook) -> float:
    """The light on white ground, which automatic exposure brings to the top of the range."""
    sky = sum(camera.sky_colour) / 3
    return 0.72 * (sky + 0.75 * camera.sun * max(camera.sun_direction[1], 0.3)) + 0.1


def _sharpened(levels: np.ndarray, *, strength: float) -> np.ndarray:
    """What differs from the four neighbours, exaggerated."""
    if strength < 0.05:
        return levels
    edges = 4 * levels[1:-1, 1:-1]
    edges -= levels[:-2, 1:-1]
    edges -= levels[2:, 1:-1]
    edges -= levels[1:-1, :-2]
    edges -= levels[1:-1, 2:]
    sharp = levels.copy()
    sharp[1:-1, 1:-1] += np.float32(0.25 * strength) * edges
    return sharp


def _noise(height: int, width: int, *, rng: np.random.Generator) -> np.ndarray:
    """(H, W, 3), deviation about 1: a random window of a large table, which is drawn once."""
    table = _noise_table()
    top = int(rng.integers(table.shape[0] - height))
    left = int(rng.integers(table.shape[1] - width))
    return table[top : top + height, left : left + width]


@lru_cache(maxsize=1)
def _noise_table() -> np.ndarray:
    """(1024, 768, 3) float32: mostly the same in all channels, a little of each one's own."""
    grain = stream("sensor noise").standard_normal((1024, 768, 4), np.float32)
    return grain[..., :1] + np.float32(0.5) * grain[..., 1:]


def _smeared(scene: np.ndarray, *, length: int) -> np.ndarray:
    """Mean over `length` + 1 pixels sideways: a person who moves during the exposure."""
    padded = np.pad(scene, ((0, 0), (length, 0), (0, 0)), mode="edge")
    width = scene.shape[1]
    total = sum(padded[:, shift : shift + width] for shift in range(length + 1))
    return np.asarray(total, np.float32) * np.float32(1 / (length + 1))


@lru_cache(maxsize=64)
def _tones(gamma: float, contrast: float) -> np.ndarray:
    """(_STEPS,) display level for linear light, with a soft shoulder."""
    light = np.linspace(0, _BRIGHTEST, _STEPS)
    shoulder = light * (1 + light / _BRIGHTEST**2) / (1 + 0.45 * light)
    shown = np.clip(shoulder * 1.25, 0, 1) ** (gamma / 2.2)
    return (np.clip(0.5 + contrast * (shown - 0.5), 0, 1) * 255).astype(np.float32)


@lru_cache(maxsize=4096)
def _vignette(height: int, width: int, strength: float) -> np.ndarray:
    """(H, W, 1) brightness that falls off towards the corners."""
    y = np.linspace(-1, 1, height)[:, None] ** 2
    x = np.linspace(-1, 1, width)[None, :] ** 2
    return (1 - 0.5 * strength * (x + y))[..., None].astype(np.float32)

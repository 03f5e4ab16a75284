"""Synthetic JPEGs: seeded, 256x128, about as large as those of a re-identification data set.

Smooth colours, texture of a few pixels and a little noise: quality 95 makes about 11.5 KB of them.
They show nobody; a decoder's work depends on size and detail alone.
"""

from pathlib import Path

import numpy as np
import simplejpeg
import torch
from torch.nn.functional import interpolate

from benchmarks.loaders.work import HEIGHT, WIDTH

NUM_IDENTITIES, NUM_CAMERAS = 751, 6
QUALITY = 95
NOISE, TEXTURE = 1.9, 12.0  # levels
TABLE = "index.csv"


def write_images(folder: Path, *, num_images: int) -> None:
    """Write `num_images` to a folder for each identity, and `index.csv`, which names them all."""
    lines = ["path,identity,camera,split"]
    for number in range(num_images):
        identity = number % min(NUM_IDENTITIES, max(num_images // 4, 1)) + 1
        camera = number // NUM_IDENTITIES % NUM_CAMERAS + 1
        path = folder / f"{identity:04d}" / f"{number:07d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encoded(draw_image(seed=number)))
        lines.append(f"{path.relative_to(folder)},{identity},{camera},train")
    (folder / TABLE).write_text("\n".join(lines) + "\n")


def draw_image(*, seed: int) -> np.ndarray:
    """An image of (H, W, 3) uint8."""
    generator = torch.Generator().manual_seed(seed)
    image = torch.zeros(1, 3, HEIGHT, WIDTH)
    for cell, levels in ((32, 60.0), (4, TEXTURE), (1, NOISE)):
        channels = 3 if cell == 32 else 1  # as in photographs, detail is grey
        noise = torch.randn(1, channels, HEIGHT // cell, WIDTH // cell, generator=generator)
        image += levels * interpolate(noise, size=(HEIGHT, WIDTH), mode="bilinear")
    pixels = (image[0] + 110).clamp(0, 255).byte().permute(1, 2, 0)
    return np.ascontiguousarray(pixels.numpy())


def encoded(image: np.ndarray) -> bytes:
    """A JPEG as cameras and Pillow write it, colour at half the resolution."""
    return simplejpeg.encode_jpeg(image, quality=QUALITY, colorsubsampling="420")

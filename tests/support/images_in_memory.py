"""A source of real JPEGs without files."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import simplejpeg


@dataclass(frozen=True, slots=True, kw_only=True)
class ImagesInMemory:
    encoded: tuple[bytes, ...]
    cameras: np.ndarray | None
    tracks: np.ndarray | None = None

    @property
    def num_rows(self) -> int:
        return len(self.encoded)

    def jpegs(self, rows: np.ndarray) -> list[bytes]:
        return [self.encoded[row] for row in rows]

    def place(self, row: int) -> str:
        return f"row {row} in memory"

    @property
    def shards(self) -> tuple[range, ...]:
        return (range(self.num_rows),)

    def prefetch(self, shard_numbers: Iterable[int]) -> None: ...

    def release(self, shard_numbers: Iterable[int]) -> None: ...


def make_images(
    num_rows: int, *, height: int = 16, width: int = 8, num_cameras: int = 3
) -> ImagesInMemory:
    """Rows that can be told apart by their pixels."""
    generator = np.random.default_rng(0)
    return ImagesInMemory(
        encoded=tuple(
            encode(random_pixels(generator, height=height, width=width)) for _ in range(num_rows)
        ),
        cameras=np.arange(num_rows, dtype=np.int32) % num_cameras,
    )


def random_pixels(generator: np.random.Generator, *, height: int, width: int) -> np.ndarray:
    """(H, W, 3) uint8: a random slope for each colour, and some noise."""
    y_H11 = np.linspace(0, 1, height)[:, None, None]
    x_1W1 = np.linspace(0, 1, width)[None, :, None]
    slope_3, other_slope_3 = generator.uniform(-120, 120, (2, 3))
    noise_HW3 = generator.normal(0, 10, (height, width, 3))
    pixels_HW3 = 128 + slope_3 * y_H11 + other_slope_3 * x_1W1 + noise_HW3
    return pixels_HW3.clip(0, 255).astype(np.uint8)


def encode(pixels: np.ndarray) -> bytes:
    return simplejpeg.encode_jpeg(np.ascontiguousarray(pixels), quality=92)

"""Image files of every format that an import reads, and JPEGs as shards hold them."""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

from daam.dataset.pixels.decode import decode_images
from daam.dataset.pixels.image_file import MAX_PIXELS, decode_image
from tests.fuzz.domain import jpegs
from tests.fuzz.mutations import mutated_bytes
from tests.fuzz.target import Target

PNG_START = b"\x89PNG\r\n\x1a\n"
HEADER = range(0, 64)  # sizes and kinds of pixels are there


def target() -> Target:
    """Any image file, as an import, a search and `embed` decode it."""
    samples = _samples()
    mutated = mutated_bytes(samples, places=lambda _: [HEADER], seal=_with_png_checksums)
    return Target(name="image file", samples=samples, mutated=mutated, read=_decode)


def stored() -> Target:
    """A JPEG of a shard, as training decodes it."""
    samples = [*jpegs()[:3], _encoded(_pixels(), "JPEG", progressive=True)]
    mutated = mutated_bytes(samples, places=lambda _: [range(150, 200)])
    return Target(name="stored JPEG", samples=samples, mutated=mutated, read=_decode_stored)


def _decode(data: bytes, _: Path) -> None:
    pixels = decode_image(data)
    assert pixels.dtype == np.uint8
    height, width, colours = pixels.shape
    assert colours == 3
    assert 0 < height * width <= MAX_PIXELS


def _decode_stored(data: bytes, _: Path) -> None:
    pixels = decode_images([data], height=32, width=16)
    assert pixels.shape == (1, 32, 16, 3)


def _pixels() -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (24, 12, 3), dtype=np.uint8)


def _encoded(pixels: np.ndarray, form: str, **options: object) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, form, **options)
    return file.getvalue()


def _samples() -> list[bytes]:
    pixels = _pixels()
    grey_16 = np.random.default_rng(2).integers(0, 2**16, (24, 12)).astype(np.uint16)
    turned = Image.Exif()
    turned[0x0112] = 6
    samples = [_encoded(pixels, form) for form in ("JPEG", "PNG", "BMP", "GIF", "TIFF", "PPM")]
    samples += [_encoded(pixels, "WEBP"), _encoded(pixels, "WEBP", lossless=True)]
    samples += [_encoded(pixels, "JPEG", exif=turned), _encoded(pixels, "JPEG", progressive=True)]
    samples += [_encoded(grey_16, form) for form in ("PNG", "TIFF")]
    samples += [_encoded(pixels, "TIFF", compression=kind) for kind in ("tiff_lzw", "jpeg")]
    return samples


def _with_png_checksums(data: bytes) -> bytes:
    """A PNG whose chunks have the checksums of their content; other files as they are."""
    if not data.startswith(PNG_START):
        return data
    sealed, at = bytearray(data), len(PNG_START)
    while at + 12 <= len(sealed):
        (size,) = struct.unpack(">I", sealed[at : at + 4])
        end = at + 8 + size
        if end + 4 > len(sealed):
            break
        sealed[end : end + 4] = struct.pack(">I", zlib.crc32(sealed[at + 4 : end]))
        at = end + 4
    return bytes(sealed)

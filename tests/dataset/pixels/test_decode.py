import io
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
import pytest
import torch
from PIL import Image

from daam.dataset.pixels.decode import decode_images
from daam.dataset.pixels.reader import PixelReader
from daam.errors import DataError
from tests.support.images_in_memory import ImagesInMemory, encode, make_images, random_pixels


@dataclass(frozen=True, slots=True, kw_only=True)
class CountingImages(ImagesInMemory):
    """Notes which rows are read."""

    rows_read: list[int] = field(default_factory=list)

    def jpegs(self, rows: np.ndarray) -> list[bytes]:
        self.rows_read.extend(rows.tolist())
        return [self.encoded[row] for row in rows]


def counting_images(num_rows: int) -> CountingImages:
    images = make_images(num_rows)
    return CountingImages(encoded=images.encoded, cameras=images.cameras)


@pytest.fixture
def generator() -> np.random.Generator:
    return np.random.default_rng(0)


def decoded_by_pillow(jpeg: bytes, *, height: int, width: int) -> np.ndarray:
    image = Image.open(io.BytesIO(jpeg)).convert("RGB")
    if image.size != (width, height):
        image = image.resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(image).astype(int)


def test_equals_pillow_to_the_bit_at_the_stored_size(generator):
    jpegs = [encode(random_pixels(generator, height=64, width=32)) for _ in range(5)]
    images = decode_images(jpegs, height=64, width=32)
    assert images.dtype == torch.uint8
    assert images.shape == (5, 64, 32, 3)
    for image, jpeg in zip(images, jpegs, strict=True):
        assert (image.numpy() == decoded_by_pillow(jpeg, height=64, width=32)).all()


def test_equals_pillow_within_a_level_at_any_other_size(generator):
    sizes = [(64, 32), (96, 40), (64, 32), (20, 17), (128, 64), (96, 40), (63, 32)]
    sizes += [(64, 32), (20, 17), (64, 32), (32, 64), (64, 32)]
    jpegs = [encode(random_pixels(generator, height=h, width=w)) for h, w in sizes]
    images = decode_images(jpegs, height=64, width=32)
    for image, jpeg in zip(images, jpegs, strict=True):
        expected = decoded_by_pillow(jpeg, height=64, width=32)
        assert np.abs(image.numpy() - expected).max() <= 1


def test_an_image_does_not_depend_on_the_others_it_is_decoded_with(generator):
    sizes = [(64, 32), (96, 40), (96, 40), (64, 32), (64, 32), (20, 17), (32, 64), (64, 32)]
    jpegs = [encode(random_pixels(generator, height=h, width=w)) for h, w in sizes]
    together = decode_images(jpegs, height=64, width=32)
    alone = torch.cat([decode_images([jpeg], height=64, width=32) for jpeg in jpegs])
    assert torch.equal(together, alone)


@pytest.mark.parametrize(("mode", "tolerance"), [("L", 0), ("CMYK", 3)])
def test_grey_and_cmyk_become_rgb(mode, tolerance, generator):
    rgb = Image.fromarray(random_pixels(generator, height=32, width=16))
    file = io.BytesIO()
    rgb.convert(mode).save(file, "JPEG", quality=95)
    image = decode_images([file.getvalue()], height=32, width=16)[0].numpy()
    expected = decoded_by_pillow(file.getvalue(), height=32, width=16)
    assert np.abs(image - expected).max() <= tolerance


@pytest.mark.parametrize("damage", ["truncated", "empty", "not a JPEG", "huge"])
def test_a_damaged_image_is_named_by_its_place(damage, generator):
    jpeg = encode(random_pixels(generator, height=64, width=32))
    start = jpeg.index(b"\x08\x00\x40\x00\x20\x03")  # 8 bits, height, width, 3 colours
    bad = {
        "truncated": jpeg[:-200],
        "empty": b"",
        "not a JPEG": b"GIF89a" * 20,
        "huge": jpeg[: start + 1] + b"\xff\x00\xff\x00" + jpeg[start + 5 :],  # 12.8 GB
    }[damage]
    images = ImagesInMemory(encoded=(jpeg, jpeg, bad), cameras=np.zeros(3, np.int32))
    for keep_decoded_bytes in (0, 2**20):
        reader = PixelReader(images, height=64, width=32, keep_decoded_bytes=keep_decoded_bytes)
        with pytest.raises(DataError, match="row 2 in memory can't be decoded"):
            reader.read(np.array([1, 2]))
    smaller = encode(random_pixels(generator, height=20, width=10))
    for good in (jpeg, smaller):
        with pytest.raises(DataError, match="row 1 "):
            decode_images([good, bad], height=64, width=32)


def test_no_images_make_an_empty_batch():
    assert decode_images([], height=8, width=4).shape == (0, 8, 4, 3)


@pytest.mark.parametrize("keep_decoded_bytes", [0, 2**20])
def test_a_reader_returns_rows_in_the_order_asked_for_with_repeats(keep_decoded_bytes):
    images = make_images(6)
    reader = PixelReader(images, height=16, width=8, keep_decoded_bytes=keep_decoded_bytes)
    every = decode_images(images.encoded, height=16, width=8)
    for rows in [[5, 0, 5, 2], [1, 2], [0, 1, 2, 3, 4, 5], []]:
        assert torch.equal(reader.read(np.array(rows, dtype=np.int64)), every[rows])


def test_a_small_data_set_is_decoded_once():
    source = counting_images(6)
    reader = PixelReader(source, height=16, width=8, keep_decoded_bytes=6 * 16 * 8 * 3)
    reader.read(np.array([3, 3, 1]))
    assert len(source.rows_read) == 2
    for _ in range(3):
        reader.read(np.arange(6))
    assert len(source.rows_read) == 6


def test_a_data_set_over_the_limit_is_decoded_each_time():
    source = counting_images(6)
    reader = PixelReader(source, height=16, width=8, keep_decoded_bytes=6 * 16 * 8 * 3 - 1)
    for _ in range(3):
        reader.read(np.arange(6))
    assert len(source.rows_read) == 18


def test_changing_what_was_read_does_not_change_what_is_kept():
    reader = PixelReader(make_images(3), height=16, width=8)
    expected = reader.read(np.arange(3)).clone()
    reader.read(np.arange(3)).zero_()
    assert torch.equal(reader.read(np.arange(3)), expected)


def test_threads_that_read_the_same_rows_at_once_all_get_them():
    images = make_images(40)
    every = decode_images(images.encoded, height=16, width=8)
    for attempt in range(5):
        reader = PixelReader(images, height=16, width=8)
        orders = [np.random.default_rng((attempt, i)).permutation(40) for i in range(16)]
        with ThreadPoolExecutor(8) as pool:
            for order, pixels in zip(orders, pool.map(reader.read, orders), strict=True):
                assert torch.equal(pixels, every[order])


def test_a_failed_read_leaves_the_reader_usable():
    images = make_images(3)
    damaged = ImagesInMemory(
        encoded=(images.encoded[0], b"damaged", images.encoded[2]), cameras=images.cameras
    )
    reader = PixelReader(damaged, height=16, width=8)
    for _ in range(2):
        with pytest.raises(DataError, match="row 1 "):
            reader.read(np.arange(3))
    assert reader.read(np.array([2])).shape == (1, 16, 8, 3)

from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from daam.dataset.pixels import device_decode
from daam.dataset.pixels.device_decode import DevicePixels
from daam.dataset.pixels.reader import PixelReader
from daam.errors import DataError
from tests.support.images_in_memory import ImagesInMemory, make_images, random_pixels
from tests.support.known import known

CPU = torch.device("cpu")
# From 0.29 on torchvision says that its decoders will move to another package.
pytestmark = pytest.mark.filterwarnings("ignore:The image decoding:DeprecationWarning")


@pytest.mark.parametrize("rows", [[5, 0, 5, 2], [3], []])
def test_pixels_are_those_of_the_other_reader_at_the_stored_size(rows):
    images = make_images(6)
    there = DevicePixels(images, height=16, width=8, device=CPU)
    here = PixelReader(images, height=16, width=8)
    pixels = there.read(np.array(rows, dtype=np.int64))
    assert pixels.dtype == torch.uint8
    assert torch.equal(pixels, here.read(np.array(rows, dtype=np.int64)))
    assert (there.num_rows, there.device) == (6, CPU)
    assert known(there.cameras).tolist() == known(images.cameras).tolist()


def test_pixels_of_another_size_are_within_a_level():
    images = make_images(4)
    there = DevicePixels(images, height=24, width=12, device=CPU).read(np.arange(4))
    here = PixelReader(images, height=24, width=12).read(np.arange(4))
    assert (there.int() - here.int()).abs().max() <= 1


def test_a_damaged_image_is_named_by_its_row():
    images = make_images(3)
    damaged = ImagesInMemory(
        encoded=(images.encoded[0], b"damaged", images.encoded[2]), cameras=images.cameras
    )
    there = DevicePixels(damaged, height=16, width=8, device=CPU)
    with pytest.raises(DataError, match="row 1 in memory can't be decoded"):
        there.read(np.array([0, 2, 1]))
    assert there.read(np.array([2, 0])).shape == (2, 16, 8, 3)


def refuse(monkeypatch: pytest.MonkeyPatch, *refused: bytes) -> None:
    """Let torchvision's decoder refuse some images, as nvJPEG does with CMYK: whole batches."""
    decode = device_decode.decode_jpeg

    def picky(encoded: list[Tensor], **options: Any) -> Tensor | list[Tensor]:
        if any(jpeg.numpy().tobytes() in refused for jpeg in encoded):
            raise RuntimeError("Error while decoding JPEG images")
        return decode(encoded, **options)

    monkeypatch.setattr(device_decode, "decode_jpeg", picky)


@pytest.mark.parametrize("rows", [[3, 1, 2, 1], [1], [1, 1], [0, 3]])
def test_what_the_device_refuses_is_decoded_on_the_cpu(
    monkeypatch: pytest.MonkeyPatch, rows: list[int], caplog: pytest.LogCaptureFixture
) -> None:
    images = make_images(4)
    refuse(monkeypatch, images.encoded[1])
    for height, width in ((16, 8), (24, 12)):
        there = DevicePixels(images, height=height, width=width, device=CPU).read(np.array(rows))
        here = PixelReader(images, height=height, width=width).read(np.array(rows))
        assert (there.int() - here.int()).abs().max() <= (height != 16)
    warned = [record.getMessage() for record in caplog.records]
    assert len(warned) == 2 * (1 in rows)  # by each of two readers
    assert all("cpu does not decode row 1 in memory, which is decoded on" in it for it in warned)


def test_a_device_that_decodes_nothing_is_told_and_no_image_is_blamed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(encoded: list[Tensor], **options: Any) -> list[Tensor]:
        raise RuntimeError("Error while decoding JPEG images")

    monkeypatch.setattr(device_decode, "decode_jpeg", broken)
    with pytest.raises(DataError, match=r"cpu decodes no JPEG at all: Error.*data\.decode=cpu"):
        DevicePixels(make_images(3), height=16, width=8, device=CPU).read(np.arange(3))


def test_a_device_without_memory_is_not_taken_for_one_that_refuses(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def full(encoded: list[Tensor], **options: Any) -> list[Tensor]:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(device_decode, "decode_jpeg", full)
    with pytest.raises(torch.OutOfMemoryError):
        DevicePixels(make_images(3), height=16, width=8, device=CPU).read(np.arange(3))


def encoded_as(kind: str, *, pixels: np.ndarray) -> bytes:
    image = Image.fromarray(pixels).convert({"grey": "L", "cmyk": "CMYK"}.get(kind, "RGB"))
    file = BytesIO()
    halved = {"subsampling": 2 if kind == "4:2:0" else 0} if kind != "grey" else {}
    image.save(file, "JPEG", quality=95, progressive=kind == "progressive", **halved)
    return file.getvalue()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU: nvJPEG decodes there")
@pytest.mark.parametrize(
    ("kind", "most_off"),
    [("4:4:4", 1), ("4:2:0", 3), ("progressive", 1), ("grey", 1), ("cmyk", 1)],
)
def test_pixels_of_a_gpu_are_near_those_of_the_cpu(kind: str, most_off: float) -> None:
    generator = np.random.default_rng(0)
    encoded = tuple(
        encoded_as(kind, pixels=random_pixels(generator, height=256, width=128)) for _ in range(20)
    )
    images = ImagesInMemory(encoded=encoded, cameras=np.zeros(20, np.int32))
    rows = np.arange(20)
    there = DevicePixels(images, height=256, width=128, device=torch.device("cuda", 0)).read(rows)
    here = PixelReader(images, height=256, width=128).read(rows)
    assert (there.cpu().int() - here.int()).abs().float().mean() < most_off


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU: nvJPEG has its own stream")
@pytest.mark.parametrize("height", [16, 24])
def test_batches_read_beside_queued_work_and_let_go_at_once_are_those_read_alone(height):
    there = DevicePixels(make_images(64), height=height, width=8, device=torch.device("cuda", 0))
    parts = np.random.default_rng(0).integers(0, 64, (40, 16))
    alone = []
    for rows in parts:
        alone.append(there.read(rows).cpu())
        torch.cuda.synchronize()
    with ThreadPoolExecutor(4) as pool:
        there.read(parts[0])
        torch.cuda._sleep(2_000_000_000)  # cycles, about a second: training's queue is as long
        # Each copy is queued behind that; its batch is freed before the copy is made.
        copies = [images.clone() for images in pool.map(there.read, parts)]
    assert all(torch.equal(copy.cpu(), one) for copy, one in zip(copies, alone, strict=True))

"""Images are stored as they are, or resized as everywhere, and sizes without sense are refused."""

from pathlib import Path

import numpy as np
import pytest
import simplejpeg
from PIL import ExifTags, Image

from daam.dataset.format.manifest import read_manifest
from daam.dataset.importing.encoding import check_size, read_jpeg
from daam.dataset.importing.import_domain import import_domain
from daam.dataset.importing.layouts import read_layout
from daam.dataset.pixels.decode import decode_images
from daam.errors import DataError
from daam.storage import open_store
from tests.support.layout_trees import records


def smooth(height: int, width: int) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    return np.stack([255 * y / height, 255 * x / width, 128 + 0 * x], axis=2).astype(np.uint8)


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@pytest.mark.parametrize("size", [(32, 16), (40, 33), (200, 100)])
def test_an_image_of_another_size_is_resized_as_everywhere(
    tmp_path: Path, kind: str, size: tuple[int, int]
) -> None:
    path = tmp_path / "image"
    Image.fromarray(smooth(96, 48)).save(path, kind)
    stored = read_jpeg(path, size=size)
    height, width, colours, sampling = simplejpeg.decode_jpeg_header(stored)
    assert (height, width, colours, sampling) == (*size, "YCbCr", "444")
    original = path.read_bytes()
    if kind == "PNG":
        original = simplejpeg.encode_jpeg(smooth(96, 48), quality=100, colorsubsampling="444")
    expected = decode_images([original], height=size[0], width=size[1])[0].numpy().astype(int)
    assert np.abs(simplejpeg.decode_jpeg(stored).astype(int) - expected).mean() < 1.5


def test_a_jpeg_of_the_right_size_is_kept_byte_for_byte(tmp_path: Path) -> None:
    data = simplejpeg.encode_jpeg(smooth(64, 32), quality=50)
    (tmp_path / "image.jpg").write_bytes(data)
    assert read_jpeg(tmp_path / "image.jpg", size=(64, 32)) == data


@pytest.mark.parametrize("size", [None, (48, 24)])
def test_a_jpeg_that_exif_turns_is_stored_upright(
    tmp_path: Path, size: tuple[int, int] | None
) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    Image.fromarray(smooth(24, 48)).save(tmp_path / "image.jpg", exif=exif, quality=95)
    stored = simplejpeg.decode_jpeg(read_jpeg(tmp_path / "image.jpg", size=size)).astype(int)
    assert np.abs(stored - np.rot90(smooth(24, 48), -1)).max() < 12


@pytest.mark.parametrize("mode", ["L", "CMYK"])
def test_grey_and_cmyk_become_colour(tmp_path: Path, mode: str) -> None:
    Image.fromarray(smooth(64, 32)).convert(mode).save(tmp_path / "image.jpg")
    stored = read_jpeg(tmp_path / "image.jpg", size=(32, 16))
    assert simplejpeg.decode_jpeg(stored).shape == (32, 16, 3)


@pytest.mark.parametrize("damage", ["cut", "header only", "text"])
def test_a_damaged_image_is_named(tmp_path: Path, damage: str) -> None:
    data = simplejpeg.encode_jpeg(smooth(64, 32))
    damaged = {"cut": data[:-60], "header only": data[:8], "text": b"no image"}
    (tmp_path / "image.jpg").write_bytes(damaged[damage])
    with pytest.raises(DataError, match=r"image\.jpg"):
        read_jpeg(tmp_path / "image.jpg", size=(32, 16))


@pytest.mark.parametrize(
    ("size", "complaint"),
    [
        ((0, 16), "each side must be from 16"),
        ((64, 4096), "to 2048 pixels"),
        ((48, 24), r"smaller than 48x24 \(typically 32x16"),
    ],
)
def test_a_size_without_sense_is_refused_before_anything_is_written(
    small_market: Path, tmp_path: Path, size: tuple[int, int], complaint: str
) -> None:
    store = open_store(str(tmp_path / "store"))
    index = read_layout("market1501", small_market)
    with pytest.raises(DataError, match=complaint):
        import_domain(index, domain="plaza", to=store, reencode=size)
    assert store.list() == []


def test_a_size_is_not_refused_for_a_few_smaller_images(small_market: Path) -> None:
    index = read_layout("market1501", small_market)
    for record in records(index)[:20]:
        (small_market / record.path).write_bytes(simplejpeg.encode_jpeg(smooth(16, 16)))
    check_size((32, 16), index=index)


def test_the_size_is_in_the_manifest_and_the_same_input_gives_the_same_files(
    small_market: Path, tmp_path: Path
) -> None:
    index = read_layout("market1501", small_market)
    stores = [open_store(str(tmp_path / name)) for name in ("a", "b")]
    for store in stores:
        import_domain(index, domain="plaza", to=store, reencode=(24, 16))
    manifest = read_manifest(stores[0], "plaza")
    assert manifest.settings.reencoded == (24, 16)
    assert stores[1].read("plaza/manifest.json") == manifest.to_json()

"""Files of any folder against Pillow, file by file; and those that are no images."""

import os
import time
import zlib
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import simplejpeg
from PIL import Image

from daam.dataset.importing.image_files import (
    FileBatch,
    decode_file,
    list_image_files,
    read_image_files,
)
from daam.dataset.pixels.decode import decode_images, resized
from daam.errors import DataError, StorageError
from daam.storage import Store, open_store
from daam.storage.local import LocalStore

HEIGHT, WIDTH = 24, 12


def pixels(seed: int, *, height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def encoded(image: np.ndarray | Image.Image, kind: str, **options: object) -> bytes:
    buffer = BytesIO()
    picture = image if isinstance(image, Image.Image) else Image.fromarray(image)
    picture.save(buffer, format=kind, **options)
    return buffer.getvalue()


def decoded(content: bytes) -> np.ndarray:
    return decode_file(content, height=HEIGHT, width=WIDTH)


def read_all(store: Store, *, batch_size: int = 4) -> list[FileBatch]:
    return list(
        read_image_files(
            store,
            names=list_image_files(store),
            height=HEIGHT,
            width=WIDTH,
            batch_size=batch_size,
            num_threads=2,
        )
    )


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF"])
def test_formats_without_loss_give_their_pixels(kind: str) -> None:
    image = pixels(1)
    np.testing.assert_array_equal(decoded(encoded(image, kind)), image)


@pytest.mark.parametrize("mode", ["RGB", "P"])
def test_other_sizes_are_resized_as_everywhere(mode: str) -> None:
    image = Image.fromarray(pixels(1, height=31, width=17)).convert(mode)
    whole = np.array(image.convert("RGB"))
    wanted = resized(whole[None], height=HEIGHT, width=WIDTH)[0]
    np.testing.assert_array_equal(decoded(encoded(image, "PNG")), wanted)


def test_webp_and_gif_give_what_pillow_gives() -> None:
    for content in (
        encoded(pixels(1), "WEBP", lossless=True),
        encoded(Image.fromarray(pixels(1)).quantize(16), "GIF"),
    ):
        with Image.open(BytesIO(content)) as image:
            np.testing.assert_array_equal(decoded(content), np.asarray(image.convert("RGB")))


@pytest.mark.parametrize("size", [(HEIGHT, WIDTH), (31, 17)])
def test_a_jpeg_gives_the_pixels_it_gives_in_a_domain(size: tuple[int, int]) -> None:
    jpeg = simplejpeg.encode_jpeg(pixels(2, height=size[0], width=size[1]))
    wanted = decode_images([jpeg], height=HEIGHT, width=WIDTH)[0].numpy()
    np.testing.assert_array_equal(decoded(jpeg), wanted)


@pytest.mark.parametrize("mode", ["L", "1", "P", "LA", "RGBA", "CMYK"])
def test_every_kind_of_pixel_becomes_rgb(mode: str) -> None:
    image = Image.fromarray(pixels(3)).convert(mode)
    found = decoded(encoded(image, "TIFF" if mode == "CMYK" else "PNG"))
    np.testing.assert_array_equal(found, np.asarray(image.convert("RGB")))


def test_a_palette_with_transparency_is_read_without_a_warning() -> None:
    image = Image.fromarray(pixels(3)).quantize(8)
    found = decoded(encoded(image, "PNG", transparency=bytes(range(8))))
    np.testing.assert_array_equal(found, np.asarray(image.convert("RGB")))


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "GIF", "WEBP", "JPEG"])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_a_file_cut_short_is_refused(kind: str, share: float) -> None:
    content = encoded(pixels(4, height=96, width=64), kind)
    with pytest.raises(DataError, match="image"):
        decoded(content[: int(share * len(content))])


@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow says what it does not trust
@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "GIF", "WEBP", "JPEG"])
def test_damage_anywhere_gives_pixels_or_is_refused(kind: str) -> None:
    content = encoded(pixels(5), kind)
    generator = np.random.default_rng(6)
    for place in generator.integers(0, len(content), 200):
        damaged = bytearray(content)
        damaged[place] ^= int(generator.integers(1, 256))
        try:
            assert decoded(bytes(damaged)).shape == (HEIGHT, WIDTH, 3)
        except DataError:
            continue


@pytest.mark.parametrize(("kind", "mode"), [("PNG", "I;16"), ("TIFF", "F"), ("TIFF", "I")])
def test_more_than_eight_bits_a_channel_is_refused(kind: str, mode: str) -> None:
    grey = np.arange(HEIGHT * WIDTH, dtype=np.uint16).reshape(HEIGHT, WIDTH)
    image = Image.fromarray(grey if mode == "I;16" else grey.astype("f4" if mode == "F" else "i4"))
    assert image.mode == mode
    with pytest.raises(DataError, match="8 bits"):
        decoded(encoded(image, kind))


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_an_image_too_large_to_hold_is_refused_before_it_is_decoded(kind: str) -> None:
    content = bytearray(encoded(pixels(7), kind))
    if kind == "PNG":
        start = content.index(b"IHDR")
        content[start + 4 : start + 8] = (65_000).to_bytes(4, "big")
        content[start + 8 : start + 12] = (1_300).to_bytes(4, "big")
        # The checksum must fit again, or the file counts as damaged.
        content[start + 17 : start + 21] = zlib.crc32(content[start : start + 17]).to_bytes(
            4, "big"
        )
    else:
        start = content.index(b"\xff\xc0")
        content[start + 5 : start + 7] = (65_000).to_bytes(2, "big")
        content[start + 7 : start + 9] = (1_300).to_bytes(2, "big")
    with pytest.raises(DataError, match="80,000,000"):
        decoded(bytes(content))


def test_files_come_in_the_order_of_their_names_with_all_below(store: Store) -> None:
    names = ["b.jpg", "a/z.PNG", "a/b/c.jpeg", "c.webp", "a.bmp"]
    for seed, name in enumerate(names):
        kind = {"jpg": "JPEG", "jpeg": "JPEG"}.get(name.rpartition(".")[2], name[-3:].upper())
        kind = "WEBP" if kind == "EBP" else kind
        store.write(name, encoded(pixels(seed), kind))
    for name in ("notes.txt", "Thumbs.db", "a/.hidden.jpg", "a/._b.jpg", ".thumbs/c.jpg"):
        store.write(name, b"no image")
    batches = read_all(store, batch_size=2)
    assert [name for batch in batches for name in batch.names] == sorted(names)
    assert [len(batch.names) for batch in batches] == [2, 2, 1]
    assert all(batch.images.shape[1:] == (HEIGHT, WIDTH, 3) for batch in batches)
    assert [batch.unreadable for batch in batches] == [[], [], []]


def test_unreadable_files_are_named_and_the_others_read(store: Store) -> None:
    good = encoded(pixels(1), "PNG")
    for name in ("a.png", "c.png", "e.png"):
        store.write(name, good)
    store.write("b.png", good[:60])
    store.write("d.jpg", b"no image at all")
    (batch,) = read_all(store, batch_size=9)
    assert batch.names == ["a.png", "c.png", "e.png"]
    assert [file.name for file in batch.unreadable] == ["b.png", "d.jpg"]
    assert all(file.reason for file in batch.unreadable)
    assert len(batch.images) == 3


class CountingStore(LocalStore):
    """Counts what is read."""

    num_read = 0

    def read(self, key: str) -> bytes:
        self.num_read += 1
        return super().read(key)


def test_no_more_is_read_than_a_few_batches_ahead(tmp_path: Path) -> None:
    for number in range(60):
        (tmp_path / f"{number:02d}.png").write_bytes(encoded(pixels(number), "PNG"))
    store = CountingStore(tmp_path)
    names = list_image_files(store)
    batches = read_image_files(
        store, names=names, height=HEIGHT, width=WIDTH, batch_size=4, num_threads=2
    )
    next(batches)
    time.sleep(0.3)
    assert 4 <= store.num_read <= 4 * (1 + 2 + 2)
    batches.close()
    assert store.num_read < 60


def test_a_batch_may_be_empty(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"")
    (batch,) = read_all(open_store(str(tmp_path)))
    assert batch.names == []
    assert batch.images.shape == (0, HEIGHT, WIDTH, 3)


def test_a_file_that_goes_away_is_unreadable(store: Store) -> None:
    store.write("a.png", encoded(pixels(1), "PNG"))
    batches = read_image_files(
        store, names=["a.png", "b.png"], height=HEIGHT, width=WIDTH, batch_size=4, num_threads=1
    )
    (batch,) = batches
    assert batch.names == ["a.png"]
    assert batch.unreadable[0].name == "b.png"
    assert "gone" in batch.unreadable[0].reason


def test_a_name_that_is_not_utf8_is_unreadable_and_printable(tmp_path: Path) -> None:
    for name in (b"a.png", b"\xff\xfe.png"):
        (tmp_path / os.fsdecode(name)).write_bytes(encoded(pixels(1), "PNG"))
    (batch,) = read_all(open_store(str(tmp_path)))
    assert batch.names == ["a.png"]
    (file,) = batch.unreadable
    assert file.name.encode() == rb"\udcff\udcfe.png"
    assert "rename it" in file.reason


def test_names_that_no_store_takes_are_unreadable(tmp_path: Path) -> None:
    for name in ("a.png", "b\\c.png", "d\n.png"):
        (tmp_path / name).write_bytes(encoded(pixels(1), "PNG"))
    (batch,) = read_all(open_store(str(tmp_path)))
    assert batch.names == ["a.png"]
    assert [file.name for file in batch.unreadable] == ["b\\c.png", "d\n.png"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_a_file_that_may_not_be_read_is_unreadable(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(encoded(pixels(1), "PNG"))
    (tmp_path / "b.png").touch(mode=0)
    (batch,) = read_all(open_store(str(tmp_path)))
    assert batch.names == ["a.png"]
    assert [file.name for file in batch.unreadable] == ["b.png"]


def test_a_server_that_refuses_is_no_unreadable_file(
    s3_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store(s3_uri)
    store.write("a.png", encoded(pixels(1), "PNG"))
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    batches = read_image_files(
        open_store(s3_uri), names=["a.png"], height=HEIGHT, width=WIDTH, batch_size=4, num_threads=1
    )
    with pytest.raises(StorageError):
        list(batches)

"""The images of any folder, in the order of their names; and files that are no images."""

import os
import time
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from daam.dataset.importing.encoding import read_jpeg
from daam.dataset.importing.image_files import (
    FileBatch,
    list_image_files,
    read_image_files,
)
from daam.dataset.pixels.decode import decode_images, resized
from daam.errors import StorageError
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


@pytest.mark.parametrize("size", [(HEIGHT, WIDTH), (31, 17)])
@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_an_image_gives_the_pixels_it_gives_in_a_domain(
    size: tuple[int, int], kind: str, tmp_path: Path
) -> None:
    (tmp_path / "a").write_bytes(encoded(pixels(2, height=size[0], width=size[1]), kind))
    (tmp_path / "a").rename(tmp_path / "a.png")
    (batch,) = read_all(open_store(str(tmp_path)))
    if kind == "JPEG":
        wanted = decode_images([read_jpeg(tmp_path / "a.png")], height=HEIGHT, width=WIDTH)
    else:
        whole = pixels(2, height=size[0], width=size[1])
        wanted = torch.from_numpy(resized(whole[None], height=HEIGHT, width=WIDTH))
    np.testing.assert_array_equal(batch.images, wanted)


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

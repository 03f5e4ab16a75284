"""Exact search against a sort of everything; and embeddings that survive, grow and are reused."""

import logging
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch

from daam.config.load import with_settings
from daam.errors import DataError
from daam.inference.embedder import Embedder, open_embedder
from daam.inference.embedding import embed
from daam.inference.search import embedded
from daam.inference.search.embedded import EmbeddedGallery, embed_gallery
from daam.inference.search.gallery import Gallery, GalleryBatch, open_folder_gallery
from daam.storage import open_store
from tests.support.arrow_buffers import OFFSETS, overwritten


@pytest.fixture(scope="module")
def embedder(tiny_run: str) -> Embedder:
    return open_embedder(tiny_run, domain=None, data_root=None)


@pytest.fixture
def images(tiny_root: Path, tmp_path: Path) -> Path:
    """A folder of 24 images."""
    return shutil.copytree(
        tiny_root.parent / "raw" / "campus" / "bounding_box_test", tmp_path / "a"
    )


def opened(embedder: Embedder, folder: Path) -> Gallery:
    config = with_settings(embedder.config, {"evaluation.batch_size": 8})
    return open_folder_gallery(config, folder=open_store(str(folder)))


def counted(gallery: Gallery, *, stop_after: int | None = None) -> tuple[Gallery, list[int]]:
    """The gallery, and the rows that are read from it; it breaks after some batches."""
    read: list[int] = []

    def batches(rows: np.ndarray) -> Iterator[GalleryBatch]:
        for number, batch in enumerate(gallery.batches(rows)):
            if number == stop_after:
                raise KeyboardInterrupt
            read.extend(batch.rows.tolist())
            yield batch

    return replace(gallery, batches=batches), read


def drawn(num_images: int, *, width: int, seed: int) -> np.ndarray:
    values = np.random.default_rng(seed).normal(size=(num_images, width)).astype(np.float32)
    return values / np.linalg.norm(values, axis=1, keepdims=True)


def scattered(gallery_NC: np.ndarray) -> EmbeddedGallery:
    """Embeddings in three files, in no order, among some of other galleries."""
    generator = np.random.default_rng(3)
    parts = np.array_split(generator.permutation(len(gallery_NC)), 3)
    files, rows, places = [], [], []
    for part in parts:
        num_others = int(generator.integers(0, 4))
        file = drawn(len(part) + num_others, width=gallery_NC.shape[1], seed=num_others)
        place = np.sort(generator.permutation(len(file))[: len(part)])
        file[place] = gallery_NC[part]
        files.append(torch.from_numpy(file))
        rows.append(part)
        places.append(place)
    gallery = Gallery(
        name="drawn",
        names=[f"{row}" for row in range(len(gallery_NC))],
        keys=pa.array([], pa.binary()),
        cameras=None,
        times=None,
        camera_names={},
        batches=lambda _: iter(()),
        pixels=lambda _: np.zeros((1, 1, 3), np.uint8),
    )
    return EmbeddedGallery(
        gallery=gallery, unreadable=[], names=[], files=files, rows=rows, places=places
    )


@pytest.mark.parametrize("num_allowed", [None, 50, 3])
@pytest.mark.parametrize("count", [1, 7, 1000])
def test_the_nearest_are_those_of_a_sort(
    num_allowed: int | None, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedded, "QUERIES_AT_ONCE", 4)
    gallery_NC, queries_QC = drawn(100, width=8, seed=1), drawn(9, width=8, seed=2)
    allowed_N = None
    if num_allowed is not None:
        allowed_N = np.random.default_rng(4).permutation(100) < num_allowed
    rows_Qk, cosines_Qk = scattered(gallery_NC).nearest(
        queries_QC, count=count, allowed_N=allowed_N
    )
    for query, rows, cosines in zip(queries_QC, rows_Qk, cosines_Qk, strict=True):
        similarity = gallery_NC @ query
        searched = np.arange(100) if allowed_N is None else np.flatnonzero(allowed_N)
        wanted = searched[np.argsort(-similarity[searched], kind="stable")][:count]
        assert rows.tolist() == wanted.tolist()
        np.testing.assert_allclose(cosines, similarity[wanted], atol=1e-6)


def test_equally_near_images_are_in_the_order_of_their_rows() -> None:
    gallery_NC = np.repeat(drawn(1, width=8, seed=1), 10, axis=0)
    rows_Qk, _ = scattered(gallery_NC).nearest(gallery_NC[:1], count=10, allowed_N=None)
    assert rows_Qk.tolist() == [list(range(10))]


def test_vectors_are_those_of_their_rows() -> None:
    gallery_NC = drawn(100, width=8, seed=1)
    rows = np.random.default_rng(5).permutation(100)[:30]
    np.testing.assert_array_equal(scattered(gallery_NC).vectors(rows), gallery_NC[rows])


def vectors_by_name(found: EmbeddedGallery) -> dict[str, np.ndarray]:
    rows = np.concatenate(found.rows)
    return {
        found.gallery.names[row]: vector
        for row, vector in zip(rows.tolist(), found.vectors(rows), strict=True)
    }


def test_embeddings_are_those_of_embed(
    embedder: Embedder, images: Path, tiny_run: str, tmp_path: Path
) -> None:
    found = vectors_by_name(
        embed_gallery(opened(embedder, images), embedder, folder=tmp_path / "kept")
    )
    wanted = embed(tiny_run, images=images)
    assert sorted(found) == wanted.names
    for name, vector in zip(wanted.names, wanted.embeddings, strict=True):
        np.testing.assert_allclose(found[name], vector, atol=1e-6)


def test_the_second_time_nothing_is_read_and_what_is_added_or_replaced_alone(
    embedder: Embedder, images: Path, tmp_path: Path
) -> None:
    first = embed_gallery(opened(embedder, images), embedder, folder=tmp_path / "kept")
    gallery, read = counted(opened(embedder, images))
    again = embed_gallery(gallery, embedder, folder=tmp_path / "kept")
    assert read == []
    assert again.num_images == first.num_images == 24
    names = sorted(path.name for path in images.iterdir())
    shutil.copy(images / names[0], images / "0.jpg")
    (images / names[5]).write_bytes((images / names[6]).read_bytes() + b"\0")
    (images / names[7]).unlink()
    gallery, read = counted(opened(embedder, images))
    grown = vectors_by_name(embed_gallery(gallery, embedder, folder=tmp_path / "kept"))
    assert {gallery.names[row] for row in read} == {"0.jpg", names[5]}
    np.testing.assert_allclose(grown[names[5]], grown[names[6]], atol=1e-6)
    np.testing.assert_allclose(grown["0.jpg"], grown[names[0]], atol=1e-6)
    assert len(grown) == 24


def test_what_was_embedded_before_an_interruption_is_not_embedded_again(
    embedder: Embedder, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedded, "EMBEDDINGS_PER_FILE", 1)
    gallery, before = counted(opened(embedder, images), stop_after=1)
    with pytest.raises(KeyboardInterrupt):
        embed_gallery(gallery, embedder, folder=tmp_path / "kept")
    assert len(before) == 8  # a batch
    gallery, after = counted(opened(embedder, images))
    found = embed_gallery(gallery, embedder, folder=tmp_path / "kept")
    assert sorted(before + after) == list(range(24))
    assert found.num_images == 24


def with_null(data: bytes) -> bytes:
    """The file with a null for its first embedding."""
    table = pa.ipc.open_file(data).read_all()
    embeddings = pa.array([None, *table["embedding"].to_pylist()[1:]], table["embedding"].type)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table.set_column(1, table.schema.field(1), embeddings))
    return sink.getvalue().to_pybytes()


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[:200],
        lambda data: overwritten(data, column="key", buffer=OFFSETS, at=4, value=b"\xff" * 3),
        with_null,
    ],
)
def test_a_damaged_file_is_ignored_and_its_images_are_embedded_again(
    embedder: Embedder,
    images: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    damage: Callable[[bytes], bytes],
) -> None:
    embed_gallery(opened(embedder, images), embedder, folder=tmp_path / "kept")
    (path,) = (tmp_path / "kept").iterdir()
    path.write_bytes(damage(path.read_bytes()))
    found = embed_gallery(opened(embedder, images), embedder, folder=tmp_path / "kept")
    assert found.num_images == 24
    assert str(path) in caplog.text


def test_where_nothing_can_be_kept_the_search_goes_on(
    embedder: Embedder, images: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    with caplog.at_level(logging.WARNING):
        found = embed_gallery(opened(embedder, images), embedder, folder=tmp_path / "file" / "kept")
    assert found.num_images == 24
    assert "not kept" in caplog.text


def test_unreadable_files_are_left_out_and_named(
    embedder: Embedder, images: Path, tmp_path: Path
) -> None:
    (images / "half.jpg").write_bytes(b"\xff\xd8\xff")
    found = embed_gallery(opened(embedder, images), embedder, folder=tmp_path / "kept")
    assert found.num_images == 24
    assert [file.name for file in found.unreadable] == ["half.jpg"]


def test_a_folder_without_an_image_is_refused(embedder: Embedder, tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    with pytest.raises(DataError, match="holds no images"):
        opened(embedder, tmp_path / "a")
    (tmp_path / "a" / "b.png").write_text("no image")
    with pytest.raises(DataError, match=r"none of the 1 images.*b\.png"):
        embed_gallery(opened(embedder, tmp_path / "a"), embedder, folder=tmp_path / "kept")

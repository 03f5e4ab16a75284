"""An approximate index: what it finds, what it says it finds, and files that survive or do not."""

import logging
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch

from daam.errors import ConfigError
from daam.inference.search import index as index_module
from daam.inference.search.embedded import EmbeddedGallery
from daam.inference.search.gallery import Gallery
from daam.inference.search.index import FILE_NAME, GalleryIndex, open_index
from daam.inference.search.search import open_searcher, read_query, search

WIDTH = 16


def people(num_images: int, *, seed: int) -> np.ndarray:
    """Embeddings of people with 20 images each, (num_images, 16)."""
    generator = np.random.default_rng(seed)
    centres = np.repeat(generator.normal(size=(-(-num_images // 20), WIDTH)), 20, axis=0)
    values = centres[:num_images] + 0.4 * generator.normal(size=(num_images, WIDTH))
    return (values / np.linalg.norm(values, axis=1, keepdims=True)).astype(np.float32)


def gallery_of(vectors_NC: np.ndarray, *, num_files: int) -> EmbeddedGallery:
    """A gallery whose images lie in files, in an order of their own."""
    parts = np.array_split(np.random.default_rng(3).permutation(len(vectors_NC)), num_files)
    gallery = Gallery(
        name="drawn",
        names=[f"{row}" for row in range(len(vectors_NC))],
        keys=pa.array([], pa.binary()),
        cameras=None,
        times=None,
        camera_names={},
        batches=lambda _: iter(()),
        pixels=lambda _: np.zeros((1, 1, 3), np.uint8),
    )
    return EmbeddedGallery(
        gallery=gallery,
        unreadable=[],
        names=[f"{number}.arrow" for number in range(num_files)],
        files=[torch.from_numpy(vectors_NC[part]) for part in parts],
        rows=list(parts),
        places=[np.arange(len(part)) for part in parts],
    )


def first_files(embedded: EmbeddedGallery, count: int) -> EmbeddedGallery:
    return replace(
        embedded,
        names=embedded.names[:count],
        files=embedded.files[:count],
        rows=embedded.rows[:count],
        places=embedded.places[:count],
    )


@pytest.fixture(scope="module")
def embedded() -> EmbeddedGallery:
    return gallery_of(people(4000, seed=1), num_files=4)


@pytest.fixture(scope="module")
def kept(embedded: EmbeddedGallery, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an index; not to be changed."""
    folder = tmp_path_factory.mktemp("kept")
    open_index(embedded, folder=folder)
    return folder


def assert_finds(index: GalleryIndex, embedded: EmbeddedGallery) -> None:
    """The index finds what it says it does of the nearest, at their exact cosines, in order."""
    queries_QC = people(4000, seed=1)[7::40] + 0.02
    queries_QC /= np.linalg.norm(queries_QC, axis=1, keepdims=True)
    exact_Qk, _ = embedded.nearest(queries_QC, count=10, allowed_N=None)
    rows_Qk, cosines_Qk = index.nearest(queries_QC, count=10)
    found = [len({*rows} & {*exact}) for rows, exact in zip(rows_Qk, exact_Qk, strict=True)]
    assert np.mean(found) / 10 > 0.95
    assert index.quality.recall_at_10 > 0.95
    assert (np.diff(cosines_Qk, axis=1) <= 0).all()
    for query, rows, cosines in zip(queries_QC, rows_Qk, cosines_Qk, strict=True):
        np.testing.assert_allclose(embedded.vectors(rows) @ query, cosines, atol=1e-6)


def test_it_finds_the_nearest_and_says_how_many_of_them(
    embedded: EmbeddedGallery, tmp_path: Path
) -> None:
    index = open_index(embedded, folder=tmp_path)
    assert index.lists.nlist > 100
    assert index.lists.nprobe < index.lists.nlist
    assert index.quality.num_measured == 64
    assert_finds(index, embedded)


def test_the_recall_is_that_of_a_comparison_with_all_images(
    embedded: EmbeddedGallery, kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index_module, "WANTED_RECALL", 0.0)
    monkeypatch.setattr(index_module, "FIRST_PROBES", 1)
    index = index_module._measured(open_index(embedded, folder=kept))
    rows = np.concatenate(embedded.rows)[np.linspace(0, 3999, 128).astype(int)[1::2]]
    vectors_NC = people(4000, seed=1)
    hits = []
    for row in rows:
        similarity = vectors_NC @ vectors_NC[row]
        similarity[row] = -1
        nearest = set(np.argsort(-similarity)[:10])
        found, _ = index.found(vectors_NC[row][None], count=11)
        hits.append(len(nearest & set(found[0])) / 10)
    assert index.quality.recall_at_10 == pytest.approx(np.mean(hits), abs=1e-9)
    assert index.quality.recall_at_10 < 0.99


def test_the_second_time_it_is_read(
    embedded: EmbeddedGallery, kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index_module, "_trained", None)
    monkeypatch.setattr(index_module, "_measured", None)
    content = (kept / FILE_NAME).read_bytes()
    index = open_index(embedded, folder=kept)
    assert_finds(index, embedded)
    assert (kept / FILE_NAME).read_bytes() == content


def test_embeddings_that_were_added_extend_it(
    embedded: EmbeddedGallery, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_index(first_files(embedded, 3), folder=tmp_path)
    trained = index_module._trained
    monkeypatch.setattr(index_module, "_trained", None)
    told: list[tuple[int, int]] = []
    index = open_index(embedded, folder=tmp_path, progress=lambda *done: told.append(done))
    assert told == [(4000, 4000)]
    assert_finds(index, embedded)
    assert open_index(embedded, folder=tmp_path).quality == index.quality
    # Beyond 1.5 times the lists it has, a gallery gets a new one.
    monkeypatch.setattr(index_module, "_trained", trained)
    num_lists = open_index(first_files(embedded, 1), folder=tmp_path).lists.nlist
    assert open_index(embedded, folder=tmp_path).lists.nlist > 1.5 * num_lists


def test_images_that_were_removed_are_not_found(embedded: EmbeddedGallery, kept: Path) -> None:
    left = replace(
        embedded,
        rows=[rows[::2] for rows in embedded.rows],
        places=[places[::2] for places in embedded.places],
    )
    index = open_index(left, folder=kept)
    queries_QC = people(4000, seed=1)[:50]
    rows_Qk, _ = index.nearest(queries_QC, count=10)
    assert np.isin(rows_Qk, np.concatenate(left.rows)).all()
    exact_Qk, _ = left.nearest(queries_QC, count=10, allowed_N=None)
    assert (rows_Qk == exact_Qk).mean() > 0.9


def test_where_the_lists_hold_too_few_the_search_is_exact(tmp_path: Path) -> None:
    embedded = gallery_of(people(70, seed=2), num_files=2)
    index = open_index(embedded, folder=tmp_path)
    queries_QC = people(3, seed=4)
    for found, exact in zip(
        index.nearest(queries_QC, count=100),
        embedded.nearest(queries_QC, count=100, allowed_N=None),
        strict=True,
    ):
        np.testing.assert_allclose(found, exact, atol=1e-6)
    assert open_index(gallery_of(people(1, seed=2), num_files=1), folder=tmp_path / "one")


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[: len(content) // 2],
        lambda content: content[:-1],
        lambda _: b"",
        lambda content: content + b"\0",
        lambda content: content[:5000] + bytes([content[5000] ^ 1]) + content[5001:],
        lambda _: b"not an index at all" * 100,
    ],
)
def test_a_damaged_file_is_named_and_built_again(
    embedded: EmbeddedGallery,
    kept: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    damage,
) -> None:
    content = (kept / FILE_NAME).read_bytes()
    (tmp_path / FILE_NAME).write_bytes(damage(content))
    with caplog.at_level(logging.WARNING):
        assert_finds(open_index(embedded, folder=tmp_path), embedded)
    assert f"{tmp_path / FILE_NAME} is damaged and built again" in caplog.text
    assert (tmp_path / FILE_NAME).read_bytes() == content


def test_the_index_of_another_gallery_is_replaced(kept: Path, tmp_path: Path) -> None:
    shutil.copy(kept / FILE_NAME, tmp_path)
    for other in (
        gallery_of(people(900, seed=9), num_files=3),  # some names and too few embeddings
        gallery_of(people(900, seed=9)[:, :8].copy(), num_files=4),  # another width
    ):
        index = open_index(other, folder=tmp_path)
        assert (index.lists.d, index.lists.ntotal) == (other.files[0].shape[1], 900)


def test_an_interrupted_build_leaves_nothing(embedded: EmbeddedGallery, tmp_path: Path) -> None:
    def interrupt(done: int, _: int) -> None:
        if done > 1000:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        open_index(embedded, folder=tmp_path, progress=interrupt)
    assert [*tmp_path.iterdir()] == []
    assert_finds(open_index(embedded, folder=tmp_path), embedded)


def test_where_nothing_can_be_written_it_is_not_kept(
    embedded: EmbeddedGallery, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("no folder")
    with caplog.at_level(logging.WARNING):
        assert_finds(open_index(embedded, folder=tmp_path / "file"), embedded)
    assert "the index is not kept for the next search" in caplog.text


def test_without_faiss_one_line_says_what_to_install(
    tiny_run: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index_module, "find_spec", lambda _: None)
    with pytest.raises(ConfigError, match=r"pip install faiss-cpu \(daam's extra `index`\)"):
        open_searcher(tiny_run, gallery="campus", index=True)


def test_a_search_by_index_says_so_and_other_searches_are_exact(
    tiny_run: str, tiny_root: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / "checkpoints").symlink_to(Path(tiny_run) / "checkpoints")
    queries = sorted((tiny_root.parent / "raw" / "campus" / "query").iterdir())[:3]
    exact = search(run, gallery="campus", queries=queries)
    found = search(run, gallery="campus", queries=queries, index=True)
    assert exact.index is None
    assert found.index is not None
    assert found.index.num_measured == 54
    assert found.as_document()["index"]["recall_at_10"] == found.index.recall_at_10
    for by_index, by_all in zip(found.found, exact.found, strict=True):
        assert by_index.matches[0].name == by_all.matches[0].name
    choices: list[dict[str, Any]] = [{"rerank": True}, {"cameras": ["1"]}, {"count": 101}]
    for choice in choices:
        again = search(run, gallery="campus", queries=queries, index=True, **choice)
        assert again == search(run, gallery="campus", queries=queries, **choice)
        assert again.index is None
    searcher = open_searcher(run, gallery="campus", index=True)
    (matches,) = searcher.find([read_query(queries[0])])
    assert [match.name for match in matches] == [match.name for match in found.found[0].matches]

"""A run, a gallery and photos: the matches against those of an evaluation, and what is refused."""

import json
import stat
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
import torch

from daam.config.load import with_settings
from daam.dataset.cache import ShardCache
from daam.dataset.format.manifest import read_manifest
from daam.dataset.reading.labels import read_names
from daam.domains import Split
from daam.errors import ConfigError, DataError, StorageError
from daam.inference.embedder import open_trained
from daam.inference.search.choice import allowed_images, parse_time, time_text
from daam.inference.search.search import (
    Searcher,
    _folder_of,
    open_searcher,
    read_query,
    search,
)
from daam.inference.search.threshold import measured_threshold
from daam.metrics.reranking import reranked_chunks
from daam.metrics.retrieval import cosine_distances
from daam.storage import Store, open_store
from daam.training.scoring.retrieval_test import RetrievalTest, score
from daam.training.state import trained_network
from tests.support.results import LABELLED, NO_THRESHOLD, SCORES


@pytest.fixture
def raw(tiny_root: Path) -> Path:
    """The folder that campus was imported from; not to be changed."""
    return tiny_root.parent / "raw" / "campus"


@pytest.fixture
def run(tiny_run: str, tmp_path: Path) -> str:
    """A run's folder that may be written into."""
    folder = tmp_path / "runs" / "tiny"
    folder.mkdir(parents=True)
    (folder / "checkpoints").symlink_to(Path(tiny_run) / "checkpoints")
    return str(folder)


@pytest.fixture
def searcher(run: str) -> Searcher:
    return open_searcher(run, gallery="campus")


def test_a_domain_is_searched_as_it_is_evaluated(
    run: str, raw: Path, tiny_root: Path, tmp_path: Path
) -> None:
    queries = sorted((raw / "query").iterdir())
    found = search(run, gallery="campus", queries=queries, count=1000)
    config, state = open_trained(run, data_root=None)
    result = score(
        trained_network(config, state, where="the run"),
        RetrievalTest.on_test(config, domain="campus"),
        config,
    )
    distances_QG = cosine_distances(result.query_NC, result.gallery_NC).numpy()
    store = open_store(str(tiny_root))
    names = [
        read_names(
            store,
            manifest=read_manifest(store, "campus"),
            splits=(split,),
            cache=ShardCache(tmp_path / "cache"),
        )
        for split in (Split.QUERY, Split.GALLERY)
    ]
    wanted = {
        (query, name): distance
        for query, row in zip(names[0], distances_QG, strict=True)
        for name, distance in zip(names[1], row, strict=True)
    }
    assert found.num_images == 108
    num_compared = 0
    for each in found.found:
        assert len(each.matches) == 108
        distances = [match.distance for match in each.matches]
        assert distances == sorted(distances)
        assert each.matches[0].name == f"query/{Path(each.query).name}"
        assert each.matches[0].distance == pytest.approx(0, abs=1e-5)
        for match in each.matches:
            assert match.camera == int(match.name.partition("_c")[2][0])
            pair = f"query/{Path(each.query).name}", match.name
            if pair in wanted:
                assert match.distance == pytest.approx(wanted[pair], abs=1e-5)
                num_compared += 1
    assert num_compared == len(wanted) == 12 * 24


def test_a_folder_is_searched_as_the_domain_is(run: str, raw: Path) -> None:
    query = next((raw / "query").iterdir())
    of_folder = search(run, gallery=raw, queries=[query], count=1000)
    of_domain = search(run, gallery="campus", queries=[query], count=1000)
    distances = [
        {match.name: match.distance for match in found.found[0].matches}
        for found in (of_folder, of_domain)
    ]
    assert distances[0] == pytest.approx(distances[1], abs=1e-5)
    assert of_folder.found[0].matches[0].camera is None


def test_a_gallery_in_a_bucket_is_searched(run: str, raw: Path, store: Store) -> None:
    query = next((raw / "query").iterdir())
    for path in sorted((raw / "query").iterdir())[:4]:
        store.write(f"day/{path.name}", path.read_bytes())
    (found,) = search(run, gallery=store.uri, queries=[query]).found
    assert found.matches[0].name.startswith("day/")
    store.write(f"day/{found.matches[0].name[4:]}", b"not an image any more")
    again = search(run, gallery=store.uri, queries=[query])
    assert len(again.unreadable) == 1  # and not the embedding of what was there


def test_embeddings_for_a_run_in_a_bucket_lie_where_nobody_else_may_write(
    searcher: Searcher, tmp_path: Path
) -> None:
    cache = tmp_path / "cache"
    config = with_settings(searcher.embedder.config, {"data.cache": str(cache)})
    embedder = replace(searcher.embedder, config=config)
    folder = _folder_of(searcher.gallery, embedder, run="s3://bucket/run")
    assert folder.parent == cache / "search"
    assert stat.S_IMODE(folder.parent.stat().st_mode) == 0o700
    folder.parent.chmod(0o770)
    with pytest.raises(StorageError, match=f"chmod go-w {folder.parent}"):
        _folder_of(searcher.gallery, embedder, run="s3://bucket/run")


def test_reranking_orders_the_shortlist_by_its_reranked_distances(
    searcher: Searcher, raw: Path
) -> None:
    query = read_query(next((raw / "query").iterdir()))
    (plain,) = searcher.find([query], count=1000)
    (found,) = searcher.find([query], count=5, rerank=True)
    rows = np.array([match.row for match in plain])
    (distances,) = reranked_chunks(
        torch.from_numpy(searcher._embed([query])),
        torch.from_numpy(searcher.embedded.vectors(rows)),
        k1=20,
        k2=6,
        weight=0.3,
        chunk=1,
    )
    wanted = rows[np.argsort(distances[0], kind="stable")][:5]
    assert [match.row for match in found] == wanted.tolist()
    by_row = {match.row: match for match in plain}
    assert found == [by_row[match.row] for match in found]


def test_only_the_cameras_and_the_time_that_were_asked_for_are_searched(
    searcher: Searcher, raw: Path
) -> None:
    query = read_query(next((raw / "query").iterdir()))
    times = np.arange(108)[::-1].copy()
    gallery = replace(searcher.gallery, times=times, camera_names={2: "entrance"})
    timed = replace(searcher, embedded=replace(searcher.embedded, gallery=gallery))
    (found,) = timed.find([query], count=1000, cameras=["entrance"], since="10", until="59")
    assert {match.camera for match in found} == {"entrance"}
    assert gallery.cameras is not None
    rows = np.flatnonzero((gallery.cameras == 2) & (times >= 10) & (times <= 59))
    assert sorted(match.row for match in found) == rows.tolist()
    with pytest.raises(ConfigError, match="no camera 2, only 1, entrance"):
        timed.find([query], cameras=["2"])
    with pytest.raises(DataError, match="no image of campus"):
        timed.find([query], since="1000")


def test_what_a_gallery_does_not_know_is_not_searched_by(searcher: Searcher) -> None:
    unknown = replace(searcher.gallery, cameras=None)
    with pytest.raises(ConfigError, match="cameras of campus are unknown; import"):
        allowed_images(unknown, cameras=["1"], since=None, until=None)
    with pytest.raises(ConfigError, match="times of campus are unknown; import"):
        allowed_images(unknown, cameras=[], since="1", until=None)


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("17", 17),
        ("-3", -3),
        ("1970-01-02", 86_400_000_000),
        ("2026-03-01T14:30", int(datetime(2026, 3, 1, 14, 30, tzinfo=UTC).timestamp() * 1e6)),
        ("2026-03-01T14:30+02:00", int(datetime(2026, 3, 1, 12, 30, tzinfo=UTC).timestamp() * 1e6)),
    ],
)
def test_a_time_is_a_count_or_iso_8601(text: str, time: int) -> None:
    assert parse_time(text) == time


def test_a_time_is_shown_as_it_was_given() -> None:
    assert time_text(1234) == 1234
    assert time_text(parse_time("2026-03-01T14:30:05")) == "2026-03-01T14:30:05+00:00"
    with pytest.raises(ConfigError, match="'noon' is not a time"):
        parse_time("noon")


def test_a_given_threshold_marks_the_matches(run: str, raw: Path) -> None:
    query = next((raw / "query").iterdir())
    (found,) = search(run, gallery="campus", queries=[query], count=1000, threshold=0.2).found
    assert [match.is_match for match in found.matches] == [
        match.distance < 0.2 for match in found.matches
    ]
    assert {match.is_match for match in found.matches} == {True, False}


def test_the_threshold_is_the_one_a_person_labelled_then_the_one_of_the_evaluation(
    run: str,
) -> None:
    store = open_store(run)
    where = {"domain": "campus", "num_epochs": 2}
    assert measured_threshold(store, **where) is None
    for kind, document, distance in (
        ("scores", SCORES | {"calibration": {"threshold": None}}, None),
        ("scores", SCORES, 0.3214),
        ("labelled", LABELLED | {"threshold": NO_THRESHOLD, "num_epochs": 2}, 0.3214),
        ("labelled", LABELLED | {"num_epochs": 2}, 0.41),
    ):
        store.write(f"results/campus.{kind}.json", json.dumps(document).encode())
        found = measured_threshold(store, **where)
        assert (None if found is None else found.distance) == distance
    older = measured_threshold(store, domain="campus", num_epochs=3)
    assert older is not None
    assert older.distance == 0.3214
    assert measured_threshold(store, domain="plaza", num_epochs=2) is None


def test_the_files_hold_the_matches(run: str, raw: Path, tmp_path: Path) -> None:
    queries = sorted((raw / "query").iterdir())[:2]
    found = search(
        run, gallery="campus", queries=queries, count=3, threshold=0.1, to=tmp_path / "found"
    )
    assert [path.name for path in found.files] == ["matches.png", "matches.html", "matches.json"]
    page = (tmp_path / "found" / "matches.html").read_text()
    assert page.count("data:image/jpeg;base64,") == 2 * (1 + 3)
    document = json.loads((tmp_path / "found" / "matches.json").read_text())
    assert document["num_images"] == 108
    assert [len(each["matches"]) for each in document["found"]] == [3, 3]
    assert document["found"][0]["matches"][0]["name"] in page


def test_names_are_text_in_the_page(run: str, raw: Path, tmp_path: Path) -> None:
    folder = tmp_path / "<b>"
    folder.mkdir()
    query = next((raw / "query").iterdir())
    (folder / "<script>alert(1).jpg").write_bytes(query.read_bytes())
    search(run, gallery=folder, queries=[folder / "<script>alert(1).jpg"], to=tmp_path / "found")
    page = (tmp_path / "found" / "matches.html").read_text()
    assert "<script" not in page
    assert "<b></b>" not in page
    assert "&lt;script&gt;alert(1).jpg" in page


def test_a_gallery_that_is_not_there_and_a_query_that_cannot_be_read_are_named(
    run: str, raw: Path, tmp_path: Path
) -> None:
    query = next((raw / "query").iterdir())
    with pytest.raises(ConfigError, match=r"neither a domain nowhere in .* nor a folder"):
        search(run, gallery="nowhere", queries=[query])
    with pytest.raises(DataError, match=r"no image .*missing\.jpg"):
        search(run, gallery="campus", queries=[tmp_path / "missing.jpg"])
    (tmp_path / "text.jpg").write_text("no image")
    with pytest.raises(DataError, match=r"text\.jpg cannot be searched for: not an image"):
        search(run, gallery="campus", queries=[tmp_path / "text.jpg"])
    with pytest.raises(ConfigError, match="0 matches"):
        search(run, gallery="campus", queries=[query], count=0)
    with pytest.raises(ConfigError, match="nothing to search for"):
        search(run, gallery="campus", queries=[])

"""Drop a photo on the page, see matches; and what the page does not answer."""

import base64
import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from daam.commands.web.local_page import LocalPage, Request
from daam.commands.web.search_routes import search_routes
from daam.errors import DaamError
from daam.inference.search.search import Searcher, open_searcher, read_query
from daam.inference.search.threshold import Threshold
from tests.support.chromium import Chromium
from tests.support.page_request import ask


@pytest.fixture(scope="module")
def searcher(tiny_run: str, tmp_path_factory: pytest.TempPathFactory) -> Searcher:
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    folder.mkdir()
    (folder / "checkpoints").symlink_to(Path(tiny_run) / "checkpoints")
    return open_searcher(folder, gallery="campus", threshold=0.05)


@pytest.fixture
def photo(tiny_root: Path) -> Path:
    return min((tiny_root.parent / "raw" / "campus" / "query").iterdir())


@pytest.fixture
def page(searcher: Searcher) -> Iterator[LocalPage]:
    with LocalPage(search_routes(searcher)) as page:
        thread = threading.Thread(target=page.serve)
        thread.start()
        yield page
        page.stop()
        thread.join()


def path(page: LocalPage, name: str) -> str:
    return f"/{page.address.split('/')[3]}/{name}"


def test_a_dropped_photo_shows_its_matches_and_where_the_threshold_falls(
    page: LocalPage, searcher: Searcher, photo: Path, tmp_path: Path
) -> None:
    (wanted,) = searcher.find([read_query(photo)], count=20)
    with Chromium(tmp_path / "chromium") as browser:
        browser.open(page.address)
        browser.wait("document.getElementById('title').textContent === '108 images of campus'")
        assert browser.run("document.querySelectorAll('#camera option').length") == 3
        browser.drop(base64.b64encode(photo.read_bytes()).decode(), name="photo.jpg")
        browser.wait("document.querySelectorAll('#matches figure').length === 21")
        loaded = "[...document.images].every((image) => image.complete && image.naturalWidth)"
        browser.wait(loaded)
        shown = browser.run("[...document.querySelectorAll('figcaption')].map((c) => c.innerText)")
        assert [text.split(" ", 1)[0] for text in shown[1:]] == [
            f"{match.distance:.3f}" for match in wanted
        ]
        assert all(match.name in text for match, text in zip(wanted, shown[1:], strict=True))
        num_below = sum(bool(match.is_match) for match in wanted)
        assert 0 < num_below < 20
        kinds = browser.run(
            "[...document.getElementById('matches').children].map((e) => e.className)"
        )
        assert kinds == [
            "query",
            *["below"] * num_below,
            "threshold",
            *["above"] * (20 - num_below),
        ]
        browser.run(
            "camera.value = '2', camera.dispatchEvent(new Event('change', {bubbles: true}))"
        )
        browser.wait(
            "[...document.querySelectorAll('figcaption')].slice(1).every("
            "(c) => c.innerText.includes('camera 2'))"
        )


def test_a_file_that_is_no_image_is_said_on_the_page(page: LocalPage, tmp_path: Path) -> None:
    with Chromium(tmp_path / "chromium") as browser:
        browser.open(page.address)
        browser.wait("document.getElementById('title').textContent.startsWith('108')")
        browser.drop(base64.b64encode(b"no image").decode(), name="notes.txt")
        browser.wait("document.getElementById('status').textContent.includes('not an image')")
        assert browser.run("document.getElementById('status').className") == "error"


@pytest.mark.parametrize(
    "query",
    ["", "?row=", "?row=-1", "?row=108", "?row=1e1", "?row=../../etc/passwd", f"?row={'9' * 5000}"],
)
def test_only_rows_of_the_gallery_are_images(page: LocalPage, query: str) -> None:
    status, body, _ = ask(page.address, path(page, f"image{query}"))
    assert (status, json.loads(body)) == (404, {"error": "there is no such image"})


def test_an_image_of_the_gallery_is_a_small_jpeg(page: LocalPage, searcher: Searcher) -> None:
    status, body, headers = ask(page.address, path(page, "image?row=7"))
    assert (status, headers["Content-Type"]) == (200, "image/jpeg")
    with Image.open(BytesIO(body)) as image:
        assert image.size == (16, 32)
        found = np.asarray(image).astype(int)
    assert np.abs(found - searcher.gallery.pixels(7)).mean() < 12


@pytest.mark.parametrize(
    ("query", "complaint"),
    [
        ("", "not a number of matches"),
        ("?count=0", "ask for 1 to 1,000"),
        ("?count=3&camera=9", "has no camera 9"),
        ("?count=3&since=2020", "times of campus are unknown"),
    ],
)
def test_what_cannot_be_searched_is_said(
    page: LocalPage, photo: Path, query: str, complaint: str
) -> None:
    status, body, _ = ask(
        page.address, path(page, f"search{query}"), method="POST", body=photo.read_bytes()
    )
    assert status == 400
    assert complaint in json.loads(body)["error"]


def test_the_page_loads_nothing_from_elsewhere(page: LocalPage) -> None:
    status, body, _ = ask(page.address, path(page, ""))
    assert status == 200
    assert b"figure.below" in body  # the style sheet is in it
    assert b"http://" not in body
    assert b"https://" not in body


def test_without_a_threshold_nothing_is_called_a_match(searcher: Searcher, photo: Path) -> None:
    routes = search_routes(replace(searcher, threshold=None))
    described = json.loads(routes["GET", "gallery"](Request(query={}, body=b"")).body)
    assert described["threshold"] is None
    asked = Request(query={"count": "3", "rerank": "1"}, body=photo.read_bytes())
    matches = json.loads(routes["POST", "search"](asked).body)["matches"]
    assert [match["is_match"] for match in matches] == [None] * 3


def test_a_search_from_many_threads_gives_the_same(searcher: Searcher, photo: Path) -> None:
    routes = search_routes(replace(searcher, threshold=Threshold(distance=0.1, source="test")))
    asked = Request(query={"count": "5"}, body=photo.read_bytes())
    answers: list[bytes | DaamError] = []
    threads = [
        threading.Thread(target=lambda: answers.append(routes["POST", "search"](asked).body))
        for _ in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == 6
    assert len(set(answers)) == 1

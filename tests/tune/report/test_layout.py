"""The page in a browser: narrow and wide, light and dark."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from daam.plots.palette import DARK_PAGE
from daam.storage import open_store
from tests.support.chromium import Chromium
from tests.support.studies import a_record
from tune.report.page import report_page

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    """A browser that shows the report of a finished study."""
    scratch = tmp_path_factory.mktemp("browser")
    store = open_store(str(scratch))
    store.write("report.html", report_page(a_record()).encode())
    with Chromium(scratch / "profile") as browser:
        browser.open((scratch / "report.html").as_uri())
        yield browser


@pytest.mark.parametrize("width", [400, 500, 1280])
def test_a_page_of_any_width_scrolls_in_one_direction(browser: Chromium, width: int) -> None:
    browser.resize(width=width, height=900)
    assert browser.run("document.documentElement.scrollWidth") <= width


def test_wide_tables_scroll_and_keep_trial_and_score_in_sight(browser: Chromium) -> None:
    browser.resize(width=500, height=900)
    box = "document.querySelector('.trials').parentElement"
    assert browser.run(f"{box}.scrollWidth > {box}.clientWidth")
    browser.run(f"{box}.scrollLeft = 300")
    for column in (1, 2):
        cell = f"document.querySelector('.trials tbody td:nth-child({column})')"
        assert browser.run(f"{cell}.getBoundingClientRect().left >= 0"), column
        assert browser.run(f"{cell}.getBoundingClientRect().right <= 500"), column


def test_the_best_settings_are_in_sight_in_a_narrow_window(browser: Chromium) -> None:
    browser.resize(width=500, height=900)
    cells = "[...document.querySelectorAll('th')].filter(cell => cell.innerText == 'Best')"
    assert browser.run(f"{cells}[0].getBoundingClientRect().right <= 500")


def test_no_label_of_a_chart_is_cut(browser: Chromium) -> None:
    browser.resize(width=1280, height=900)
    cut = """
      [...document.querySelectorAll(".chart > svg")].flatMap(svg => {
        const box = svg.getBoundingClientRect();
        return [...svg.querySelectorAll("text")].filter(text => {
          const own = text.getBoundingClientRect();
          return own.left < box.left - 2 || own.right > box.right + 2;
        }).map(text => text.textContent);
      })
    """
    assert browser.run(cut) == []


def test_labels_below_an_axis_do_not_overlap(browser: Chromium) -> None:
    browser.resize(width=1280, height=900)
    overlapping = """
      [...document.querySelectorAll(".chart > svg")].flatMap(svg => {
        const boxes = [...svg.querySelectorAll("text")].map(text => [
          text.textContent, text.getBoundingClientRect()]);
        return boxes.flatMap(([name, a], number) => boxes.slice(number + 1)
          .filter(([_, b]) => a.left < b.right - 1 && b.left < a.right - 1
            && a.top < b.bottom - 3 && b.top < a.bottom - 3)
          .map(([other]) => svg.getAttribute("aria-label") + ": " + name + " / " + other));
      })
    """
    assert browser.run(overlapping) == []


def test_a_dark_browser_gets_a_dark_page(browser: Chromium) -> None:
    browser.prefer_dark()
    colour = browser.run("getComputedStyle(document.body).backgroundColor")
    red, green, blue = (int(DARK_PAGE["paper"][at : at + 2], 16) for at in (1, 3, 5))
    assert colour == f"rgb({red}, {green}, {blue})"
    ink = browser.run("getComputedStyle(document.querySelector('.chart text')).fill")
    assert ink != "rgb(104, 104, 112)"  # the grey of a light page


def test_a_browser_loads_the_page_of_a_running_study_again(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    running = report_page(a_record(running=True)).replace('content="5"', 'content="1"')
    store.write("report.html", running.encode())
    with Chromium(tmp_path / "profile") as browser:
        browser.open((tmp_path / "report.html").as_uri())
        assert "Running" in browser.run("document.body.innerText")
        store.write("report.html", report_page(a_record()).encode())
        deadline = time.monotonic() + 20
        while "Running" in text_of(browser):
            assert time.monotonic() < deadline, "not loaded again in 20 s"
            time.sleep(0.1)


def text_of(browser: Chromium) -> str:
    """The text of the page; that of a running study while the browser is loading another."""
    try:
        return browser.run("document.body.innerText")
    except AssertionError:
        return "Running"

"""Matches as files: a sheet, a page that needs nothing beside it, and JSON."""

import base64
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from html import escape
from pathlib import Path

import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import Image

from daam.inference.search.matches import Found, Match, SearchResult
from daam.plots.matches import ShownMatch, ShownQuery, draw_matches
from daam.storage.atomic import atomic_write

STYLE = Path(__file__).with_name("search.css")
SHOWN_SIDE = 256  # pixels
QUERIES_ON_SHEET, MATCHES_ON_SHEET = 40, 20

PixelsOf = Callable[[int], NDArray[np.uint8]]


def write_matches(
    result: SearchResult, *, queries: Sequence[NDArray[np.uint8]], pixels: PixelsOf, to: Path
) -> SearchResult:
    """Write `matches.png`, `matches.html` and `matches.json` into a folder.

    The sheet has at most 40 queries and 20 matches of each, the other two all.

    Args:
        result: of the search.
        queries: the image of each query.
        pixels: of a row of the gallery.
        to: the folder, which is made if it is missing.

    Returns:
        The result, with the files.

    Raises:
        StorageError: the folder cannot be written.
    """
    files = [to / "matches.png", to / "matches.html", to / "matches.json"]
    result = replace(result, files=files)
    title = f"{result.num_images:,} images of {result.gallery}"
    shown = [
        ShownQuery(
            image=image,
            caption=Path(found.query).name,
            matches=[
                ShownMatch(
                    image=pixels(match.row), caption=_caption(match), is_match=match.is_match
                )
                for match in found.matches[:MATCHES_ON_SHEET]
            ],
        )
        for found, image in zip(result.found[:QUERIES_ON_SHEET], queries, strict=False)
    ]
    order = "re-ranked" if result.reranked else "nearest first"
    if len(result.found) > len(shown):
        order += f"; the first {len(shown)} of {len(result.found)} queries"
    draw_matches(
        shown,
        title=title,
        subtitle=f"{order.capitalize()}; the number below each is its cosine distance to the query",
        legend=None if result.threshold is None else result.threshold.in_words(),
        to=files[0],
    )
    atomic_write(files[1], [page_of(result, queries=queries, pixels=pixels).encode()])
    atomic_write(files[2], [json.dumps(result.as_document(), indent=1).encode()])
    return result


def page_of(result: SearchResult, *, queries: Sequence[NDArray[np.uint8]], pixels: PixelsOf) -> str:
    """Return an HTML page that holds all images and loads nothing."""
    sections = [
        f"<h2>{escape(found.query)}</h2>\n<div class='row'>\n"
        + _figure(shown_jpeg(image), "query", "query")
        + _figures(found, result, pixels=pixels)
        + "</div>"
        for found, image in zip(result.found, queries, strict=True)
    ]
    order = "re-ranked" if result.reranked else "nearest first"
    threshold = "No threshold has been measured for this run."
    if result.threshold is not None:
        threshold = f"Green: {result.threshold.in_words()}."
    title = f"{result.num_images:,} images of {escape(result.gallery)}"
    return (
        "<!doctype html>\n<html lang='en'>\n<meta charset='utf-8'>\n"
        "<meta http-equiv='Content-Security-Policy' "
        "content=\"default-src 'none'; img-src data:; style-src 'unsafe-inline'\">\n"
        f"<title>{title}</title>\n<style>\n{STYLE.read_text()}</style>\n<h1>{title}</h1>\n"
        f"<p>{order.capitalize()}; the number below each is its cosine distance to the query. "
        f"{escape(threshold)}</p>\n" + "\n".join(sections) + "\n</html>\n"
    )


def shown_jpeg(image: NDArray[np.uint8]) -> bytes:
    """Return an image as a JPEG of at most 256 pixels on a side."""
    small = Image.fromarray(image)
    small.thumbnail((SHOWN_SIDE, SHOWN_SIDE))
    return simplejpeg.encode_jpeg(np.ascontiguousarray(small), quality=90)


def _figures(found: Found, result: SearchResult, *, pixels: PixelsOf) -> str:
    """The matches; in order of distance, the threshold stands where it falls."""
    parts = []
    is_marked = result.threshold is None or result.reranked
    for match in found.matches:
        if not is_marked and not match.is_match:
            parts.append("<div class='threshold'>threshold</div>\n")
            is_marked = True
        kind = {True: "below", False: "above", None: ""}[match.is_match]
        caption = f"<b>{match.distance:.3f}</b> " + escape(" · ".join(_details(match)))
        parts.append(_figure(shown_jpeg(pixels(match.row)), caption, kind))
    return "".join(parts)


def _figure(jpeg: bytes, caption: str, kind: str) -> str:
    content = base64.b64encode(jpeg).decode()
    return (
        f"<figure class='{kind}'><img alt='' src='data:image/jpeg;base64,{content}'>"
        f"<figcaption>{caption}</figcaption></figure>\n"
    )


def _details(match: Match) -> list[str]:
    camera = [] if match.camera is None else [f"camera {match.camera}"]
    time = [] if match.time is None else [f"{match.time}"]
    return [*camera, *time, match.name]


def _caption(match: Match) -> str:
    where = match.name.rpartition("/")[2] if match.camera is None else f"camera {match.camera}"
    return f"{match.distance:.3f}\n{where}"

"""What the page of `daam search --serve` asks and is answered."""

import re
import threading
from collections.abc import Mapping
from dataclasses import asdict
from importlib.resources import files
from typing import TYPE_CHECKING

import numpy as np

from daam.commands.web.local_page import (
    MAX_BODY_BYTES,
    Request,
    Response,
    Route,
    json_response,
)
from daam.dataset.pixels.image_file import decode_image
from daam.errors import ConfigError, DataError

if TYPE_CHECKING:
    from daam.inference.search.search import Searcher

STYLE_MARK = b"/* search.css */"


def search_routes(searcher: "Searcher") -> Mapping[tuple[str, str], Route]:
    """The page, the gallery in a few words, a gallery image by its row, and a search."""
    from daam.inference.search.page import STYLE, shown_jpeg

    lock = threading.Lock()  # one search uses all cores
    gallery = searcher.gallery

    def page(_: Request) -> Response:
        html = (files("daam.commands.web") / "search.html").read_bytes()
        return Response(body=html.replace(STYLE_MARK, STYLE.read_bytes()))

    def described(_: Request) -> Response:
        return json_response(described_gallery(searcher))

    def image(request: Request) -> Response:
        row = request.query.get("row", "")
        if not re.fullmatch("[0-9]{1,9}", row) or int(row) >= len(gallery):
            return json_response({"error": "there is no such image"}, status=404)
        return Response(body=shown_jpeg(gallery.pixels(int(row))), kind="image/jpeg")

    def search(request: Request) -> Response:
        options = request.query
        count = options.get("count", "")
        if not re.fullmatch("[0-9]{1,9}", count):
            raise ConfigError(f"{count!r} is not a number of matches; give one")
        try:
            photo = decode_image(request.body)
        except DataError as error:
            raise DataError(f"this file cannot be searched for: {error}") from error
        with lock:
            (matches,) = searcher.find(
                [photo],
                count=int(count),
                rerank="rerank" in options,
                cameras=[options["camera"]] if "camera" in options else [],
                since=options.get("since"),
                until=options.get("until"),
            )
        return json_response({"matches": [asdict(match) for match in matches]})

    return {
        ("GET", ""): page,
        ("GET", "gallery"): described,
        ("GET", "image"): image,
        ("POST", "search"): search,
    }


def described_gallery(searcher: "Searcher") -> dict[str, object]:
    """What the page shows before the first search."""
    gallery, threshold = searcher.gallery, searcher.threshold
    cameras = [] if gallery.cameras is None else np.unique(gallery.cameras).tolist()
    return {
        "name": gallery.name,
        "num_images": searcher.embedded.num_images,
        "cameras": [str(gallery.camera_names.get(camera, camera)) for camera in cameras],
        "has_times": gallery.times is not None,
        "max_photo_bytes": MAX_BODY_BYTES,
        "threshold": None if threshold is None else threshold.in_words(),
    }

"""What a search found."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from daam.dataset.importing.image_files import UnreadableFile
from daam.inference.search.threshold import Threshold


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """An image of the gallery that was found.

    Attributes:
        name: of its file, relative to the folder, or to the data set that was imported.
        row: its number in the gallery.
        distance: cosine distance to the query, 0 to 2: the smaller, the more alike.
        is_match: whether the distance is below the threshold; None without one.
        camera: its name, or its number; None: unknown.
        time: when it was taken: the data set's own count, or ISO 8601; None: unknown.
    """

    name: str
    row: int
    distance: float
    is_match: bool | None
    camera: str | int | None
    time: str | int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """The matches of one query, best first: by distance, or re-ranked."""

    query: str
    matches: list[Match]


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexQuality:
    """How much an approximate index finds, measured against exact search.

    Attributes:
        recall_at_10: share of the 10 nearest images that it finds.
        recall_at_100: likewise of the 100 nearest.
        num_measured: images of the gallery that were searched for.
    """

    recall_at_10: float
    recall_at_100: float
    num_measured: int

    def in_words(self) -> str:
        """Return a sentence for the user."""
        return (
            f"searched by an index: it finds {self.recall_at_10:.1%} of the 10 nearest and "
            f"{self.recall_at_100:.1%} of the 100 nearest, measured with {self.num_measured:,} "
            "images of the gallery"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchResult:
    """What a search found.

    Attributes:
        gallery: name of the domain or folder.
        num_images: images of the gallery that were searched, before any choice of camera or time.
        found: of each query.
        threshold: None if none has been measured for this run.
        reranked: whether the matches were re-ranked.
        index: how much the index finds that was searched; None: the search was exact.
        unreadable: files of the gallery that could not be read.
        files: that were written.
    """

    gallery: str
    num_images: int
    found: list[Found]
    threshold: Threshold | None
    reranked: bool
    index: IndexQuality | None
    unreadable: list[UnreadableFile]
    files: list[Path]

    def as_document(self) -> dict[str, Any]:
        """All of it as JSON has it."""
        return asdict(self) | {"files": [str(file) for file in self.files]}

"""A run, a gallery and photos of people -> the gallery's images that are nearest to each photo.

Shapes: N = images of the gallery, Q = queries, C = embedding width, k = matches of a query.
"""

import os
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from daam.dataset.pixels.decode import resized
from daam.dataset.pixels.image_file import decode_image
from daam.errors import ConfigError, DataError
from daam.inference.embedder import Embedder, embedder_of, open_trained
from daam.inference.search.choice import allowed_images, time_text
from daam.inference.search.embedded import (
    EmbeddedGallery,
    Progress,
    embed_gallery,
    embed_images,
)
from daam.inference.search.gallery import (
    Gallery,
    named_domain,
    open_domain_gallery,
    open_folder_gallery,
)
from daam.inference.search.index import MAX_MATCHES as MAX_INDEXED_MATCHES
from daam.inference.search.index import GalleryIndex, open_index, require_faiss
from daam.inference.search.matches import Found, Match, SearchResult
from daam.inference.search.threshold import Threshold, measured_threshold
from daam.metrics.reranking import reranked_chunks
from daam.storage import MissingKeyError, open_parent, open_store
from daam.storage.local import absolute_folder, check_path
from daam.storage.private import own_folder

NUM_MATCHES = 10
MAX_MATCHES = 1000
# Re-ranking compares all images with each other: of a shortlist, in a tenth of a second.
SHORTLIST = 1000
K1, K2, WEIGHT = 20, 6, 0.3  # as papers report with


@dataclass(frozen=True, slots=True, kw_only=True)
class Searcher:
    """A gallery that is ready to be searched: opened once, asked often, by any thread."""

    embedder: Embedder
    embedded: EmbeddedGallery
    threshold: Threshold | None
    index: GalleryIndex | None = None

    @property
    def gallery(self) -> Gallery:
        """The images that are searched."""
        return self.embedded.gallery

    def find(
        self,
        queries: Sequence[NDArray[np.uint8]],
        *,
        count: int = NUM_MATCHES,
        rerank: bool = False,
        cameras: Sequence[str] = (),
        since: str | None = None,
        until: str | None = None,
    ) -> list[list[Match]]:
        """Return the matches of each query, best first.

        Args:
            queries: images (H, W, 3) of any size.
            count: matches of each.
            rerank: order the 1,000 nearest by k-reciprocal re-ranked distance instead.
            cameras: names or numbers of the cameras to search; none: all.
            since: the earliest time to search, as the data set counts, or ISO 8601 (UTC unless it
                says otherwise).
            until: the latest.

        Raises:
            ConfigError: there is no such camera, cameras or times are unknown, `count` is out of
                range or a time cannot be read.
            DataError: no image is left to search.
        """
        if not 1 <= count <= MAX_MATCHES:
            raise ConfigError(f"{count} matches cannot be shown; ask for 1 to {MAX_MATCHES:,}")
        allowed_N = allowed_images(self.gallery, cameras=cameras, since=since, until=until)
        queries_QC = self._embed(queries)
        index = self.index_for(count, rerank=rerank, chosen=allowed_N is not None)
        if index is not None:
            rows_Qk, cosines_Qk = index.nearest(queries_QC, count=count)
        else:
            rows_Qk, cosines_Qk = self.embedded.nearest(
                queries_QC, count=SHORTLIST if rerank else count, allowed_N=allowed_N
            )
        if rerank:
            rows_Qk, cosines_Qk = self._reranked(queries_QC, rows_Qk, cosines_Qk, count=count)
        return [
            [
                self._match(row, distance=max(0.0, 1 - cosine))
                for row, cosine in zip(rows, cosines, strict=True)
            ]
            for rows, cosines in zip(rows_Qk.tolist(), cosines_Qk.tolist(), strict=True)
        ]

    def index_for(self, count: int, *, rerank: bool, chosen: bool) -> GalleryIndex | None:
        """Return the index if it answers such a search; None: the search is exact.

        Args:
            count: matches of a query.
            rerank: re-ranking needs the 1,000 nearest.
            chosen: an index holds all images, not those of some cameras and a time.
        """
        return None if rerank or chosen or count > MAX_INDEXED_MATCHES else self.index

    def _embed(self, queries: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        height, width = self.embedder.contract.height, self.embedder.contract.width
        size = self.embedder.config.evaluation.batch_size
        fitted = [
            query
            if query.shape[:2] == (height, width)
            else resized(query[None], height=height, width=width)[0]
            for query in queries
        ]
        return np.concatenate(
            [
                embed_images(
                    self.embedder, torch.from_numpy(np.stack(fitted[first : first + size]))
                )
                for first in range(0, len(fitted), size)
            ]
        )

    def _reranked(
        self,
        queries_QC: NDArray[np.float32],
        rows_Qk: NDArray[np.int64],
        cosines_Qk: NDArray[np.float32],
        *,
        count: int,
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """The best of each query's shortlist, re-ranked within it."""
        orders = []
        for query_C, rows in zip(queries_QC, rows_Qk, strict=True):
            (distances_1k,) = reranked_chunks(
                torch.from_numpy(query_C[None]),
                torch.from_numpy(self.embedded.vectors(rows)),
                k1=K1,
                k2=K2,
                weight=WEIGHT,
                chunk=1,
            )
            orders.append(np.argsort(distances_1k[0], kind="stable")[:count])
        order = np.stack(orders)
        return np.take_along_axis(rows_Qk, order, 1), np.take_along_axis(cosines_Qk, order, 1)

    def _match(self, row: int, *, distance: float) -> Match:
        gallery = self.gallery
        camera = None if gallery.cameras is None else int(gallery.cameras[row])
        return Match(
            name=gallery.names[row].encode(errors="backslashreplace").decode(),
            row=row,
            distance=distance,
            is_match=None if self.threshold is None else distance < self.threshold.distance,
            camera=camera if camera is None else gallery.camera_names.get(camera, camera),
            time=None if gallery.times is None else time_text(int(gallery.times[row])),
        )


def search(
    run: str | Path,
    *,
    gallery: str | Path,
    queries: Sequence[str | Path],
    count: int = NUM_MATCHES,
    rerank: bool = False,
    cameras: Sequence[str] = (),
    since: str | None = None,
    until: str | None = None,
    threshold: float | None = None,
    domain: str | None = None,
    data_root: str | None = None,
    index: bool = False,
    to: str | Path | None = None,
    progress: Progress | None = None,
) -> SearchResult:
    """Find the images of a gallery that are nearest to photos of people.

    The gallery's embeddings are kept in the run's folder (for a run on S3: beside the cache of
    shards), so that only images that were added are embedded the next time.

    Args:
        run: folder of the run, local or on S3.
        gallery: a domain, or a folder or bucket of images.
        queries: image files, local or on S3, each showing one person.
        count: matches of each query.
        rerank: order by k-reciprocal re-ranked distance, see `Searcher.find`.
        cameras: search these alone, by name or number.
        since: the earliest time to search, see `Searcher.find`.
        until: the latest.
        threshold: cosine distance below which two images count as one person; by default the one
            that was measured for this run.
        domain: whose norm statistics are used; by default the gallery's, for a folder the run's
            target.
        data_root: where the domains are, if they have moved since the run.
        index: search by an approximate index, for millions of images; see `open_searcher`.
        to: local folder for `matches.png`, `matches.html` and `matches.json`; None writes nothing.
        progress: called with the gallery's images done and those in all.

    Raises:
        ConfigError: an argument is out of range, or asks for what the gallery does not know.
        DataError: there is no image to search, or a query cannot be read.
        DaamError: there is no such run, domain or folder, or one of them is damaged.
    """
    contents = [read_query(query) for query in queries]  # before minutes of embedding
    if not contents:
        raise ConfigError("there is nothing to search for; name an image")
    searcher = open_searcher(
        run,
        gallery=gallery,
        threshold=threshold,
        domain=domain,
        data_root=data_root,
        index=index,
        progress=progress,
    )
    found = searcher.find(
        contents, count=count, rerank=rerank, cameras=cameras, since=since, until=until
    )
    is_choice = bool(cameras) or since is not None or until is not None
    by_index = searcher.index_for(count, rerank=rerank, chosen=is_choice)
    result = SearchResult(
        gallery=searcher.gallery.name,
        num_images=searcher.embedded.num_images,
        found=[
            Found(query=os.fspath(query), matches=matches)
            for query, matches in zip(queries, found, strict=True)
        ],
        threshold=searcher.threshold,
        reranked=rerank,
        index=None if by_index is None else by_index.quality,
        unreadable=searcher.embedded.unreadable,
        files=[],
    )
    if to is None:
        return result
    from daam.inference.search.page import write_matches  # matplotlib

    return write_matches(
        result, queries=contents, pixels=searcher.gallery.pixels, to=check_path(Path(to))
    )


def open_searcher(
    run: str | Path,
    *,
    gallery: str | Path,
    threshold: float | None = None,
    domain: str | None = None,
    data_root: str | None = None,
    index: bool = False,
    progress: Progress | None = None,
) -> Searcher:
    """Open a run and embed what is new in a gallery; arguments and errors as for `search`.

    With `index`, searches of all images for at most 100 matches use an approximate index, which is
    kept beside the embeddings and extended as they are; other searches are exact.

    Raises:
        ConfigError: also, an index needs FAISS, which is not installed.
    """
    if index:
        require_faiss()  # before minutes of embedding
    run, gallery = os.fspath(run), os.fspath(gallery)
    config, state = open_trained(run, data_root=data_root)
    named = named_domain(gallery, config)
    embedder = embedder_of(config, state, domain=domain or named, run=open_store(run).name)
    if named is None:
        images = open_folder_gallery(embedder.config, folder=open_store(gallery))
    else:
        images = open_domain_gallery(embedder.config, domain=named)
    folder = _folder_of(images, embedder, run=run)
    embedded = embed_gallery(images, embedder, folder=folder, progress=progress)
    known = None if threshold is None else Threshold(distance=threshold, source="given")
    return Searcher(
        embedder=embedder,
        embedded=embedded,
        threshold=known
        or measured_threshold(
            open_store(run), domain=embedder.domain, num_epochs=embedder.contract.num_epochs
        ),
        index=open_index(embedded, folder=folder, progress=progress) if index else None,
    )


def read_query(query: str | Path) -> NDArray[np.uint8]:
    """Read an image to search for, at its own size.

    Raises:
        DataError: it is missing or cannot be read; the message names it.
    """
    folder, name = open_parent(os.fspath(query))
    try:
        return decode_image(folder.read(name))
    except MissingKeyError as error:
        raise DataError(f"there is no image {query} to search for; check the path") from error
    except DataError as error:
        raise DataError(f"{query} cannot be searched for: {error}; choose another image") from error


def _folder_of(gallery: Gallery, embedder: Embedder, *, run: str) -> Path:
    local = open_store(run).local_path("search")
    if local is None:
        cache = absolute_folder(Path(embedder.config.data.cache))
        local = cache / "search"
        with suppress(OSError):  # where nothing can be written, nothing is kept
            own_folder(cache, instead="choose another by data.cache")
            own_folder(local, instead="choose another by data.cache")
    name = re.sub(r"[^A-Za-z0-9_-]+", "-", gallery.name)[:64]
    return local / f"{name}-{embedder.digest[:16]}"

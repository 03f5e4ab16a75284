"""An approximate index of a gallery's embeddings, for millions of images, with measured recall.

FAISS's inverted lists (Sivic and Zisserman 2003; Johnson et al. 2017, arXiv:1702.08734): k-means
divides the embeddings into lists, and a query is compared with the lists whose centres are nearest.
The lists hold 8 bits per number; the best candidates are compared again, exactly.

The index is one file beside the embeddings. It appears complete or not at all, and is extended when
embeddings are added.

Shapes: N = images of the gallery, P = positions (the embeddings of all files of the index, one file
after another), F = embeddings in a file, Q = queries, C = embedding width, k = matches,
c = candidates.
"""

import hashlib
import json
import logging
import os
from dataclasses import asdict, dataclass, replace
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, BinaryIO

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, TypeAdapter

from daam.documents import Count, parse_json
from daam.errors import ConfigError, StorageError
from daam.inference.search.embedded import EmbeddedGallery, Progress
from daam.inference.search.matches import IndexQuality
from daam.spread import spread_evenly
from daam.storage.atomic import atomic_file

FILE_NAME = "embeddings.index"
DIGEST_BYTES, READ_BYTES = 32, 1 << 20
# Lists: twice the square root of the images, each trained on 32 of them. More lists make shorter
# ones, but k-means takes the square of their number.
LISTS_PER_ROOT, TRAINED_PER_LIST, TRAINING_ROUNDS = 2, 32, 10
# A gallery that needs this many times the lists an index has gets a new one.
MAX_GROWTH = 1.5
MAX_MATCHES = 100
CANDIDATES_PER_MATCH = 4
# Half of the sample chooses how many lists are searched, the other half measures what that finds.
# An image of the gallery has others of the same moment, which are found easily, and a new photo has
# not: so the choice is made by the 100 nearest.
NUM_SAMPLED = 128
WANTED_RECALL = 0.95
FIRST_PROBES = 4
ROUNDING = 1e-6  # of a cosine
UNMEASURED = IndexQuality(recall_at_10=0.0, recall_at_100=0.0, num_measured=0)

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexHeader:
    """The first line of the file: what FAISS does not keep."""

    names: list[str]
    num_probes: Annotated[Count, Field(ge=1)]
    quality: IndexQuality


HEADER = TypeAdapter(IndexHeader)


@dataclass(frozen=True, slots=True, kw_only=True)
class GalleryIndex:
    """An index of the images of a gallery, ready to be searched.

    Attributes:
        embedded: the gallery with its embeddings.
        lists: FAISS's index, of P positions.
        names: of the files whose embeddings are in it, in its order.
        files: the number of each among `embedded.files`.
        starts: the first position of each of them, and P.
        row_P: the gallery's image at each position; -1: it has been removed.
        quality: what the index finds, measured.
    """

    embedded: EmbeddedGallery
    lists: Any
    names: tuple[str, ...]
    files: NDArray[np.int64]
    starts: NDArray[np.int64]
    row_P: NDArray[np.int64]
    quality: IndexQuality

    def nearest(
        self, queries_QC: NDArray[np.float32], *, count: int
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Search for the nearest to each query, as `EmbeddedGallery.nearest` without a choice.

        Args:
            queries_QC: of length 1.
            count: k, at most 100.

        Returns:
            (Q, k) their rows, nearest first, and (Q, k) the exact cosines. Some of the nearest may
            be missing: see `quality`.
        """
        row_Qk, cosine_Qk = self.found(queries_QC, count=min(count, self.embedded.num_images))
        if (row_Qk < 0).any():
            return self.embedded.nearest(queries_QC, count=count, allowed_N=None)
        return row_Qk, cosine_Qk

    def found(
        self, queries_QC: NDArray[np.float32], *, count: int
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """As `nearest`, with rows of -1 where the lists that are searched hold too few images."""
        num_candidates = min(CANDIDATES_PER_MATCH * count, self.lists.ntotal)
        _, at_Qc = self.lists.search(queries_QC, num_candidates)
        row_Qc = np.where(at_Qc >= 0, self.row_P[at_Qc], -1)
        positions, of_Qc = np.unique(at_Qc, return_inverse=True)
        candidates_QcC = self._vectors(positions)[of_Qc.reshape(at_Qc.shape)]
        cosine_Qc = np.einsum("qcd,qd->qc", candidates_QcC, queries_QC)
        cosine_Qc[row_Qc < 0] = -np.inf
        order = np.lexsort((row_Qc, -cosine_Qc), axis=1)[:, :count]
        return (
            np.take_along_axis(row_Qc, order, axis=1),
            np.take_along_axis(cosine_Qc, order, axis=1),
        )

    def _vectors(self, positions: NDArray[np.int64]) -> NDArray[np.float32]:
        """The embeddings at rising positions; those before the first are of no image: zeros."""
        vectors = np.zeros((len(positions), self.lists.d), np.float32)
        of_file = np.searchsorted(self.starts, positions, side="right") - 1
        for number in np.unique(of_file[positions >= 0]).tolist():
            here = of_file == number
            places = torch.from_numpy(positions[here] - self.starts[number])
            vectors[here] = self.embedded.files[self.files[number]][places].numpy()
        return vectors


def require_faiss() -> Any:
    """Return the module `faiss`.

    Raises:
        ConfigError: it is not installed.
    """
    if find_spec("faiss") is None:
        raise ConfigError(
            "an index is built with a package that is not installed: pip install faiss-cpu "
            "(daam's extra `index`), or search without --index, which is exact"
        )
    return import_module("faiss")


def open_index(
    embedded: EmbeddedGallery, *, folder: Path, progress: Progress | None = None
) -> GalleryIndex:
    """Return the index of a gallery: the one in the folder, extended, or a new one.

    Args:
        embedded: the gallery with its embeddings.
        folder: of the embeddings. Where it cannot be written, the index is built for the life of
            the result, and a warning is logged.
        progress: called with the embeddings in the index and those in all.

    Raises:
        ConfigError: FAISS is not installed.
    """
    faiss = require_faiss()
    path = folder / FILE_NAME
    kept = _read(path, faiss=faiss)
    if kept is None or not _fits(kept, embedded):
        kept = _Kept(lists=_trained(embedded, faiss=faiss, progress=progress), names=[])
    files = dict(zip(embedded.names, embedded.files, strict=True))
    added = [name for name in files if name not in set(kept.names)]
    for name in added:
        kept.lists.add(files[name].numpy())
        if progress is not None:
            progress(kept.lists.ntotal, sum(map(len, embedded.files)))
    index = _placed(kept, embedded, names=[*kept.names, *added])
    if added:
        index = _measured(index)
        try:
            _write(path, index, faiss=faiss)
        except StorageError as error:
            log.warning("the index is not kept for the next search: %s", error)
    return index


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kept:
    """FAISS's index, the files whose embeddings are in it, in order, and what it was measured."""

    lists: Any
    names: list[str]
    quality: IndexQuality = UNMEASURED


def _fits(kept: _Kept, embedded: EmbeddedGallery) -> bool:
    """Whether an index is of these embeddings, or of enough of them to be extended."""
    lengths = dict(zip(embedded.names, map(len, embedded.files), strict=True))
    return (
        kept.lists.d == embedded.files[0].shape[1]
        and set(kept.names) <= lengths.keys()
        and kept.lists.ntotal == sum(lengths[name] for name in kept.names)
        and _num_lists(sum(lengths.values())) <= MAX_GROWTH * kept.lists.nlist
    )


def _num_lists(num_images: int) -> int:
    return max(1, min(round(LISTS_PER_ROOT * num_images**0.5), num_images // TRAINED_PER_LIST))


def _trained(embedded: EmbeddedGallery, *, faiss: Any, progress: Progress | None) -> Any:
    """An empty index, its centres trained on embeddings spread evenly over all files."""
    num_images = sum(map(len, embedded.files))
    if progress is not None:
        progress(0, num_images)
    num_lists = _num_lists(num_images)
    lists = faiss.index_factory(
        embedded.files[0].shape[1], f"IVF{num_lists},SQ8", faiss.METRIC_INNER_PRODUCT
    )
    lists.cp.niter = TRAINING_ROUNDS
    lists.cp.min_points_per_centroid = 1  # or it warns about small galleries
    rows = spread_evenly(num_images, count=num_lists * TRAINED_PER_LIST)
    first = 0
    sample = []
    for embeddings_FC in embedded.files:
        here = rows[(rows >= first) & (rows < first + len(embeddings_FC))] - first
        sample.append(embeddings_FC[torch.from_numpy(here)].numpy())
        first += len(embeddings_FC)
    lists.train(np.concatenate(sample))
    return lists


def _placed(kept: _Kept, embedded: EmbeddedGallery, *, names: list[str]) -> GalleryIndex:
    number_of = {name: number for number, name in enumerate(embedded.names)}
    files = [number_of[name] for name in names]
    starts = np.cumsum([0, *(len(embedded.files[number]) for number in files)])
    row_P = np.full(starts[-1], -1, np.int64)
    for number, first in zip(files, starts.tolist(), strict=False):
        row_P[first + embedded.places[number]] = embedded.rows[number]
    return GalleryIndex(
        embedded=embedded,
        lists=kept.lists,
        names=tuple(names),
        files=np.array(files, np.int64),
        starts=starts,
        row_P=row_P,
        quality=kept.quality,
    )


def _measured(index: GalleryIndex) -> GalleryIndex:
    """Choose how many lists are searched, and measure what is found.

    Images of the gallery are the queries; they do not count as their own matches.
    """
    embedded, lists = index.embedded, index.lists
    rows_N = np.concatenate(embedded.rows)
    rows = rows_N[spread_evenly(len(rows_N), count=NUM_SAMPLED)]
    queries_QC = embedded.vectors(rows)
    _, exact_Qk = embedded.nearest(queries_QC, count=MAX_MATCHES + 1, allowed_N=None)
    lists.nprobe = min(FIRST_PROBES, lists.nlist)

    def recall(sample: slice, *, count: int) -> float:
        _, found_Qk = index.found(queries_QC[sample], count=exact_Qk[:, : count + 1].shape[1])
        # The first match is the query itself. Of equally near images any will do.
        last_Q1 = exact_Qk[sample, : count + 1][:, -1:]
        is_found_Qk = found_Qk[:, 1:] >= last_Q1 - ROUNDING
        return float(is_found_Qk.mean()) if is_found_Qk.size else 1.0  # of no other image

    choosing, measuring = slice(0, None, 2), slice(1, None, 2)
    while recall(choosing, count=MAX_MATCHES) < WANTED_RECALL and lists.nprobe < lists.nlist:
        lists.nprobe = min(2 * lists.nprobe, lists.nlist)
    quality = IndexQuality(
        recall_at_10=recall(measuring, count=10),
        recall_at_100=recall(measuring, count=MAX_MATCHES),
        num_measured=len(rows[measuring]),
    )
    return replace(index, quality=quality)


def _write(path: Path, index: GalleryIndex, *, faiss: Any) -> None:
    header = IndexHeader(names=[*index.names], num_probes=index.lists.nprobe, quality=index.quality)
    digest = hashlib.sha256()
    with atomic_file(path) as file:

        def write(content: bytes) -> None:
            digest.update(content)
            file.write(content)

        write(json.dumps(asdict(header)).encode() + b"\n")
        faiss.write_index(index.lists, faiss.PyCallbackIOWriter(write))
        file.write(digest.digest())


def _read(path: Path, *, faiss: Any) -> _Kept | None:
    """The index in a file; None if there is none or it is damaged, which is logged."""
    try:
        with path.open("rb") as file:
            _check_digest(file)  # before FAISS, which trusts what it reads
            header = parse_json(file.readline(), HEADER)
            lists = faiss.read_index(faiss.PyCallbackIOReader(file.read))
            lists.nprobe = header.num_probes
            return _Kept(lists=lists, names=header.names, quality=header.quality)
    except FileNotFoundError:
        return None
    except (OSError, RuntimeError, ValueError) as error:
        log.warning("%s is damaged and built again: %s", path, error)
        return None


def _check_digest(file: BinaryIO) -> None:
    """Raise ValueError unless the file ends with the digest of its content; then rewind it."""
    left = file.seek(0, os.SEEK_END) - DIGEST_BYTES
    file.seek(0)
    digest = hashlib.sha256()
    while left > 0 and (content := file.read(min(left, READ_BYTES))):
        digest.update(content)
        left -= len(content)
    if left != 0 or file.read() != digest.digest():
        raise ValueError("its checksum differs")
    file.seek(0)

"""Images that are in query and gallery both, byte for byte."""

import hashlib
from collections.abc import Iterable, Iterator

from daam.data.layouts import ImageRecord
from daam.domains import JUNK, Split

DIGEST_BYTES = 16
NUM_NAMED = 3


class CopiesOfQueries:
    """Looks for them while images pass by, the queries first; keeps a digest of each query."""

    def __init__(self) -> None:
        self._queries: dict[bytes, ImageRecord] = {}
        self._named: list[tuple[ImageRecord, ImageRecord]] = []
        self._num_found = 0
        self._num_junk = 0

    def watched(
        self, images: Iterable[tuple[bytes, int]], records: Iterable[ImageRecord]
    ) -> Iterator[tuple[bytes, int]]:
        """The images (JPEG, camera) as they are; `records` tells what they are, in their order."""
        for (jpeg, camera), record in zip(images, records, strict=True):
            if record.split == Split.QUERY:
                self._queries.setdefault(_digest(jpeg), record)
            elif record.split == Split.GALLERY:
                query = self._queries.get(_digest(jpeg))
                if query is not None:
                    self._note(record, query)
            yield jpeg, camera

    def report(self) -> str | None:
        """One line: how many gallery images are copies, the first of them, and what it means."""
        if not self._num_found:
            return None
        names = ", ".join(f"{copy.path} = {query.path}" for copy, query in self._named)
        more = ", ..." if self._num_found > len(self._named) else ""
        num_scored = self._num_found - self._num_junk
        return (
            f"gallery images that repeat a query byte for byte: {self._num_found} ({names}{more}); "
            + (
                f"{num_scored} of them not junk to it, so that scores count them: remove those"
                if num_scored
                else "all junk to it, by identity and camera, so that no score changes"
            )
        )

    def _note(self, copy: ImageRecord, query: ImageRecord) -> None:
        self._num_found += 1
        same = (copy.identity, copy.camera) == (query.identity, query.camera)
        self._num_junk += same or copy.identity == JUNK
        if len(self._named) < NUM_NAMED:
            self._named.append((copy, query))


def _digest(jpeg: bytes) -> bytes:
    return hashlib.blake2b(jpeg, digest_size=DIGEST_BYTES).digest()

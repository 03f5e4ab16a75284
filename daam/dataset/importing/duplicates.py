"""Gallery images that repeat a query byte for byte."""

import hashlib
from array import array
from collections.abc import Iterable, Iterator
from itertools import islice

import numpy as np
import pyarrow as pa

from daam.dataset.format.shards import numbers
from daam.dataset.importing.dataset_index import DatasetIndex
from daam.domains import JUNK, Split

# Of 10 million queries and 100 million gallery images, two different ones have the same 64 bits
# once in 18,000 data sets.
DIGEST_BYTES = 8
NUM_NAMED = 3


class Duplicates:
    """Collects a digest of each query and gallery image, and compares them at the end."""

    def __init__(self) -> None:
        self._digests = {Split.QUERY: array("Q"), Split.GALLERY: array("Q")}

    def watch(self, jpegs: Iterable[bytes], *, split: Split) -> Iterator[bytes]:
        """Pass on the images of a split, in the order of `DatasetIndex.shuffled`."""
        digests = self._digests.get(split)
        for jpeg in jpegs:
            if digests is not None:
                digest = hashlib.blake2b(jpeg, digest_size=DIGEST_BYTES).digest()
                digests.append(int.from_bytes(digest, "big"))
            yield jpeg

    def report(self, index: DatasetIndex) -> str | None:
        """One line: how many gallery images are duplicates, the first of them, and the effect."""
        queries, gallery = (np.array(digests) for digests in self._digests.values())
        copies = np.flatnonzero(np.isin(gallery, queries))
        if not len(copies):
            return None
        known, first = np.unique(queries, return_index=True)
        originals = first[np.searchsorted(known, gallery[copies])]
        copy = index.shuffled(Split.GALLERY).take(pa.array(copies))
        query = index.shuffled(Split.QUERY).take(pa.array(originals))
        is_junk = numbers(copy["identity"]) == JUNK
        if not copy["camera"].null_count and not query["camera"].null_count:
            is_junk |= (numbers(copy["identity"]) == numbers(query["identity"])) & (
                numbers(copy["camera"]) == numbers(query["camera"])
            )
        of_copies = zip(copy["path"], query["path"], strict=True)
        named = [f"{path} = {original}" for path, original in islice(of_copies, NUM_NAMED)]
        if len(copies) > NUM_NAMED:
            named.append("...")
        num_scored = int((~is_junk).sum())
        return (
            f"gallery images that repeat a query byte for byte: {len(copies)} "
            f"({', '.join(named)}); "
            + (
                f"{num_scored} of them not junk to it, so that scores count them: remove those"
                if num_scored
                else "all junk to it, by identity and camera, so that no score changes"
            )
        )

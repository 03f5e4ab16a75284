"""Identities and file names of a domain's rows, apart from its images.

A run that trains on a domain as its unlabelled target never calls these functions.
"""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from daam.dataset.cache import ShardCache
from daam.dataset.format.manifest import DomainManifest
from daam.dataset.format.shards import LABEL_SCHEMA, numbers, open_shard
from daam.domains import Split
from daam.errors import ShardError
from daam.storage import Store


def read_identities(
    store: Store, *, manifest: DomainManifest, splits: Sequence[Split], cache: ShardCache
) -> np.ndarray:
    """The identity of each row of `open_images` for the same manifest and splits.

    Returns:
        (N,) int64; 0 is a distractor, -1 junk.

    Raises:
        ShardError: a split knows no identities; or as `open_images`.
        StorageError: as `open_images`.
    """
    unlabelled = [split for split in splits if not manifest.split(split).has_identities]
    if unlabelled:
        raise ShardError(
            f"domain {manifest.domain} knows no identities in {', '.join(unlabelled)}, so it can "
            "only be a target; use a labelled domain here, or import it with its identities"
        )
    columns = _read_labels("identity", store, manifest=manifest, splits=splits, cache=cache)
    return np.concatenate([np.empty(0, np.int64), *map(numbers, columns)])


def read_names(
    store: Store, *, manifest: DomainManifest, splits: Sequence[Split], cache: ShardCache
) -> list[str]:
    """The file of each row of `open_images`, relative to the data set, for the same arguments.

    Most data sets spell the identity in the name, so names are kept with the labels.

    Raises:
        ShardError, StorageError: as `open_images`.
    """
    columns = _read_labels("name", store, manifest=manifest, splits=splits, cache=cache)
    return [name for column in columns for name in column.to_pylist()]


def _read_labels(
    column: str,
    store: Store,
    *,
    manifest: DomainManifest,
    splits: Sequence[Split],
    cache: ShardCache,
) -> list[pa.ChunkedArray]:
    entries = [manifest.split(split).labels for split in splits]
    paths = cache.fetch_all(store, entries)
    return [
        open_shard(path, entry=entry, schema=LABEL_SCHEMA, columns=[column])[column]
        for path, entry in zip(paths, entries, strict=True)
    ]

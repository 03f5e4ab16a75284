"""Labels, index and shard of a domain: read as a run reads them, and as `data verify` does."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypedDict

import numpy as np

from daam.dataset.cache import ShardCache
from daam.dataset.format.manifest import DomainManifest
from daam.dataset.maintenance.describe import describe_domain
from daam.dataset.maintenance.verify import verify_domain
from daam.dataset.pixels.image_file import decode_image
from daam.dataset.reading.image_table import open_images
from daam.dataset.reading.labels import read_identities, read_names
from daam.domains import Split
from daam.errors import DataError
from daam.storage import Store, open_store
from tests.fuzz.domain import (
    IDENTITIES,
    INDEX,
    LABELS,
    NAMES,
    NUM_ROWS,
    SHARD,
    domain,
    jpegs,
    offsets_in,
    samples_of,
)
from tests.fuzz.mutations import mutated_bytes
from tests.fuzz.target import Target


class Where(TypedDict):
    """What functions that read a domain take."""

    manifest: DomainManifest
    splits: list[Split]
    cache: ShardCache


def labels() -> Target:
    """Labels, as scoring reads them."""
    return _target("labels", LABELS, read=_read_labels)


def index() -> Target:
    """An index, as training reads it to find images in an intact shard."""
    return _target("index", INDEX, read=partial(_read_images, INDEX))


def shard() -> Target:
    """A shard, as training reads it with an intact index."""
    return _target("shard", SHARD, read=partial(_read_images, SHARD))


def verified(kind: str) -> Target:
    """One of the three as `data verify` reads it: what that calls good can be read."""
    return _target(f"data verify, {kind}", kind, read=partial(_verify, kind))


def _target(name: str, kind: str, *, read: Callable[[bytes, Path], None]) -> Target:
    samples = samples_of(kind)
    mutated = mutated_bytes(samples, places=offsets_in)
    return Target(name=name, samples=samples, mutated=mutated, read=read)


def _written(
    kind: str, data: bytes, folder: Path, *, index_anew: bool = False
) -> tuple[Store, Where]:
    changed = domain().with_file(kind, data)
    if index_anew:
        changed = changed.indexed_anew(folder)
    changed.write(folder)
    cache = ShardCache(folder / "cache")
    where: Where = {"manifest": changed.manifest, "splits": [Split.TRAIN], "cache": cache}
    return open_store(str(folder)), where


def _read_labels(data: bytes, folder: Path) -> None:
    store, where = _written(LABELS, data, folder)
    identities = read_identities(store, **where)
    names = read_names(store, **where)
    assert identities.shape == (NUM_ROWS,)
    assert identities.dtype == np.int64
    assert len(names) == NUM_ROWS
    assert all(isinstance(name, str) for name in names)
    if data in samples_of(LABELS):
        assert identities.tolist() == IDENTITIES
        assert names == NAMES


def _read_images(kind: str, data: bytes, folder: Path) -> None:
    """Every image that is read is the one that was imported as its row."""
    store, where = _written(kind, data, folder)
    with open_images(store, **where) as images:
        assert images.num_rows == NUM_ROWS
        for column in (images.cameras, images.tracks, images.times):
            assert column is None or column.shape == (NUM_ROWS,)
        assert [bytes(images.jpegs(np.array([row]))[0]) for row in range(NUM_ROWS)] == jpegs()


def _verify(kind: str, data: bytes, folder: Path) -> None:
    store, where = _written(kind, data, folder, index_anew=kind == SHARD)
    checks = verify_domain(store, where["manifest"])
    problems = [check.problem for check in checks if check.problem is not None]
    if problems:
        raise DataError(problems[0])
    describe_domain(store, where["manifest"])
    assert len(read_identities(store, **where)) == len(read_names(store, **where)) == NUM_ROWS
    with open_images(store, **where) as images:
        for jpeg in images.jpegs(np.arange(NUM_ROWS)):
            decode_image(bytes(jpeg))

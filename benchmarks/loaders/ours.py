"""daam: shards in a cache of the node, identity-balanced batches made in threads."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from torch import Tensor

from benchmarks.loaders.place import Place
from benchmarks.loaders.work import (
    BATCH_SIZE,
    ERASE,
    FLIP,
    HEIGHT,
    NUM_WORKERS,
    PAD,
    WIDTH,
    Work,
)
from daam.dataset.cache import ShardCache
from daam.dataset.format.manifest import read_manifest
from daam.dataset.importing.import_domain import import_domain
from daam.dataset.importing.layouts import read_layout
from daam.dataset.loader.batches import iterate_batches
from daam.dataset.loader.ordered import ordered_batches
from daam.dataset.pixels.augmentation import Augmentation
from daam.dataset.pixels.normalise import normalise
from daam.dataset.pixels.reader import PixelReader
from daam.dataset.reading.image_table import open_images
from daam.dataset.reading.labels import read_identities
from daam.dataset.sampling.samplers import IdentityBatches, RowsByIdentity
from daam.domains import Split
from daam.storage import open_store

DOMAIN = "people"
IDENTITIES_PER_BATCH = 16
AUGMENTATION = Augmentation(flip=FLIP, pad=PAD, erase=ERASE)


def prepare(images: Path, folder: Path) -> None:
    """Import a domain."""
    index = read_layout("csv", images)
    import_domain(index, domain=DOMAIN, to=open_store(str(folder)), validation_share=0)


def batches(place: Place, work: Work, *, shuffle: bool) -> Iterator[Tensor]:
    """Yield as many batches as an epoch of the others has: 16 people with 4 images each.

    Without shuffling, an ordered pass over all rows. Of `work` only `augmented` is looked at.
    """
    return map(normalise, uint8_batches(place, work, shuffle=shuffle))


def uint8_batches(
    place: Place, work: Work, *, shuffle: bool, rank: int = 0, num_ranks: int = 1
) -> Iterator[Tensor]:
    """As `batches`, before they are normalised: (B, H, W, 3) uint8."""
    store = open_store(str(place.folder / "ours") if place.endpoint is None else place.s3("ours"))
    cache = ShardCache(place.cache)
    rows = {"manifest": read_manifest(store, DOMAIN), "splits": [Split.TRAIN], "cache": cache}
    images = open_images(store, **rows)
    # Without keeping decoded pixels, which no peer does.
    reader = PixelReader(images, height=HEIGHT, width=WIDTH, keep_decoded_bytes=0)
    if not shuffle:
        ordered = ordered_batches(
            reader, batch_size=BATCH_SIZE, rank=0, num_ranks=1, num_threads=NUM_WORKERS
        )
        return (images for _, images in ordered)
    identities = read_identities(store, **rows)
    sampler = IdentityBatches(
        RowsByIdentity(identities, images.cameras),
        identities_per_batch=min(IDENTITIES_PER_BATCH, len(np.unique(identities))),
        images_per_identity=BATCH_SIZE // IDENTITIES_PER_BATCH,
        seed=0,
        epoch=0,
    )
    made = iterate_batches(
        reader,
        sampler=sampler,
        steps=range(images.num_rows // BATCH_SIZE),
        rank=rank,
        num_ranks=num_ranks,
        identities=identities,
        augmentation=AUGMENTATION if work.augmented else Augmentation(),
        seed=0,
        epoch=0,
        num_threads=NUM_WORKERS,
    )
    return (batch.images for batch in made)

"""A contact sheet of a domain: what its images look like, person by person."""

import tempfile
from pathlib import Path

import numpy as np
import simplejpeg

from daam.dataset.cache import ShardCache
from daam.dataset.format.manifest import read_manifest
from daam.dataset.reading.image_table import open_images, read_identities
from daam.domains import WHOLE_TRAIN_SPLITS
from daam.errors import DataError
from daam.plots.contact_sheet import write_contact_sheet
from daam.storage import Store

NUM_COLUMNS = 12


def preview_domain(store: Store, *, domain: str, num_people: int, to: Path) -> None:
    """Write a PNG with a row for each of a few people of the train split, sorted by camera.

    The people are spread evenly over the domain's identities, so the sheet is the same every time.

    Raises:
        DataError: the domain has no people to show.
    """
    with tempfile.TemporaryDirectory(prefix="daam-preview-") as directory:
        cache = ShardCache(Path(directory), capacity_bytes=0)  # only a few images are needed
        manifest, splits = read_manifest(store, domain), WHOLE_TRAIN_SPLITS
        images = open_images(store, manifest=manifest, splits=splits, cache=cache)
        identities = read_identities(store, manifest=manifest, splits=splits, cache=cache)
        people = np.unique(identities[identities > 0])
        if len(people) == 0:
            raise DataError(f"{domain} in {store.uri} has no people in its train split to show")
        chosen = people[np.linspace(0, len(people) - 1, min(num_people, len(people))).astype(int)]
        rows, titles = [], []
        for person in chosen:
            at = np.flatnonzero(identities == person)
            at = at[np.argsort(images.cameras[at], kind="stable")]
            shown = at[np.linspace(0, len(at) - 1, min(NUM_COLUMNS, len(at))).astype(int)]
            rows.append([simplejpeg.decode_jpeg(jpeg) for jpeg in images.jpegs(shown)])
            cameras = sorted(set(images.cameras[at].tolist()))
            titles.append(
                f"{domain}: person {person}, cameras {', '.join(map(str, cameras))}, "
                f"{len(at)} images"
            )
        write_contact_sheet(rows, titles=titles, to=to)

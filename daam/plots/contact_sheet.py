"""A contact sheet of a domain: what its images look like, person by person where they are known."""

from pathlib import Path

import numpy as np
import simplejpeg

from daam.dataset.cache import ShardCache
from daam.dataset.format.manifest import read_manifest
from daam.dataset.reading.image_table import open_images
from daam.dataset.reading.labels import read_identities
from daam.domains import WHOLE_TRAIN_SPLITS
from daam.errors import DataError
from daam.plots.sheet import CAPTION_LINE, GAP, HEADER, MARGIN, Box, Sheet, check_format
from daam.spread import spread_evenly
from daam.storage import Store
from daam.storage.scratch import scratch_folder

NUM_COLUMNS = 12
_IMAGE_GAP = 4


def draw_contact_sheet(store: Store, *, domain: str, num_people: int, to: Path) -> None:
    """Draw a row for each of a few people of the train split, sorted by camera.

    Where people are unknown, a row is a track; without tracks a camera; without cameras any images.
    The rows are spread evenly over all people (tracks, cameras), so the sheet is the same every
    time.

    Args:
        num_people: rows, at most.

    Raises:
        ConfigError: the file's name ends in neither .png nor .svg.
        DataError: the domain has no images to show.
        StorageError: the domain cannot be read, or the file not be written.
    """
    check_format(to)
    with scratch_folder() as scratch:
        cache = ShardCache(scratch, capacity_bytes=0)  # only a few images are needed
        manifest = read_manifest(store, domain)
        splits = tuple(split for split in WHOLE_TRAIN_SPLITS if split in manifest.splits)
        images = open_images(store, manifest=manifest, splits=splits, cache=cache)
        word, plural = "person", "people"
        if splits and all(manifest.split(split).has_identities for split in splits):
            of_rows = read_identities(store, manifest=manifest, splits=splits, cache=cache)
        elif images.tracks is not None:
            word, plural, of_rows = "track", "tracks", images.tracks
        elif images.cameras is not None:
            word, plural, of_rows = "camera", "cameras", images.cameras
        else:  # as many rows as are wanted, of consecutive images: those are in random order
            word, plural = "part", "parts"
            of_rows = np.arange(len(images)) // NUM_COLUMNS + 1
        known = np.unique(of_rows[of_rows > 0] if word == "person" else of_rows)
        if len(known) == 0:
            raise DataError(f"{domain} in {store.uri} has no {plural} in its train split to show")
        rows = []
        for value in known[spread_evenly(len(known), count=num_people)]:
            at = np.flatnonzero(of_rows == value)
            caption = f"{word} {value}, {len(at)} images"
            if images.cameras is not None and word != "camera":
                at = at[np.argsort(images.cameras[at], kind="stable")]
                cameras = ", ".join(map(str, np.unique(images.cameras[at])))
                caption = f"{word} {value}, cameras {cameras}, {len(at)} images"
            shown = at[spread_evenly(len(at), count=NUM_COLUMNS)]
            rows.append((caption, [simplejpeg.decode_jpeg(j) for j in images.jpegs(shown)]))

    height, width = rows[0][1][0].shape[:2]
    row_height = CAPTION_LINE + height + GAP
    columns = max(len(decoded) for _, decoded in rows)
    sheet = Sheet(
        width=2 * MARGIN + columns * (width + _IMAGE_GAP) - _IMAGE_GAP,
        height=HEADER + len(rows) * row_height + MARGIN - GAP,
        title=domain,
        subtitle=f"{len(rows)} of {len(known):,} {plural} in the train split, spread evenly",
    )
    for number, (caption, decoded) in enumerate(rows):
        top = HEADER + number * row_height
        sheet.write(caption, x=MARGIN, y=top)
        for column, image in enumerate(decoded):
            left = MARGIN + column * (width + _IMAGE_GAP)
            box = Box(left=left, top=top + CAPTION_LINE, width=width, height=height)
            sheet.place(image, box=box)
    sheet.save(to)

"""Domains and settings small enough to train in a second, for the tests that run whole commands."""

import zlib
from pathlib import Path

import numpy as np
import simplejpeg

from daam.dataset.importing.import_domain import import_domain
from daam.dataset.importing.layouts import read_layout
from daam.storage import Store

HEIGHT, WIDTH = 32, 16
NUM_TRAIN, NUM_TEST, NUM_CAMERAS = 12, 6, 2
TINY_RUN = f"""
[data]
height = {HEIGHT}
width = {WIDTH}
identities_per_batch = 4
images_per_identity = 2
target_batch_size = 8
num_threads = 1

[data.augmentation]
pad = 2

[model]
backbone = "tiny"
weights = "none"

[model.attention]
reduction = 4

[loss]
warmup_epochs = 1
ramp_epochs = 0

[loss.target]
num_neighbours = 4
num_expansion = 2
eps = 0.7
min_samples = 2

[optimiser]
num_epochs = 2
steps_per_epoch = 2
warmup_epochs = 1
learning_rate = 1e-3
"""


def add_domain(store: Store, name: str, *, scratch: Path) -> None:
    """Import a domain: 12 people to train on, 6 to test on, two cameras, clothes of two colours."""
    root = scratch / name
    write_market(root, name=name)
    import_domain(read_layout("market1501", root), domain=name, to=store)


def write_market(root: Path, *, name: str, num_cameras: int = NUM_CAMERAS) -> None:
    """Write a folder in Market-1501's layout; the name seeds people, cameras and light."""
    generator = np.random.default_rng(zlib.crc32(name.encode()))
    tint_3 = generator.uniform(-40, 40, 3)
    clothes = generator.uniform(40, 215, (NUM_TRAIN + NUM_TEST, 2, 3))
    for folder in ("bounding_box_train", "query", "bounding_box_test"):
        (root / folder).mkdir(parents=True)
    for identity, (top_3, bottom_3) in enumerate(clothes):
        tested = identity >= NUM_TRAIN
        for camera in range(1, num_cameras + 1):
            for number in range(3):
                pixels_HW3 = np.empty((HEIGHT, WIDTH, 3))
                pixels_HW3[: HEIGHT // 2], pixels_HW3[HEIGHT // 2 :] = top_3, bottom_3
                pixels_HW3 += tint_3 + 12 * camera + generator.normal(0, 12, pixels_HW3.shape)
                folder = "bounding_box_train"
                if tested:
                    folder = "query" if number == 0 else "bounding_box_test"
                file = root / folder / f"{identity + 1:04d}_c{camera}s1_{number:06d}_00.jpg"
                jpeg = simplejpeg.encode_jpeg(pixels_HW3.clip(0, 255).astype(np.uint8))
                file.write_bytes(jpeg)

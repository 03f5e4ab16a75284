"""What an import holds in memory grows neither with the bytes of the images nor their number."""

import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

from tests.data.images_in_memory import encode, random_pixels

FEW, MANY = 10_000, 60_000
# A list of 50,000 more paths with all else that is known of the images would be 30 MiB; one batch
# of the file of names, which is full with 65,536 of them, is 7.
SLACK_BYTES = 12 << 20

# Of the import alone: what the interpreter and its libraries take is told before it.
PROGRAM = """
    import resource, sys
    from pathlib import Path
    from daam.data.importing import import_domain
    from daam.data.layouts import read_layout
    from daam.storage import open_store

    images, store = sys.argv[1:]
    index = read_layout("csv", Path(images))
    import_domain(index, domain="many", to=open_store(store), shard_size_bytes=1 << 20)
    print(1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss is in other units elsewhere")
@pytest.mark.timeout(120)
def test_six_times_the_images_take_no_more(tmp_path: Path) -> None:
    jpeg = encode(random_pixels(np.random.default_rng(0), height=32, width=32))
    assert (MANY - FEW) * len(jpeg) > 3 * SLACK_BYTES
    (tmp_path / "image.jpg").write_bytes(jpeg)
    few, many = (peak_of_import(tmp_path, num_images=number) for number in (FEW, MANY))
    assert many - few < SLACK_BYTES


def peak_of_import(folder: Path, *, num_images: int) -> int:
    """Bytes that a process of its own had at most."""
    images = folder / f"{num_images}"
    images.mkdir()
    lines = ["path,identity,camera,split"]
    for number in range(num_images):
        (images / f"{number}.jpg").hardlink_to(folder / "image.jpg")
        lines.append(f"{number}.jpg,{number // 10 + 1},{number % 4 + 1},train")
    (images / "index.csv").write_text("\n".join(lines) + "\n")
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(PROGRAM), str(images), str(folder / "store")],
        env={**os.environ, "TMPDIR": str(folder)},
        stdout=subprocess.PIPE,
        check=True,
    )
    # One file can have no more than 65,000 names in many file systems.
    shutil.rmtree(images)
    return int(done.stdout)

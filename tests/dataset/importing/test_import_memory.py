"""An import's memory grows by the list of files alone, whose columns take little per image."""

import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

from tests.support.images_in_memory import encode, random_pixels

# A split of 65,536 images fills a batch of the file of names, and all caches are full by then.
FEW, MANY = 90_000, 180_000
NAMES_OF_A_FILE = 45_000
# The columns take 150 bytes per image, 13 MiB for 90,000 more of them; objects would take 600.
# All of it has been 15 to 24 MiB, with the manifest of twice the shards. Objects would make it 60
# at least, holding the images themselves 130 more.
SLACK_MIB = 40

# VmHWM is the peak of the process itself; getrusage would include pytest's.
PROGRAM = """
    import re, sys
    from pathlib import Path
    from daam.dataset.importing.import_domain import import_domain
    from daam.dataset.importing.layouts import read_layout
    from daam.storage import open_store

    images, store = sys.argv[1:]
    import_domain(
        read_layout("csv", Path(images)),
        domain="many",
        to=open_store(store),
        shard_size_bytes=1 << 20,
    )
    print(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1])
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux reports a process's own peak")
def test_twice_the_images_take_little_more(tmp_path: Path) -> None:
    few, many = (peak_mib_of_import(tmp_path, num_images=number) for number in (FEW, MANY))
    print(f"{few:.0f} MiB for {FEW} images, {many:.0f} for {MANY}")
    assert few > 100, "the interpreter and its libraries alone have 70"
    assert many - few < SLACK_MIB


def peak_mib_of_import(folder: Path, *, num_images: int) -> float:
    """Most that a process of its own had in memory."""
    images = folder / f"{num_images}"
    images.mkdir()
    jpeg = encode(random_pixels(np.random.default_rng(0), height=32, width=32))
    lines = ["path,identity,camera,split"]
    for number in range(num_images):
        # One file can have no more than 65,000 names in many file systems.
        file = folder / f"{num_images}-{number // NAMES_OF_A_FILE}.jpg"
        if number % NAMES_OF_A_FILE == 0:
            file.write_bytes(jpeg)
        (images / f"{number}.jpg").hardlink_to(file)
        lines.append(f"{number}.jpg,{number // 10 + 1},{number % 4 + 1},train")
    (images / "index.csv").write_text("\n".join(lines) + "\n")
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(PROGRAM), str(images), str(folder / "store")],
        env={**os.environ, "TMPDIR": str(folder)},
        stdout=subprocess.PIPE,
        check=True,
    )
    shutil.rmtree(images)
    return int(done.stdout) / 1024

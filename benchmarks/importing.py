"""What an import of many small images costs: memory and CPU time.

    python benchmarks/importing.py --images 200000 1000000 --at FOLDER
    python benchmarks/importing.py --rows 1000000 10000000

Images are JPEGs of 32x32 and 1.5 kB; each file has 50,000 names (hard links). Half of the images
are train, a tenth queries, the rest gallery. Each import is a process of its own, from an unsorted
CSV table to a folder. With `--rows` there are no files: only the list of images is made, sorted,
split and shuffled.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import simplejpeg

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

NAMES_OF_A_FILE = 50_000
FILES_IN_A_FOLDER = 5_000
SIDE, SHARD_MIB = 32, 1
STATUS = Path("/proc/self/status")
IMAGES_OF_A_PERSON, NUM_CAMERAS = 10, 6
SPLITS = (*("train",) * 5, "query", *("gallery",) * 4)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--images", type=int, nargs="*", default=[])
    parser.add_argument("--rows", type=int, nargs="*", default=[])
    parser.add_argument("--at", type=Path, default=Path(tempfile.gettempdir()))
    parser.add_argument("--of", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.of is not None:
        measure(given.of)
        return
    for num_rows in given.rows:
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            pool.submit(measure_list, num_rows).result()
    for num_images in given.images:
        with tempfile.TemporaryDirectory(dir=given.at, prefix="import-") as name:
            folder = Path(name)
            write_images(folder / "images", num_images=num_images)
            print(f"{num_images:,} images", flush=True)
            subprocess.run([sys.executable, __file__, "--of", str(folder)], check=True)
            shutil.rmtree(folder / "images")


def write_images(folder: Path, *, num_images: int) -> None:
    """Give a few files many names, and list the names in a table."""
    generator = np.random.default_rng(0)
    folder.mkdir()
    with (folder / "index.csv").open("w") as table:
        table.write("path,identity,camera,split\n")
        for count, number in enumerate(generator.permutation(num_images).tolist()):
            file = folder / f"{count // NAMES_OF_A_FILE}.jpg"
            if count % NAMES_OF_A_FILE == 0:
                pixels = generator.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
                file.write_bytes(simplejpeg.encode_jpeg(pixels, colorsubsampling="420"))
            path = f"{number // FILES_IN_A_FOLDER}/{number:08}.jpg"
            (folder / path).parent.mkdir(exist_ok=True)
            os.link(file, folder / path)
            identity, camera = number // IMAGES_OF_A_PERSON + 1, number * 7919 % NUM_CAMERAS
            table.write(f"{path},{identity},{camera},{SPLITS[number % len(SPLITS)]}\n")


def measure(folder: Path) -> None:
    """Import, and print memory and time."""
    from daam.dataset.importing.import_domain import import_domain
    from daam.dataset.importing.layouts import read_layout
    from daam.storage import open_store

    bare_mib = peak_mib()
    begun, cpu = time.perf_counter(), time.process_time()
    index = read_layout("csv", folder / "images")
    read, read_cpu, read_mib = time.perf_counter(), time.process_time(), peak_mib()
    import_domain(
        index,
        domain="many",
        to=open_store(str(folder / "store")),
        shard_size_bytes=SHARD_MIB << 20,
    )
    done, done_cpu = time.perf_counter(), time.process_time()
    us_per_image = 1e6 / len(index)
    bytes_per_image = (peak_mib() - bare_mib) * 2**20 / len(index)
    print(
        f"  {bare_mib:.0f} MiB of interpreter and imports, {read_mib:.0f} with the list, "
        f"{peak_mib():.0f} in all: {bytes_per_image:.0f} bytes per image"
    )
    print(
        f"  list {read - begun:.1f} s ({us_per_image * (read_cpu - cpu):.0f} us of CPU per image), "
        f"the rest {done - read:.1f} s ({us_per_image * (done_cpu - read_cpu):.0f} us)"
    )


def measure_list(num_rows: int) -> None:
    """Make the list of images of a data set without files, and print memory and time."""
    from daam.dataset.importing.dataset_index import IndexBuilder
    from daam.dataset.importing.hold_out import hold_out_validation
    from daam.domains import Split

    order = np.random.default_rng(0).permutation(num_rows)
    bare_mib, begun = peak_mib(), time.process_time()
    builder = IndexBuilder(layout="csv", root=Path("images"))
    for number in map(int, order):
        builder.add(
            f"images_of_all_cameras_{number // FILES_IN_A_FOLDER:05}/{number:08}.jpg",
            identity=number // IMAGES_OF_A_PERSON + 1,
            camera=number * 7919 % NUM_CAMERAS,
            split=Split(SPLITS[number % len(SPLITS)]),
        )
    index = hold_out_validation(builder.build(), share=0.25)
    for split in index.splits:
        index.shuffled(split)
    bytes_per_image = (peak_mib() - bare_mib) * 2**20 / num_rows
    us_per_image = (time.process_time() - begun) * 1e6 / num_rows
    print(
        f"{num_rows:,} rows: {peak_mib() - bare_mib:,.0f} MiB, {bytes_per_image:.0f} bytes and "
        f"{us_per_image:.0f} us of CPU per image"
    )


def peak_mib() -> float:
    """Most memory that this process had; getrusage would include its parent's."""
    (line,) = (text for text in STATUS.read_text().splitlines() if text.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


if __name__ == "__main__":
    main()

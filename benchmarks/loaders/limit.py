"""The limit: simplejpeg alone, on JPEGs in memory, in threads that each decode their own part."""

import random
import threading
from collections.abc import Generator
from pathlib import Path

import simplejpeg

from benchmarks.loaders.place import Place


def decode_forever(place: Place, *, num_threads: int) -> Generator[int, None, None]:
    """Yield after each 64 images of a thread, from all of them, until it is closed."""
    jpegs = [path.read_bytes() for path in _some(place.folder / "image_folder")]
    stop = threading.Event()
    done = threading.Semaphore(0)

    def decode() -> None:
        while not stop.is_set():
            for jpeg in random.sample(jpegs, 64):
                simplejpeg.decode_jpeg(jpeg, fastdct=False, fastupsample=False)
            done.release()

    threads = [threading.Thread(target=decode) for _ in range(num_threads)]
    for thread in threads:
        thread.start()
    try:
        while True:
            done.acquire()
            yield 64
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def _some(folder: Path) -> list[Path]:
    return sorted(folder.glob("*/*.jpg"))[:4096]

"""A target that does, for some inputs, what must be found."""

import ctypes
import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from hypothesis.strategies import sampled_from

from daam.errors import DaamError
from tests.fuzz.target import Target

BAD_INPUTS = {
    b"crash": "Segmentation fault",
    b"leave": "exit code 3",
    b"take memory": "MemoryError",
    b"never end": "no end after",
    b"be wrong": "AssertionError",
    b"raise": "KeyError",
    b"read outside": "outside its folder",
    b"write outside": "outside its folder",
    b"start a program": "subprocess.Popen",
}


def target() -> Target:
    """It refuses what it does not know."""
    samples = [b"right", *BAD_INPUTS]
    return Target(name="misbehaving", samples=samples, mutated=sampled_from(samples), read=_read)


def _read(data: bytes, folder: Path) -> None:
    match data:
        case b"right":
            (folder / "own").write_bytes(data)
            assert (folder / "own").read_bytes() == data
        case b"crash":
            ctypes.string_at(0)
        case b"leave":
            os._exit(3)
        case b"take memory":
            bytearray(8 << 30)
        case b"never end":
            time.sleep(60)
        case b"be wrong":
            raise AssertionError
        case b"raise":
            {}["a"]
        case b"read outside":
            os.listdir(folder.parents[1])
        case b"write outside":
            (folder.parents[1] / "daam-fuzz-outside").touch()
            (folder.parents[1] / "daam-fuzz-outside").unlink()
        case b"start a program":
            subprocess.run(["true"], check=True)
        case _:
            raise DaamError("unknown")


MISBEHAVING: dict[str, Callable[[], Target]] = {"misbehaving": target}

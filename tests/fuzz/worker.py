"""Reads inputs in a process of its own, so that a crash is a finding and not the end.

    python -m tests.fuzz.worker FOLDER

It first prints "ready". Each input on standard input is a line of JSON, [target, size], and its
bytes; each answer is a line of JSON, [outcome, reason]. Address space is bounded, and so is which
files may be opened.
"""

import json
import os
import resource
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from daam.errors import DaamError
from tests.fuzz.misbehaving import MISBEHAVING
from tests.fuzz.target import Target
from tests.fuzz.targets import TARGETS

RIGHT, REFUSED, BAD = "right", "refused", "bad"

MEMORY_BYTES = 1 << 30  # for an input
ROOT = Path(__file__).parents[2]
# Modules are imported when they are needed first, from anywhere here.
READABLE = (sys.prefix, sys.base_prefix, str(ROOT), "/usr/lib", "/usr/share", "/etc", "/proc/self")
READABLE += ("/dev/urandom", "/dev/null", "/sys/devices/system", "/proc/sys/kernel")
WRITABLE = ("/dev/null",)
# Events of the interpreter's audit: those whose arguments are paths, and those that must not be.
LISTING = ("os.listdir", "os.scandir", "os.walk", "os.fwalk", "glob.glob", "glob.glob/2")
CHANGING = ("os.chmod", "os.link", "os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.symlink")
CHANGING += ("os.truncate", "os.utime")
FORBIDDEN = ("subprocess.", "socket.connect", "os.system", "os.exec", "os.posix_spawn", "os.fork")


def serve(folder: Path, *, inputs: BinaryIO, answers: BinaryIO) -> None:
    """Answer inputs until there are no more."""
    outside: list[str] = []
    sys.addaudithook(_noting(outside, folder=os.path.realpath(folder)))
    targets: dict[str, Target] = {}
    answers.write(b"ready\n")
    answers.flush()
    while line := inputs.readline():
        name, size = json.loads(line)
        data = inputs.read(size)
        if name not in targets:
            targets[name] = (TARGETS | MISBEHAVING)[name]()
            (folder / name).mkdir()
        outside.clear()
        with bounded_memory(MEMORY_BYTES):
            outcome, reason = outcome_of(targets[name].read, data, folder / name)
        if outside:
            outcome, reason = BAD, outside[0]
        answers.write(json.dumps([outcome, reason]).encode() + b"\n")
        answers.flush()


def outcome_of(
    read: Callable[[bytes, Path], None], data: bytes, folder: Path
) -> tuple[str, str | None]:
    """What reading an input comes to, and why."""
    try:
        read(data, folder)
    except DaamError as error:
        message = str(error)
        is_line = bool(message) and message.isprintable()
        return (REFUSED, message) if is_line else (BAD, f"not one line of text: {message!r}")
    except BaseException as error:
        last = traceback.extract_tb(error.__traceback__)[-1]
        return BAD, f"{type(error).__name__} in {last.filename}:{last.lineno}: {error}"[:500]
    return RIGHT, None


@contextmanager
def bounded_memory(num_bytes: int) -> Iterator[None]:
    """Refuse this process more address space than it has now and some bytes."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + num_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (hard, hard))


def _noting(outside: list[str], *, folder: str) -> Callable[[str, tuple[object, ...]], None]:
    """A hook that notes files outside the folder that are opened, changed or listed."""
    readable = tuple(os.path.realpath(each) for each in (folder, *READABLE))
    writable = (folder, *WRITABLE)

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        if event.startswith(FORBIDDEN):
            outside.append(f"{event} {arguments!r}"[:500])
        elif event == "open" or event in LISTING:
            check(event, arguments[:1], writable if _writes(arguments) else readable)
        elif event in CHANGING and not _is_relative_to_a_folder(event, arguments):
            check(event, arguments[:2], writable)

    def check(event: str, paths: Iterable[object], folders: tuple[str, ...]) -> None:
        outside.extend(
            f"{event} {os.fspath(path)!r} outside its folder"[:500]
            for path in paths
            if isinstance(path, str | bytes | os.PathLike) and not _within(path, folders)
        )

    return hook


def _is_relative_to_a_folder(event: str, arguments: tuple[object, ...]) -> bool:
    """Whether the path starts from an open folder, which was checked when it was opened."""
    folder = arguments[-1]
    return event in ("os.remove", "os.rmdir") and isinstance(folder, int) and folder >= 0


def _writes(arguments: tuple[object, ...]) -> bool:
    flags = arguments[2] if len(arguments) > 2 else 0
    return isinstance(flags, int) and bool(flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))


def _within(path: str | bytes | os.PathLike[str], folders: tuple[str, ...]) -> bool:
    try:
        whole = os.path.realpath(os.fsdecode(path))
    except (OSError, ValueError):
        return True  # such as a NUL in it: it cannot be opened either
    return any(whole == folder or whole.startswith(f"{folder}/") for folder in folders)


def main() -> None:
    """Serve all targets; what is printed meanwhile goes to standard error."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    serve(Path(sys.argv[1]), inputs=sys.stdin.buffer, answers=answers)


if __name__ == "__main__":
    main()

"""Loaders of images side by side: ours and seven that people use, each given the same work.

The work: 12,936 JPEGs of 256x128 and about 11.5 KB in batches of 64, flipped, padded and cropped,
partly erased, and normalised as float32 on the side of the training process. A loader works as its
documentation recommends, with two workers (or threads) on two cores, and once more with our decoder
and transform in its own workers. Every measurement is a process of its own; sides take turns
(A B C A B C); CPU time is that of the process and all its children.

    pip install -r requirements.lock -r requirements-bench.txt     # in an environment of its own
    pip install -r requirements-bench-mds.txt                      # in another one, see there
    python benchmarks/loader.py prepare --data FOLDER --mds-python OTHER/bin/python
    python benchmarks/loader.py check   --data FOLDER --mds-python OTHER/bin/python
    python benchmarks/loader.py local   --data FOLDER --mds-python OTHER/bin/python --rounds 5
    python benchmarks/loader.py s3      --data FOLDER --mds-python OTHER/bin/python --rounds 5
    python benchmarks/loader.py s3-beside --data FOLDER --mds-python OTHER/bin/python --rounds 5
    python benchmarks/loader.py ranks   --data FOLDER --rounds 3
    python benchmarks/loader.py table   --data FOLDER [--into docs/benchmarks/loaders.md]

What was found is in FOLDER/results.jsonl, a line for each process; a command that is run again goes
on where it stopped. `s3` and `s3-beside` read from a server behind a proxy that adds 20 ms to every
request.
"""

import argparse
import http.client
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.loaders.place import BUCKET
from benchmarks.loaders.proxy import SlowProxy
from benchmarks.loaders.tables import tables_of, write_into

ROOT = Path(__file__).resolve().parent.parent
NUM_IMAGES, COPIES = 12_936, 10
LATENCY_S = 0.02
TIMEOUT_S = 300
PEERS = (
    "image_folder",
    "web_dataset",
    "mosaicml_streaming",
    "lit_data",
    "hf_datasets",
    "lance_take",
    "ray_data",
)
COMMANDS = ("prepare", "check", "local", "s3", "s3-beside", "ranks", "table")
KINDS = ("documented", "given ours")
SIDES = {
    "check": [("ours", ""), *((peer, "") for peer in PEERS)],
    "local": [
        ("ours", "normalised"),
        *((peer, kind) for kind in KINDS for peer in PEERS),
        ("ours", "uint8"),
        ("ours", "uint8 plain"),
    ],
    "limit": [("limit", "1"), ("limit", "2")],
    "s3": [
        ("ours", "normalised"),
        *((peer, kind) for kind in KINDS for peer in PEERS if peer != "image_folder"),
    ],
    # Without the slowest, whose first epoch takes a minute.
    "s3 beside": [
        ("ours", "normalised"),
        *(
            (peer, kind)
            for kind in KINDS
            for peer in PEERS
            if peer not in ("image_folder", "lance_take")
        ),
    ],
    "ranks": [("ours", "")],
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """
    Attributes:
        data: the folder of images, formats and results.
        pythons: module -> interpreter, for loaders that need another one.
        seconds: of each window that is measured.
    """

    data: Path
    pythons: dict[str, str]
    seconds: float

    @property
    def formats(self) -> Path:
        return self.data / BUCKET

    @property
    def results(self) -> Path:
        return self.data / "results.jsonl"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("command", choices=COMMANDS)
    parser.add_argument("--data", type=Path, required=True, help="a folder outside of the project")
    parser.add_argument("--images", type=int, default=NUM_IMAGES, help="for prepare")
    parser.add_argument("--mds-python", default=sys.executable, help="has mosaicml-streaming")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4.0, help="of each window")
    parser.add_argument("--sides", nargs="*", help="only these modules")
    parser.add_argument("--into", type=Path, help="for table: fill this file's marked places")
    arguments = parser.parse_args()
    bench = Bench(
        data=arguments.data.absolute(),
        pythons={"mosaicml_streaming": arguments.mds_python},
        seconds=arguments.seconds,
    )
    command = arguments.command
    if command == "prepare":
        prepare(bench, num_images=arguments.images, only=arguments.sides)
    elif command == "table":
        tables = tables_of(read_results(bench))
        if arguments.into is None:
            print("\n\n".join(f"**{name}**\n\n{table}" for name, table in tables.items()))
        else:
            write_into(arguments.into, tables)
    else:
        modes = ("local", "limit") if command == "local" else (command.replace("-", " "),)
        sides = [
            (mode, module, kind)
            for mode in modes
            for module, kind in SIDES[mode]
            if not arguments.sides or module in arguments.sides
        ]
        run_rounds(bench, sides, rounds=1 if command == "check" else arguments.rounds)


def prepare(bench: Bench, *, num_images: int, only: list[str] | None) -> None:
    """Draw the images and bring them into every loader's format."""
    from benchmarks.loaders.images import TABLE, write_images

    images = bench.data / "images"
    if not (images / TABLE).exists():
        print(f"drawing {num_images} images in {images}")
        write_images(images, num_images=num_images)
    for module in only or ("ours", *PEERS):
        convert(bench, module, images=images, to=bench.formats / module)
    if not only or "ours" in only:
        grown = bench.data / "grown"
        if not (grown / "images" / TABLE).exists():
            multiply(images / TABLE, to=grown / "images", copies=COPIES)
        convert(bench, "ours", images=grown / "images", to=grown / BUCKET / "ours")


def convert(bench: Bench, module: str, *, images: Path, to: Path) -> None:
    if to.exists():
        return
    print(f"preparing {to}")
    unfinished = to.with_name(f"{to.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.parent.mkdir(parents=True, exist_ok=True)
    if module != "image_folder":
        unfinished.mkdir()
    code = (
        "import sys; from pathlib import Path; import importlib;"
        f"loader = importlib.import_module('benchmarks.loaders.{module}');"
        "loader.prepare(Path(sys.argv[1]), Path(sys.argv[2]))"
    )
    subprocess.run(
        [bench.pythons.get(module, sys.executable), "-c", code, str(images), str(unfinished)],
        cwd=ROOT,
        check=True,
        stdout=subprocess.DEVNULL,
    )
    unfinished.rename(to)


def multiply(table: Path, *, to: Path, copies: int) -> None:
    """The same images under several names (hard links), each copy with identities of its own."""
    header, *lines = table.read_text().splitlines()
    rows = [line.split(",") for line in lines]
    highest = max(int(identity) for _, identity, *_ in rows)
    grown = [header]
    for copy in range(copies):
        for path, identity, *rest in rows:
            link = to / str(copy) / path
            link.parent.mkdir(parents=True, exist_ok=True)
            os.link(table.parent / path, link)
            own = [f"{copy}/{path}", str(int(identity) + copy * highest), *rest]
            grown.append(",".join(own))
    (to / table.name).write_text("\n".join(grown) + "\n")


def run_rounds(bench: Bench, sides: list[tuple[str, str, str]], *, rounds: int) -> None:
    """Measure what is not yet in the results, all sides in turn."""
    done = {(r["mode"], r["module"], r["kind"], r["round"]) for r in read_results(bench)}
    for number in range(rounds):
        for mode, module, kind in sides:
            if (mode, module, kind, number) in done:
                continue
            result: dict[str, Any] = {"mode": mode, "module": module, "kind": kind}
            result |= {"round": number, "load": os.getloadavg()[0]}
            grown = Bench(data=bench.data / "grown", pythons={}, seconds=bench.seconds)
            if mode == "ranks":
                result["events"] = measure(bench, mode, module, kind)
                result["events"]["grown"] = measure(grown, mode, module, kind)["ranks"]
            elif kind.startswith("uint8"):  # else the epoch is over before the window is
                result["events"] = measure(grown, mode, module, kind)
            elif mode.startswith("s3"):
                with (
                    bucket_server(bench.data, measured=bench.formats / module) as server,
                    SlowProxy(server, latency_s=LATENCY_S) as proxy,
                ):
                    result["events"] = measure(bench, mode, module, kind, proxy=proxy)
            else:
                result["events"] = measure(bench, mode, module, kind, with_feeding=number == 0)
            with bench.results.open("a") as file:
                file.write(json.dumps(result) + "\n")
            print(json.dumps(result), flush=True)


def measure(
    bench: Bench,
    mode: str,
    module: str,
    kind: str,
    *,
    proxy: SlowProxy | None = None,
    with_feeding: bool = False,
) -> dict[str, dict[str, Any]]:
    """Start a process for one measurement, and return what it tells, by event.

    With a proxy, an event also says what has passed it by then. Training on the batches themselves
    is the same for all loaders, as the network is slower than any: once is enough.
    """
    with tempfile.TemporaryDirectory(dir=bench.data, prefix="cache-") as cache:
        task = {
            "mode": mode,
            "module": module,
            "kind": kind,
            "place": {
                "folder": str(bench.formats),
                "endpoint": proxy.endpoint if proxy else None,
                "cache": cache,
            },
            "seconds": bench.seconds,
            "with_feeding": with_feeding,
            "started": time.time(),
        }
        python = bench.pythons.get(module, sys.executable)
        process = subprocess.Popen(
            [python, "-W", "ignore", "-m", "benchmarks.loaders.measure", json.dumps(task)],
            cwd=ROOT,
            # A home of its own: some peers keep caches there.
            env={**os.environ, "OMP_NUM_THREADS": "1", "HOME": cache},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=(errors := tempfile.TemporaryFile("w+")),  # noqa: SIM115
            text=True,
            start_new_session=True,
        )
        alarm = threading.Timer(TIMEOUT_S, kill_group, [process.pid])
        alarm.start()
        events: dict[str, dict[str, Any]] = {}
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("@"):
                event = json.loads(line[1:])
                if proxy is not None:
                    event |= {"mb": proxy.num_bytes / 1e6, "requests": proxy.num_requests}
                events[event.pop("event")] = event
        status = process.wait()
        alarm.cancel()
        kill_group(process.pid)
        if status != 0:
            errors.seek(0)
            events["failed"] = {"status": status, "words": errors.read()[-2000:]}
        errors.close()
        return events


def kill_group(leader: int) -> None:
    """End a process that was started as the leader of a session, and what is left of its own."""
    with suppress(ProcessLookupError):
        os.killpg(leader, 9)


@contextmanager
def bucket_server(folder: Path, *, measured: Path) -> Iterator[str]:
    """rclone as an S3 server that knows no keys, so that peers can read by plain HTTP as well.

    It makes a file's MD5 when it is first asked for, where a real store has it: so the files of
    what is measured are asked for before it begins.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    rclone = Path(sys.executable).with_name("rclone")
    process = subprocess.Popen(
        [
            str(rclone),
            *("serve", "s3", "--addr", f"127.0.0.1:{port}"),
            *("--dir-cache-time", "1h", "--copy-links"),
            str(folder),
        ],
        env={**os.environ, "RCLONE_CONFIG": os.devnull},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        for _ in range(200):
            with suppress(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port)):
                break
            time.sleep(0.05)
        asking = http.client.HTTPConnection("127.0.0.1", port)
        for path in sorted(measured.rglob("*")):
            if path.is_file():
                asking.request("HEAD", f"/{path.relative_to(folder)}")
                asking.getresponse().read()
        asking.close()
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


def read_results(bench: Bench) -> list[dict[str, Any]]:
    if not bench.results.exists():
        return []
    return [json.loads(line) for line in bench.results.read_text().splitlines()]


if __name__ == "__main__":
    main()

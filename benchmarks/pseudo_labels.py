"""Pseudo-labels: time and memory beside published code, and growth with N.

    python benchmarks/pseudo_labels.py compare --peer cluster-contrast=PATH --peer openunreid=PATH
    python benchmarks/pseudo_labels.py growth --images 5000 10000 20000 40000 100000 --width 512

Peers are checkouts of github.com/alibaba/cluster-contrast-reid (`cluster-contrast`) and
github.com/open-mmlab/OpenUnReID (`openunreid`). Both need faiss: run everything in a virtual
environment with requirements.lock and requirements-bench.txt. A peer runs what its training script
runs on a machine without a GPU: `compute_jaccard_distance(k1=30, k2=6, search_option=3)` and
scikit-learn's `DBSCAN(eps=0.6, min_samples=4, metric="precomputed", n_jobs=-1)`. Its modules are
loaded without its packages' `__init__` files, which import what this does not need.

Every measurement is a process of its own: imports, features and a warm-up come first, then wall
time, CPU time, and the peak of resident memory over what was resident before (Linux only). Rounds
are interleaved. Groups are compared before a time is printed.

The features are random: see `draw_features`. `--features FILE.npy` takes an (N, D) array instead.
"""

import argparse
import gc
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pseudo_label_sides import ours, theirs

WARM_UP_IMAGES = 1000
# Beside the search: the weights of each image's neighbourhood, what two share, DBSCAN.
PIECES = ("neighbourhoods", "overlap", "grouping")


def main() -> None:
    parser = argparse.ArgumentParser(description="Pseudo-labels beside their peers")
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("compare", "growth", "measure"):
        command = commands.add_parser(name)
        command.add_argument("--threads", type=int, default=os.cpu_count())
        if name == "measure":  # one measurement, run by the other commands
            command.add_argument("--checkout", type=Path)
            command.add_argument("--side", required=True)
            command.add_argument("--features", type=Path, required=True)
            command.add_argument("--to", type=Path, required=True)
            continue
        command.add_argument("--width", type=int, default=2048 if name == "compare" else 512)
        command.add_argument("--seed", type=int, default=0)
        command.add_argument("--rounds", type=int, default=5 if name == "compare" else 1)
        command.add_argument("--to", type=Path, default=Path(f"runs/pseudo-labels/{name}.json"))
        if name == "compare":
            command.add_argument("--images", type=int, default=12_936)
            command.add_argument("--features", type=Path)
            command.add_argument("--peer", action="append", default=[], metavar="NAME=CHECKOUT")
        else:
            command.add_argument(
                "--images", type=int, nargs="+", default=[5_000, 10_000, 20_000, 40_000]
            )
    arguments = parser.parse_args()
    {"compare": compare, "growth": growth, "measure": measure}[arguments.command](arguments)


def compare(arguments: argparse.Namespace) -> None:
    """Ours and each peer in turns, groups checked, medians as a Markdown table."""
    checkouts = {"daam": None} | dict(peer.split("=", 1) for peer in arguments.peer)
    runs: dict[str, list[dict]] = {side: [] for side in checkouts}
    with tempfile.TemporaryDirectory() as folder:
        features, identities = drawn_or_given(arguments)
        np.save(Path(folder) / "features.npy", features)
        describe_machine(len(features), features.shape[1], threads=arguments.threads)
        for _ in range(arguments.rounds):
            for side, checkout in checkouts.items():
                runs[side].append(
                    measured(side, checkout, folder=Path(folder), threads=arguments.threads)
                )
            save(arguments.to, runs)
    ours = np.array(runs["daam"][0]["groups"])
    describe_groups(ours, identities)
    print("\n| | wall s | CPU s | wall, ours / its | CPU, ours / its | extra peak MB |")
    print("|---|---|---|---|---|---|")
    for side, rounds in runs.items():
        ratios = [
            statistics.median(
                mine[key] / its[key] for mine, its in zip(runs["daam"], rounds, strict=True)
            )
            for key in ("wall_s", "cpu_s")
        ]
        print(
            f"| {side} | {median(rounds, 'wall_s'):.1f} | {median(rounds, 'cpu_s'):.1f} "
            f"| {ratios[0]:.2f} | {ratios[1]:.2f} | {median(rounds, 'extra_mb'):,.0f} |"
        )
    for side, rounds in runs.items():
        rand, different = agreement(ours, np.array(rounds[0]["groups"]))
        print(f"{side}: adjusted Rand index with ours {rand:.6f}, {different} labels differ")


def growth(arguments: argparse.Namespace) -> None:
    """Ours over several N: the neighbour search, what follows by its pieces, memory."""
    runs: dict[str, list[dict]] = {}
    print(
        "| N | search, CPU s | GFLOP/s | the rest, CPU s | us an image: "
        + " | ".join(PIECES)
        + " | terms an image | ns a term | wall s | extra MB |"
    )
    print("|" + "---|" * (len(PIECES) + 8))
    for num_images in arguments.images:
        with tempfile.TemporaryDirectory() as folder:
            features, identities = draw_features(
                num_images, width=arguments.width, seed=arguments.seed
            )
            np.save(Path(folder) / "features.npy", features)
            del features
            rounds = runs[str(num_images)] = [
                measured("daam", None, folder=Path(folder), threads=arguments.threads)
                for _ in range(arguments.rounds)
            ]
        search = median(rounds, "search_cpu_s")
        rest = median(rounds, "cpu_s") - search
        flops = num_images**2 * arguments.width
        pieces = {piece: median(rounds, f"{piece}_cpu_s") for piece in PIECES}
        terms = median(rounds, "num_terms")
        print(
            f"| {num_images:,} | {search:.2f} | {flops / search / 1e9:.0f} | {rest:.2f} | "
            + " | ".join(f"{1e6 * seconds / num_images:.0f}" for seconds in pieces.values())
            + f" | {terms / num_images:,.0f} | {1e9 * pieces['overlap'] / terms:.1f} "
            f"| {median(rounds, 'wall_s'):.1f} | {median(rounds, 'extra_mb'):,.0f} |",
            flush=True,
        )
        describe_groups(np.array(rounds[0]["groups"]), identities, to=sys.stderr)
    save(arguments.to, runs)


def draw_features(
    num_images: int, *, width: int, seed: int
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """(N, D) unit vectors in random order, and who is in them; -1 for nobody.

    What makes them hard like those of a half-trained network on a real camera network:
    variances that fall along the axes as 1 / axis, so that the thousands of axes act like some
    tens; log-normal numbers of images a person (median 13, 1 to 80); people in families of about
    eight who look alike; a shift of each of six cameras, and one of each person in each camera;
    noise whose size varies log-normally from image to image; five images in a hundred of nobody.
    """
    generator = np.random.default_rng(seed)
    spread = (np.arange(width) + 8.0) ** -0.75
    spread = (spread / np.linalg.norm(spread)).astype(np.float32)

    def draw(num_rows: int) -> NDArray[np.float32]:
        return generator.standard_normal((num_rows, width), dtype=np.float32) * spread

    num_nobody = num_images // 20
    sizes = np.exp(generator.normal(2.6, 0.7, num_images)).round().clip(1, 80).astype(int)
    identities = np.repeat(np.arange(num_images), sizes)[: num_images - num_nobody]
    num_people = int(identities[-1]) + 1
    families = generator.integers(0, max(1, num_people // 8), num_people)
    looks = 0.7 * draw(len(families))[families] + 0.714 * draw(num_people)
    cameras = generator.integers(0, 6, len(identities))
    features = looks[identities] + 0.3 * draw(6)[cameras]
    features += 0.6 * draw(6 * num_people)[6 * identities + cameras]
    noise = np.exp(generator.normal(0.0, 0.4, len(identities))).astype(np.float32)
    features += noise[:, None] * draw(len(identities))
    features = np.concatenate([features, draw(num_nobody)])
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    order = generator.permutation(num_images)
    return features[order], np.append(identities, [-1] * num_nobody)[order]


def drawn_or_given(
    arguments: argparse.Namespace,
) -> tuple[NDArray[np.float32], NDArray[np.int64] | None]:
    if arguments.features is None:
        return draw_features(arguments.images, width=arguments.width, seed=arguments.seed)
    features = np.load(arguments.features).astype(np.float32)
    return features / np.linalg.norm(features, axis=1, keepdims=True), None


def describe_machine(num_images: int, width: int, *, threads: int) -> None:
    """Print what a matrix product reaches here, and how long the search's one would then take."""
    import torch

    torch.set_num_threads(threads)
    tile = torch.rand(2048, width)
    rates = []
    for _ in range(5):
        start = time.perf_counter()
        torch.mm(tile, tile.T)
        rates.append(2 * len(tile) ** 2 * width / (time.perf_counter() - start) / 1e9)
    rate = statistics.median(rates)
    limit = num_images**2 * width / rate / 1e9
    print(
        f"{num_images:,} x {width:,}, {threads} threads, load {os.getloadavg()[0]:.1f}; "
        f"matrix product {rate:.0f} GFLOP/s: all pairs once take {limit:.1f} s"
    )


def describe_groups(
    groups: NDArray[np.int64],
    identities: NDArray[np.int64] | None,
    *,
    to: object = None,
) -> None:
    line = f"{groups.max() + 1} groups, {100 * np.mean(groups == -1):.0f} % outliers"
    if identities is not None:
        alone = np.arange(len(groups)) + len(groups)  # an outlier, or nobody, is like no other
        rand, _ = agreement(
            np.where(identities < 0, alone, identities), np.where(groups < 0, alone, groups)
        )
        line += f", {identities.max() + 1} people, adjusted Rand index {rand:.2f}"
    print(line, file=to)  # type: ignore[arg-type]


def agreement(ours: NDArray[np.int64], theirs: NDArray[np.int64]) -> tuple[float, int]:
    """Adjusted Rand index, and in how many images the labels differ as numbers."""
    from sklearn.metrics import adjusted_rand_score

    return float(adjusted_rand_score(ours, theirs)), int(np.sum(ours != theirs))


def measured(side: str, checkout: str | None, *, folder: Path, threads: int) -> dict:
    """One measurement in a process of its own."""
    found = folder / "found.json"
    command = [sys.executable, __file__, "measure", "--side", side, "--threads", str(threads)]
    command += ["--features", str(folder / "features.npy"), "--to", str(found)]
    command += ["--checkout", checkout] if checkout else []
    variables = {"OMP_NUM_THREADS": str(threads), "OPENBLAS_NUM_THREADS": str(threads)}
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=os.environ | variables)
    return json.loads(found.read_text())


def measure(arguments: argparse.Namespace) -> None:
    import torch

    torch.set_num_threads(arguments.threads)
    features = torch.from_numpy(np.load(arguments.features))
    found: dict[str, object] = {}
    if arguments.side == "daam":
        make_groups = ours(found)
    else:
        make_groups = theirs(arguments.side, arguments.checkout)
    make_groups(features[:WARM_UP_IMAGES])
    gc.collect()
    with clocks(found):
        groups = make_groups(features)
    found["groups"] = groups.tolist()
    arguments.to.write_text(json.dumps(found))


@contextmanager
def clocks(found: dict[str, object]) -> Iterator[None]:
    """Wall and CPU seconds (of processes it starts too), and megabytes at the peak over before."""
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    before_mb, cpu, wall = resident_mb("VmRSS"), cpu_seconds(), time.perf_counter()
    yield
    found["wall_s"], found["cpu_s"] = time.perf_counter() - wall, cpu_seconds() - cpu
    found["extra_mb"] = resident_mb("VmHWM") - before_mb
    found["peak_mb"] = resident_mb("VmHWM")


def cpu_seconds() -> float:
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def resident_mb(field: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(field))


def median(rounds: list[dict], key: str) -> float:
    return statistics.median(found[key] for found in rounds)


def save(path: Path, runs: dict[str, list[dict]]) -> None:
    """Every number but the groups themselves."""
    path.parent.mkdir(parents=True, exist_ok=True)
    numbers = {
        side: [{key: found[key] for key in found if key != "groups"} for found in rounds]
        for side, rounds in runs.items()
    }
    path.write_text(json.dumps(numbers, indent=1))


if __name__ == "__main__":
    main()

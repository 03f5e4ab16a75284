"""Retrieval scores: ours beside other implementations, and how ours scales.

    python benchmarks/retrieval.py compare --peer fast-reid=FOLDER/rank_cy.so
    python benchmarks/retrieval.py rerank --peer fast-reid=FOLDER/rerank.py
    python benchmarks/retrieval.py scale --queries 10000 --gallery 1000000 --width 128

`compare` scores one matrix of distances, 3368 x 19732 with the sizes of Market-1501's test, with
each implementation in turn (A B C A B C), after checking that all agree. A peer is a Python module,
compiled or not, with `evaluate_cy(distances, query_ids, gallery_ids, query_cameras,
gallery_cameras, max_rank)`, as in fast-reid, torchreid and OpenUnReID, which are not part of this
project. Peak memory is measured in a process of its own.

`rerank` re-ranks a share of that test from its embeddings, beside `re_ranking(query_gallery,
query_query, gallery_gallery, k1, k2, weight)` of a peer, whose distances count as its work.

`scale` scores embeddings in chunks, and reports what the matrix product alone takes.

Shapes: Q = queries, G = gallery images, D = embedding width.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import multiprocessing
import statistics
import sys
from pathlib import Path

import numpy as np
import torch
from torch.nn.functional import normalize

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from market_sized import (
    NUM_CAMERAS,
    SEPARATIONS,
    embed,
    market_distances,
    market_embeddings,
    market_labels,
)
from measuring import Cost, forget_peak, resident_bytes, timed
from retrieval_sides import OURS, given, rerank_ours, rerank_peer, score_ours, score_peer

from daam.metrics.labels import Labels
from daam.metrics.retrieval import (
    RetrievalScores,
    retrieval_scores,
    retrieval_scores_from_embeddings,
)

# Some peers add float32 precisions up in float32.
MAX_DIFFERENCE = 1e-5
# Distances in whole steps of this are full of ties.
TIE_STEP = 1 / 64


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    compare = commands.add_parser("compare", help="time ours and peers on the same distances")
    compare.add_argument("--peer", action="append", default=[], metavar="NAME=PATH")
    compare.add_argument("--rounds", type=int, default=5)
    compare.add_argument("--models", nargs="+", choices=SEPARATIONS, default=list(SEPARATIONS))
    compare.add_argument(
        "--junk",
        action="store_true",
        help="3819 gallery images show nobody: we skip them, peers get distances without them",
    )
    rerank = commands.add_parser("rerank", help="time ours and peers' re-ranking")
    rerank.add_argument("--peer", action="append", default=[], metavar="NAME=PATH")
    rerank.add_argument("--rounds", type=int, default=5)
    rerank.add_argument("--share", type=float, default=0.25, help="of the queries and the gallery")
    rerank.add_argument("--width", type=int, default=128)
    scale = commands.add_parser("scale", help="time ours from embeddings")
    scale.add_argument("--queries", type=int, default=10_000)
    scale.add_argument("--gallery", type=int, default=1_000_000)
    scale.add_argument("--width", type=int, default=128)
    scale.add_argument("--chunk", type=int, default=256)
    scale.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    if arguments.command == "compare":
        peers = dict(peer.split("=", 1) for peer in arguments.peer)
        for model in arguments.models:
            compare_sides(peers, model=model, junk=arguments.junk, rounds=arguments.rounds)
    elif arguments.command == "rerank":
        compare_reranking(
            dict(peer.split("=", 1) for peer in arguments.peer),
            share=arguments.share,
            width=arguments.width,
            rounds=arguments.rounds,
        )
    else:
        torch.set_num_threads(arguments.threads)
        measure_scale(
            num_queries=arguments.queries,
            num_gallery=arguments.gallery,
            width=arguments.width,
            chunk=arguments.chunk,
        )


def compare_sides(peers: dict[str, str], *, model: str, junk: bool, rounds: int) -> None:
    labels = market_labels(junk=junk)
    distances = market_distances(labels, separation=SEPARATIONS[model])
    sides = {OURS: score_ours} | {name: score_peer(path) for name, path in peers.items()}
    inputs = {name: given(name, distances, labels) for name in sides}
    ours = retrieval_scores([distances], query_labels=labels.query, gallery_labels=labels.gallery)
    print(
        f"\n{model} model: mAP {ours.mean_average_precision:.4f}, mINP {ours.mean_inp:.4f}, "
        f"{ours.num_left_out} queries left out; one read of the distances "
        f"{statistics.median(timed(distances.max)[0].wall_s for _ in range(5)):.3f} s"
    )
    for name, side in sides.items():  # also the warm-up
        found = side(*inputs[name])
        difference = found.mean_average_precision - ours.mean_average_precision
        print(f"  mAP of {name} is different by {difference:.1e}")
        assert abs(difference) < MAX_DIFFERENCE, (name, found)
        assert abs(found.first_rank - ours.cmc[1]) < 1e-6, (name, found)
    costs: dict[str, list[Cost]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, side in sides.items():
            costs[name].append(timed(lambda side=side, name=name: side(*inputs[name]))[0])
    cpu, wall = (
        {name: statistics.median(getattr(cost, kind) for cost in costs[name]) for name in sides}
        for kind in ("cpu_s", "wall_s")
    )
    rounded = {
        name: (np.floor(distances / TIE_STEP).astype(np.float32), labels)
        for name, (distances, labels) in inputs.items()
    }
    print(f"{'':12} CPU s   wall s  CPU, times ours   extra MiB   mAP with ties")
    for name, side in sides.items():
        print(
            f"{name:12}{cpu[name]:6.3f}{wall[name]:9.3f}{cpu[name] / cpu[OURS]:17.1f}"
            f"{extra_memory_of(name, peers.get(name), model=model, junk=junk) / 2**20:12.0f}"
            f"{side(*rounded[name]).mean_average_precision:16.6f}"
        )


def compare_reranking(peers: dict[str, str], *, share: float, width: int, rounds: int) -> None:
    query, gallery = market_embeddings(share=share, width=width)
    sides = {OURS: rerank_ours} | {name: rerank_peer(path) for name, path in peers.items()}
    print(f"\n{len(query)} x {len(gallery)} x {width}")
    expected = rerank_ours(query, gallery)
    for name, side in sides.items():  # also the warm-up
        difference = np.abs(side(query, gallery) - expected)
        far = (difference > MAX_DIFFERENCE).mean()
        print(f"  {name}: {far:.2e} of all distances differ by more than {MAX_DIFFERENCE}")
        assert far < 1e-3, name
    costs: dict[str, list[Cost]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, side in sides.items():
            costs[name].append(timed(lambda side=side: side(query, gallery))[0])
    print(f"{'':12} CPU s   wall s   extra MiB")
    for name in sides:
        cpu, wall = (
            statistics.median(getattr(cost, kind) for cost in costs[name])
            for kind in ("cpu_s", "wall_s")
        )
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            extra = pool.apply(measure_memory_of_reranking, (peers.get(name), share, width))
        print(f"{name:12}{cpu:6.2f}{wall:9.2f}{extra / 2**20:12.0f}")


def measure_memory_of_reranking(path: str | None, share: float, width: int) -> int:
    query, gallery = market_embeddings(share=share, width=width)
    side = rerank_ours if path is None else rerank_peer(path)
    forget_peak()
    before = resident_bytes("VmRSS")
    side(query, gallery)
    return resident_bytes("VmHWM") - before


def measure_scale(*, num_queries: int, num_gallery: int, width: int, chunk: int) -> None:
    generator = np.random.default_rng(0)
    identities = generator.integers(1, 1 + num_gallery // 20, num_gallery)
    query_labels = Labels(
        identities=identities[generator.integers(0, num_gallery, num_queries)],
        cameras=generator.integers(1, 1 + NUM_CAMERAS, num_queries),
    )
    gallery_labels = Labels(
        identities=identities,
        cameras=generator.integers(1, 1 + NUM_CAMERAS, num_gallery),
    )
    torch.manual_seed(0)
    centres = normalize(torch.randn(int(identities.max()) + 1, width), dim=1)
    query, gallery = (
        embed(torch.from_numpy(of), centres=centres, separation=SEPARATIONS["strong"])
        for of in (query_labels.identities, gallery_labels.identities)
    )
    # The product alone, on a few chunks that are freed at once.
    samples = [timed(lambda: query[:chunk] @ gallery.T)[0] for _ in range(5)]
    product = statistics.median(sample.wall_s for sample in samples)
    rows = min(chunk, num_queries)
    forget_peak()
    before = resident_bytes("VmRSS")
    cost, scores = timed(
        lambda: retrieval_scores_from_embeddings(
            query,
            gallery,
            query_labels=query_labels,
            gallery_labels=gallery_labels,
            chunk=chunk,
        )
    )
    assert isinstance(scores, RetrievalScores)
    print(
        f"{num_queries} x {num_gallery} x {width}, chunk {chunk}, {torch.get_num_threads()} "
        f"threads: wall {cost.wall_s:.1f} s, CPU {cost.cpu_s:.1f} s, of which the product about "
        f"{product * num_queries / rows:.1f} s wall "
        f"({2e-9 * rows * num_gallery * width / product:.0f} GFLOP/s); peak memory "
        f"{resident_bytes('VmHWM') / 2**30:.2f} GiB, {before / 2**30:.2f} before; "
        f"mAP {scores.mean_average_precision:.4f}"
    )


def extra_memory_of(name: str, path: str | None, *, model: str, junk: bool) -> int:
    """Bytes that scoring takes at its peak, beside the distances, in a process of its own."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(measure_memory, (name, path, model, junk))


def measure_memory(name: str, path: str | None, model: str, junk: bool) -> int:  # noqa: FBT001
    labels = market_labels(junk=junk)
    distances = market_distances(labels, separation=SEPARATIONS[model])
    side = score_ours if path is None else score_peer(path)
    distances, labels = given(name, distances, labels)
    forget_peak()
    before = resident_bytes("VmRSS")
    side(distances, labels)
    return resident_bytes("VmHWM") - before


if __name__ == "__main__":
    main()

"""What `auto` is worth: mAP of whole runs, grouped by `auto` and by the fixed settings of before.

`auto` chooses k1 and k2 (the neighbourhood of a pseudo-label) and whether cameras are centred, from
counts alone. Fixed is k1 30, k2 6, centred, as papers have it. Both train on the same transfers
with the same seeds; the difference of a pair is what `auto` changed. The transfers are the rendered
ones of `assessment_runs.py`: as they are, and with the cameras of the target's train images split
into cameras of 6 and of 2 images, where a camera's mean is that of a person or two.

    python benchmarks/grouping_runs.py --to runs/grouping

Resumable; about 12 s of CPU per run, 96 runs. Intervals (95 %) are of the mean over transfers, by
Student's t: the seeds of a transfer share its images.
"""

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import torch
from assessment_runs import BUDGET, TRANSFERS, prepare
from centring import in_parts
from scipy.stats import t as student

from daam.config.load import nested, read_preset, run_config
from daam.training.loop import fit
from daam.training.scoring.retrieval_test import RetrievalTest, score
from daam.training.setup.assemble import assemble, grouping_of

NEIGHBOURS, EXPANSION, CENTRING = (
    f"loss.target.{name}" for name in ("num_neighbours", "num_expansion", "centre_cameras")
)
AUTO = {NEIGHBOURS: "auto", EXPANSION: "auto", CENTRING: "auto"}
SIDES: dict[str, dict[str, Any]] = {
    "auto": AUTO,
    "fixed": {NEIGHBOURS: 30, EXPANSION: 6, CENTRING: True},
    "auto, centred": AUTO | {CENTRING: True},
}
OF_CASE = TRANSFERS[::2]
# Cameras of the target -> the images in each, and the sides that differ.
CASES = {
    "as they are": (None, ("auto", "fixed")),
    "6 images each": (6, ("auto", "fixed", "auto, centred")),
    "2 images each": (2, ("auto", "fixed", "auto, centred")),
}


def main() -> None:
    """Train the runs that are missing, then print the paired differences."""
    parser = argparse.ArgumentParser(description="Whole runs grouped by auto and by fixed settings")
    parser.add_argument("--to", type=Path, default=Path("runs/grouping"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    arguments.to.mkdir(parents=True, exist_ok=True)
    prepare(arguments.to / "domains", transfers=OF_CASE)
    lines = arguments.to / "runs.jsonl"
    runs = [json.loads(line) for line in lines.read_text().splitlines()] if lines.exists() else []
    done = {(run["cameras"], run["transfer"], run["side"], run["seed"]) for run in runs}
    wanted = [
        (seed, cameras, transfer, side)
        for cameras, (_, sides) in CASES.items()
        for seed in arguments.seeds
        for transfer in OF_CASE
        for side in sides
    ]
    for seed, cameras, transfer, side in wanted:
        if (cameras, transfer, side, seed) in done:
            continue
        images, _ = CASES[cameras]
        found = train(side, transfer, images=images, seed=seed, root=arguments.to)
        runs.append({"cameras": cameras} | found)
        with lines.open("a") as file:
            file.write(json.dumps(runs[-1]) + "\n")
    print_table(runs, seeds=arguments.seeds)


def train(side: str, transfer: str, *, images: int | None, seed: int, root: Path) -> dict[str, Any]:
    """Train and test one run; its target's cameras are split into cameras of so many images."""
    settings = {
        **BUDGET,
        **SIDES[side],
        "transfer": transfer,
        "seed": seed,
        "data.root": str(root / "domains"),
        "data.cache": str(root / "cache"),
    }
    config = run_config(read_preset("daam_v2"), nested(settings))
    run = assemble(config)
    if images is not None and run.target.cameras is not None:
        parts_N = in_parts(run.target.cameras, images, generator=np.random.default_rng(seed))
        run.target = replace(run.target, cameras=parts_N)
        run.grouping = grouping_of(config, source=run.source, target=run.target)
    for _ in fit(run):
        pass
    test = RetrievalTest.on_test(config, domain=config.pair().target)
    return {
        "side": side,
        "transfer": transfer,
        "seed": seed,
        "k1": run.grouping.num_neighbours,
        "k2": run.grouping.num_expansion,
        "centred": run.grouping.centre_cameras,
        "mAP": score(run.embedder, test, config).scores.mean_average_precision,
    }


def print_table(runs: list[dict[str, Any]], *, seeds: list[int]) -> None:
    """Print each transfer's means over the seeds, then the mean differences with intervals."""
    of = {(run["cameras"], run["transfer"], run["side"], run["seed"]): run for run in runs}
    print("| cameras | transfer | k1, k2, centred by auto | auto | fixed | auto, centred |")
    print("|---|---|---|---|---|---|")
    differences = []
    for cameras, (_, sides) in CASES.items():
        scores = {
            side: np.array(
                [
                    [of[cameras, transfer, side, seed]["mAP"] for seed in seeds]
                    for transfer in OF_CASE
                ]
            )
            for side in sides
        }
        for number, transfer in enumerate(OF_CASE):
            run = of[cameras, transfer, "auto", seeds[0]]
            chosen = f"{run['k1']}, {run['k2']}, {'yes' if run['centred'] else 'no'}"
            means = [
                f"{scores[side][number].mean():.3f}" if side in sides else "" for side in SIDES
            ]
            print(f"| {cameras} | {transfer} | {chosen} | {' | '.join(means)} |")
        for other in sides[1:]:
            differences_TS = scores["auto"] - scores[other]
            of_transfer_T = differences_TS.mean(axis=1)
            error = of_transfer_T.std(ddof=1) / len(OF_CASE) ** 0.5
            half = student.ppf(0.975, len(OF_CASE) - 1) * error
            differences.append(
                f"{cameras}, auto - {other}: {of_transfer_T.mean():+.3f} +- {half:.3f}, better in "
                f"{(differences_TS > 0).sum()} of {differences_TS.size} pairs, worst "
                f"{differences_TS.min():+.3f}"
            )
    print("\n" + "\n".join(differences))


if __name__ == "__main__":
    main()

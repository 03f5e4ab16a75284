"""A study without daam's tuning: Ray Tune, its OptunaSearch and its ASHAScheduler.

    python benchmarks/naive_study.py --study STUDY.toml --to FOLDER --budget-s 600

A trial trains all search transfers side by side, an epoch of each at a time, from scratch, and
reports the mean of their scores after every epoch of the adaptation. With `--naive PART ...` (by
default all of them) parts of daam are replaced by what public code has, see `naive_parts.py`. Every
epoch becomes a line of FOLDER/epochs.jsonl; FOLDER/wall.json is written at the end.

With `--units` nothing is searched: the default and the starting points of the study file are
trained one after another, as they are and with each part replaced alone, and FOLDER/units.json gets
the seconds of their epochs.
"""

import argparse
import json
import os
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import ray
import ray.tune
import torch
from ray.tune import RunConfig, Stopper, TuneConfig, Tuner
from ray.tune.schedulers import ASHAScheduler
from ray.tune.search.optuna import OptunaSearch

from benchmarks.naive_parts import PARTS, ImageFiles, naive
from daam.runs.worker import is_adapted
from daam.training.loop import fit
from daam.training.scoring.retrieval_test import RetrievalTest, score
from daam.training.setup.assemble import assemble
from tune.proposals.space import suggest
from tune.search.trial import trial_config
from tune.settings import VALIDATION, StudyConfig, study_config

ROOT = Path(__file__).resolve().parent.parent
EPOCHS, WALL, UNITS = "epochs.jsonl", "wall.json", "units.json"
OURS, ALL_NAIVE = "daam", "all naive"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What all trials of a study share; plain values."""

    run: dict[str, Any]
    transfers: tuple[str, ...]
    parts: tuple[str, ...]
    to: Path


def main() -> None:
    """Run the study, or measure its units."""
    parser = argparse.ArgumentParser(description="A study without daam's tuning")
    parser.add_argument("--study", type=Path, required=True)
    parser.add_argument("--to", type=Path, required=True)
    parser.add_argument("--naive", nargs="*", choices=PARTS, default=PARTS)
    parser.add_argument("--budget-s", type=float, default=600, help="seconds of all trials")
    parser.add_argument("--until", type=float, default=1.0, help="score at which to stop")
    parser.add_argument("--concurrent", type=int, default=os.cpu_count())
    parser.add_argument("--units", action="store_true")
    arguments = parser.parse_args()
    arguments.to.mkdir(parents=True, exist_ok=True)
    config = study_config(tomllib.loads(arguments.study.read_text()), {})
    plan = Plan(
        run=config.run.model_dump(),
        transfers=tuple(config.study.search_transfers),
        parts=tuple(arguments.naive),
        to=arguments.to.resolve(),
    )
    if arguments.units:
        measure_units(config, plan)
        return
    begin = time.monotonic()
    search(
        config,
        plan,
        budget_s=arguments.budget_s,
        until=arguments.until,
        concurrent=arguments.concurrent,
    )
    (arguments.to / WALL).write_text(json.dumps({"wall_s": time.monotonic() - begin}))


class SpentOrReached(Stopper):
    """Ends the search once its epochs have cost the budget, or a score is reached."""

    def __init__(self, *, budget_s: float, until: float) -> None:
        self._left_s = budget_s
        self._until = until
        self._is_reached = False

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        self._left_s -= result["seconds"]
        self._is_reached |= result["score"] >= self._until
        return False

    def stop_all(self) -> bool:
        return self._is_reached or self._left_s <= 0


def search(
    config: StudyConfig, plan: Plan, *, budget_s: float, until: float, concurrent: int
) -> None:
    """Run trials until the budget is spent."""
    (plan.to / EPOCHS).unlink(missing_ok=True)
    optimiser, loss = config.run.optimiser, config.run.loss
    with tempfile.TemporaryDirectory() as scratch:
        ray.init(
            num_cpus=concurrent,
            include_dashboard=False,
            runtime_env={"env_vars": {"PYTHONPATH": str(ROOT)}},
        )
        Tuner(
            ray.tune.with_resources(partial(train, plan=plan), {"cpu": 1}),
            tune_config=TuneConfig(
                metric="score",
                mode="max",
                search_alg=OptunaSearch(
                    partial(suggest, space=config.space()),
                    metric="score",
                    mode="max",
                    seed=config.study.seed,
                    points_to_evaluate=config.starting_points()[:1],  # the default
                ),
                scheduler=ASHAScheduler(max_t=optimiser.num_epochs - loss.warmup_epochs),
                num_samples=-1,
            ),
            run_config=RunConfig(
                storage_path=scratch,
                stop=SpentOrReached(budget_s=budget_s, until=until),
                verbose=0,
            ),
        ).fit()
        ray.shutdown()


def train(parameters: dict[str, Any], *, plan: Plan) -> None:
    """Train a trial under Ray Tune."""
    trial = ray.tune.get_context().get_trial_name()
    with (plan.to / EPOCHS).open("a") as file:
        seconds = 0.0
        for epochs in trained(parameters, plan=plan):
            seconds += sum(epoch["seconds"] + epoch["seconds/score"] for epoch in epochs)
            line = {"trial": trial, "parameters": parameters, "epochs": epochs}
            if epochs[0]["is_adapted"]:
                line["score"] = fmean(epoch["mAP"] for epoch in epochs)
            file.write(json.dumps(line) + "\n")
            file.flush()
            if epochs[0]["is_adapted"]:
                ray.tune.report({"score": line["score"], "seconds": seconds})
                seconds = 0.0


def trained(parameters: dict[str, Any], *, plan: Plan) -> Iterator[list[dict[str, Any]]]:
    """Train all transfers side by side; yield the metrics of an epoch of each."""
    files = ImageFiles(plan.to / "files")
    settings = {"run": plan.run, "parameters": parameters, "score": VALIDATION, "num_workers": 1}
    runs = [assemble(trial_config(settings, transfer)) for transfer in plan.transfers]
    tests = [RetrievalTest.on_validation(run.config, manifest=run.target.manifest) for run in runs]
    if "loader" in plan.parts:
        for run, test in zip(runs, tests, strict=True):
            files.write(
                run.source.reader, run.target.reader, test.query.reader, test.gallery.reader
            )
    with naive(plan.parts, files):
        for reports in zip(*map(fit, runs), strict=True):
            epochs = []
            for transfer, run, test, report in zip(
                plan.transfers, runs, tests, reports, strict=True
            ):
                metrics = report.as_metrics() | {
                    "transfer": transfer,
                    "is_adapted": is_adapted(run),
                    "seconds/score": 0.0,
                }
                if is_adapted(run):
                    begin = time.perf_counter()
                    scores = score(run.embedder, test, run.config).scores
                    metrics["mAP"] = scores.mean_average_precision
                    metrics["seconds/score"] = time.perf_counter() - begin
                epochs.append(metrics)
            yield epochs


def measure_units(config: StudyConfig, plan: Plan, *, num_rounds: int = 2) -> None:
    """Train the first trials with each set of parts in turn, on one core (Linux).

    A trial has one core in a study that uses them all; here a loader's workers would have another.
    """
    torch.set_num_threads(1)
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    sides: dict[str, Sequence[str]] = {
        OURS: (),
        **{f"naive {part}": (part,) for part in PARTS},
        ALL_NAIVE: PARTS,
    }
    found: dict[str, list[dict[str, Any]]] = {side: [] for side in sides}
    for _ in range(num_rounds):
        for parameters in config.starting_points():
            for side, parts in sides.items():
                own = replace(plan, transfers=plan.transfers[:1], parts=tuple(parts))
                for epochs in trained(parameters, plan=own):
                    found[side] += epochs
                print(f"{side}: mAP {found[side][-1]['mAP']:.3f}", file=sys.stderr, flush=True)
    (plan.to / UNITS).write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()

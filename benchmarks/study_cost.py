"""What a study costs until it has found the score that random search finds.

Five kinds of study search the demo's space in both directions between two rendered domains of their
own, each with several seeds, the last with the first seed alone:

random     64 trials drawn at random, each trained to its end from scratch
daam       the study's defaults, from the starting points of the demo's study file
no start   the same from the default settings alone
Ray Tune   OptunaSearch and ASHA on the same runs, see `naive_study.py`, until it has the best score
           of `random` or has cost half as much
naive      the same with the parts of public code, until it has that score or has cost four times
           what `daam` had when it did

    python benchmarks/study_cost.py --to runs/study-cost

The best score of a study is a lucky one: what it chose is trained again with three other seeds.

Prints Markdown tables and draws `study_cost.png`. Resumable: a study that is finished is not
repeated; one of daam's is resumed, one of Ray Tune starts again.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Mapping
from pathlib import Path
from statistics import fmean
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import tomlkit

from benchmarks.naive_study import OURS, UNITS, WALL
from benchmarks.study_cost_accounts import (
    Study,
    epoch_of,
    read_plain_study,
    read_study,
    units_of,
)
from benchmarks.study_cost_choices import checked, choice_of
from benchmarks.study_cost_tables import (
    ARMS,
    DAAM,
    NAIVE,
    NO_START,
    PLAIN,
    RANDOM,
    cost_table,
    draw,
    factor_table,
)
from daam.config.load import merged, nested
from daam.dataset.format.manifest import has_domain
from daam.dataset.importing.import_domain import import_domain
from daam.dataset.importing.layouts import read_layout
from daam.storage import open_store
from daam.synthetic.render import RenderPlan, render_domain
from tune.settings import study_config

ROOT = Path(__file__).resolve().parent.parent
DOMAINS = {"arcade": 21, "quay": 22}  # name and seed of the renderer; no other study uses them
TRANSFERS = ["arcade->quay", "quay->arcade"]
NUM_RANDOM_TRIALS, NUM_TRIALS = 64, 32
SHARE_OF_PLAIN = 0.5  # of the cost of random search, at which Ray Tune's study ends
CHECK_SEEDS = (101, 102, 103)  # of the runs that say what a study's choice is worth
TIMES_OF_NAIVE = 4  # the cost of ours at that score, at which the naive study ends

# The demo's network and images at half its batches and fewer, shorter epochs: 500 runs or so.
RUN: dict[str, Any] = {
    "data.identities_per_batch": 8,
    "data.target_batch_size": 32,
    "data.num_threads": 1,
    "loss.warmup_epochs": 4,
    "optimiser.num_epochs": 8,
    "optimiser.steps_per_epoch": 24,
    "compute.device": "cpu",
}


def main() -> None:
    """Run the studies that are missing, then print what they cost."""
    parser = argparse.ArgumentParser(description="What a study costs")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--random-trials", type=int, default=NUM_RANDOM_TRIALS)
    parser.add_argument("--trials", type=int, default=NUM_TRIALS)
    parser.add_argument("--set", dest="settings", type=json.loads, default={}, help="of the runs")
    parser.add_argument("--to", type=Path, default=Path("runs/study-cost"))
    arguments = parser.parse_args()
    to = arguments.to.resolve()
    render_missing(to / "domains")
    trials = {RANDOM: arguments.random_trials}
    files = {
        (arm, seed): write_study(
            arm,
            seed,
            num_trials=trials.get(arm, arguments.trials),
            settings=arguments.settings,
            to=to,
        )
        for arm in ARMS
        for seed in arguments.seeds
    }
    if not (to / UNITS).exists():
        run_naive(files[DAAM, arguments.seeds[0]], to, "--units")
    units_by_side = {
        side: units_of(map(epoch_of, rows))
        for side, rows in json.loads((to / UNITS).read_text()).items()
    }
    units = units_by_side[OURS]
    studies: dict[str, list[Study]] = {arm: [] for arm in ARMS}
    for seed in arguments.seeds:
        for arm in (RANDOM, DAAM, NO_START):
            study = tuned(files[arm, seed])
            studies[arm].append(study.without_sharing() if arm == RANDOM else study)
        cost, best = studies[RANDOM][-1].curve(units)[-1]
        until = ("--until", str(best), "--budget-s")
        study = plainly_tuned(files[PLAIN, seed], *until, f"{SHARE_OF_PLAIN * cost}", "--naive")
        studies[PLAIN].append(study)
        if seed == arguments.seeds[0]:
            own = studies[DAAM][-1].cost_of(best, units) or studies[DAAM][-1].curve(units)[-1][0]
            study = plainly_tuned(files[NAIVE, seed], *until, f"{TIMES_OF_NAIVE * own}")
            studies[NAIVE].append(study)
    worth = checked(
        {
            files[arm, seed].stem: choice_of(files[arm, seed].with_suffix(""))
            for arm, own in studies.items()
            for seed, _ in zip(arguments.seeds, own, strict=False)
        },
        config=study_config(tomllib.loads(files[RANDOM, arguments.seeds[0]].read_text()), {}),
        seeds=CHECK_SEEDS,
        to=to,
    )
    choices = {
        arm: [
            fmean(worth[files[arm, seed].stem])
            for seed, _ in zip(arguments.seeds, own, strict=False)
        ]
        for arm, own in studies.items()
    }
    print(cost_table(studies, units_by_side, choices))
    print()
    print(factor_table(studies, units_by_side))
    draw(studies, units_by_side, to / "study_cost.png")


def render_missing(root: Path) -> None:
    """Render and import the two domains."""
    store = open_store(str(root))
    for name, seed in DOMAINS.items():
        if has_domain(store, name):
            continue
        plan = RenderPlan(
            domain=name,
            seed=seed,
            num_train_identities=160,
            num_test_identities=10,
            num_cameras=4,
            height=64,
            width=32,
            max_images_per_camera=3,
        )
        with tempfile.TemporaryDirectory(prefix="daam-render-") as scratch:
            folder = Path(scratch) / name
            render_domain(plan, to=folder, num_processes=os.cpu_count() or 1)
            import_domain(read_layout("market1501", folder), domain=name, to=store)


def write_study(
    arm: str, seed: int, *, num_trials: int, settings: Mapping[str, Any], to: Path
) -> Path:
    """Write the study file of an arm and a seed: the demo's space and runs, a search of its own."""
    demo = tomllib.loads((ROOT / "tune/spaces/demo.toml").read_text())
    start = demo.pop("study").get("start", [])
    study = {
        "name": f"{arm.lower().replace(' ', '-')}-{seed}",
        "search_transfers": TRANSFERS,
        "num_trials": num_trials,
        "seed": seed,
        "race_trials": 0,  # the cost of the search alone is compared
        "start": start if arm == DAAM else [],
    }
    if arm == RANDOM:  # the sampler's first trials are random
        study |= {"num_startup_trials": num_trials, "default_first": False, "pruner": "none"}
    changes = {**RUN, **settings, "data.root": str(to / "domains"), "seed": seed}
    path = to / f"{study['name']}.toml"
    path.write_text(tomlkit.dumps(merged({"study": study, **demo}, nested(changes))))
    return path


def tuned(study: Path) -> Study:
    """Run or resume `daam tune` of a study file, unless it is finished."""
    folder = study.with_suffix("")
    if not (folder / WALL).exists():
        is_resumed = (folder / "study.toml").exists()
        words = (
            ("--resume", str(folder))
            if is_resumed
            else ("--config", str(study), "--storage", str(folder.parent))
        )
        begin = time.monotonic()
        launch("launch.py", "tune", *words)
        wall_s = None if is_resumed else time.monotonic() - begin
        (folder / WALL).write_text(json.dumps({"wall_s": wall_s}))
    return read_study(folder, wall_s=json.loads((folder / WALL).read_text())["wall_s"])


def plainly_tuned(study: Path, *words: str) -> Study:
    """Run the study of a study file with `naive_study.py`, unless it is finished."""
    folder = study.with_suffix("")
    if not (folder / WALL).exists():
        run_naive(study, folder, *words)
    return read_plain_study(folder, wall_s=json.loads((folder / WALL).read_text())["wall_s"])


def run_naive(study: Path, to: Path, *words: str) -> None:
    launch("benchmarks/naive_study.py", "--study", str(study), "--to", str(to), *words)


def launch(script: str, *words: str) -> None:
    """Run a script of this project."""
    print(f"python {script} {' '.join(words)}", file=sys.stderr, flush=True)
    subprocess.run([sys.executable, str(ROOT / script), *words], check=True, cwd=ROOT)


if __name__ == "__main__":
    main()

"""What each part of the method contributes on the synthetic domains, all with the same budget.

Every variant is trained on two transfers with several seeds, and tested once, after its last epoch,
on the query and gallery of the target. No target label selects an epoch or a setting; only the
ceiling trains on them. Prints a Markdown table of mean and spread over the
seeds (each seed's value is the mean over the transfers) and draws `ablation.png`.

    python benchmarks/ablation.py --seeds 1 2 3 --to runs/ablation

Resumable: each result is a file with its settings, and only missing ones are trained. A result
older than a setting counts where that setting has its default.
"""

import argparse
import hashlib
import json
import multiprocessing
import os
import statistics
import sys
import threading
import time
import tomllib
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import matplotlib.pyplot as plt
from ablation_variants import CEILING, SOURCE_ONLY, VARIANTS, Variant

from daam.config.load import nested, read_preset, run_config
from daam.config.schema import RunConfig
from daam.domains import Split
from daam.errors import ConfigError
from daam.plots.palette import BLUE, PALE_BLUE
from daam.runs.preparation import prepare_domains
from daam.training.loop import fit
from daam.training.scoring.retrieval_test import RetrievalTest, score
from daam.training.setup.assemble import assemble

ROOT = Path(__file__).resolve().parent.parent
TRANSFERS = ("plaza->station", "campus->plaza")


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One training run of a variant."""

    variant: Variant
    transfer: str
    seed: int
    num_epochs: int

    def settings(self) -> RunConfig:
        """The demo's settings with a longer budget, then the variant's."""
        demo = tomllib.loads((ROOT / "tune/spaces/demo.toml").read_text())
        del demo["study"], demo["search"]
        budget = {
            "transfer": self.transfer,
            "seed": self.seed,
            "optimiser.num_epochs": self.num_epochs,
            "loss.warmup_epochs": 5,
            # In proportion to images per person: 9 here, 17 in Market-1501, which uses 30 and 6.
            "loss.target.num_neighbours": 16,
            "loss.target.num_expansion": 3,
            "compute.device": "cpu",
            "data.num_threads": 1,
        }
        preset, changes = read_preset(self.variant.preset), self.variant.changes
        return run_config(demo, preset, nested({**budget, **changes}))

    def key(self) -> str:
        """Identifies the run by its settings."""
        return key_of(self.settings())

    def file(self, folder: Path) -> Path:
        """File of its result, named by its settings."""
        words = "".join(letter if letter.isalnum() else "-" for letter in self.variant.name)
        digest = hashlib.sha256(self.key().encode()).hexdigest()[:12]
        return folder / f"{words}.{self.transfer.replace('->', '-')}.{self.seed}.{digest}.json"


def main() -> None:
    """Train what is missing, then print the table."""
    parser = argparse.ArgumentParser(description="What each part of the method contributes")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--num-epochs", type=int, default=16)
    parser.add_argument("--jobs", type=int, default=2, help="concurrent runs, one thread each")
    parser.add_argument("--to", type=Path, default=Path("runs/ablation"))
    parser.add_argument("--only", nargs="*", help="names of variants")
    arguments = parser.parse_args()
    arguments.to.mkdir(parents=True, exist_ok=True)
    variants = [v for v in VARIANTS if arguments.only is None or v.name in arguments.only]
    num_epochs = arguments.num_epochs
    runs = [
        Run(variant=variant, transfer=transfer, seed=seed, num_epochs=num_epochs)
        for seed in arguments.seeds
        for variant in variants
        for transfer in TRANSFERS
    ]
    known = known_results(arguments.to)
    missing = [run for run in runs if run.key() not in known]
    if missing:
        prepare()
        train_all(missing, to=arguments.to, num_jobs=arguments.jobs)
        known = known_results(arguments.to)
    rows = {
        variant.name: [
            averaged(
                [known[run.key()] for run in runs if (run.variant, run.seed) == (variant, seed)]
            )
            for seed in arguments.seeds
        ]
        for variant in variants
    }
    print(table(rows))
    draw(rows, arguments.to / "ablation.png")


def key_of(config: RunConfig) -> str:
    """Serialise settings so that equal settings give equal text."""
    return json.dumps(config.model_dump(), sort_keys=True)


def known_results(folder: Path) -> dict[str, dict[str, Any]]:
    """Read existing results by their settings."""
    results = {}
    for path in sorted(folder.glob("*.json")):
        found = json.loads(path.read_text())
        try:
            results[key_of(run_config(found["settings"]))] = found
        except ConfigError:  # settings that no longer exist
            print(f"{path} is left out: its settings are of another version", file=sys.stderr)
    return results


def train_all(runs: Sequence[Run], *, to: Path, num_jobs: int) -> None:
    """Train and test runs concurrently; workers end with this process, however it ends."""
    pool = ProcessPoolExecutor(
        num_jobs,
        mp_context=multiprocessing.get_context("spawn"),  # torch is not fork-safe
        initializer=end_with_parent,
    )
    try:
        pending = [pool.submit(train, run, to) for run in runs]
        for done, future in enumerate(as_completed(pending), start=1):
            found = future.result()
            print(
                f"[{done}/{len(runs)}] {found['variant']}, {found['transfer']}, "
                f"seed {found['seed']}: mAP {found['mAP']:.3f} in {found['seconds']:.0f} s",
                file=sys.stderr,
                flush=True,
            )
    except BaseException:
        for worker in multiprocessing.active_children():
            worker.terminate()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def end_with_parent() -> None:
    """Exit when the parent process exits, even if it is killed."""
    parent = multiprocessing.parent_process()
    if parent is None:
        raise AssertionError("a worker has a parent process")

    def wait() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def prepare() -> None:
    """Render the demo's domains where they are missing."""
    splits = {Split.TRAIN, Split.VALIDATION_QUERY, Split.VALIDATION_GALLERY}
    splits |= {Split.QUERY, Split.GALLERY}
    domains = {domain for transfer in TRANSFERS for domain in transfer.split("->")}
    prepare_domains(RunConfig(), dict.fromkeys(domains, splits), progress=lambda *_: None)


def train(run: Run, to: Path) -> dict[str, Any]:
    """Train and test one run and write its result."""
    begin = time.perf_counter()
    config = run.settings()
    trained = assemble(config)
    reports = list(fit(trained))
    seconds = time.perf_counter() - begin
    test = RetrievalTest.on_test(config, domain=config.pair().target)
    scores = score(trained.embedder, test, config).scores
    found = {
        "variant": run.variant.name,
        "transfer": run.transfer,
        "seed": run.seed,
        "mAP": scores.mean_average_precision,
        "rank-1": scores.cmc[1],
        "seconds": seconds,
        "diagnostics": reports[-1].diagnostics,
        "settings": config.model_dump(),
    }
    partial = run.file(to).with_suffix(".partial")
    partial.write_text(json.dumps(found, indent=1))
    partial.rename(run.file(to))
    return found


def averaged(results: list[dict[str, Any]]) -> dict[str, float]:
    """The mean over the transfers of one seed."""
    return {
        "mAP": statistics.fmean(result["mAP"] for result in results),
        "rank-1": statistics.fmean(result["rank-1"] for result in results),
        "probe": statistics.fmean(result["diagnostics"]["probe_shared"] for result in results),
    }


def table(rows: dict[str, list[dict[str, float]]]) -> str:
    """Mean and spread over seeds, the share of the gap closed, and the gain seed by seed."""
    lines = [
        "| variant | mAP | rank-1 | gap closed | over source only | domain probe |",
        "|---|---|---|---|---|---|",
    ]
    for name, seeds in rows.items():
        lines.append(
            f"| {name} | {spread(seeds, 'mAP')} | {spread(seeds, 'rank-1')} | "
            f"{gap_closed(rows, name)} | {gain(rows, name)} | {spread(seeds, 'probe')} |"
        )
    return "\n".join(lines)


def gap_closed(rows: dict[str, list[dict[str, float]]], name: str) -> str:
    """Share of the gap between source only and the ceiling."""
    if not {SOURCE_ONLY, CEILING} <= rows.keys():
        return "-"
    low, high, own = (
        statistics.fmean(seed["mAP"] for seed in rows[row]) for row in (SOURCE_ONLY, CEILING, name)
    )
    return f"{100 * (own - low) / (high - low):.0f} %"


def gain(rows: dict[str, list[dict[str, float]]], name: str) -> str:
    """Mean and spread of the mAP gain over source only with the same seed."""
    if SOURCE_ONLY not in rows:
        return "-"
    gains = [
        {"mAP": one["mAP"] - base["mAP"]}
        for one, base in zip(rows[name], rows[SOURCE_ONLY], strict=True)
    ]
    return spread(gains, "mAP", sign="+")


def spread(seeds: list[dict[str, float]], key: str, *, sign: str = "") -> str:
    """Mean and sample standard deviation."""
    values = [seed[key] for seed in seeds]
    deviation = statistics.stdev(values) if len(values) > 1 else 0.0
    return f"{statistics.fmean(values):{sign}.3f} ± {deviation:.3f}"


def draw(rows: dict[str, list[dict[str, float]]], to: Path) -> None:
    """Draw the mean as a bar and each seed as a dot."""
    figure, axes = plt.subplots(figsize=(8, 0.34 * len(rows) + 1), layout="constrained")
    for place, seeds in enumerate(rows.values()):
        values = [seed["mAP"] for seed in seeds]
        axes.barh(place, statistics.fmean(values), color=PALE_BLUE)
        axes.plot(values, [place] * len(values), ".", color=BLUE)
    axes.set_yticks(range(len(rows)), list(rows))
    axes.invert_yaxis()
    axes.set_xlabel(
        "mAP on the target's query and gallery, mean of two transfers; one dot per seed"
    )
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(to, dpi=110)


if __name__ == "__main__":
    main()

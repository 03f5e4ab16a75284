"""What the process that drives a study does for 1,000 trials: time, memory, journal, requests.

    python benchmarks/driver.py --trials 1000 --concurrent 64

The driver is the real one (Optuna's sampler, pruner and journal, the study's folder, its page);
trials are not trained: they report scores that their settings decide, and noise, after each epoch,
`--concurrent` of them in turn. CPU seconds, so other work on the machine hardly matters. Prints a
Markdown table: after how many trials what takes how long.
"""

import argparse
import itertools
import sys
import tempfile
import time
import tomllib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import fmean
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import optuna

from benchmarks.measuring import resident_bytes
from daam.storage import open_store
from tune.budget import CostMeter
from tune.folder.folder import JOURNAL, open_study
from tune.progress import StudyProgress
from tune.report.page import report_page
from tune.report.record import StudyRecord
from tune.search.launching import EPOCH, LAST_EPOCH, OF_TRANSFER, SCORE, TRAINING_S
from tune.search.searcher import OptunaSearcher
from tune.settings import StudyConfig, study_config

ROOT = Path(__file__).resolve().parent.parent
EVERY = 10  # blocks of trials that are compared
NUM_EPOCHS = 40  # of a trial, over both transfers: the default's

SUGGEST, REPORT, END, PAGE = "new trial", "report", "end of a trial", "page"


def main() -> None:
    """Drive a study and print what it cost."""
    parser = argparse.ArgumentParser(description="What driving a study costs")
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--concurrent", type=int, default=64)
    arguments = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with tempfile.TemporaryDirectory(prefix="daam-driver-") as scratch:
        for block in drive(
            config_of(arguments.trials),
            num_concurrent=arguments.concurrent,
            scratch=Path(scratch),
        ):
            print(block, flush=True)


def config_of(num_trials: int) -> StudyConfig:
    """Return the demo's study with as many trials."""
    demo = tomllib.loads((ROOT / "tune/spaces/demo.toml").read_text())
    demo["study"] |= {"num_trials": num_trials, "num_startup_epochs": 5}
    demo["optimiser"]["num_epochs"] = NUM_EPOCHS // 2
    return study_config(demo, {})


def drive(config: StudyConfig, *, num_concurrent: int, scratch: Path) -> Iterator[str]:
    """Run the trials of a study; yield the lines of a table."""
    yield (
        f"| Trials over | {SUGGEST}, ms | {REPORT}, ms | {END}, ms | {PAGE}, ms | journal, MB "
        "| uploaded so far, MB | memory, MB |\n|---|---|---|---|---|---|---|---|"
    )
    folder = open_store(str(scratch / "folder"))
    study, publish = open_study(folder, config, scratch=scratch)
    journal = scratch / JOURNAL
    uploaded = Counter[str]()

    def saved() -> None:
        publish()
        uploaded["bytes"] += journal.stat().st_size
        uploaded["requests"] += 1

    searcher = OptunaSearcher(
        study,
        config.space(),
        num_trials=config.study.num_trials,
        meter=CostMeter(study),
        budget=None,
        max_interrupted=3,
        saved=saved,
    )
    seconds: dict[str, list[float]] = defaultdict(list)

    def timed(what: str, work: Callable[[], Any]) -> Any:
        begin = time.process_time()
        found = work()
        seconds[what].append(time.process_time() - begin)
        return found

    draws = np.random.default_rng(1)
    names = (f"t{number}" for number in itertools.count())
    running: dict[str, tuple[int, float]] = {}  # epoch, and the score it will have at its end
    num_over, block = 0, config.study.num_trials // EVERY
    while num_over < config.study.num_trials:
        while len(running) < num_concurrent:
            name = next(names)
            found = timed(SUGGEST, lambda name=name: searcher.suggest(name))
            if not isinstance(found, dict):
                break
            running[name] = (0, quality_of(found["parameters"], draws))
        for name, (before, quality) in list(running.items()):
            epoch = before + 1
            score = quality * (1 - 0.7 * 0.9**epoch) + draws.normal(0, 0.01)
            scores = dict.fromkeys(config.study.search_transfers, score)
            is_prunable = timed(
                REPORT,
                lambda name=name, epoch=epoch, score=score, scores=scores: searcher.record(
                    name, epoch=epoch, score=score, scores=scores
                ),
            )
            running[name] = (epoch, quality)
            if epoch < NUM_EPOCHS and not is_prunable:
                continue
            if epoch < NUM_EPOCHS:
                searcher.stopped_early.add(name)
            result = {EPOCH: epoch, LAST_EPOCH: NUM_EPOCHS, SCORE: score, TRAINING_S: 1.0}
            result |= {f"{OF_TRANSFER}{key}": value for key, value in scores.items()}
            timed(END, lambda name=name, result=result: searcher.on_trial_complete(name, result))
            del running[name]
            num_over += 1
            if num_over % block == 0:
                record = StudyRecord(
                    config=config, uri=folder.uri, trials=study.trials, progress=StudyProgress()
                )
                timed(PAGE, lambda record=record: report_page(record))
                cells = [
                    f"{1000 * fmean(seconds[what]):.1f}" if seconds[what] else "-"
                    for what in (SUGGEST, REPORT, END)
                ]
                cells.append(f"{1000 * seconds[PAGE][-1]:.0f}")
                yield (
                    f"| {num_over} | {' | '.join(cells)} | {journal.stat().st_size / 1e6:.1f} "
                    f"| {uploaded['bytes'] / 1e6:.0f} in {uploaded['requests']} requests "
                    f"| {resident_bytes('VmRSS') / 1e6:.0f} |"
                )
                seconds.clear()


def quality_of(parameters: dict[str, Any], draws: np.random.Generator) -> float:
    """Return a score at the end that depends on the settings: some are better than others."""
    numbers = [value for value in parameters.values() if isinstance(value, int | float)]
    return float(0.5 + 0.1 * np.tanh(np.mean(np.sin(numbers))) + draws.normal(0, 0.02))


if __name__ == "__main__":
    main()

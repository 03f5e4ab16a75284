"""What the settings that a study chose are worth: trained again with seeds it has not seen.

The best score of a study is the largest of many noisy ones, the more so the more trials it had.
"""

import json
import os
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from benchmarks.naive_study import EPOCHS, Plan, trained
from tune.folder.folder import JOURNAL
from tune.settings import StudyConfig

CHECKED = "choices.json"


def choice_of(folder: Path) -> dict[str, Any]:
    """Return the parameters of the best trial of a study, daam's or Ray Tune's."""
    if not (folder / JOURNAL).exists():
        last = {
            line["trial"]: line
            for line in map(json.loads, (folder / EPOCHS).read_text().splitlines())
            if "score" in line
        }
        return max(last.values(), key=lambda line: line["score"])["parameters"]
    storage = JournalStorage(JournalFileBackend(str(folder / JOURNAL)))
    (study,) = storage.get_all_studies()
    return storage.get_best_trial(study._study_id).params


def checked(
    choices: Mapping[str, dict[str, Any]], *, config: StudyConfig, seeds: Sequence[int], to: Path
) -> dict[str, list[float]]:
    """Train choices with further seeds; return their scores by seed. What is stored is kept.

    Args:
        choices: name of a study -> parameters.
        config: of any of the studies: its transfers and what is not searched.
        seeds: of the runs.
        to: folder of the scores.
    """
    file = to / CHECKED
    found: dict[str, float] = json.loads(file.read_text()) if file.exists() else {}
    keys = {
        (name, seed): json.dumps([seed, sorted(parameters.items())])
        for name, parameters in choices.items()
        for seed in seeds
    }
    missing = {
        key: (dict(choices[name]), seed) for (name, seed), key in keys.items() if key not in found
    }
    with ProcessPoolExecutor(os.cpu_count(), mp_context=get_context("spawn")) as pool:
        jobs = {
            key: pool.submit(score_of, parameters, seed, config=config, to=to)
            for key, (parameters, seed) in missing.items()
        }
        for key, job in jobs.items():
            found[key] = job.result()
            file.write_text(json.dumps(found, indent=1))
            print(f"{found[key]:.3f} {key}", file=sys.stderr, flush=True)
    return {name: [found[keys[name, seed]] for seed in seeds] for name in choices}


def score_of(parameters: dict[str, Any], seed: int, *, config: StudyConfig, to: Path) -> float:
    """Train all transfers with the parameters and a seed; return the mean of their scores."""
    torch.set_num_threads(1)
    plan = Plan(
        run=config.run.model_dump() | {"seed": seed},
        transfers=tuple(config.study.search_transfers),
        parts=(),
        to=to,
    )
    *_, last = trained(parameters, plan=plan)
    return fmean(epoch["mAP"] for epoch in last)

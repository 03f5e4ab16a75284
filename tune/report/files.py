"""The results of a study, as files in its folder.

study.json      everything: settings, trials, the final comparison, times, versions, commit
best.toml       the best settings, for `daam train --config`
trials.csv      a row for each trial
report.html     all of it to look at; one file that needs no network
"""

import csv
import io
import json
import logging
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from datetime import datetime
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from daam.commit import GitCommit
from daam.config.load import to_toml
from daam.errors import TrainingError
from daam.runs.run_folder import REPORTS, read_reports
from daam.storage import Store
from tune.folder.events import NO_HISTORY, History, read_events
from tune.report.comparison import compare
from tune.report.page import REPORT, report_page
from tune.report.record import StudyRecord
from tune.report.trials import final_score, training_seconds, why_ended
from tune.search.launching import OF_TRANSFER
from tune.search.trial import trial_name
from tune.settings import LABEL_FREE
from tune.study import StudyResult

logger = logging.getLogger(__name__)

SCHEMA_VERSION = 2
NUM_READERS = 8
STUDY_JSON, BEST, TRIALS = "study.json", "best.toml", "trials.csv"
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


def write_report(
    result: StudyResult,
    folder: Store,
    *,
    seconds: Mapping[str, float],
    baseline: Mapping[str, Any] | None,
    versions: Mapping[str, str],
    commit: GitCommit | None,
    history: History = NO_HISTORY,
) -> None:
    """Write the four files; each appears whole or not at all, the page last.

    Args:
        result: of the study.
        folder: of the study.
        seconds: what each phase took; `study` over all sessions.
        baseline: scores of the colour histogram on the holdout's query and gallery, named as in
            a contender's `scores`; None if it was not scored.
        versions: of the libraries.
        commit: of the code; None if unknown.
        history: of the processes that ran the study.

    Raises:
        StorageError: the folder cannot be written to.
    """
    document = study_document(
        result,
        seconds=seconds,
        history=history,
        baseline=baseline,
        versions=versions,
        commit=commit,
    )
    folder.write(STUDY_JSON, json.dumps(document, indent=1).encode())
    folder.write(BEST, best_toml(result).encode())
    folder.write(TRIALS, trials_csv(result).encode())
    record = StudyRecord(
        config=result.config,
        uri=folder.uri,
        trials=result.trials,
        race=result.race,
        contenders=result.contenders,
        baseline=baseline,
        epochs=read_epochs(folder),
        seconds=seconds,
        versions=versions,
        commit=commit,
        events=read_events(folder),
    )
    folder.write(REPORT, report_page(record).encode())


def read_epochs(folder: Store) -> dict[str, list[dict[str, Any]]]:
    """Return the metrics of every epoch of the trials' and contenders' runs, by their folders.

    They only say what the study cost and how it trained: a damaged file is left out.
    """

    def read(run: str) -> list[dict[str, Any]]:
        try:
            return read_reports(folder.child(run))
        except TrainingError as error:
            logger.warning("left out of the report: %s", error)
            return []

    runs = [key.removesuffix(f"/{REPORTS}") for key in folder.list() if key.endswith(f"/{REPORTS}")]
    with ThreadPoolExecutor(NUM_READERS) as readers:
        return dict(zip(runs, readers.map(read, runs), strict=True))


def study_document(
    result: StudyResult,
    *,
    seconds: Mapping[str, float],
    baseline: Mapping[str, Any] | None,
    versions: Mapping[str, str],
    commit: GitCommit | None,
    history: History = NO_HISTORY,
) -> dict[str, Any]:
    """The content of study.json; arguments as for `write_report`."""
    config = result.config
    comparison = compare(config, result.contenders, baseline=baseline)
    return {
        "schema_version": SCHEMA_VERSION,
        "name": config.study.name,
        "settings": {
            "study": config.study.model_dump(),
            "search": config.search,
            "run": config.run.model_dump(),
        },
        "trials": [trial_document(trial, result) for trial in result.trials],
        "race": None if result.race is None else asdict(result.race),
        "best": {"trial": result.best_trial, "config": result.best.model_dump()},
        "holdout": {
            "transfer": config.final_transfer,
            "contenders": {
                contender.name: {
                    "scores": {str(seed): scores for seed, scores in contender.scores.items()},
                    "config": contender.config.model_dump(),
                    "same_as": contender.same_as,
                }
                for contender in result.contenders
            },
            "comparison": None if comparison is None else asdict(comparison),
            "colour_histogram": None if baseline is None else dict(baseline),
        },
        "seconds": dict(seconds),
        **asdict(history),
        "versions": dict(versions),
        "git": None if commit is None else asdict(commit),
    }


def best_toml(result: StudyResult) -> str:
    """The best settings as a settings file, which says where they come from."""
    study = result.config.study
    score, over = result.trials[result.best_trial].values[0], ""
    if result.race is not None:
        score = result.race.means[result.best_trial]
        over = f" over {len(result.race.scores[result.best_trial])} seeds"
    measure = "label-free score" if study.score == LABEL_FREE else "validation mAP"
    header = (
        f"# The best settings of the study {study.name}: those of {trial_name(result.best_trial)}, "
        f"with a score of {score:.4f}{over}\n"
        f"# ({study.aggregate} {measure} over {', '.join(study.search_transfers)}).\n"
        "# Train with them: daam train --config best.toml\n\n"
    )
    return header + to_toml(result.best)


def trials_csv(result: StudyResult) -> str:
    """A row for each trial; the score is that of complete trials only.

    A trial's scores on the single transfers, `score/source->target`, are those after its last
    epoch. `reason` is why a trial was pruned or failed. Text that a spreadsheet would run as a
    formula has an apostrophe before it.
    """
    parameters = list(result.config.search)
    transfers = result.config.study.search_transfers
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    header = ["number", "state", "score", "num_epochs", "seconds", *parameters]
    header += [f"{OF_TRANSFER}{transfer}" for transfer in transfers]
    writer.writerow(map(_disarmed, [*header, "reason"]))
    for trial in result.trials:
        row = trial_document(trial, result)
        scores = row["scores"] or {}
        cells = [row[name] for name in header[:5]]
        cells += [row["parameters"].get(path) for path in parameters]
        cells += [scores.get(transfer) for transfer in transfers]
        writer.writerow(map(_disarmed, [*cells, row["reason"]]))
    return text.getvalue()


def _disarmed(cell: Any) -> Any:
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(FORMULA_STARTS) else cell


def trial_document(trial: FrozenTrial, result: StudyResult) -> dict[str, Any]:
    """A trial as in study.json."""
    duration = trial.duration
    has_reason = trial.state in (TrialState.PRUNED, TrialState.FAIL)
    pruner = result.config.study.pruner
    return {
        "number": trial.number,
        "name": trial_name(trial.number),
        "state": trial.state.name,
        "reason": why_ended(trial, result.trials, pruner=pruner) if has_reason else None,
        # Optuna calls the last score of a trial that was stopped early its value, too.
        "score": final_score(trial),
        "num_epochs": max(trial.intermediate_values, default=0),
        "score_by_epoch": dict(sorted(trial.intermediate_values.items())),
        "scores": trial.user_attrs.get("scores"),
        "training_seconds": training_seconds(trial),
        "parameters": trial.params,
        "start": _in_words(trial.datetime_start),
        "end": _in_words(trial.datetime_complete),
        "seconds": None if duration is None else round(duration.total_seconds(), 3),
    }


def _in_words(time: datetime | None) -> str | None:
    """A time with its zone; Optuna's are local and don't say so."""
    return None if time is None else time.astimezone().isoformat(timespec="seconds")

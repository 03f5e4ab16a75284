"""What each worker of a run does, with or without Ray: resume, train, checkpoint, report.

Where a process group exists, all ranks call these functions; rank 0 alone writes to the folder.
"""

import json
from collections.abc import Callable, Generator
from contextlib import closing
from itertools import islice
from typing import Any

from daam.config.schema import RunConfig
from daam.runs.attempts import begin_attempt
from daam.runs.card import write_card
from daam.runs.checkpoint import latest_checkpoint, load_checkpoint, save_checkpoint
from daam.runs.report.page import write_report
from daam.runs.run_folder import CHECKPOINTS, SCORES, append_report, read_reports
from daam.runs.stages import TRAINED, shared_stage
from daam.storage import Store
from daam.training import collectives
from daam.training.loop import EpochReport, OnStep, fit, timed
from daam.training.scoring.retrieval_test import RetrievalTest, score
from daam.training.setup.assemble import Run, assemble
from daam.training.state import load_state_dict, state_dict

ScoreEpoch = Callable[[Run], dict[str, float]]
"""Returns metrics of a run at the end of an epoch; empty where the epoch is not scored."""

Scoring = Callable[[Run], ScoreEpoch]
"""Opens what a run is scored on."""

REPORTED_BEFORE = "reported_before"
"""The metric of an epoch that an earlier process trained and stored, and that is yielded again."""

Test = Callable[[Run], dict[str, Any]]
"""Tests a trained run; returns plain values for `scores.json`. Collective."""


def train_run(
    folder: Store,
    config: RunConfig,
    *,
    stages: Store | None = None,
    on_step: OnStep | None = None,
) -> Generator[dict[str, Any], None, None]:
    """Train the run of a folder to its end, from its newest checkpoint if it has one.

    Yields each epoch's metrics once they and the state are stored. `stages` and `on_step` are those
    of `train_from`.
    """
    folder = own_attempt(folder)
    run = resume_run(folder, config)
    yield from train_from(folder, run, stages=stages, on_step=on_step)


def train_and_test(
    folder: Store, config: RunConfig, test: Test, *, stages: Store | None = None
) -> Generator[dict[str, Any], None, None]:
    """Train a run, then test it once, into `scores.json`; `stages` is that of `train_from`."""
    folder = own_attempt(folder)
    run = resume_run(folder, config)
    yield from train_from(folder, run, stages=stages)
    scores = test(run)
    if collectives.rank() == 0:
        folder.write(SCORES, json.dumps(scores, indent=1).encode())
        write_card(folder)
        write_report(folder)


def measured(run: Run) -> dict[str, Any]:
    """Test a run on its target's query and gallery, whose labels are read."""
    test = RetrievalTest.on_test(run.config, domain=run.config.pair().target)
    return score(run.embedder, test, run.config).scores.as_document()


def train_scored(
    folder: Store, config: RunConfig, scoring: Scoring, *, stages: Store | None = None
) -> Generator[dict[str, Any], None, None]:
    """Train the run of a folder to its end; each epoch's metrics hold a score of the adaptation.

    Epochs that were finished earlier are yielded again from the run's reports, so that an
    interrupted run goes on; of a finished one nothing is opened. `stages` is that of `train_from`.
    """
    earlier = collectives.from_rank_zero(read_reports(folder) if collectives.rank() == 0 else [])
    stored = [row | {REPORTED_BEFORE: True} for row in earlier]
    if len(earlier) >= config.num_epochs:
        yield from stored
        return
    folder = own_attempt(folder)
    run = resume_run(folder, config)
    yield from stored[: run.num_epochs_done]
    yield from train_from(folder, run, stages=stages, score_epoch=scoring(run))


def validation_scoring(run: Run) -> ScoreEpoch:
    """Score a run as `mAP` and `rank-1` on the validation identities of its target.

    The epochs of the source stage are not scored: no setting of the adaptation shows in them.
    """
    test = RetrievalTest.on_validation(
        run.config, manifest=run.target.manifest, only_prefetched=run.windows.are_used
    )

    def score_epoch(run: Run) -> dict[str, float]:
        if not is_adapted(run):
            return {}
        scores = score(run.embedder, test, run.config).scores
        return {"mAP": scores.mean_average_precision, "rank-1": scores.cmc[1]}

    return score_epoch


def is_adapted(run: Run) -> bool:
    """Whether an epoch after the source stage is done, or the last one."""
    last = run.num_epochs_done == run.config.num_epochs
    return last or run.num_epochs_done > run.config.loss.warmup_epochs


def own_attempt(folder: Store) -> Store:
    """Begin an attempt at a run on rank 0, which alone writes; return the folder to write to."""
    return begin_attempt(folder) if collectives.rank() == 0 else folder


def resume_run(folder: Store, config: RunConfig) -> Run:
    """Assemble a run in the state of its newest checkpoint, or as new if there is none.

    Collective: every rank resumes from the checkpoint that rank 0 found.
    """
    run = assemble(config)
    checkpoints = folder.child(CHECKPOINTS)
    entry = collectives.from_rank_zero(
        latest_checkpoint(checkpoints) if collectives.rank() == 0 else None
    )
    if entry is not None:
        where = checkpoints.locate(entry.key)
        load_state_dict(run, load_checkpoint(checkpoints, entry), where=where)
    return run


def train_from(
    folder: Store,
    run: Run,
    *,
    stages: Store | None = None,
    score_epoch: ScoreEpoch | None = None,
    on_step: OnStep | None = None,
) -> Generator[dict[str, Any], None, None]:
    """Train an assembled run to its end; yield each epoch's metrics once all is stored.

    Args:
        folder: of the run.
        run: where it starts from; changed.
        stages: where runs share their source stages, see `daam.runs.stages`. Epochs that are taken
            from there are yielded, too.
        score_epoch: adds metrics after every epoch that is trained.
        on_step: called as by `daam.training.loop.fit`.
    """

    def stored(report: EpochReport) -> dict[str, Any]:
        metrics = report.as_metrics()
        if score_epoch is not None:
            with timed(metrics, "seconds/score"):
                metrics |= score_epoch(run)
        if stage is not None and report.epoch <= stage.num_epochs:
            metrics[TRAINED] = stage.key
        if collectives.rank() == 0:
            # The report goes first: an epoch that a checkpoint has passed is not run again.
            append_report(folder, metrics)
            save_checkpoint(folder.child(CHECKPOINTS), state_dict(run))
        return metrics

    stage = None if stages is None else shared_stage(run, folder, stages)
    with closing(fit(run, on_step=on_step)) as reports:
        if stage is not None:
            with stage.claimed():
                yield from stage.take_over(run, folder)
                for report in islice(reports, stage.num_epochs - run.num_epochs_done):
                    metrics = stored(report)
                    stage.keep(run, folder)
                    yield metrics
        for report in reports:
            yield stored(report)

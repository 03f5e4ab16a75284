"""What each worker of a run does, with or without Ray: resume, train, checkpoint, report.

Where a process group exists, all ranks call these functions; rank 0 alone writes to the folder.
"""

import json
from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack, closing
from typing import Any

from daam.config.schema import RunConfig
from daam.runs.card import write_card
from daam.runs.checkpoint import latest_checkpoint, load_checkpoint, save_checkpoint
from daam.runs.report.page import write_report
from daam.runs.run_folder import CHECKPOINTS, SCORES, append_report, read_reports
from daam.storage import Store
from daam.training import collectives
from daam.training.loop import OnStep, fit
from daam.training.scoring.retrieval_test import RetrievalTest, score
from daam.training.setup.assemble import Run, assemble
from daam.training.state import load_state_dict, state_dict


def train_run(
    folder: Store, config: RunConfig, *, on_step: OnStep | None = None
) -> Generator[dict[str, Any], None, None]:
    """Train the run of a folder to its end, from its newest checkpoint if it has one.

    Yields each epoch's metrics once they and the state are stored. `on_step` is that of
    `daam.training.loop.fit`.
    """
    yield from train_from(folder, resume_run(folder, config), on_step=on_step)


def train_and_test(folder: Store, config: RunConfig) -> Iterator[dict[str, Any]]:
    """Train a run, then test it once on its target's query and gallery, into `scores.json`."""
    run = resume_run(folder, config)
    yield from train_from(folder, run)
    test = RetrievalTest.on_test(config, domain=config.pair().target)
    scores = score(run.embedder, test, config).scores
    if collectives.rank() == 0:
        folder.write(SCORES, json.dumps(scores.as_document(), indent=1).encode())
        write_card(folder)
        write_report(folder)


def train_together(
    runs: Sequence[tuple[Store, RunConfig]],
) -> Iterator[list[dict[str, Any]]]:
    """Train several runs in this process in lockstep; yield the metrics of all after each epoch.

    Each is scored on the validation identities of its target. Interrupted runs resume from their
    checkpoints; the epochs they had finished are yielded again from their reports.
    """
    with ExitStack() as stack:
        together = []
        for folder, config in runs:
            run = resume_run(folder, config)
            test = RetrievalTest.on_validation(
                config, manifest=run.target.manifest, only_prefetched=run.windows.are_used
            )
            earlier = {row["epoch"]: row for row in read_reports(folder)}
            reports = stack.enter_context(closing(train_from(folder, run, test=test)))
            together.append((run.num_epochs_done, earlier, reports))
        num_epochs = max(config.optimiser.num_epochs for _, config in runs)
        for epoch in range(1, num_epochs + 1):
            yield [
                earlier[epoch] if epoch <= num_done else next(reports)
                for num_done, earlier, reports in together
            ]


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
    folder: Store, run: Run, *, test: RetrievalTest | None = None, on_step: OnStep | None = None
) -> Generator[dict[str, Any], None, None]:
    """Train an assembled run to its end; yield each epoch's metrics once all is stored.

    Args:
        folder: of the run.
        run: where it starts from; changed.
        test: scored after every epoch as `mAP` and `rank-1`.
        on_step: called as by `daam.training.loop.fit`.
    """
    with closing(fit(run, on_step=on_step)) as reports:
        for report in reports:
            metrics = report.as_metrics()
            if test is not None:
                scores = score(run.embedder, test, run.config).scores
                metrics |= {"mAP": scores.mean_average_precision, "rank-1": scores.cmc[1]}
            if collectives.rank() == 0:
                # The report goes first: an epoch that a checkpoint has passed is not run again.
                append_report(folder, metrics)
                save_checkpoint(folder.child(CHECKPOINTS), state_dict(run))
            yield metrics

"""`daam evaluate`: a trained model on a domain with labels."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from daam.commands.terminal.options import AsJson, Checkpoint, MovedTo
from daam.commands.terminal.screen import console, print_files, print_json
from daam.domains import check_domain
from daam.errors import ConfigError
from daam.storage import open_store

if TYPE_CHECKING:
    from daam.inference.evaluation import Evaluation
    from daam.metrics.calibration import Calibration


def evaluate(
    checkpoint: Checkpoint,
    domain: Annotated[str, typer.Option(help="Domain whose query and gallery are the test.")],
    at: MovedTo = None,
    to: Annotated[str | None, typer.Option(help="Local folder for scores and pictures.")] = None,
    false_match_rate: Annotated[
        float | None,
        typer.Option(
            help="Find the threshold for this share of pairs of two people that match; "
            "default: 0.001, if there are pairs enough."
        ),
    ] = None,
    rerank: Annotated[  # noqa: FBT002  (typer's way)
        bool, typer.Option("--rerank", help="Score k-reciprocal re-ranked distances as well.")
    ] = False,
    as_json: AsJson = False,  # noqa: FBT002  (typer's way)
) -> None:
    """Test a trained model on a domain with labels: scores, a threshold, pictures."""
    check_domain(domain)
    to = to or f"runs/evaluations/{open_store(checkpoint).name}-{domain}"
    if "://" in to:
        raise ConfigError(
            "--to: scores and pictures are written into a folder of this machine; name one"
        )
    from daam import api

    found = api.evaluate(
        checkpoint,
        domain=domain,
        to=to,
        data_root=at,
        false_match_rate=false_match_rate,
        rerank=rerank,
    )
    console.print(scores_table(found, title=f"{checkpoint} on {domain}"))
    if found.calibration is not None:
        print_threshold(found.calibration)
    for warning in found.warnings:
        console.print(f"Note: {warning}.", highlight=False, soft_wrap=True)
    print_files(found.files)
    if as_json:
        print_json(json.loads((Path(to) / "scores.json").read_text()) | {"files": found.files})


def scores_table(found: "Evaluation", *, title: str) -> Table:
    """The scores, plain and, where they were asked for, re-ranked."""
    table = Table(title=title)
    for header in ("", "mAP", "mINP", "rank-1", "rank-5", "rank-10", "queries", "left out"):
        table.add_column(header, justify="right" if header else "left")
    for name, scores in (("plain", found.scores), ("re-ranked", found.reranked)):
        if scores is not None:
            table.add_row(
                name,
                *(f"{value:.3f}" for value in (scores.mean_average_precision, scores.mean_inp)),
                *(f"{scores.cmc[rank]:.3f}" for rank in (1, 5, 10)),
                str(scores.num_queries),
                str(scores.num_left_out),
            )
    return table


def print_threshold(calibration: "Calibration") -> None:
    """Say what the threshold is and what it gives."""
    false, true = calibration.false_match, calibration.true_match
    console.print(
        f"Below a cosine distance of {calibration.threshold:.4f}, "
        f"{true.value:.1%} of the pairs of one person match ({true.low:.1%} to {true.high:.1%}) "
        f"and {false.value:.3%} of those of two people ({false.low:.3%} to {false.high:.3%}).",
        highlight=False,
        soft_wrap=True,
    )

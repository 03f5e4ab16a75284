"""`daam evaluate`: a trained model on a domain, with labels or without."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from daam.commands.terminal.options import AsJson, Checkpoint, MovedTo
from daam.commands.terminal.screen import console, print_files, print_json, print_line
from daam.domains import check_domain
from daam.errors import ConfigError
from daam.storage import open_store

if TYPE_CHECKING:
    from daam.inference.assessment import Assessment
    from daam.inference.evaluation import Evaluation
    from daam.metrics.calibration import Calibration
    from daam.metrics.retrieval import RetrievalScores


def evaluate(
    checkpoint: Checkpoint,
    domain: Annotated[str, typer.Option(help="Domain to test on, with labels or without.")],
    at: MovedTo = None,
    to: Annotated[str | None, typer.Option(help="Local folder for scores and pictures.")] = None,
    false_match_rate: Annotated[
        float | None,
        typer.Option(
            help="Find the threshold for this share of pairs of two people that match; "
            "default: 0.001, if there are enough pairs."
        ),
    ] = None,
    rerank: Annotated[  # noqa: FBT002  (typer's way)
        bool, typer.Option("--rerank", help="Score k-reciprocal re-ranked distances as well.")
    ] = False,
    without_labels: Annotated[  # noqa: FBT002  (typer's way)
        bool,
        typer.Option("--without-labels", help="Assess the domain as if it had no labels."),
    ] = False,
    as_json: AsJson = False,  # noqa: FBT002  (typer's way)
) -> None:
    """Test a trained model on a domain: scores, a threshold, pictures.

    Without labels: neighbours, groups, and an estimate of how good it is.
    """
    check_domain(domain)
    to = to or f"runs/evaluations/{open_store(checkpoint).name}-{domain}"
    if "://" in to:
        raise ConfigError(
            "--to: scores and pictures are written into a folder of this machine; name one"
        )
    from daam import api

    print_line(f"evaluating {checkpoint} on {domain}; the pictures take most of the time")
    found = api.evaluate(
        checkpoint,
        domain=domain,
        to=to,
        data_root=at,
        false_match_rate=false_match_rate,
        rerank=rerank,
        without_labels=without_labels,
    )
    title = f"{checkpoint} on {domain}"
    if found.scores is not None:
        console.print(scores_table(found.scores, found.reranked, title=title))
    if found.calibration is not None:
        print_threshold(found.calibration)
    if found.assessment is not None:
        print_assessment(found.assessment, title=title)
    for warning in found.warnings:
        console.print(f"Note: {warning}.", highlight=False, soft_wrap=True)
    print_files(found.files)
    if as_json:
        print_json(document_of(found, to=Path(to)) | {"files": found.files})


def document_of(found: "Evaluation", *, to: Path) -> dict[str, Any]:
    """The JSON file that was written."""
    name = "assessment.json" if found.scores is None else "scores.json"
    return json.loads((to / name).read_text())


def scores_table(
    plain: "RetrievalScores", reranked: "RetrievalScores | None", *, title: str
) -> Table:
    """The scores, plain and, where they were asked for, re-ranked."""
    table = Table(title=title)
    for header in ("", "mAP", "mINP", "rank-1", "rank-5", "rank-10", "queries", "left out"):
        table.add_column(header, justify="right" if header else "left")
    for name, scores in (("plain", plain), ("re-ranked", reranked)):
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


def print_assessment(assessment: "Assessment", *, title: str) -> None:
    """Say what can be said without labels, and what labels would add."""
    table = Table(title=f"{title}, without labels", show_header=False)
    table.add_column("")
    table.add_column("", justify="right")
    estimate = assessment.estimate
    if estimate is not None:
        table.add_row("estimated mAP", f"{estimate.mean_average_precision:.2f}")
        table.add_row("interval (90 %)", f"{estimate.low:.2f} to {estimate.high:.2f}")
    else:
        table.add_row("ranking score", f"{assessment.ranking_score:.3f}")
    for name, value in assessment.scores.items():
        table.add_row(name.replace("_", " "), f"{value:.3f}")
    table.add_row("groups", f"{assessment.num_groups:,}")
    table.add_row("images", f"{assessment.num_images:,}")
    console.print(table)
    if estimate is not None:
        console.print(
            f"The estimate comes from {estimate.made_from}. It is fitted on rendered domains and "
            "galleries of about 60 people; real cameras and larger galleries differ. Use it to "
            "compare runs on this domain.",
            highlight=False,
            soft_wrap=True,
        )
    console.print(
        "For a measured error rate answer fifty questions with daam label; for mAP and a threshold "
        "import a labelled query and gallery.",
        highlight=False,
        soft_wrap=True,
    )

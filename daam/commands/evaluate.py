"""`launch.py evaluate`: a trained model on a domain with labels."""

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from daam.commands.options import Checkpoint, MovedTo
from daam.commands.screen import console, print_files
from daam.domains import check_domain


def evaluate(
    checkpoint: Checkpoint,
    domain: Annotated[str, typer.Option(help="Domain whose query and gallery are the test.")],
    at: MovedTo = None,
    to: Annotated[Path | None, typer.Option(help="Folder for scores and pictures.")] = None,
) -> None:
    """Test a trained model on a domain with labels: scores, ranked lists, attention maps."""
    from daam.runtime.evaluation import evaluate_run

    check_domain(domain)
    folder = to or Path("runs/evaluations") / f"{checkpoint.rstrip('/').split('/')[-1]}-{domain}"
    found = evaluate_run(checkpoint, domain=domain, to=folder, data_root=at)
    scores = found.scores
    table = Table(title=f"{checkpoint} on {domain}")
    for header in ("mAP", "mINP", "rank-1", "rank-5", "rank-10", "queries", "left out"):
        table.add_column(header, justify="right")
    table.add_row(
        *(f"{value:.3f}" for value in (scores.mean_average_precision, scores.mean_inp)),
        *(f"{scores.cmc[rank]:.3f}" for rank in (1, 5, 10)),
        str(scores.num_queries),
        str(scores.num_left_out),
    )
    console.print(table)
    print_files(found.files)

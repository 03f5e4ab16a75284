"""`daam export`: a trained embedder as a file for other programs."""

from dataclasses import asdict
from typing import Annotated

import typer

from daam.commands.terminal.options import AsJson, Checkpoint, EmbeddedDomain, MovedTo
from daam.commands.terminal.screen import print_json, print_line, quiet_libraries
from daam.inference.contract import FileFormat


def export(
    checkpoint: Checkpoint,
    to: Annotated[str, typer.Option(help="File to write, local or on S3.")],
    file_format: Annotated[
        FileFormat, typer.Option("--format", help="onnx, or torch for torch.export.load.")
    ] = FileFormat.ONNX,
    domain: EmbeddedDomain = None,
    at: MovedTo = None,
    as_json: AsJson = False,  # noqa: FBT002  (typer's way)
) -> None:
    """Write the embedder to a file that needs no daam, if it embeds what PyTorch embeds."""
    from daam import api

    quiet_libraries()
    made = api.export(checkpoint, file_format=file_format, to=to, domain=domain, data_root=at)
    contract = made.contract
    print_line(
        f"{to}: {made.size_bytes / 1e6:.1f} MB; (batch, 3, {contract.height}, {contract.width}) to "
        f"(batch, {contract.embedding_width}); norm statistics: {contract.norm_statistics}"
    )
    print_line(
        f"On {made.num_tried} real images it differs from PyTorch by at most "
        f"{made.largest_difference:.1e}"
    )
    print_line(f"Model card: {made.card}")
    if as_json:
        print_json({"to": to} | asdict(made))

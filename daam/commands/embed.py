"""`daam embed`: embeddings of any folder of images."""

from dataclasses import asdict
from typing import Annotated

import typer

from daam.commands.terminal.options import AsJson, Checkpoint, EmbeddedDomain, MovedTo
from daam.commands.terminal.screen import print_json, print_line, progress_bar, quiet_libraries

NUM_NAMED = 20


def embed(
    checkpoint: Checkpoint,
    images: Annotated[str, typer.Option(help="Folder or s3://bucket/prefix, with all below it.")],
    to: Annotated[str, typer.Option(help="Parquet file to write, local or on S3.")],
    domain: EmbeddedDomain = None,
    at: MovedTo = None,
    as_json: AsJson = False,  # noqa: FBT002  (typer's way)
) -> None:
    """Embed every image of a folder, into a table of names and embeddings."""
    from daam.inference.embedding import embed_to_file
    from daam.storage import open_store

    quiet_libraries()
    with progress_bar(f"embedding {open_store(images)}") as advance:
        made = embed_to_file(
            checkpoint, images=images, to=to, domain=domain, data_root=at, progress=advance
        )
    print_line(
        f"{to}: {made.num_images} embeddings of {made.contract.embedding_width} numbers; "
        f"norm statistics: {made.contract.norm_statistics}"
    )
    for file in made.unreadable[:NUM_NAMED]:
        print_line(f"unreadable: {file.name}: {file.reason}")
    if made.unreadable:
        print_line(f"{len(made.unreadable)} files could not be read; the file's metadata name all")
    if as_json:
        print_json({"to": to} | asdict(made))

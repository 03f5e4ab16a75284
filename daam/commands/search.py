"""`daam search`: the images of a gallery that show the person on a photo."""

from contextlib import suppress
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from daam.commands.terminal.options import AsJson, Checkpoint, EmbeddedDomain, MovedTo
from daam.commands.terminal.screen import (
    console,
    print_files,
    print_json,
    print_line,
    progress_bar,
    quiet_libraries,
)
from daam.commands.web.local_page import LocalPage
from daam.errors import ConfigError

if TYPE_CHECKING:
    from daam.inference.search.matches import SearchResult

NUM_NAMED = 20
MANY_IMAGES = 2_000_000
SAME_IMAGE = 1e-5  # cosine distance of two embeddings of one image


def search(
    checkpoint: Checkpoint,
    gallery: Annotated[
        str, typer.Option(help="What to search: a domain, or a folder or bucket of images.")
    ],
    query: Annotated[
        list[str] | None, typer.Option(help="Image of a person to find; may be repeated.")
    ] = None,
    more: Annotated[
        list[str] | None, typer.Argument(metavar="[IMAGE]...", help="More images to search for.")
    ] = None,
    count: Annotated[int, typer.Option(min=1, max=1000, help="Matches of each query.")] = 10,
    rerank: Annotated[  # noqa: FBT002  (typer's way)
        bool, typer.Option("--rerank", help="Order the nearest 1,000 by k-reciprocal re-ranking.")
    ] = False,
    camera: Annotated[
        list[str] | None, typer.Option(help="Search this camera alone; may be repeated.")
    ] = None,
    since: Annotated[
        str | None, typer.Option(help="Earliest time: 2026-03-01T14:30, or the data set's count.")
    ] = None,
    until: Annotated[str | None, typer.Option(help="Latest time.")] = None,
    threshold: Annotated[
        float | None,
        typer.Option(
            help="Cosine distance below which two images count as one person; default: the one "
            "that `label` or `evaluate` measured for this run."
        ),
    ] = None,
    domain: EmbeddedDomain = None,
    at: MovedTo = None,
    to: Annotated[
        str | None, typer.Option(help="Local folder for a sheet, a page and JSON.")
    ] = None,
    index: Annotated[  # noqa: FBT002  (typer's way)
        bool,
        typer.Option(
            "--index",
            help="Search by an approximate index, for millions of images; its recall is printed.",
        ),
    ] = False,
    serve: Annotated[  # noqa: FBT002  (typer's way)
        bool, typer.Option("--serve", help="Open a page on this machine to drop photos on.")
    ] = False,
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port on this machine; 0 for a free one.")
    ] = 0,
    as_json: AsJson = False,  # noqa: FBT002  (typer's way)
) -> None:
    """Find the images of a gallery that show the person on a photo."""
    queries = [*(query or []), *(more or [])]
    if serve == bool(queries):
        raise ConfigError(
            "--serve opens a page to drop photos on, and takes no --query"
            if serve
            else "name a photo of the person: --query photo.jpg (or --serve for a page)"
        )
    if to is not None and "://" in to:
        raise ConfigError("--to: the matches are written into a folder of this machine; name one")
    quiet_libraries()
    if serve:
        _serve(
            checkpoint, gallery, threshold=threshold, domain=domain, at=at, index=index, port=port
        )
        return
    from daam import api

    with progress_bar(f"{'preparing' if index else 'embedding'} {gallery}") as advance:
        found = api.search(
            checkpoint,
            gallery=gallery,
            queries=queries,
            count=count,
            rerank=rerank,
            cameras=camera or [],
            since=since,
            until=until,
            threshold=threshold,
            domain=domain,
            data_root=at,
            index=index,
            to=to,
            progress=advance,
        )
    print_matches(found)
    if index and found.index is None:
        print_line(
            "searched exactly: the index answers searches of all images for up to 100 matches, "
            "without re-ranking"
        )
    print_files(found.files)
    if as_json:
        print_json(found.as_document())


def print_matches(result: "SearchResult") -> None:
    """Print a table per query, and what the threshold is."""
    for found in result.found:
        table = Table(title=f"{found.query} in {result.num_images:,} images of {result.gallery}")
        for header in ("", "distance", "camera", "time", "file"):
            table.add_column(header, justify="left" if header == "file" else "right")
        for rank, match in enumerate(found.matches, start=1):
            table.add_row(
                f"{rank}",
                f"{match.distance:.4f}{' *' if match.is_match else ''}",
                *("" if known is None else f"{known}" for known in (match.camera, match.time)),
                match.name + (" (the query itself)" if match.distance < SAME_IMAGE else ""),
            )
        console.print(table, markup=False)
    if result.threshold is None:
        print_line(
            "No threshold has been measured for this run, so the nearest may be anyone; "
            "daam label and daam evaluate measure one."
        )
    else:
        print_line(f"* {result.threshold.in_words()}")
    if result.index is not None:
        print_line(result.index.in_words())
    elif result.num_images > MANY_IMAGES:
        print_line(
            f"an exact search of {result.num_images:,} images reads all their embeddings; --index "
            "builds an index that answers sooner and may miss a few"
        )
    for file in result.unreadable[:NUM_NAMED]:
        print_line(f"unreadable: {file.name}: {file.reason}")
    if len(result.unreadable) > NUM_NAMED:
        print_line(f"and {len(result.unreadable) - NUM_NAMED} more files that cannot be read")


def _serve(
    checkpoint: str,
    gallery: str,
    *,
    threshold: float | None,
    domain: str | None,
    at: str | None,
    index: bool,
    port: int,
) -> None:
    from daam.commands.web.search_routes import search_routes
    from daam.inference.search.search import open_searcher

    with progress_bar(f"{'preparing' if index else 'embedding'} {gallery}") as advance:
        searcher = open_searcher(
            checkpoint,
            gallery=gallery,
            threshold=threshold,
            domain=domain,
            data_root=at,
            index=index,
            progress=advance,
        )
    if searcher.index is not None:
        print_line(searcher.index.quality.in_words())
    with LocalPage(search_routes(searcher), port=port) as page:
        print_line(f"Open {page.address} in a browser on this machine; Ctrl-C ends it.")
        with suppress(KeyboardInterrupt):
            page.serve()

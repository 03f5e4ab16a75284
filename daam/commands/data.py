"""`daam data ...`: domains rendered, imported, copied, checked, shown and served."""

import os
import shlex
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

import typer

from daam.commands.terminal.options import AsJson, DomainName, DomainsAt
from daam.commands.terminal.screen import (
    print_json,
    print_line,
    progress_bar,
    resumed_when_repeated,
)
from daam.config.schema import RunConfig
from daam.domains import check_domain
from daam.errors import ShardError
from daam.storage import open_store

DEFAULT_ROOT = RunConfig().data.root
LAYOUT_HELP = (
    "folder, csv, parquet, market1501, msmt17, cuhk03, veri776, randperson, personx, dukemtmc."
)
Recheck = Annotated[
    bool,
    typer.Option("--recheck", help="Read back every stored file and send damaged ones again."),
]

data = typer.Typer(help="Render, import, copy, check and show domains.", no_args_is_help=True)


@data.command("render")
def data_render(
    to: Annotated[Path, typer.Option(help="New folder for the rendered images.")],
    domain: Annotated[str, typer.Option(help="plaza, campus, station, or any other name.")],
    seed: Annotated[int, typer.Option(min=0, help="Seed of the renderer.")] = 1,
    train_identities: Annotated[int, typer.Option(min=2, help="People of the train split.")] = 150,
    test_identities: Annotated[int, typer.Option(min=1, help="People of query and gallery.")] = 60,
    cameras: Annotated[int, typer.Option(help="Cameras.")] = 4,
    height: Annotated[int, typer.Option(help="Image height in pixels.")] = 128,
    width: Annotated[int, typer.Option(help="Image width in pixels.")] = 64,
    crops: Annotated[
        Path | None,
        typer.Option(help="New folder for the train images again, named without who is on them."),
    ] = None,
) -> None:
    """Render people who do not exist, in Market-1501 layout."""
    from daam.runs.demo_domains import demo_plan
    from daam.synthetic import render_domain, write_crops

    plan = replace(
        demo_plan(check_domain(domain), seed=seed),
        num_train_identities=train_identities,
        num_test_identities=test_identities,
        num_cameras=cameras,
        height=height,
        width=width,
    )
    with progress_bar(f"rendering {domain}") as advance:
        count = render_domain(plan, to=to, num_processes=os.cpu_count() or 1, progress=advance)
    print_line(
        f"{count} images in {to}; import them: daam data import --layout market1501 "
        f"--root {shlex.quote(str(to))} --domain {domain} --to FOLDER"
    )
    if crops is not None:
        num_crops = write_crops(to, to=crops)
        print_line(
            f"{num_crops} of them, without who is who, in {crops}; import them: daam data import "
            f"--layout folder --root {shlex.quote(str(crops))} --pattern 'cam(?P<camera>\\d+)_' "
            "--domain mine --to FOLDER"
        )


@data.command("import")
def data_import(
    layout: Annotated[str, typer.Option(help=LAYOUT_HELP)],
    root: Annotated[Path, typer.Option(help="Folder of the dataset.")],
    domain: Annotated[str, typer.Option(help="Name for the domain.")],
    to: Annotated[str, typer.Option(help="Folder or s3://bucket/prefix.")] = DEFAULT_ROOT,
    pattern: Annotated[
        str | None,
        typer.Option(
            metavar="REGEX",
            help="For folder: what paths say, in groups camera, person, track, time, split.",
        ),
    ] = None,
    camera: Annotated[
        Literal["folder"] | None,
        typer.Option(help="For folder: images lie in a folder named after their camera."),
    ] = None,
    identity: Annotated[
        Literal["folder"] | None,
        typer.Option(help="For folder: images lie in a folder named after the person."),
    ] = None,
    dry_run: Annotated[  # noqa: FBT002  (typer's way)
        bool, typer.Option("--dry-run", help="Print what is understood; write nothing.")
    ] = False,
    skip_unreadable: Annotated[  # noqa: FBT002  (typer's way)
        bool,
        typer.Option(
            "--skip-unreadable",
            help="Leave out images that cannot be read and name them; default: stop at the first.",
        ),
    ] = False,
    cut_test: Annotated[
        float,
        typer.Option(min=0, max=0.9, help="Share of people to make query and gallery of."),
    ] = 0.0,
    validation_share: Annotated[
        float, typer.Option(min=0, max=0.9, help="Share of train identities held out.")
    ] = 0.25,
    reencode: Annotated[
        str | None,
        typer.Option(
            metavar="HxW",
            help="Re-encode images at this size; default: store the files as they are.",
        ),
    ] = None,
    shard_mib: Annotated[
        float, typer.Option(min=2**-10, max=2048, help="Largest size of a shard, in MiB of images.")
    ] = 64,
    recheck: Recheck = False,  # noqa: FBT002  (typer's way)
    without_val: Annotated[  # noqa: FBT002  (typer's way)
        bool, typer.Option("--without-val", help="Leave out the validation list of msmt17.")
    ] = False,
    acknowledge_withdrawal: Annotated[  # noqa: FBT002  (typer's way)
        bool,
        typer.Option(
            "--acknowledge-withdrawal", help="Read dukemtmc, having read that it was withdrawn."
        ),
    ] = False,
) -> None:
    """Turn a folder or a table of images into a domain: Arrow shards and a manifest."""
    from daam.commands.terminal.domain_report import SentFiles, print_description, size_of
    from daam.commands.terminal.import_report import (
        print_note,
        print_skipped,
        print_understood,
        print_unreadable,
    )
    from daam.dataset.format.manifest import manifest_key, read_manifest
    from daam.dataset.importing.encoding import check_size
    from daam.dataset.importing.findings import findings
    from daam.dataset.importing.hold_out import cut_test_splits, hold_out_validation
    from daam.dataset.importing.import_domain import import_domain
    from daam.dataset.importing.layouts import read_layout
    from daam.dataset.importing.unreadable import unreadable_images, without_unreadable

    check_domain(domain)
    size = None if reencode is None else size_of(reencode)
    store = open_store(to)
    index = read_layout(
        layout,
        root,
        pattern=pattern,
        camera=camera,
        identity=identity,
        without_val=without_val,
        acknowledge_withdrawal=acknowledge_withdrawal,
    )
    if skip_unreadable:
        with progress_bar(f"reading {domain}") as advance:
            unreadable = unreadable_images(index, progress=advance)
        print_unreadable(unreadable, is_skipped=True)
        index = without_unreadable(index, unreadable)
    index = cut_test_splits(index, share=cut_test)
    if dry_run:
        if size is not None:
            check_size(size, index=index)
        index = hold_out_validation(index, share=validation_share)
        print_understood(index)
        print_skipped(index.skipped)
        for note in findings(index):
            print_note(note)
        if skip_unreadable:
            unreadable = []
        else:
            with progress_bar(f"reading {domain}") as advance:
                unreadable = unreadable_images(index, progress=advance)
            print_unreadable(unreadable, is_skipped=False)
        print_line("nothing was written; to import, leave out --dry-run")
        if unreadable:
            raise typer.Exit(2)
        return
    replaced = None
    with suppress(ShardError):  # one that is damaged or older is replaced, too
        replaced = read_manifest(store, domain) if store.exists(manifest_key(domain)) else None
    sent = SentFiles()
    with resumed_when_repeated("the import"), progress_bar(f"importing {domain}") as advance:
        manifest = import_domain(
            index,
            domain=domain,
            to=store,
            shard_size_bytes=round(shard_mib * 2**20),
            validation_share=validation_share,
            reencode=size,
            recheck=recheck,
            progress=advance,
            on_file=sent.add,
            on_note=print_note,
        )
    print_skipped(index.skipped)
    print_line(sent.summary(to))
    if replaced not in (None, manifest):
        print_note(
            f"this replaces another import of {domain}; runs that read it go on with it, and the "
            "next import deletes its files"
        )
    print_description(store, manifest, at=to)


@data.command("copy")
def data_copy(
    domain: DomainName,
    source: Annotated[str, typer.Option("--from", help="Folder or s3://bucket/prefix.")],
    to: Annotated[str, typer.Option(help="Folder or s3://bucket/prefix.")],
    recheck: Recheck = False,  # noqa: FBT002  (typer's way)
) -> None:
    """Copy a domain to another store and check every byte on the way."""
    from daam.commands.terminal.domain_report import SentFiles
    from daam.dataset.maintenance.copy_domain import copy_domain

    sent = SentFiles()
    with (
        resumed_when_repeated("the copy"),
        progress_bar(f"copying {domain}", in_bytes=True) as advance,
    ):
        copy_domain(
            check_domain(domain),
            source=open_store(source),
            target=open_store(to),
            recheck=recheck,
            progress=advance,
            on_file=sent.add,
        )
    print_line(f"{domain}: {sent.summary(to)}")


@data.command("describe")
def data_describe(
    domain: DomainName,
    at: DomainsAt = DEFAULT_ROOT,
    to: Annotated[
        Path | None, typer.Option(help="PNG or SVG to draw the distributions into.")
    ] = None,
    as_json: AsJson = False,  # noqa: FBT002  (typer's way)
) -> None:
    """Print what a domain contains; with --to, draw its distributions."""
    from daam.commands.terminal.domain_report import counts_of, print_description
    from daam.dataset.format.manifest import read_manifest

    store = open_store(at)
    splits = print_description(store, read_manifest(store, check_domain(domain)), at=at, to=to)
    if as_json:
        print_json({"domain": domain, "at": at, "splits": counts_of(splits)})


@data.command("verify")
def data_verify(domain: DomainName, at: DomainsAt = DEFAULT_ROOT) -> None:
    """Check every byte of a domain against its manifest."""
    from daam.commands.terminal.domain_report import megabytes, named
    from daam.dataset.format.manifest import read_manifest
    from daam.dataset.format.publishing import unnamed_files
    from daam.dataset.maintenance.verify import repair_commands, verify_domain
    from daam.errors import ShardError

    store = open_store(at)
    manifest = read_manifest(store, check_domain(domain))
    bad: list[str] = []
    with progress_bar(f"verifying {domain}", in_bytes=True) as advance:
        for check in verify_domain(store, manifest, progress=advance):
            if check.problem:
                bad.append(check.key)
                print_line(f"bad  {check.key} {check.problem}")
    previous, others = unnamed_files(manifest, store=store)
    if previous:
        print_line(
            f"{len(previous)} files of the previous import are kept for runs that still read it; "
            "the next import removes them"
        )
    if others:
        print_line(
            f"{len(others)} files belong to no finished import: {named(others)}; if none is "
            f"running, remove them: daam data clean --domain {domain} --at {shlex.quote(at)}"
        )
    total = f"{domain} in {at}: {len(manifest.files)} files, {megabytes(manifest)}"
    if not bad:
        print_line(f"{total}, all good")
        return
    again, copy = repair_commands(manifest, at=at)
    print_line(f"to repair, import the same folder again:\n  {again}")
    print_line(f"or copy from a store where it is intact:\n  {copy}")
    raise ShardError(f"{total}, {len(bad)} bad: {named(bad)}")


@data.command("clean")
def data_clean(domain: DomainName, at: DomainsAt = DEFAULT_ROOT) -> None:
    """Remove files that a domain's manifest does not name; not during an import of it."""
    from daam.dataset.format.manifest import read_manifest
    from daam.dataset.format.publishing import remove_unnamed

    store = open_store(at)
    removed = remove_unnamed(read_manifest(store, check_domain(domain)), store=store)
    for key in removed:
        print_line(f"removed {key}")
    print_line(f"{domain} in {at}: {len(removed)} files removed")


@data.command("preview")
def data_preview(
    domain: DomainName,
    to: Annotated[Path, typer.Option(help="PNG to write.")],
    at: DomainsAt = DEFAULT_ROOT,
    people: Annotated[int, typer.Option(min=1, max=50, help="Rows of the sheet.")] = 6,
) -> None:
    """Write a contact sheet of a domain: one row per person."""
    from daam.plots.contact_sheet import draw_contact_sheet

    draw_contact_sheet(open_store(at), domain=check_domain(domain), num_people=people, to=to)
    print_line(f"{to}")


@data.command("serve")
def data_serve(
    directory: Annotated[Path, typer.Argument(help="Folder; its subfolders are buckets.")],
    port: Annotated[int, typer.Option(help="Port on this machine; 0 for a free one.")] = 9101,
    bucket: Annotated[str, typer.Option(help="Bucket to create if it is missing.")] = "daam",
) -> None:
    """Serve a folder as S3 on this machine, for development, until Ctrl-C."""
    import secrets
    import signal

    from daam.storage.local_s3 import LocalS3

    server = LocalS3(
        directory,
        access_key="daam-development",  # never the user's own keys: these are printed
        secret_key=secrets.token_urlsafe(24),
        port=port,
    )
    server.make_bucket(bucket)
    # Stop the server on `kill`, too.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with suppress(KeyboardInterrupt), server:
        print_line(f"S3 at {server.endpoint}; in the shell that uses it:")
        for key, value in server.environment.items():
            print_line(f"  export {key}={value}")
        print_line(f"then: --to s3://{bucket}/PREFIX. Ctrl-C ends it.")
        server.wait()

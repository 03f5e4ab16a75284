"""Every command of daam. `python launch.py --help` lists them.

The only place that reads arguments, prints and sets exit codes: 0 done, 2 for bad input (one line
on stderr says what is wrong and what to do), 130 for a run or study that Ctrl-C stopped.
"""

import logging
import os
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from daam.config.load import (
    nested,
    parse_settings,
    read_packaged_toml,
    read_preset,
    read_toml,
    run_config,
    setting,
    setting_paths,
    to_toml,
)
from daam.config.schema import RunConfig
from daam.domains import Split, check_domain
from daam.errors import ConfigError, DaamError, RunInterruptedError, StudyInterruptedError
from daam.runtime.environment import prepare_environment

ROOT = Path(__file__).resolve().parent
RENDERED = "data/rendered"

app = typer.Typer(
    help="Train and tune models for unsupervised cross-domain person re-identification.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
data = typer.Typer(help="Render, import, check and show domains.", no_args_is_help=True)
app.add_typer(data, name="data")
console = Console()

Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="PATH=VALUE", help="Change a setting; may be repeated."),
]
Store_ = Annotated[str, typer.Option("--at", help="Folder or s3://bucket/prefix of the domains.")]
Address = Annotated[
    str | None, typer.Option(help="Ray cluster; `auto` is the one of this machine.")
]


@app.command()
def tune(
    config: Annotated[Path | None, typer.Option(help="Study file; default: the demo.")] = None,
    preset: Annotated[
        str | None, typer.Option(help="One of daam's own studies; default: demo.")
    ] = None,
    settings: Settings = None,
    trials: Annotated[int | None, typer.Option(help="Trials of the search.")] = None,
    workers_per_trial: Annotated[int | None, typer.Option(help="Workers of each trial.")] = None,
    name: Annotated[str | None, typer.Option(help="Name of the study.")] = None,
    storage: Annotated[
        str | None, typer.Option(help="Folder or s3:// where studies live; default: runs.")
    ] = None,
    address: Address = None,
    resume: Annotated[str | None, typer.Option(help="Go on with a study: its folder.")] = None,
) -> None:
    """Search hyper-parameters over transfers, then prove the best on a transfer not searched."""
    prepare_environment(address=address)
    from daam.runtime.connection import connected, require_reachable
    from daam.runtime.worker import portable
    from tune.display import StudyDisplay
    from tune.folder import create_folder, read_folder, unused_folder
    from tune.session import finish_study
    from tune.space import study_config

    quiet_libraries()
    if resume is not None:
        others = (config, preset, settings, trials, workers_per_trial, name, storage)
        if any(other is not None for other in others):
            raise ConfigError("--resume goes on with a study as it was started; give it alone")
        folder, tree = read_folder(resume)
        study = study_config(tree, {})
        uri = folder.uri
    else:
        changes = parse_settings(settings or [])
        for path, value in (
            ("study.num_trials", trials),
            ("study.workers_per_trial", workers_per_trial),
            ("study.name", name),
        ):
            if value is not None:
                changes[path] = value
        if config is not None and preset is not None:
            raise ConfigError("--config and --preset are two study files; give one of them")
        tree = (
            read_toml(config) if config else read_packaged_toml("tune", "spaces", preset or "demo")
        )
        study = study_config(tree, changes)
        folder = None
        uri = f"{(storage or 'runs').rstrip('/')}/{study.study.name}"
        unused_folder(uri)
    begin = time.monotonic()
    prepare_domains(study.run, study.needed_splits())
    study = study.model_copy(update={"run": portable(study.run)})
    if folder is None:
        folder = create_folder(uri, study)
    rendered_s = time.monotonic() - begin
    console.print(f"Study {folder.uri}", highlight=False, soft_wrap=True)
    try:
        with (
            connected(address=address) as cluster,
            StudyDisplay(console, cluster.dashboard_url) as display,
        ):
            if cluster.needs_token:
                console.print("It asks for a token: .venv/bin/ray get-auth-token prints it.")
            require_reachable({"data.root": study.run.data.root, "--storage": folder.uri})
            summary = finish_study(
                study, folder, watch=display, root=ROOT, seconds={"data": rendered_s}
            )
    except KeyboardInterrupt as error:
        raise StudyInterruptedError(
            f"the study was stopped; go on with: python launch.py tune --resume {folder.uri}"
        ) from error
    console.print(comparison_table(summary.entrants, title=f"Holdout {study.study.holdout}"))
    console.print(summary.verdict, highlight=False)
    for file in summary.files:
        console.print(f"  {file}", highlight=False, soft_wrap=True)


@app.command()
def train(
    transfer: Annotated[str | None, typer.Option(help="'source->target', quoted.")] = None,
    config: Annotated[Path | None, typer.Option(help="Settings of the run, TOML.")] = None,
    preset: Annotated[str | None, typer.Option(help="One of daam's own presets.")] = None,
    settings: Settings = None,
    workers: Annotated[int | None, typer.Option(help="Data-parallel workers.")] = None,
    name: Annotated[str | None, typer.Option(help="Name of the run.")] = None,
    storage: Annotated[
        str | None, typer.Option(help="Folder or s3:// where runs live; default: runs.")
    ] = None,
    address: Address = None,
    resume: Annotated[str | None, typer.Option(help="Go on with a run: its folder.")] = None,
) -> None:
    """Train one model from a source to a target, in this process or on Ray workers."""
    prepare_environment(address=address)
    from daam.runtime.session import abandon_run, open_run, start_run, train_here, train_on_ray
    from daam.runtime.worker import portable
    from daam.storage import open_store

    quiet_libraries()
    if resume is not None:
        if any(other is not None for other in (config, settings, transfer, preset, name, storage)):
            raise ConfigError("--resume goes on with a run as it was started; give it alone")
        folder = open_store(resume)
        run = open_run(folder, num_workers=workers)
    else:
        changes = parse_settings(settings or [])
        if transfer is not None:
            changes["transfer"] = transfer
        if workers is not None:
            changes["compute.num_workers"] = workers
        run = run_config(
            read_preset(preset) if preset else {},
            read_toml(config) if config else {},
            nested(changes),
        )
        default_name = run.transfer.replace("->", "-")
        prepare_domains(run, {name: {Split.TRAIN} for name in run.pair().domains()})
        run = portable(run)
        folder = start_run(f"{(storage or 'runs').rstrip('/')}/{name or default_name}", run)
    console.print(f"Run {folder.uri}: {run.transfer}", highlight=False, soft_wrap=True)
    if run.compute.num_workers == 1 and address is None:
        epochs = train_here(run, folder)
    else:
        epochs = train_on_ray(run, folder, address=address)
    try:
        for metrics in epochs:
            print_epoch(metrics, num_epochs=run.optimiser.num_epochs)
    except DaamError:
        if resume is None:
            abandon_run(folder)
        raise
    except KeyboardInterrupt as error:
        raise RunInterruptedError(
            f"the run was stopped; go on with: python launch.py train --resume {folder.uri}"
        ) from error
    console.print(
        f"Trained. Test it: python launch.py evaluate --checkpoint {folder.uri} "
        f"--domain {run.pair().target}",
        highlight=False,
        soft_wrap=True,
    )


@app.command()
def evaluate(
    checkpoint: Annotated[str, typer.Option(help="Folder of a run, local or on S3.")],
    domain: Annotated[str, typer.Option(help="Domain whose query and gallery are the test.")],
    at: Annotated[str | None, typer.Option(help="Where the domains are, if elsewhere now.")] = None,
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
    for file in found.files:
        console.print(f"  {file}", highlight=False, soft_wrap=True)


@app.command("config")
def show_config(
    schema: Annotated[bool, typer.Option("--schema", help="Print a JSON schema.")] = False,  # noqa: FBT002  (typer's way)
    preset: Annotated[str | None, typer.Option(help="One of daam's own presets.")] = None,
    settings: Settings = None,
) -> None:
    """Show every setting of a run: its path, value and meaning."""
    if schema:
        console.print_json(data=RunConfig.model_json_schema())
        return
    config = run_config(
        read_preset(preset) if preset else {}, nested(parse_settings(settings or []))
    )
    if not console.is_terminal:
        typer.echo(to_toml(config), nl=False)
        return
    table = Table("setting", "value", "meaning", box=None)
    for path in setting_paths(RunConfig):
        table.add_row(path, str(setting(config, path)), meaning_of(path))
    console.print(table)


@data.command("render")
def data_render(
    to: Annotated[Path, typer.Option(help="New folder for the rendered images.")],
    domain: Annotated[str, typer.Option(help="plaza, campus, station, or any other name.")],
    seed: Annotated[int, typer.Option(min=0, help="Seed of the renderer.")] = 1,
    train_identities: Annotated[int, typer.Option(help="People of the train split.")] = 150,
    test_identities: Annotated[int, typer.Option(help="People of query and gallery.")] = 60,
    cameras: Annotated[int, typer.Option(help="Cameras.")] = 4,
    height: Annotated[int, typer.Option(help="Image height in pixels.")] = 128,
    width: Annotated[int, typer.Option(help="Image width in pixels.")] = 64,
) -> None:
    """Render people who do not exist, in Market-1501 layout."""
    from daam.data.render import RenderPlan, render_domain
    from daam.data.render.demo import demo_plan

    demo = demo_plan(check_domain(domain), seed=seed)
    plan = RenderPlan(
        domain=domain,
        seed=seed,
        num_train_identities=train_identities,
        num_test_identities=test_identities,
        num_cameras=cameras,
        height=height,
        width=width,
        max_images_per_camera=demo.max_images_per_camera,
        num_distractors=demo.num_distractors,
        num_junk=demo.num_junk,
    )
    with progress_bar(f"rendering {domain}") as advance:
        count = render_domain(plan, to=to, num_processes=os.cpu_count() or 1, progress=advance)
    console.print(
        f"{count} images in {to}; import them: python launch.py data import "
        f"--layout market1501 --root {to} --domain {domain}",
        soft_wrap=True,
    )


@data.command("import")
def data_import(
    layout: Annotated[str, typer.Option(help="market1501, msmt17 or csv.")],
    root: Annotated[Path, typer.Option(help="Folder of the dataset.")],
    domain: Annotated[str, typer.Option(help="Name for the domain.")],
    to: Annotated[str, typer.Option(help="Folder or s3://bucket/prefix.")] = RENDERED,
    validation_share: Annotated[
        float, typer.Option(min=0.05, max=0.9, help="Share of train identities held out.")
    ] = 0.25,
) -> None:
    """Turn a dataset's folder into Arrow shards and a manifest."""
    from daam.data.importing import import_domain
    from daam.data.layouts import read_layout
    from daam.storage import open_store

    check_domain(domain)
    index = read_layout(layout, root)
    store = open_store(to)
    with progress_bar(f"importing {domain}") as advance:
        import_domain(
            index, domain=domain, to=store, validation_share=validation_share, progress=advance
        )
    for skipped in index.skipped[:10]:
        console.print(f"skipped {skipped.path}: {skipped.reason}", highlight=False)
    if len(index.skipped) > 10:
        console.print(f"… and {len(index.skipped) - 10} more files skipped")
    data_describe(domain=domain, at=to)


@data.command("describe")
def data_describe(
    domain: Annotated[str, typer.Option(help="Name of the domain.")], at: Store_ = RENDERED
) -> None:
    """Print what a domain holds."""
    from daam.data.inspection import describe_domain
    from daam.storage import open_store

    table = Table(title=f"{domain} in {at}")
    for header in ("split", "images", "identities", "cameras", "distractors", "junk", "MB"):
        table.add_column(header, justify="left" if header == "split" else "right")
    for split in describe_domain(open_store(at), check_domain(domain)):
        table.add_row(
            str(split.split),
            str(split.num_images),
            str(split.num_identities),
            str(split.num_cameras),
            str(split.num_distractors),
            str(split.num_junk),
            f"{split.size_bytes / 1e6:.1f}",
        )
    console.print(table)


@data.command("verify")
def data_verify(
    domain: Annotated[str, typer.Option(help="Name of the domain.")], at: Store_ = RENDERED
) -> None:
    """Check every byte of a domain against its manifest."""
    from daam.data.inspection import verify_domain
    from daam.errors import ShardError
    from daam.storage import open_store

    problems = []
    for check in verify_domain(open_store(at), check_domain(domain)):
        console.print(f"{'bad ' if check.problem else 'good'} {check.key}", highlight=False)
        if check.problem:
            problems.append(check.problem)
    if problems:
        raise ShardError("; ".join(problems))


@data.command("preview")
def data_preview(
    domain: Annotated[str, typer.Option(help="Name of the domain.")],
    to: Annotated[Path, typer.Option(help="PNG to write.")],
    at: Store_ = RENDERED,
    people: Annotated[int, typer.Option(min=1, max=50, help="Rows of the sheet.")] = 6,
) -> None:
    """Write a contact sheet of a domain: a row for each person."""
    from daam.data.gallery import preview_domain
    from daam.storage import open_store

    preview_domain(open_store(at), domain=check_domain(domain), num_people=people, to=to)
    console.print(f"{to}", highlight=False)


@data.command("serve")
def data_serve(
    directory: Annotated[Path, typer.Argument(help="Folder; its subfolders are buckets.")],
    port: Annotated[int, typer.Option(help="Port on this machine; 0: a free one.")] = 9101,
    bucket: Annotated[str, typer.Option(help="Bucket to make if it is missing.")] = "daam",
) -> None:
    """Serve a folder as S3 on this machine, for development, until Ctrl-C."""
    import secrets

    from daam.runtime.local_s3 import LocalS3

    (directory / bucket).mkdir(parents=True, exist_ok=True)
    server = LocalS3(
        directory,
        access_key="daam-development",  # never the user's own keys: these are printed
        secret_key=secrets.token_urlsafe(24),
        port=port,
    )
    with server:
        console.print(f"S3 at {server.endpoint}; in the shell that uses it:", highlight=False)
        for key, value in server.environment.items():
            console.print(f"  export {key}={value}", highlight=False, soft_wrap=True)
        console.print(f"then: --to s3://{bucket}/PREFIX. Ctrl-C ends it.", highlight=False)
        with suppress(KeyboardInterrupt):
            server.wait()


def prepare_domains(config: RunConfig, needed: dict[str, set[Split]]) -> None:
    """Render the demo's domains if they are wanted and the default folder lacks them.

    Args:
        config: says where the domains are.
        needed: the splits that each domain must have.

    Raises:
        DaamError: another domain is missing, or has no such split.
    """
    from daam.data.manifest import manifest_key, read_manifest
    from daam.data.render.demo import DEMO_DOMAINS, prepare_demo
    from daam.storage import open_store

    store = open_store(config.data.root)
    missing = sorted(domain for domain in needed if not store.exists(manifest_key(domain)))
    if missing and config.data.root == RENDERED and needed.keys() <= set(DEMO_DOMAINS):
        with Progress(console=console, disable=not console.is_terminal) as bars:
            tasks = {name: bars.add_task(f"rendering {name}", total=None) for name in missing}
            prepare_demo(
                store,
                seed=1,
                progress=lambda name, done, total: bars.update(
                    tasks[name], completed=done, total=total
                ),
            )
        console.print(f"rendered {', '.join(missing)} into {config.data.root}", highlight=False)
    elif missing:
        raise ConfigError(
            f"{config.data.root} has no domain {', '.join(missing)}; import it: python launch.py "
            f"data import --layout market1501 --root FOLDER --domain {missing[0]} "
            f"--to {config.data.root}"
        )
    for domain, splits in needed.items():
        manifest = read_manifest(store, domain)
        for split in sorted(splits):
            manifest.split(split)


def progress_bar(title: str) -> Any:
    """A bar in a terminal, nothing in a log; gives the function to advance it."""
    from contextlib import contextmanager

    @contextmanager
    def bar() -> Any:
        with Progress(console=console, disable=not console.is_terminal) as bars:
            task = bars.add_task(title, total=None)
            yield lambda done, total: bars.update(task, completed=done, total=total)

    return bar()


def print_epoch(metrics: dict[str, float], *, num_epochs: int) -> None:
    """One line: how far the run is and its losses."""
    losses = "  ".join(
        f"{key.removeprefix('loss/')} {value:.3f}"
        for key, value in metrics.items()
        if key.startswith("loss/")
    )
    console.print(
        f"epoch {int(metrics['epoch'])}/{num_epochs}  {metrics['seconds']:.1f} s  {losses}",
        highlight=False,
        soft_wrap=True,
    )


def comparison_table(entrants: list[Any], *, title: str) -> Table:
    """The final comparison, one row a contender."""
    table = Table(title=title)
    for header in ("", "mAP", "rank-1", "mINP"):
        table.add_column(header, justify="right" if header else "left")
    for entrant in entrants:
        table.add_row(
            entrant.name,
            *(f"{value:.3f}" for value in (entrant.mean_average_precision, entrant.rank_1)),
            f"{entrant.mean_inp:.3f}",
        )
    return table


def meaning_of(path: str) -> str:
    """The description of a setting."""
    model: Any = RunConfig
    *tables, name = path.split(".")
    for table in tables:
        model = model.model_fields[table].annotation
    return model.model_fields[name].description or ""


def quiet_libraries() -> None:
    """Leave the terminal to daam: libraries speak up from a warning on."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    for name in ("ray", "ray.tune", "ray.train", "optuna"):
        logging.getLogger(name).setLevel(logging.ERROR)


def main() -> int:
    """Run a command; return its exit code."""
    try:
        app()
    except DaamError as error:
        typer.echo(f"daam: {' '.join(str(error).split())}", err=True)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())

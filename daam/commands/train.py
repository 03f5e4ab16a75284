"""`daam train`: one run, new or resumed."""

import shlex
from pathlib import Path
from typing import Annotated, Any

import typer

from daam.commands.terminal.domains import ready_domains
from daam.commands.terminal.options import Address, AsJson, OrResume, Settings, Stages
from daam.commands.terminal.screen import print_json, print_line, quiet_libraries
from daam.commands.terminal.stopping import last_words
from daam.commands.terminal.training_display import last_warning, training_display
from daam.config.load import nested, parse_settings, read_preset, read_toml, run_config
from daam.config.schema import RunConfig
from daam.domains import Split
from daam.errors import ConfigError, RunInterruptedError
from daam.execution.environment import prepare_environment
from daam.runs.tracking import TrackerName
from daam.storage import open_store


def train(
    transfer: Annotated[
        str | None, typer.Option(help="'source->target' or 'a+b->target', quoted.")
    ] = None,
    config: Annotated[Path | None, typer.Option(help="Settings of the run, TOML.")] = None,
    preset: Annotated[str | None, typer.Option(help="A preset that comes with daam.")] = None,
    settings: Settings = None,
    workers: Annotated[int | None, typer.Option(help="Data-parallel workers.")] = None,
    name: Annotated[str | None, typer.Option(help="Name of the run.")] = None,
    storage: Annotated[
        str | None, typer.Option(help="Folder or s3:// for runs; default: runs.")
    ] = None,
    stages: Stages = None,
    address: Address = None,
    start: Annotated[
        str | None,
        typer.Option("--from", help="Folder of a source run (stage=source) to start from."),
    ] = None,
    resume: Annotated[str | None, typer.Option(help="Folder of a run to resume.")] = None,
    or_resume: OrResume = False,  # noqa: FBT002  (typer's way)
    track: Annotated[
        TrackerName | None, typer.Option(help="Send each epoch's metrics there, too.")
    ] = None,
    as_json: AsJson = False,  # noqa: FBT002  (typer's way)
) -> None:
    """Train one model from a source to a target, on this machine or on a Ray cluster."""
    prepare_environment(address=address)
    quiet_libraries()
    # Everything that can be refused is, before torch and Ray are imported.
    if resume is None:
        run = settings_of(
            transfer=transfer,
            config=config,
            preset=preset,
            settings=settings,
            workers=workers,
            start=start,
        )
        ready_domains(run, {domain: {Split.TRAIN} for domain in run.domains()})
        default_name = run.transfer.replace("->", "-")
        if run.stage == "source":
            default_name = f"{run.pair().source}-source"
        folder = open_store("runs" if storage is None else storage).folder(
            default_name if name is None else name, of="run"
        )
    else:
        others = (config, settings, transfer, preset, name, storage, start)
        if any(other is not None for other in others):
            raise ConfigError(
                "--resume continues a run with the settings it began with; give it alone"
            )
        from daam.runs.run_folder import open_run

        folder = open_store(resume)
        run = open_run(folder, num_workers=workers)

    print_line(f"Run {folder.uri}: {run.transfer}")

    from daam import api
    from daam.runs.run_folder import CONFIG

    num_trained = 0
    resume_with = f"daam train --resume {shlex.quote(folder.uri)}"
    try:
        with (
            last_words(f"the run was stopped; resume with: {resume_with}"),
            training_display() as display,
        ):

            def show(metrics: dict[str, Any]) -> None:
                nonlocal num_trained
                num_trained += 1
                display.on_epoch(metrics)
                if as_json:
                    print_json(metrics)

            trained = api.train(
                run,
                to=folder.uri,
                start_from=start,
                stages=stages,
                resume=resume is not None or or_resume,
                address=address,
                on_epoch=show,
                on_step=display.on_step,
                track=track,
            )
    except KeyboardInterrupt as error:
        again = f"resume with: {resume_with}"
        if not folder.exists(CONFIG):
            again = "give the same command again"
        raise RunInterruptedError(f"the run was stopped; {again}") from error
    if (warning := last_warning(trained.epochs)) is not None:
        print_line(f"Warning: {warning}")
    done = "Trained." if num_trained else "Nothing was trained: the run had ended before."
    print_line(f"{done} {next_step(run, shlex.quote(folder.uri))}")


def settings_of(
    *,
    transfer: str | None,
    config: Path | None,
    preset: str | None,
    settings: list[str] | None,
    workers: int | None,
    start: str | None,
) -> RunConfig:
    """Make the settings of a new run from its preset, its file and the command line.

    They change daam's defaults, or the settings of the run to start from.

    Raises:
        ConfigError: one of them is wrong, or none of them names a transfer.
    """
    changes = parse_settings(settings or [])
    if transfer is not None:
        changes["transfer"] = transfer
    if workers is not None:
        changes["compute.num_workers"] = workers
    base: dict[str, Any] = {}
    if start is not None:
        from daam.runs.run_folder import open_run

        base = open_run(open_store(start)).model_dump() | {"stage": "all"}
    layers = (
        base,
        read_preset(preset) if preset else {},
        read_toml(config) if config else {},
        nested(changes),
    )
    if not any("transfer" in layer for layer in layers):
        raise ConfigError(
            "name the domains to train on: --transfer 'SOURCE->TARGET' (the quotes keep the shell "
            "from redirecting); plaza, campus and station are rendered if they are missing"
        )
    return run_config(*layers)


def next_step(run: RunConfig, folder: str) -> str:
    """Return what to do with a trained model; its target need not have a test."""
    from daam.dataset.format.manifest import read_manifest

    target = run.pair().target
    if run.stage == "source":
        return f"Adapt it: daam train --transfer {shlex.quote(run.transfer)} --from {folder}"
    splits = read_manifest(open_store(run.data.root), target).splits
    has_test = splits.keys() >= {Split.QUERY, Split.GALLERY}
    what = "Test it" if has_test else "See how good it is, without labels"
    return f"{what}: daam evaluate --checkpoint {folder} --domain {target}"

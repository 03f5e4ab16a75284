"""`daam train`: one run, new or gone on with."""

import shlex
from pathlib import Path
from typing import Annotated

import typer

from daam.commands.terminal.domains import ready_domains
from daam.commands.terminal.options import Address, Settings
from daam.commands.terminal.screen import print_line, quiet_libraries
from daam.config.load import nested, parse_settings, read_preset, read_toml, run_config
from daam.domains import Split
from daam.errors import ConfigError, DaamError, RunInterruptedError
from daam.execution.environment import prepare_environment


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
    from daam.execution.driver import train_on_ray
    from daam.runs.run_folder import abandon_run, open_run, start_run
    from daam.runs.worker import train_run
    from daam.storage import open_store

    quiet_libraries()
    if resume is not None:
        if any(other is not None for other in (config, settings, transfer, preset, name, storage)):
            raise ConfigError(
                "--resume continues a run with the settings it began with; give it alone"
            )
        folder = open_store(resume)
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
        ready_domains(run, {name: {Split.TRAIN} for name in run.domains()})
        folder = start_run(open_store(storage or "runs").locate(name or default_name), run)
    run = open_run(folder, num_workers=workers)
    print_line(f"Run {folder.uri}: {run.transfer}")
    if run.compute.num_workers == 1 and address is None:
        epochs = train_run(folder, run)
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
            f"the run was stopped; resume with: daam train --resume {shlex.quote(folder.uri)}"
        ) from error
    print_line(
        f"Trained. Test it: daam evaluate --checkpoint {shlex.quote(folder.uri)} "
        f"--domain {run.pair().target}"
    )


def print_epoch(metrics: dict[str, float], *, num_epochs: int) -> None:
    """Print one line: how far the run is and its losses."""
    losses = "  ".join(
        f"{key.removeprefix('loss/')} {value:.3f}"
        for key, value in metrics.items()
        if key.startswith("loss/")
    )
    print_line(f"epoch {int(metrics['epoch'])}/{num_epochs}  {metrics['seconds']:.1f} s  {losses}")

"""`daam tune`: a study, new or resumed."""

import json
import shlex
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from daam.commands.terminal.domains import ready_domains
from daam.commands.terminal.options import Address, AsJson, OrResume, Settings, Stages
from daam.commands.terminal.screen import (
    console,
    print_files,
    print_json,
    print_line,
    quiet_libraries,
)
from daam.commands.terminal.stopping import last_words
from daam.commands.terminal.study_display import StudyDisplay
from daam.config.load import merged, parse_settings, read_packaged_toml, read_toml
from daam.errors import ConfigError, StudyInterruptedError
from daam.execution.environment import prepare_environment
from daam.storage import open_store

if TYPE_CHECKING:
    from tune.report.comparison import Comparison

RAY = Path(sys.executable).with_name("ray")


def tune(
    config: Annotated[
        Path | None, typer.Option(help="Study file, or settings that change the preset's.")
    ] = None,
    preset: Annotated[
        str | None, typer.Option(help="A study that comes with daam; default: demo.")
    ] = None,
    source: Annotated[str | None, typer.Option(help="Labelled domain to learn from.")] = None,
    target: Annotated[
        str | None, typer.Option(help="Domain without labels to adapt to; see --preset adapt.")
    ] = None,
    settings: Settings = None,
    trials: Annotated[int | None, typer.Option(help="Number of trials.")] = None,
    budget: Annotated[
        str | None,
        typer.Option(
            help="Time for the search: 2h, '4 gpu-hours'; with --resume also +2h, for as much "
            "more. Without --trials, the number of trials is not limited."
        ),
    ] = None,
    workers_per_trial: Annotated[
        int | None, typer.Option(help="Data-parallel workers per trial.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="Name of the study.")] = None,
    storage: Annotated[
        str | None, typer.Option(help="Folder or s3:// for studies; default: runs.")
    ] = None,
    stages: Stages = None,
    address: Address = None,
    resume: Annotated[
        str | None,
        typer.Option(
            help="Folder of a study to go on with, perhaps with other settings: trials that fit "
            "them are kept."
        ),
    ] = None,
    or_resume: OrResume = False,  # noqa: FBT002  (typer's way)
    as_json: AsJson = False,  # noqa: FBT002  (typer's way)
) -> None:
    """Search hyper-parameters over transfers, then prove the best on a transfer not searched."""
    prepare_environment(address=address)
    # Everything that can be refused is, before torch and Ray are imported.
    from tune.budget import parse_budget
    from tune.domains import check_targets
    from tune.folder.folder import STUDY, read_folder, sole_driver, spent_on, unused_folder
    from tune.settings import VALIDATION, adapting, study_config, table_of

    quiet_libraries()
    changes = parse_settings(settings or [])
    for path, value in (
        ("study.num_trials", trials),
        ("study.budget", budget),
        ("study.workers_per_trial", workers_per_trial),
        ("study.name", name),
        ("study.stages", stages),
    ):
        if value is not None:
            changes[path] = value
    if budget is not None and trials is None:
        changes["study.num_trials"] = 0
    if resume is None and budget is not None and budget.startswith("+"):
        raise ConfigError(f"--budget {budget} is for a study to go on with; add --resume FOLDER")
    before = None
    if resume is not None:
        if any(other is not None for other in (source, target, name, storage)):
            raise ConfigError(
                "--resume continues the study in that folder; --source, --target, --name and "
                "--storage are for a new one"
            )
        before, tree = read_folder(resume)
        changes["study.name"] = table_of(tree, "study").get("name", before.name)
        if budget is not None and budget.startswith("+"):
            changes["study.budget"] = str(parse_budget(budget[1:]).beyond(spent_on(before)))
    else:
        tree = read_packaged_toml("tune", "spaces", "demo")
    if config is not None or preset is not None:
        tree = merged(
            {} if preset is None else read_packaged_toml("tune", "spaces", preset),
            {} if config is None else read_toml(config),
        )
    if (source is None) != (target is None):
        raise ConfigError("--source and --target name a transfer together; give both")
    if source is not None:
        score = table_of(tree, "study").get("score", VALIDATION)
        changes |= adapting(f"{source}->{target}", score=changes.get("study.score", score))
    try:
        study = study_config(tree, changes)
    except ConfigError as error:
        if before is None or config is not None or preset is not None:
            raise
        raise ConfigError(
            f"{before.locate(STUDY)}, with what this command sets: {error}"
        ) from error
    if resume is None:
        folder = open_store("runs" if storage is None else storage).folder(
            study.study.name, of="study"
        )
    else:
        folder = open_store(resume)
    if resume is None and or_resume and folder.exists(STUDY):
        resume = folder.uri
    if resume is None:
        unused_folder(folder.uri)
    begin = time.monotonic()
    check_targets(study)
    ready_domains(study.run, study.needed_splits())

    from daam.execution.connection import connected, require_reachable
    from daam.execution.names import job_metadata
    from tune.folder.resuming import adopt
    from tune.session import finish_study, stopped_in_words
    from tune.study import is_finished, portable_study

    with sole_driver(folder.uri) as folder:
        rendered_s = time.monotonic() - begin
        print_line(f"Study {folder.uri}")
        study = portable_study(study)
        if resume is None:
            unused_folder(folder.uri)  # another process may have run it until now
        else:
            for line in adopt(folder, study):
                print_line(line)
        try:
            resume_with = f"daam tune --resume {shlex.quote(folder.uri)}"
            with (
                last_words(f"the study was stopped; resume with: {resume_with}"),
                ExitStack() as stack,
            ):
                if not is_finished(study, folder):  # else only the report is written again
                    job = job_metadata(f"tune {study.study.name}", transfers=study.all_transfers)
                    cluster = stack.enter_context(connected(address=address, job=job))
                    require_reachable(
                        {
                            "data.root": study.run.data.root,
                            "--storage": folder.uri,
                            "--stages": study.stages_in(folder).uri,
                        }
                    )
                    print_line(f"Ray dashboard: {cluster.dashboard_url}")
                    if cluster.needs_token:
                        print_line(f"It asks for a token: {RAY} get-auth-token prints it.")
                    print_line(f"Report, renewed as it runs: {folder.locate('report.html')}")
                    print_line(f"Ray's logs, with all stack traces: {cluster.logs}")
                display = stack.enter_context(StudyDisplay(console))
                summary = finish_study(study, folder, watch=display, seconds={"data": rendered_s})
        except KeyboardInterrupt as error:
            raise StudyInterruptedError(stopped_in_words(folder)) from error
    if summary.comparison is not None:
        console.print(comparison_table(summary.comparison))
        console.print(summary.comparison.verdict, highlight=False)
    print_files(summary.files)
    print_line(f"Look closer: daam dashboard {shlex.quote(folder.uri)}")
    if as_json:
        print_json(json.loads(folder.read("study.json")))


def comparison_table(comparison: "Comparison") -> Table:
    """Return the final comparison, one row a contender: means over the seeds, and their spread."""
    table = Table(title=f"Final comparison on {comparison.transfer}")
    others = ("rank-1", "mINP") if comparison.measure == "mAP" else ()
    for header in ("", comparison.heading, *others):
        table.add_column(header, justify="right" if header else "left")
    for row in comparison.entrants:
        spread = "" if row.spread is None else f" ± {row.spread:.3f}"
        name = row.name if row.same_as is None else f"{row.name} (same as {row.same_as})"
        scores = row.retrieval
        table.add_row(
            name,
            f"{row.score:.3f}{spread}",
            *((f"{scores.rank_1:.3f}", f"{scores.mean_inp:.3f}") if scores else ()),
        )
    return table

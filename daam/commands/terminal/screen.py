"""Output of the commands: tables and progress bars in a terminal, plain lines in a log."""

import json
import logging
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import typer
from rich.console import Console
from rich.progress import (
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    TransferSpeedColumn,
)

from daam.errors import ImportInterruptedError

console = Console()
CONTROL_CHARACTERS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
COMMAND = re.compile(
    r"\bdaam (?=(tune|dashboard|train|evaluate|compare|label|search|export|embed|config|data"
    r"|cluster) )"
)


@contextmanager
def progress_bar(title: str, *, in_bytes: bool = False) -> Iterator[Callable[[int, int], None]]:
    """Show a progress bar; yields its update function, called with (done, total)."""
    amounts = (DownloadColumn(), TransferSpeedColumn()) if in_bytes else (MofNCompleteColumn(),)
    columns = (*Progress.get_default_columns(), *amounts)
    with Progress(*columns, console=console, disable=not console.is_terminal) as bars:
        task = bars.add_task(title, total=None)
        yield lambda done, total: bars.update(task, completed=done, total=total)


@contextmanager
def resumed_when_repeated(work: str) -> Iterator[None]:
    """Turn Ctrl-C into an error that says how to resume the work, for example "the import".

    Raises:
        ImportInterruptedError: in place of KeyboardInterrupt.
    """
    try:
        yield
    except KeyboardInterrupt as error:
        raise ImportInterruptedError(
            f"{work} was stopped: the domain is unchanged, or new and complete; repeat the command "
            "to resume, files that are already there are not sent again"
        ) from error


@contextmanager
def progress_bars(verb: str) -> Iterator[Callable[[str, int, int], None]]:
    """Show a progress bar per name; yields the function called with (name, done, total)."""
    with Progress(console=console, disable=not console.is_terminal) as bars:
        tasks = {}

        def advance(name: str, done: int, total: int) -> None:
            if name not in tasks:
                tasks[name] = bars.add_task(f"{verb} {name}", total=None)
            bars.update(tasks[name], completed=done, total=total)

        yield advance


def print_line(text: str) -> None:
    """Print a line without colours or wrapping, its commands in the form the user can type."""
    console.print(as_started(text), highlight=False, soft_wrap=True, markup=False, emoji=False)


def as_started(text: str) -> str:
    """Return text with its commands in the form that started this process.

    Only an installed package has `daam`; a checkout with its requirements has `launch.py`. Control
    characters, such as those of a file's name, are written out: a terminal would obey them.
    """
    text = CONTROL_CHARACTERS.sub(lambda found: repr(found[0])[1:-1], text)
    if Path(sys.argv[0]).name != "launch.py":
        return text
    return COMMAND.sub("python launch.py ", text)


def keep_stdout_for_json(wanted: bool) -> bool:  # noqa: FBT001  (typer's way)
    """Send everything but the JSON to standard error, if JSON is wanted."""
    console.stderr = wanted
    return wanted


def print_json(document: Mapping[str, object]) -> None:
    """Print a result as one line of JSON."""
    typer.echo(json.dumps(document, default=str))


def print_files(files: Iterable[str | Path]) -> None:
    """Print the files a command wrote, one per line."""
    for file in files:
        print_line(f"  {file}")


def quiet_libraries() -> None:
    """Keep libraries off the terminal, but for warnings (of Ray and Optuna: errors).

    Optuna sets its own level when it is imported: call this afterwards.
    """
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    for name in ("ray", "ray.tune", "ray.train", "optuna"):
        logging.getLogger(name).setLevel(logging.ERROR)

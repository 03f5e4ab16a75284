"""The folder of a study, local or on S3, and the Optuna study in it.

study.lock        locked by the process that runs the study (local folders only; S3 has no lock)
study.toml        the study as it was started
journal.log       Optuna's journal: every trial, its parameters, scores and state
trials/           a folder for each trial, with the checkpoints of its transfers
holdout/          the same for the contenders of the final comparison
study.json, trials.csv, best.toml, report.html     the results
"""

import fcntl
import shlex
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import optuna
import tomlkit
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from daam.config.load import read_toml
from daam.errors import StudyError
from daam.storage import MissingKeyError, Store, open_store
from tune.settings import StudyConfig

LOCK = "study.lock"
STUDY = "study.toml"
JOURNAL = "journal.log"


@contextmanager
def sole_driver(uri: str) -> Iterator[None]:
    """Keep other processes off a study; the kernel releases the lock when this process ends.

    Raises:
        StudyError: another process is running it.
    """
    path = open_store(uri).local_path(LOCK)
    if path is None:
        yield
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise StudyError(
                f"another process is running the study in {uri}; wait for it, or stop it first"
            ) from error
        yield


def create_folder(uri: str, config: StudyConfig) -> Store:
    """Create the folder of a new study.

    Raises:
        StudyError: it already holds a study.
    """
    folder = unused_folder(uri)
    tree = {
        "study": config.study.model_dump(),
        "search": config.search,
        **config.run.model_dump(),
    }
    folder.write(STUDY, tomlkit.dumps(tree).encode())
    return folder


def unused_folder(uri: str) -> Store:
    """Return a folder that holds no study yet; write nothing.

    Raises:
        StudyError: it already holds a study.
    """
    folder = open_store(uri)
    if folder.exists(STUDY):
        raise StudyError(
            f"there is a study in {uri} already; resume it: --resume {shlex.quote(uri)}, "
            "or give this one another name: --name NAME"
        )
    return folder


def read_folder(uri: str) -> tuple[Store, dict[str, Any]]:
    """Return a study's folder and its settings, for --resume.

    Raises:
        StudyError: it holds no study.
    """
    folder = open_store(uri)
    try:
        content = folder.read(STUDY)
    except MissingKeyError as error:
        raise StudyError(f"there is no study in {uri}; name the folder that it printed") from error
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / STUDY
        path.write_bytes(content)
        return folder, read_toml(path)


def open_study(
    folder: Store, config: StudyConfig, *, scratch: Path
) -> tuple[optuna.Study, Callable[[], None]]:
    """Open or create the Optuna study of a folder; also return a publisher of its journal.

    Optuna appends to the journal in the scratch folder. Publishing replaces the copy in the study's
    folder atomically, on S3 as on a disk.
    """
    journal = scratch / JOURNAL
    if folder.exists(JOURNAL):
        folder.download(JOURNAL, journal)
    settings = config.study
    study = optuna.create_study(
        study_name=settings.name,
        storage=JournalStorage(JournalFileBackend(str(journal))),
        direction="maximize",
        load_if_exists=True,
        pruner=optuna.pruners.MedianPruner(
            n_startup_trials=settings.num_startup_trials,
            n_warmup_steps=settings.num_startup_epochs,
        ),
    )
    # A resumed study must not draw the same samples again.
    study.sampler = optuna.samplers.TPESampler(
        n_startup_trials=settings.num_startup_trials,
        seed=settings.seed + len(study.get_trials(deepcopy=False)),
    )

    def publish() -> None:
        folder.upload(journal, JOURNAL)

    return study, publish

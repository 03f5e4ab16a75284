"""The folder of a study, local or on S3, and the Optuna study in it.

study.lock        locked by the process that runs the study; on S3 its lease, `study.lock/0001.json`
study.toml        the settings of the study, from its first trial on
journal.log       Optuna's journal: every trial, its parameters, scores and state; with its seal and
                  the one before, see `tune.folder.journal_file`
journal-N.log     the journal before the N-th change of the settings, see `tune.folder.resuming`
stages/           the source stages that its runs share (elsewhere with study.stages)
trials/           a folder for each trial, with the checkpoints of its transfers
race/, race.json  the same for the best trials, repeated with other seeds, and how that ended
holdout/          the same for the contenders of the final comparison
study.json, trials.csv, best.toml, report.html     the results
"""

import re
import shlex
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import optuna
import tomlkit
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from daam.documents import MalformedError, parse_toml
from daam.errors import ConfigError, StudyError
from daam.runs import lease
from daam.storage import MissingKeyError, Store, open_store
from daam.storage.scratch import scratch_folder
from tune.budget import Cost, cost_of
from tune.folder.journal_file import JOURNAL, SCORES, SETTINGS, JournalPublisher, read_journal
from tune.proposals.sampling import pruner_for, sampler_for
from tune.settings import StudyConfig

LOCK = "study.lock"
STUDY = "study.toml"
TRIAL_FOLDER = re.compile(r"trials/trial-(\d+)")


@contextmanager
def sole_driver(uri: str) -> Iterator[Store]:
    """Keep other processes off a study; yields its folder, which only this one can change.

    Raises:
        StorageError: the study's folder cannot be written.
        DriverError: another process is running it.
    """
    with lease.sole_driver(open_store(uri), lock=LOCK, what="the study") as folder:
        yield folder


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


def write_settings(folder: Store, config: StudyConfig) -> None:
    """Store the settings of a study in its folder, which holds a study from then on."""
    tree = {
        "study": config.study.model_dump(),
        "search": config.search,
        **config.run.model_dump(),
    }
    folder.write(STUDY, tomlkit.dumps(tree).encode())


def how_to_resume(folder: Store) -> str:
    """Describe how to resume a study that was stopped."""
    if folder.exists(STUDY):
        return f"resume with: daam tune --resume {shlex.quote(folder.uri)}"
    return "no trial had begun, so give the same command again"


def read_folder(uri: str) -> tuple[Store, dict[str, Any]]:
    """Return a study's folder and its settings, for --resume.

    Raises:
        StudyError: it holds no study.
        ConfigError: its settings, which may have been edited, are not TOML.
    """
    folder = open_store(uri)
    try:
        return folder, parse_toml(folder.read_document(STUDY))
    except MissingKeyError as error:
        raise StudyError(f"there is no study in {uri}; name the folder that it printed") from error
    except MalformedError as error:
        raise ConfigError(f"{folder.locate(STUDY)} cannot be read: {error}; fix it") from error


def open_study(
    folder: Store, config: StudyConfig, *, scratch: Path
) -> tuple[optuna.Study, Callable[[], None]]:
    """Open or create the Optuna study of a folder; also return a publisher of its journal.

    Optuna appends to the journal in the scratch folder. Publishing replaces the copy in the study's
    folder atomically, on S3 as on a disk. Nothing is written there before.

    Raises:
        StudyError: the journal is damaged, or missing beside trials.
    """
    journal = scratch / JOURNAL
    content = read_journal(folder)
    if content:
        journal.write_bytes(content)
    settings = config.study
    study = optuna.create_study(
        study_name=settings.name,
        storage=journal_storage(journal),
        directions=config.directions(),
        load_if_exists=True,
        pruner=pruner_for(
            settings, num_epochs=len(settings.search_transfers) * config.run.num_epochs
        ),
    )
    if SETTINGS not in study.user_attrs:
        study.set_user_attr(SETTINGS, settings_document(config))
    check_scores(folder, study, config)
    num_trials = len(study.get_trials(deepcopy=False))
    check_trials_are_known(folder, num_trials)
    study.sampler = sampler_for(settings, config.space())
    is_new = not folder.exists(STUDY)
    publisher = JournalPublisher(folder, content)

    def publish() -> None:
        nonlocal is_new
        if is_new:
            write_settings(folder, config)
            is_new = False
        publisher.publish(journal.read_bytes())

    return study, publish


def stored_study(folder: Store, scratch: Path) -> optuna.Study | None:
    """Return a copy of the Optuna study in a folder, whatever its name; None if it has none."""
    content = read_journal(folder)
    if not content:
        return None
    (scratch / JOURNAL).write_bytes(content)
    storage = journal_storage(scratch / JOURNAL)
    (name,) = optuna.get_all_study_names(storage)
    return optuna.load_study(study_name=name, storage=storage)


def spent_on(folder: Store) -> Cost:
    """Return what the search of a study has cost so far."""
    with scratch_folder() as scratch:
        study = stored_study(folder, scratch)
        return Cost() if study is None else cost_of(study)


def journal_storage(path: Path) -> JournalStorage:
    """Return Optuna's storage in a local file."""
    return JournalStorage(JournalFileBackend(str(path)))


def settings_document(config: StudyConfig) -> str:
    """Return a study's settings as text, to compare them when it is resumed."""
    return config.model_dump_json()


def check_scores(folder: Store, study: optuna.Study, config: StudyConfig) -> None:
    """Refuse complete trials that were not scored on every search transfer.

    Raises:
        StudyError: there is one.
    """
    for trial in study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)):
        missing = set(config.study.search_transfers) - trial.user_attrs[SCORES].keys()
        if missing or len(trial.values) != len(study.directions):
            raise StudyError(
                f"{folder.locate(JOURNAL)} is damaged: trial {trial.number} has no score on "
                f"{', '.join(sorted(missing)) or 'every objective'}; restore it from a backup"
            )


def check_trials_are_known(folder: Store, num_trials: int) -> None:
    """Refuse a journal that is missing, empty or shorter than it was: trials would mix.

    Raises:
        StudyError: there is the folder of a trial that the journal does not have.
    """
    numbers = [
        int(found[1]) for key in folder.list("trials/") if (found := TRIAL_FOLDER.match(key))
    ]
    if numbers and max(numbers) >= num_trials:
        what = f"ends after {num_trials} trials" if num_trials else "is missing or empty"
        raise StudyError(
            f"{folder.locate(JOURNAL)} {what}, and {folder.locate('trials')} holds trial "
            f"{max(numbers)}; restore the journal from a backup, delete the folders of the trials "
            "that it lacks, or start a new study: --name NAME"
        )

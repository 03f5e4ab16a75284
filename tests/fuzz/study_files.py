"""The files in the folder of a study: settings, journal, events and sessions."""

import hashlib
import json
import shutil
import tempfile
from dataclasses import asdict
from functools import cache
from pathlib import Path

import numpy as np
from hypothesis.strategies import one_of
from optuna.trial import FrozenTrial, TrialState

from daam.storage import open_store
from tests.fuzz.mutations import mutated_bytes, mutated_json, mutated_json_lines, mutated_toml
from tests.fuzz.target import Target
from tests.support.studies import a_study, a_trial, some_events
from tune.contenders.racing import run_race
from tune.contenders.repeats import RACE, StoredRace, began_with, racers, read_race
from tune.folder.events import EVENTS, SESSIONS, history_of, read_events, read_sessions
from tune.folder.folder import STUDY, open_study, read_folder, write_settings
from tune.folder.journal_file import JOURNAL, SEAL
from tune.settings import StudyConfig, study_config


def settings() -> Target:
    """`study.toml`."""
    samples = [_written_settings()]
    mutated = one_of(mutated_toml(samples), mutated_bytes(samples))
    return Target(name="settings of a study", samples=samples, mutated=mutated, read=_read_settings)


def journal() -> Target:
    """`journal.log` with a seal that fits; what is opened is one study with possible scores."""
    samples = [_written_journal()]
    mutated = one_of(mutated_json_lines(samples), mutated_bytes(samples))
    return Target(name="journal of a study", samples=samples, mutated=mutated, read=_read_journal)


def events() -> Target:
    """`events.jsonl`; a damaged line is left out."""
    samples = [b"".join(json.dumps(event).encode() + b"\n" for event in some_events())]
    mutated = one_of(mutated_json_lines(samples), mutated_bytes(samples))
    return Target(name="events of a study", samples=samples, mutated=mutated, read=_read_events)


def sessions() -> Target:
    """`sessions.json`; of a damaged one the time is counted anew."""
    rows = [{"began": "2026-11-30T00:00:00", "host": "a", "pid": 7, "seconds": 1.5}] * 2
    samples = [json.dumps(rows, indent=1).encode()]
    mutated = one_of(mutated_json(samples), mutated_bytes(samples))
    return Target(name="sessions of a study", samples=samples, mutated=mutated, read=_read_sessions)


def race() -> Target:
    """`race.json`; a race of other trials does not count."""
    samples = [_written_race()]
    mutated = one_of(mutated_json(samples), mutated_bytes(samples))
    return Target(name="race of a study", samples=samples, mutated=mutated, read=_read_race)


@cache
def _config() -> StudyConfig:
    return a_study()


@cache
def _written_settings() -> bytes:
    with tempfile.TemporaryDirectory(prefix="daam-fuzz-") as name:
        write_settings(open_store(name), _config())
        return (Path(name) / STUDY).read_bytes()


@cache
def _written_journal() -> bytes:
    """Two trials that are complete and a queued one."""
    with tempfile.TemporaryDirectory(prefix="daam-fuzz-") as name:
        scratch = Path(name) / "scratch"
        scratch.mkdir()
        study, publish = open_study(open_store(name), _config(), scratch=scratch)
        for score in (0.5, 0.625):
            trial = study.ask(_config().distributions())
            trial.report(score, 1)
            trial.set_user_attr("scores", {"plaza->campus": score, "campus->plaza": score})
            study.tell(trial, score)
        study.enqueue_trial({})
        publish()
        return (Path(name) / JOURNAL).read_bytes()


def _read_settings(data: bytes, folder: Path) -> None:
    (folder / STUDY).write_bytes(data)
    _, tree = read_folder(str(folder))
    config = study_config(tree, {})
    if data == _written_settings():
        assert config == _config()


def _read_journal(data: bytes, folder: Path) -> None:
    (folder / JOURNAL).write_bytes(data)
    seal = {"size_bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    (folder / SEAL).write_text(json.dumps(seal))
    scratch = folder / "scratch"
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir()
    study, _ = open_study(open_store(str(folder)), _config(), scratch=scratch)
    scores = [trial.values[0] for trial in study.trials if trial.values]
    assert all(0 <= score <= 1 for score in scores)
    if data == _written_journal():
        assert scores == [0.5, 0.625]
        assert len(study.trials) == 3


def _read_events(data: bytes, folder: Path) -> None:
    (folder / EVENTS).write_bytes(data)
    read = read_events(open_store(str(folder)))
    assert all(isinstance(event[name], str) for event in read for name in ("kind", "text", "time"))
    history_of(open_store(str(folder)))
    assert len(read) <= data.count(b"\n") + 1


def _read_sessions(data: bytes, folder: Path) -> None:
    (folder / SESSIONS).write_bytes(data)
    assert all(row["seconds"] >= 0 for row in read_sessions(open_store(str(folder))))


@cache
def _trials() -> list[FrozenTrial]:
    generator = np.random.default_rng(0)
    return [a_trial(_raced(), number, generator, state=TrialState.COMPLETE) for number in range(3)]


@cache
def _raced() -> StudyConfig:
    return a_study(race_trials=2, race_seeds=2)


@cache
def _written_race() -> bytes:
    first = racers(_raced(), _trials())
    found = run_race(
        first,
        _raced().seeds(2),
        repeat=lambda _, trials: {trial: first[trial] for trial in trials},
        how=_raced().study.aggregate,
    )
    stored = StoredRace(began_with=began_with(_raced(), first), race=found)
    return json.dumps(asdict(stored), indent=1).encode()


def _read_race(data: bytes, folder: Path) -> None:
    (folder / RACE).write_bytes(data)
    found = read_race(_raced(), _trials(), open_store(str(folder)))
    assert found is None or found.winner in racers(_raced(), _trials())
    if data == _written_race():
        assert found is not None

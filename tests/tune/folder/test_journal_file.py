"""A journal that was cut, emptied or changed is refused; a process that died loses nothing."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from daam.errors import DaamError, StudyError
from daam.storage.local import LocalStore
from tests.support.damage import VALUES, changed, damaged_bytes, damaged_json, paths_of, without
from tune.dashboard import optuna_dashboard
from tune.folder.folder import open_study, stored_study
from tune.folder.journal_file import (
    BEFORE,
    JOURNAL,
    SEAL,
    JournalPublisher,
    read_journal,
    replace_journal,
)
from tune.settings import StudyConfig, study_config

LINES = [b'{"op_code": 0, "worker_id": "w", "study_name": "s", "directions": [2]}\n']
LINES += [
    b'{"op_code": 2, "worker_id": "w", "study_id": 0, "user_attr": {"who": %d}}\n' % number
    for number in range(4)
]


@pytest.fixture
def config() -> StudyConfig:
    return study_config(
        {
            "study": {"search_transfers": ["plaza->campus"], "holdout": "plaza->station"},
            "search": {
                "optimiser.learning_rate": {"low": 1e-4, "high": 1e-2},
                "model.attention.reduction": [8, 16],
            },
        },
        {},
    )


@pytest.fixture
def folder(config: StudyConfig, tmp_path: Path) -> LocalStore:
    """A study of two complete trials and a queued one, published after each."""
    folder = LocalStore(tmp_path / "study")
    (tmp_path / "first").mkdir()
    study, publish = open_study(folder, config, scratch=tmp_path / "first")
    for number in range(2):
        trial = study.ask(config.distributions())
        trial.report(0.25, 1)
        trial.set_user_attr("scores", {"plaza->campus": 0.5})
        study.tell(trial, 0.5 + number / 10)
        publish()
    study.enqueue_trial({"optimiser.learning_rate": 1e-3, "model.attention.reduction": 8})
    publish()
    return folder


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    (tmp_path / "again").mkdir()
    return tmp_path / "again"


def test_every_cut_of_a_journal_is_refused(folder: LocalStore) -> None:
    content = folder.read(JOURNAL)
    for length in range(0, len(content), 37):
        folder.write(JOURNAL, content[:length])
        with pytest.raises(StudyError, match=rf"has {length:,} bytes and had {len(content):,}; "):
            read_journal(folder)
    folder.delete(JOURNAL)
    with pytest.raises(StudyError, match="has 0 bytes"):
        read_journal(folder)


def test_any_changed_byte_is_noticed(folder: LocalStore) -> None:
    content = folder.read(JOURNAL)
    for place in range(0, len(content), 101):
        folder.write(JOURNAL, content[:place] + b"7" + content[place + 1 :])
        if content[place : place + 1] != b"7":
            with pytest.raises(StudyError, match="is not what was written there"):
                read_journal(folder)


def test_the_journal_before_is_kept_and_the_error_leads_back_to_it(
    folder: LocalStore, config: StudyConfig, scratch: Path
) -> None:
    whole = folder.read(JOURNAL)
    assert whole.startswith(folder.read(BEFORE))
    folder.write(JOURNAL, whole[:100])
    with pytest.raises(StudyError, match=f"replace it by {BEFORE}, and delete {SEAL}"):
        open_study(folder, config, scratch=scratch)
    folder.write(JOURNAL, folder.read(BEFORE))
    folder.delete(SEAL)
    study, publish = open_study(folder, config, scratch=scratch)
    assert [trial.values for trial in study.get_trials()] == [[0.5], [0.6]]
    publish()
    assert read_journal(folder) == folder.read(JOURNAL)


class DiesAt(LocalStore):
    """A folder whose process dies as it begins to write a key."""

    key = ""

    def write(self, key: str, data: bytes) -> None:
        if key == self.key:
            raise KeyboardInterrupt
        super().write(key, data)


@pytest.mark.parametrize("key", [BEFORE, JOURNAL, SEAL])
@pytest.mark.parametrize(
    "write",
    [
        lambda folder, content: JournalPublisher(folder, b"".join(LINES[:3])).publish(content),
        replace_journal,
    ],
    ids=["published", "replaced"],
)
def test_a_process_that_dies_between_two_files_leaves_a_journal_that_is_read(
    tmp_path: Path, key: str, write: Callable[[LocalStore, bytes], None]
) -> None:
    before, after = b"".join(LINES[:3]), b"".join(LINES)
    JournalPublisher(LocalStore(tmp_path), b"").publish(before)
    dying = DiesAt(tmp_path)
    dying.key = key
    try:
        write(dying, after)
    except KeyboardInterrupt:
        assert read_journal(LocalStore(tmp_path)) == (after if key == SEAL else before)
    else:
        assert (key, write) == (BEFORE, replace_journal)
    write(LocalStore(tmp_path), after)
    assert read_journal(LocalStore(tmp_path)) == after


def test_a_journal_is_replaced_by_one_that_begins_otherwise(tmp_path: Path) -> None:
    folder = LocalStore(tmp_path)
    JournalPublisher(folder, b"").publish(b"".join(LINES))
    other = b"".join([LINES[0], *LINES[3:]])
    replace_journal(folder, other)
    assert read_journal(folder) == other


def test_a_dashboard_refuses_a_cut_journal(folder: LocalStore) -> None:
    pytest.importorskip("optuna_dashboard")
    optuna_dashboard(folder)
    folder.write(JOURNAL, folder.read(JOURNAL)[:-100])
    with pytest.raises(StudyError, match="bytes and had"):
        optuna_dashboard(folder)


def outcome(folder: LocalStore, config: StudyConfig, scratch: Path) -> bool:
    """Use a journal as a study that is resumed does; return whether it was refused in one line."""
    (scratch / JOURNAL).unlink(missing_ok=True)
    try:
        stored_study(folder, scratch)
        (scratch / JOURNAL).unlink(missing_ok=True)
        study, _ = open_study(folder, config, scratch=scratch)
        for trial in study.get_trials():
            assert trial.values is None or 0 <= trial.values[0] <= 1
    except DaamError:
        return True
    return False


def test_a_damaged_seal_is_named(folder: LocalStore, config: StudyConfig, scratch: Path) -> None:
    for name, content in damaged_json(folder.read(SEAL)):
        folder.write(SEAL, content)
        is_refused = outcome(folder, config, scratch)
        assert is_refused or name.startswith("a flipped bit"), name  # perhaps in white space


def test_a_damaged_journal_without_a_seal_is_a_study_or_a_clear_error(
    folder: LocalStore, config: StudyConfig, scratch: Path
) -> None:
    """The seal of a journal of an older daam is missing; so what is in it is checked, too."""
    content = folder.read(JOURNAL)
    folder.delete(SEAL)
    for _, damaged in damaged_bytes(content):
        folder.write(JOURNAL, damaged)
        outcome(folder, config, scratch)
    lines = content.splitlines()
    num_refused = 0
    for number, line in enumerate(lines):
        document: dict[str, Any] = json.loads(line)
        for path in paths_of(document):
            variants = [changed(document, path, lambda _, new=value: new) for value in VALUES[:7]]
            if path:
                variants.append(without(document, path))
            for variant in variants:
                new = [*lines[:number], json.dumps(variant).encode(), *lines[number + 1 :]]
                folder.write(JOURNAL, b"\n".join(new) + b"\n")
                num_refused += outcome(folder, config, scratch)
    assert num_refused > 300


@pytest.mark.parametrize("score", ["true", "7.0", "NaN", "-0.5", '"0.5"', "null", "[]"])
def test_an_impossible_score_is_no_result(folder: LocalStore, score: str) -> None:
    folder.delete(SEAL)
    content = folder.read(JOURNAL)
    assert content.count(b'"values":[0.6]') == 1
    folder.write(JOURNAL, content.replace(b'"values":[0.6]', b'"values":[%s]' % score.encode()))
    with pytest.raises(StudyError, match=r"journal\.log is damaged: "):
        read_journal(folder)


def test_a_folder_in_place_of_a_file_is_named(folder: LocalStore) -> None:
    for key in (SEAL, JOURNAL):
        folder.delete(key)
        (Path(folder.uri) / key).mkdir()
        with pytest.raises(DaamError, match=rf"{key}: it is a folder"):
            read_journal(folder)
        (Path(folder.uri) / key).rmdir()

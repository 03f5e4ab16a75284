"""Who may work on a study, and when; and journals that are not as they were left."""

import subprocess
import sys
from pathlib import Path

import pytest

from daam.errors import ConfigError, DriverError, FencedError, StorageError, StudyError
from daam.storage import Store
from daam.storage.local import LocalStore
from tests.support.commands import ROOT
from tune.folder.folder import LOCK, STUDY, open_study, read_folder, sole_driver
from tune.folder.journal_file import JOURNAL, SEAL
from tune.settings import StudyConfig, study_config

HOLD = """
import sys, time
from tune.folder.folder import sole_driver
with sole_driver(sys.argv[1]):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_second_driver_is_refused_until_the_first_is_dead(tmp_path):
    uri = str(tmp_path / "runs" / "study")
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, uri], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as first:
        try:
            assert first.stdout is not None
            assert first.stdout.readline() == "held\n"
            expected = pytest.raises(
                DriverError,
                match=rf"another process is running the study in {uri} \(process {first.pid} on ",
            )
            with expected, sole_driver(uri):
                pytest.fail("two drivers at once")
        finally:
            first.kill()
    with sole_driver(uri):
        assert (tmp_path / "runs" / "study").exists()


@pytest.mark.parametrize("place", ["/proc/self/nowhere", "/dev/null/runs"])
def test_a_folder_that_cannot_be_written_is_refused(place):
    with pytest.raises(StorageError, match=f"cannot write {place}/small"):
        sole_driver(f"{place}/small").__enter__()


def test_a_lock_that_cannot_be_opened_is_named(tmp_path: Path) -> None:
    (tmp_path / "study" / LOCK).mkdir(parents=True)
    with pytest.raises(StorageError, match=f"cannot write {tmp_path}/study/{LOCK}: it is a folder"):
        sole_driver(str(tmp_path / "study")).__enter__()


def test_a_store_that_refuses_is_named_before_anything_starts(
    s3_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "another")
    with pytest.raises(StorageError, match=f"cannot write {s3_uri}/probe: .* refuses"):
        sole_driver(s3_uri).__enter__()


def test_settings_that_were_edited_to_nonsense_are_named(tmp_path: Path) -> None:
    folder = LocalStore(tmp_path / "study")
    folder.write(STUDY, b"[study]\nname = small\n")
    expected = rf"^{folder.locate(STUDY)} cannot be read: it is not valid TOML: .*line 2"
    with pytest.raises(ConfigError, match=expected):
        read_folder(folder.uri)


@pytest.fixture
def config() -> StudyConfig:
    return study_config(
        {
            "study": {"search_transfers": ["plaza->campus"], "holdout": "plaza->station"},
            "search": {"optimiser.learning_rate": {"low": 1e-4, "high": 1e-2}},
        },
        {},
    )


@pytest.fixture
def folder(config: StudyConfig, tmp_path: Path) -> LocalStore:
    """A study of two trials with a folder each."""
    folder = LocalStore(tmp_path / "study")
    scratch = tmp_path / "first"
    scratch.mkdir()
    study, publish = open_study(folder, config, scratch=scratch)
    for number in range(2):
        trial = study.ask(config.distributions())
        trial.set_user_attr("scores", {"plaza->campus": 0.5})
        study.tell(trial, 0.5)
        folder.write(f"trials/trial-{number:04d}/plaza-campus/reports.json", b"[]")
    publish()
    return folder


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    (tmp_path / "again").mkdir()
    return tmp_path / "again"


def test_nothing_is_in_the_folder_before_the_first_trial(
    config: StudyConfig, tmp_path: Path, scratch: Path
) -> None:
    folder = LocalStore(tmp_path / "study")
    _, publish = open_study(folder, config, scratch=scratch)
    assert folder.list() == []
    publish()
    assert folder.list() == [JOURNAL, SEAL, STUDY]


@pytest.mark.parametrize("has_seal", [True, False], ids=["sealed", "of an older daam"])
@pytest.mark.parametrize("cut", [b"{", b'{"op_code": 5, "worker_id"'])
def test_a_journal_whose_last_line_was_cut_goes_on(
    config: StudyConfig,
    folder: Store,
    scratch: Path,
    cut: bytes,
    has_seal: bool,
    caplog: pytest.LogCaptureFixture,
) -> None:
    folder.write(JOURNAL, folder.read(JOURNAL) + cut)
    if not has_seal:
        folder.delete(SEAL)
    study, publish = open_study(folder, config, scratch=scratch)
    assert f"{folder.locate(JOURNAL)} ends within a line" in caplog.text
    assert len(study.get_trials()) == 2
    study.ask(config.distributions())
    publish()
    (scratch / JOURNAL).unlink()
    assert len(open_study(folder, config, scratch=scratch)[0].get_trials()) == 3


@pytest.mark.parametrize("content", [None, b"", b'{"op_code": 0'])
def test_a_journal_that_is_gone_beside_trials_is_refused(
    config: StudyConfig, folder: Store, scratch: Path, content: bytes | None
) -> None:
    folder.delete(JOURNAL)
    folder.delete(SEAL)  # as after an older daam
    if content is not None:
        folder.write(JOURNAL, content)
    expected = f"{folder.locate(JOURNAL)} is missing or empty, and .*trials holds trial 1; restore"
    with pytest.raises(StudyError, match=expected):
        open_study(folder, config, scratch=scratch)


def test_a_journal_of_an_earlier_time_is_refused(
    config: StudyConfig, folder: Store, scratch: Path
) -> None:
    folder.write("trials/trial-0002/plaza-campus/reports.json", b"[]")
    with pytest.raises(StudyError, match=r"ends after 2 trials, and .* holds trial 2"):
        open_study(folder, config, scratch=scratch)


def test_a_journal_that_is_damaged_in_its_middle_is_refused(
    config: StudyConfig, folder: Store, scratch: Path
) -> None:
    lines = folder.read(JOURNAL).splitlines(keepends=True)
    lines[2] = lines[2][:10] + b"\n"
    folder.write(JOURNAL, b"".join(lines))
    with pytest.raises(StudyError, match=r"is not what was written there|has .* bytes and had"):
        open_study(folder, config, scratch=scratch)
    folder.delete(SEAL)
    with pytest.raises(StudyError, match=r"is damaged: line 3: .*; restore"):
        open_study(folder, config, scratch=scratch)


def test_a_journal_that_another_process_has_made_longer_is_not_replaced(
    store: Store, config: StudyConfig, tmp_path: Path
) -> None:
    publishers = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        publishers.append(open_study(store, config, scratch=tmp_path / name))
    (first, publish_first), (second, publish_second) = publishers
    first.set_user_attr("who", "first")
    publish_first()
    longer = store.read(JOURNAL)
    second.set_user_attr("who", "second" * 100)
    with pytest.raises(FencedError, match="has grown meanwhile: another process"):
        publish_second()
    assert store.read(JOURNAL) == longer
    publish_first()


def test_a_cut_line_that_is_left_out_does_not_make_a_journal_shorter(
    store: Store, config: StudyConfig, tmp_path: Path
) -> None:
    _, publish = open_study(store, config, scratch=tmp_path)
    publish()
    store.write(JOURNAL, store.read(JOURNAL) + b'{"op_code": ' + b"1" * 5000)
    (tmp_path / "again").mkdir()
    _, publish = open_study(store, config, scratch=tmp_path / "again")
    publish()
    assert store.read(JOURNAL).endswith(b"\n")

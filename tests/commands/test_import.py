"""`data import` says what it left out, reads what a flag allows, and goes on after Ctrl-C."""

import os
import re
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import launch
from daam.commands.terminal.domain_report import SentFiles
from daam.dataset.format.manifest import ShardEntry
from daam.storage import open_store
from tests.support.tiny_domains import write_market


def run_import(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    return run_data(monkeypatch, "import", *words)


def run_data(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    monkeypatch.setattr(sys, "argv", ["launch.py", "data", *words])
    try:
        return launch.main()
    except SystemExit as error:
        return error.code if isinstance(error.code, int) else 1


def test_skipped_files_are_counted_and_the_first_named_by_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "raw"
    write_market(root, name="plaza")
    for number in range(4):
        (root / "query" / f"{number}.txt").touch()
    (root / "query" / "faces").mkdir()
    words = ("--layout", "market1501", "--root", str(root), "--domain", "plaza")
    assert run_import(monkeypatch, *words, "--to", str(tmp_path / "to")) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == [
        "skipped 1, a folder: query/faces",
        "skipped 4, not an image file: query/0.txt, query/1.txt, query/2.txt, …",
    ]


def test_a_withdrawn_data_set_is_read_after_the_acknowledgement(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "raw"
    write_market(root, name="plaza")
    for path in sorted(root.rglob("*.jpg")):
        identity, camera, frame, _ = path.stem.split("_")
        path.rename(path.with_name(f"{identity}_{camera[:2]}_f{frame}.jpg"))
    words = ("--layout", "dukemtmc", "--root", str(root), "--domain", "old")
    to = ("--to", str(tmp_path / "to"))
    assert run_import(monkeypatch, *words, *to) == 2
    assert not (tmp_path / "to").exists()
    assert run_import(monkeypatch, *words, *to, "--acknowledge-withdrawal") == 0


@pytest.fixture
def ctrl_c() -> Iterator[None]:
    """Ctrl-C interrupts, also where the tests are a shell's background job, which ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("ctrl_c")
@pytest.mark.parametrize("command", ["import", "copy"])
def test_ctrl_c_says_how_to_go_on_and_the_same_command_does(
    command: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    write_market(tmp_path / "raw", name="plaza")
    words = ["import", "--layout", "market1501", "--root", str(tmp_path / "raw")]
    words += ["--domain", "plaza", "--shard-mib", ".02", "--to", str(tmp_path / "to")]
    if command == "copy":
        assert run_data(monkeypatch, *words) == 0
        words = [
            "copy",
            "--domain",
            "plaza",
            "--from",
            str(tmp_path / "to"),
            "--to",
            str(tmp_path / "other"),
        ]
    target = open_store(words[-1])

    def add_and_interrupt(sent: SentFiles, entry: ShardEntry, is_sent: bool) -> None:
        add(sent, entry, is_sent)
        if sent.num_sent == 2:
            os.kill(os.getpid(), signal.SIGINT)

    add = SentFiles.add
    with monkeypatch.context() as patch:
        patch.setattr(SentFiles, "add", add_and_interrupt)
        assert run_data(monkeypatch, *words) == 130
    assert "repeat the command to resume" in capsys.readouterr().err
    assert not target.exists("plaza/manifest.json")
    assert run_data(monkeypatch, *words) == 0
    assert re.search(r"sent \d+ files .* [2-9]\d* were there already", capsys.readouterr().out)

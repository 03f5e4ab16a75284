"""`data import` says what it left out, and reads what a flag allows."""

import sys
from pathlib import Path

import pytest

import launch
from tests.tiny_domains import write_market


def run_import(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    monkeypatch.setattr(sys, "argv", ["launch.py", "data", "import", *words])
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

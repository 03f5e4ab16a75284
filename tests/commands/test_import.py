"""`data import` says what it left out, reads what a flag allows, and goes on after Ctrl-C."""

import os
import re
import shlex
import shutil
import signal
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from daam.commands.terminal.domain_report import SentFiles
from daam.dataset.format.manifest import ShardEntry, read_manifest
from daam.dataset.maintenance.verify import repair_commands
from daam.domains import Split
from daam.storage import open_store
from tests.support.commands import Launch
from tests.support.tiny_domains import write_market


@pytest.fixture
def data(command: Launch) -> Launch:
    """Runs a command of `data`."""
    return partial(command, "data")


def test_skipped_files_are_counted_and_the_first_named_by_reason(
    data: Launch, tmp_path: Path
) -> None:
    root = tmp_path / "raw"
    write_market(root, name="plaza")
    for number in range(4):
        (root / "query" / f"{number}.txt").touch()
    (root / "query" / "faces").mkdir()
    words = ("--layout", "market1501", "--root", str(root), "--domain", "plaza")
    code, out, _ = data("import", *words, "--to", str(tmp_path / "to"))
    assert code == 0
    assert out.splitlines()[:2] == [
        "skipped 1, a folder: query/faces",
        "skipped 4, not an image file: query/0.txt, query/1.txt, query/2.txt, …",
    ]


def test_an_import_in_place_of_another_says_so(data: Launch, tmp_path: Path) -> None:
    write_market(tmp_path / "raw", name="plaza")
    words = ("import", "--layout", "folder", "--root", str(tmp_path / "raw"), "--domain", "mine")
    words = (*words, "--to", str(tmp_path / "to"))
    with_cameras = data(*words, "--pattern", r"_c(?P<camera>\d)")
    assert with_cameras.code == 0, with_cameras.err
    assert "replaces" not in with_cameras.out
    assert "replaces" not in data(*words, "--pattern", r"_c(?P<camera>\d)").out
    assert "this replaces another import of mine" in data(*words).out


def test_a_withdrawn_data_set_is_read_after_the_acknowledgement(
    data: Launch, tmp_path: Path
) -> None:
    root = tmp_path / "raw"
    write_market(root, name="plaza")
    for path in sorted(root.rglob("*.jpg")):
        identity, camera, frame, _ = path.stem.split("_")
        path.rename(path.with_name(f"{identity}_{camera[:2]}_f{frame}.jpg"))
    words = ("import", "--layout", "dukemtmc", "--root", str(root), "--domain", "old")
    words = (*words, "--to", str(tmp_path / "to"))
    assert data(*words).code == 2
    assert not (tmp_path / "to").exists()
    assert data(*words, "--acknowledge-withdrawal").code == 0


@pytest.fixture
def ctrl_c() -> Iterator[None]:
    """Ctrl-C interrupts, also where the tests are a shell's background job, which ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("ctrl_c")
def test_a_dry_run_says_what_is_understood_and_writes_nothing(data: Launch, tmp_path: Path) -> None:
    write_market(tmp_path / "raw", name="plaza")
    crops = tmp_path / "raw" / "bounding_box_train"
    (crops / "0001_c9s1_000000_00.jpg").write_bytes(b"")
    (crops / "notes.txt").touch()
    shutil.copy(next(crops.glob("0002_c1*")), crops / "[b]_c1s1_000001:car:.jpg")
    words = ("--layout", "folder", "--root", str(crops), "--domain", "mine")
    pattern = ("--pattern", r"_c(?P<camera>\d)s\d_(?P<time>\d+)")
    code, out, _ = data("import", *words, *pattern, "--to", str(tmp_path / "to"), "--dry-run")
    assert code == 2  # as the import would end
    assert not (tmp_path / "to").exists()
    num_images = len(list(crops.glob("*.jpg")))
    assert re.search(rf"train +{num_images} +unknown +\d +unknown +known", out)
    assert len(re.findall(r"^\S+\.jpg +train", out, re.MULTILINE)) == 10
    assert "[b]_c1s1_000001:car:.jpg" in out
    assert "images per camera: 1: " in out
    assert "skipped 1, not an image file: notes.txt" in out
    assert "1 image cannot be read" in out
    assert "0001_c9s1_000000_00.jpg: an empty file" in out
    assert "note: people of train are unknown, so none are held out" in out


def test_images_that_cannot_be_read_stop_an_import_or_are_left_out_and_named(
    data: Launch, tmp_path: Path
) -> None:
    root, to = tmp_path / "raw", tmp_path / "to"
    write_market(root, name="plaza")
    write_market(tmp_path / "whole", name="plaza")
    for name in ("bounding_box_train/0099_c1s1_000000_00.jpg", "query/0098_c2s1_000000_00.jpg"):
        (root / name).write_bytes(b"\xff\xd8\xff")
    words = ("--layout", "market1501", "--domain", "plaza", "--to", str(to))
    refused = data("import", *words, "--root", str(root))
    assert refused.code == 2
    assert "--skip-unreadable leaves them out" in refused.err
    assert not (to / "plaza" / "manifest.json").exists()
    skip = (*words, "--root", str(root), "--skip-unreadable")
    code, out, _ = data("import", *skip, "--dry-run")
    assert code == 0
    assert "2 images cannot be read; left out" in out
    assert not (to / "plaza" / "manifest.json").exists()
    code, out, _ = data("import", *skip)
    assert code == 0
    assert "query/0098_c2s1_000000_00.jpg: " in out
    assert "skipped 2, cannot be read: bounding_box_train/0099_c1s1_000000_00.jpg, query" in out
    manifest = read_manifest(open_store(str(to)), "plaza")
    assert manifest.skipped == {"cannot be read": 2}
    assert any("--skip-unreadable" in line for line in repair_commands(manifest, at=str(to)))
    whole = tmp_path / "of whole"
    words = ("--layout", "market1501", "--domain", "plaza", "--to", str(whole), "--skip-unreadable")
    assert data("import", *words, "--root", str(tmp_path / "whole")).code == 0
    assert read_manifest(open_store(str(whole)), "plaza").splits == manifest.splits


def test_where_no_image_can_be_read_nothing_is_left_to_import(data: Launch, tmp_path: Path) -> None:
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "a.jpg").write_bytes(b"")
    words = ("--layout", "folder", "--root", str(tmp_path / "raw"), "--domain", "mine")
    found = data("import", *words, "--to", str(tmp_path / "to"), "--skip-unreadable")
    assert found.code == 2
    assert "has no images" in found.err


def test_a_folder_of_crops_becomes_a_domain_that_can_be_imported_again_as_said(
    data: Launch, tmp_path: Path
) -> None:
    write_market(tmp_path / "raw", name="plaza")
    crops = tmp_path / "raw" / "bounding_box_train"
    to = str(tmp_path / "to")
    words = ("--layout", "folder", "--root", str(crops), "--domain", "mine", "--to", to)
    people = ("--pattern", r"(?P<person>\d+)_c(?P<camera>\d)", "--cut-test", "0.3")
    code, _, _ = data("import", *words, *people)
    assert code == 0
    manifest = read_manifest(open_store(to), "mine")
    assert {Split.QUERY, Split.GALLERY} < set(manifest.splits)
    again, _ = repair_commands(manifest, at=to)
    code, _, _ = data(*shlex.split(again.replace("FOLDER", str(crops)))[2:])
    assert code == 0
    assert read_manifest(open_store(to), "mine") == manifest


@pytest.mark.parametrize("interrupted", ["import", "copy"])
def test_ctrl_c_says_how_to_resume_and_the_same_command_does(
    interrupted: str, data: Launch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_market(tmp_path / "raw", name="plaza")
    words = ["import", "--layout", "market1501", "--root", str(tmp_path / "raw")]
    words += ["--domain", "plaza", "--shard-mib", ".02", "--to", str(tmp_path / "to")]
    if interrupted == "copy":
        assert data(*words).code == 0
        words = ["copy", "--domain", "plaza", "--from", str(tmp_path / "to")]
        words += ["--to", str(tmp_path / "other")]
    target = open_store(words[-1])

    def add_and_interrupt(sent: SentFiles, entry: ShardEntry, is_sent: bool) -> None:
        add(sent, entry, is_sent)
        if sent.num_sent == 2:
            os.kill(os.getpid(), signal.SIGINT)

    add = SentFiles.add
    with monkeypatch.context() as patch:
        patch.setattr(SentFiles, "add", add_and_interrupt)
        code, _, err = data(*words)
    assert code == 130
    assert "repeat the command to resume" in err
    assert not target.exists("plaza/manifest.json")
    code, out, _ = data(*words)
    assert code == 0
    assert re.search(r"sent \d+ files .* [2-9]\d* were there already", out)

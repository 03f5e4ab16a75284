"""The commands that `data verify` prints repair as they stand; `clean` tells what it removed."""

import re
import shlex
from functools import partial
from pathlib import Path

import pytest

from daam.dataset.format.manifest import read_manifest
from daam.storage import Store, open_store
from tests.support.commands import Launch
from tests.support.files_of_domains import damage
from tests.support.tiny_domains import write_market


@pytest.fixture
def data(command: Launch) -> Launch:
    """Runs a command of `data`."""
    return partial(command, "data")


@pytest.fixture
def plaza(data: Launch, tmp_path: Path) -> Store:
    """A domain that was imported with settings of its own."""
    write_market(tmp_path / "raw", name="plaza")
    words = ("--layout", "market1501", "--root", str(tmp_path / "raw"), "--domain", "plaza")
    settings = ("--validation-share", "0.3", "--shard-mib", "0.015625", "--reencode", "24x16")
    code, out, err = data("import", *words, *settings, "--to", str(tmp_path / "to"))
    assert code == 0, err
    assert "stored at 24x16" in out
    return open_store(str(tmp_path / "to"))


@pytest.mark.parametrize("repair", ["import", "copy"])
def test_the_printed_commands_repair(
    data: Launch, plaza: Store, tmp_path: Path, repair: str
) -> None:
    whole = str(tmp_path / "whole")
    assert data("copy", "--domain", "plaza", "--from", plaza.uri, "--to", whole)[0] == 0
    before = plaza.read("plaza/manifest.json")
    bad = next(iter(plaza.list("plaza/train-00000")))
    damage(plaza, bad)
    code, out, err = data("verify", "--domain", "plaza", "--at", plaza.uri)
    assert code == 2
    assert f"bad  {bad} is damaged" in out
    assert bad in err
    (command,) = re.findall(rf"^  python launch\.py data ({repair} .*)$", out, re.MULTILINE)
    command = command.replace("FOLDER", str(tmp_path / "raw")).replace("STORE", whole)
    code, out, err = data(*shlex.split(command))
    assert code == 0, err
    assert "sent 1 file (" in out
    assert plaza.read("plaza/manifest.json") == before
    assert data("verify", "--domain", "plaza", "--at", plaza.uri)[0] == 0


def test_clean_removes_what_verify_tells_of(data: Launch, plaza: Store) -> None:
    orphan = f"plaza/train-00099-{'0' * 16}.arrow"
    plaza.write(orphan, b"of an import that was killed")
    unfinished = "plaza/.train-00001.arrow.0123456789abcdef.partial"
    (Path(plaza.uri) / unfinished).touch()
    where = ("--domain", "plaza", "--at", plaza.uri)
    assert f"1 files belong to no finished import: {orphan}" in data("verify", *where)[1]
    out = data("clean", *where)[1]
    assert f"removed {orphan}" in out
    assert f"removed {unfinished}" in out
    assert not (Path(plaza.uri) / unfinished).exists()
    assert set(plaza.list("plaza/")) == {
        *(entry.key for entry in read_manifest(plaza, "plaza").files),
        "plaza/manifest.json",
    }


@pytest.mark.parametrize("text", ["256", "256x", "x128", "-1x5", "256 x 128", "256x128x3"])
def test_a_size_that_is_none_is_refused(data: Launch, tmp_path: Path, text: str) -> None:
    words = ("--layout", "market1501", "--root", str(tmp_path), "--domain", "plaza")
    code, _, err = data("import", *words, f"--reencode={text}", "--to", str(tmp_path / "to"))
    assert code == 2
    assert "is not HEIGHTxWIDTH" in err

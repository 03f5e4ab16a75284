"""`launch.py export` and `embed`: what they print, and how they refuse."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from daam.inference import export
from tests.support.commands import Launch


@pytest.fixture
def command(command: Launch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Launch:
    """Runs a command in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return command


def test_export_says_what_it_wrote_and_how_close_it_is(
    command: Launch, tiny_run: str, tmp_path: Path
) -> None:
    words = ("export", "--checkpoint", tiny_run, "--format", "torch", "--to", "embedder.pt2")
    code, out, err = command(*words)
    assert (code, err) == (0, "")
    assert "(batch, 3, 32, 16) to (batch, 128); norm statistics: campus" in out
    assert "real images it differs from PyTorch by at most" in out
    assert sorted(path.name for path in tmp_path.iterdir()) == ["embedder.card.md", "embedder.pt2"]


def test_export_refuses_a_file_that_embeds_otherwise(
    command: Launch, tiny_run: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "TOLERANCE", -1.0)
    words = ("export", "--checkpoint", tiny_run, "--format", "torch", "--to", "embedder.pt2")
    code, _, err = command(*words)
    assert code == 2
    assert err.startswith("daam: embedder.pt2 was not written: ")
    assert err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"--checkpoint": "gone"}, "gone"),
        ({"--domain": "moon"}, "moon"),
        ({"--domain": "Not A Name"}, "Not A Name"),
        ({"--at": "nowhere"}, "nowhere"),
        ({"--to": "folder/"}, "folder/"),
    ],
)
def test_export_refuses_what_is_not_there(
    command: Launch, tiny_run: str, tmp_path: Path, changes: dict[str, str], says: str
) -> None:
    words = {"--checkpoint": tiny_run, "--format": "torch", "--to": "embedder.pt2"} | changes
    code, _, err = command("export", *(word for pair in words.items() for word in pair))
    assert code == 2
    assert says in err
    assert list(tmp_path.iterdir()) == []


def test_export_knows_its_formats(command: Launch, tiny_run: str) -> None:
    words = ("export", "--checkpoint", tiny_run, "--format", "pickle", "--to", "embedder.pkl")
    code, _, err = command(*words)
    assert code == 2
    assert "onnx" in err


def test_embed_writes_a_table_and_names_what_it_could_not_read(
    command: Launch, tiny_run: str, tiny_root: Path, tmp_path: Path
) -> None:
    images = tmp_path / "images"
    images.mkdir()
    for path in (tiny_root.parent / "raw" / "campus" / "query").iterdir():
        (images / path.name).write_bytes(path.read_bytes())
    (images / "0000 [red].jpg").write_bytes(b"no image")
    words = ("embed", "--checkpoint", tiny_run, "--images", "images", "--to", "found.parquet")
    code, out, err = command(*words)
    assert (code, err) == (0, "")
    assert "found.parquet: 12 embeddings of 128 numbers; norm statistics: campus" in out
    assert "unreadable: 0000 [red].jpg: " in out
    assert "1 files could not be read" in out
    assert pq.read_table("found.parquet").num_rows == 12


@pytest.mark.parametrize(
    ("content", "says"), [(None, "no images"), (b"no image", "none of the 1 images")]
)
def test_embed_refuses_a_folder_without_an_image(
    command: Launch, tiny_run: str, tmp_path: Path, content: bytes | None, says: str
) -> None:
    (tmp_path / "images").mkdir()
    if content is not None:
        (tmp_path / "images" / "a.jpg").write_bytes(content)
    words = ("embed", "--checkpoint", tiny_run, "--images", "images", "--to", "found.parquet")
    code, _, err = command(*words)
    assert code == 2
    assert says in err
    assert err.count("\n") == 1
    assert not (tmp_path / "found.parquet").exists()

"""`daam search` says what it found, and refuses what makes no sense before it loads a model."""

import json
import re
from pathlib import Path

import pytest

from tests.support.commands import Launch


@pytest.fixture
def run(tiny_run: str, tmp_path: Path) -> str:
    folder = tmp_path / "runs" / "tiny"
    folder.mkdir(parents=True)
    (folder / "checkpoints").symlink_to(Path(tiny_run) / "checkpoints")
    return str(folder)


def test_the_matches_are_printed_written_and_given_as_json(
    command: Launch, run: str, tiny_root: Path, tmp_path: Path
) -> None:
    first, second = sorted((tiny_root.parent / "raw" / "campus" / "query").iterdir())[:2]
    where = ["search", "--checkpoint", run, "--gallery", "campus", "--count", "3"]
    shown = command(*where, "--query", str(first), str(second), "--to", str(tmp_path / "found"))
    assert shown.code == 0
    assert f"query/{first.name}" in shown.out
    assert f"query/{second.name}" in shown.out
    assert "No threshold has been measured" in shown.out
    assert str(tmp_path / "found" / "matches.html") in shown.out
    as_json = command(*where, "--query", str(first), "--threshold", "0.1", "--json", "--rerank")
    document = json.loads(as_json.out)
    assert document["reranked"] is True
    assert document["threshold"] == {"distance": 0.1, "source": "given"}
    assert document["found"][0]["matches"][0]["name"] == f"query/{first.name}"


def test_a_search_by_index_says_how_much_it_finds_and_when_it_was_not_used(
    command: Launch, run: str, tiny_root: Path
) -> None:
    query = next((tiny_root.parent / "raw" / "campus" / "query").iterdir())
    where = ["search", "--checkpoint", run, "--gallery", "campus", "--query", str(query), "--index"]
    shown = command(*where, "--json")
    assert shown.code == 0
    assert re.search(r"searched by an index: it finds [\d.]+% of the 10 nearest", shown.err)
    assert json.loads(shown.out)["index"]["num_measured"] == 54
    reranked = command(*where, "--rerank")
    assert "searched exactly: the index answers" in reranked.out
    assert "searched by an index" not in reranked.out


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ([], "name a photo of the person"),
        (["--serve", "--query", "a.jpg"], "takes no --query"),
        (["--query", "a.jpg", "--to", "s3://bucket/found"], "a folder of this machine"),
        (["--query", "a.jpg"], "there is no image a.jpg"),
    ],
)
def test_what_makes_no_sense_is_refused(
    command: Launch, run: str, options: list[str], complaint: str
) -> None:
    found = command("search", "--checkpoint", run, "--gallery", "campus", *options)
    assert found.code == 2
    assert complaint in found.err

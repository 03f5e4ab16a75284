"""A folder's embeddings against what `evaluate` embeds; and a file that is whole or not there."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from daam.dataset.reading.labels import read_names
from daam.domains import Split
from daam.errors import DataError
from daam.inference import embedding
from daam.inference.embedding import EmbeddedFile, embed_to_file
from daam.runs.run_folder import trained
from daam.storage import open_store
from daam.training.scoring.retrieval_test import RetrievalTest, score
from daam.training.setup.data import manifest_of, shard_cache
from daam.training.setup.network import build_network

ROOT = Path(embedding.__file__).parents[2]


def embed(run: str, images: Path | str, to: Path | str) -> EmbeddedFile:
    return embed_to_file(run, images=str(images), to=str(to), progress=lambda *_: None)


@pytest.fixture
def queries(tiny_root: Path) -> Path:
    """The files that campus was imported from, as its author has them; not to be changed."""
    return tiny_root.parent / "raw" / "campus" / "query"


def test_embeddings_are_those_of_a_test(tiny_run: str, queries: Path, tmp_path: Path) -> None:
    to = tmp_path / "embeddings.parquet"
    made = embed(tiny_run, queries, to)
    config, state = trained(tiny_run)
    network = build_network(config, num_identities=state["num_identities"])
    network.load_state_dict(state["network"])
    result = score(network, RetrievalTest.on_test(config, domain="campus"), config)
    names = read_names(
        open_store(config.data.root),
        manifest=manifest_of(config, "campus"),
        splits=(Split.QUERY,),
        cache=shard_cache(config),
    )
    wanted = {
        name.removeprefix("query/"): row.numpy()
        for name, row in zip(names, result.query_NC, strict=True)
    }
    table = pq.read_table(to)
    assert table["name"].to_pylist() == sorted(wanted)
    assert made.num_images == len(wanted) == 12
    found_NC = np.stack(table["embedding"].to_numpy())
    np.testing.assert_allclose(
        found_NC, np.stack([wanted[name] for name in sorted(wanted)]), rtol=0, atol=1e-6
    )


def test_the_file_says_how_its_numbers_were_made(
    tiny_run: str, queries: Path, tmp_path: Path
) -> None:
    embed(tiny_run, queries, tmp_path / "embeddings.parquet")
    schema = pq.read_schema(tmp_path / "embeddings.parquet")
    assert schema.field("name").type == pa.string()
    assert schema.field("embedding").type == pa.list_(pa.float32(), 128)
    contract = json.loads(schema.metadata[b"contract"])
    assert contract["norm_statistics"] == "campus"
    assert contract["transfer"] == "plaza->campus"
    assert b"unreadable" not in schema.metadata


def test_row_groups_change_nothing(
    tiny_run: str, queries: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    embed(tiny_run, queries, tmp_path / "whole.parquet")
    monkeypatch.setattr(embedding, "ROWS_PER_GROUP", 1)
    embed(tiny_run, queries, tmp_path / "parts.parquet")
    assert pq.read_table(tmp_path / "parts.parquet").equals(
        pq.read_table(tmp_path / "whole.parquet")
    )


def test_unreadable_files_are_counted_and_named(
    tiny_run: str, queries: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "images"
    (folder / "deep" / "er").mkdir(parents=True)
    first, second = sorted(queries.iterdir())[:2]
    (folder / "deep" / "er" / "good.jpg").write_bytes(first.read_bytes())
    (folder / "half.jpg").write_bytes(second.read_bytes()[:300])
    (folder / "text.png").write_text("no image")
    (folder / "readme.txt").write_text("not asked for")
    to = tmp_path / "embeddings.parquet"
    made = embed(tiny_run, folder, to)
    assert made.num_images == 1
    assert [file.name for file in made.unreadable] == ["half.jpg", "text.png"]
    assert pq.read_table(to)["name"].to_pylist() == ["deep/er/good.jpg"]
    listed = json.loads(pq.read_metadata(to).metadata[b"unreadable"])
    assert [file["name"] for file in listed] == ["half.jpg", "text.png"]
    assert all(file["reason"] for file in listed)


@pytest.mark.parametrize("content", [None, b"no image"])
def test_a_folder_without_an_image_gives_no_file(
    tiny_run: str, tmp_path: Path, content: bytes | None
) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    if content is not None:
        for name in ("a.jpg", "b.png"):
            (folder / name).write_bytes(content)
    with pytest.raises(DataError, match=r"no images|none of the 2 images .* a\.jpg"):
        embed(tiny_run, folder, tmp_path / "out" / "embeddings.parquet")
    assert [path for path in (tmp_path / "out").glob("*") if path.is_file()] == []


@pytest.mark.parametrize("to", ["taken", "new/"])
def test_a_folder_is_no_file_to_write(
    tiny_run: str, queries: Path, tmp_path: Path, to: str
) -> None:
    (tmp_path / "taken").mkdir()
    with pytest.raises(DataError, match=f"{to} is a folder"):
        embed_to_file(
            tiny_run,
            images=str(queries),
            to=f"{tmp_path}/{to}",
            progress=lambda *_: pytest.fail("nothing is embedded before that is known"),
        )
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]


def test_from_s3_to_s3(tiny_run: str, queries: Path, s3_uri: str, tmp_path: Path) -> None:
    bucket = open_store(s3_uri)
    for path in queries.iterdir():
        bucket.write(f"images/{path.name}", path.read_bytes())
    embed(tiny_run, f"{s3_uri}/images", f"{s3_uri}/out/embeddings.parquet")
    bucket.download("out/embeddings.parquet", tmp_path / "remote.parquet")
    embed(tiny_run, queries, tmp_path / "local.parquet")
    assert pq.read_table(tmp_path / "remote.parquet").equals(
        pq.read_table(tmp_path / "local.parquet")
    )


def test_a_failure_half_way_leaves_what_was_there(
    tiny_run: str, queries: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    to = tmp_path / "embeddings.parquet"
    to.write_bytes(b"an earlier table")

    def interrupted(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        embed_to_file(tiny_run, images=str(queries), to=str(to), progress=interrupted)
    assert to.read_bytes() == b"an earlier table"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["embeddings.parquet"]


def test_killed_half_way_it_leaves_no_file_of_that_name(
    tiny_run: str, queries: Path, tmp_path: Path
) -> None:
    program = f"""
import os, signal
from daam.inference.embedding import embed_to_file
embed_to_file(
    {tiny_run!r}, images={str(queries)!r}, to="embeddings.parquet",
    progress=lambda *_: os.kill(os.getpid(), signal.SIGKILL),
)
"""
    ended = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        check=False,
    )
    assert ended.returncode == -9
    assert not (tmp_path / "embeddings.parquet").exists()

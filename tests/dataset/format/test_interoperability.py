"""Other tools open our shards without our code: examples of docs/reference/format.md run here."""

import json
import re
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from daam.dataset.importing.import_domain import import_domain
from daam.dataset.importing.layouts import read_layout
from daam.storage import open_store
from tests.support.tiny_domains import HEIGHT, WIDTH, write_market

ROOT = Path(__file__).resolve().parents[3]
SECTION = "## Read the shards with other tools"
ROWS = 54


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that has a domain of several shards where the documentation's examples look."""
    folder = tmp_path_factory.mktemp("other-tools")
    write_market(folder / "raw", name="plaza")
    import_domain(
        read_layout("market1501", folder / "raw"),
        domain="plaza",
        to=open_store(str(folder / "data" / "rendered")),
        shard_size_bytes=15_000,
    )
    return folder


def documented(tool: str) -> str:
    """The example of a tool, after what all of them begin with."""
    text = (ROOT / "docs" / "reference" / "format.md").read_text()
    section = text.partition(SECTION)[2].partition("\n## ")[0]
    first, *others = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    (found,) = (block for block in others if block.startswith(f"import {tool}"))
    return first + found


def shown(tool: str, place: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Run the example; gives its variables."""
    monkeypatch.chdir(place)
    names: dict[str, Any] = {}
    exec(documented(tool), names)  # noqa: S102  (our own documentation)
    assert len(names["shards"]) > 3
    return names


def jpegs(place: Path) -> set[bytes]:
    return {path.read_bytes() for path in (place / "raw" / "bounding_box_train").glob("*.jpg")}


def size(jpeg: bytes) -> tuple[int, int]:
    with Image.open(BytesIO(jpeg)) as image:
        image.load()
        return image.size


@pytest.mark.parametrize("tool", ["pyarrow.dataset", "polars"])
def test_tables_have_all_rows_and_their_images_decode(
    tool: str, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = shown(tool, place, monkeypatch)["images"]
    if tool == "pyarrow.dataset":
        images = images.to_table()
    content = {
        name: images[name].to_list() if tool == "polars" else images[name].to_pylist()
        for name in ("row", "image", "camera")
    }
    assert content["row"] == list(range(ROWS))
    assert set(content["camera"]) == {1, 2}
    assert set(content["image"]) <= jpegs(place)
    assert {size(jpeg) for jpeg in content["image"]} == {(WIDTH, HEIGHT)}


def test_duckdb_joins_images_and_labels(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = shown("duckdb", place, monkeypatch)
    rows = names["people"].fetchall()
    assert [row[0] for row in rows] == sorted({row[0] for row in rows})
    assert sum(row[2] for row in rows) == ROWS
    assert size(names["first"]) == (WIDTH, HEIGHT)
    assert names["first"] in jpegs(place)


def test_hugging_face_datasets_decodes_images(
    place: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path)
    images = shown("datasets", place, monkeypatch)["images"]
    assert images["row"][:] == list(range(ROWS))
    assert {image.size for image in images["image"]} == {(WIDTH, HEIGHT)}


@pytest.mark.cluster
@pytest.mark.slow
@pytest.mark.timeout(120)
def test_ray_data_reads_a_shard_a_task(place: Path, tmp_path: Path) -> None:
    from tests.support.commands import started_python

    program = tmp_path / "program.py"
    program.write_text(
        "import json, os, ray\n"
        f"os.chdir({str(place)!r})\n"
        "ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False)\n"
        f"{documented('ray.data')}\n"
        "rows = sorted(images.take_all(), key=lambda row: row['row'])\n"
        "print(json.dumps([[row['row'], row['camera'], row['image'].hex()] for row in rows]))\n"
    )
    with started_python(str(program), scratch=tmp_path / "ray") as command:
        ended = command.finished(within_s=100)
    assert ended.code == 0, ended.err
    rows = json.loads(ended.out.splitlines()[-1])
    assert [row for row, _, _ in rows] == list(range(ROWS))
    assert {bytes.fromhex(jpeg) for _, _, jpeg in rows} <= jpegs(place)
    assert size(bytes.fromhex(rows[7][2])) == (WIDTH, HEIGHT)

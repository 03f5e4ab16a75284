"""A user's own table, in CSV and in Parquet."""

from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from daam.dataset.importing.layouts import read_layout
from daam.errors import LayoutError
from tests.support.layout_trees import records

CSV_LINES = ["a/1.jpg,7,1,train", "a/2.jpg,7,2,train", "q.png,9,1,query", "g.bmp,-1,2,gallery"]


def make_csv(root: Path, lines: list[str], *, header: str = "path,identity,camera,split") -> Path:
    (root / "a").mkdir()
    for name in ("a/1.jpg", "a/2.jpg", "q.png", "g.bmp"):
        (root / name).touch()
    (root / "index.csv").write_text("\n".join([header, *lines]) + "\n", encoding="utf-8-sig")
    return root


def test_csv_reads_a_table(tmp_path: Path) -> None:
    root = make_csv(tmp_path, CSV_LINES)
    index = read_layout("csv", root)
    assert [
        f"{record.path},{record.identity},{record.camera},{record.split}"
        for record in records(index)
    ] == CSV_LINES
    assert records(read_layout("csv", root / "index.csv")) == records(index)


def test_csv_takes_columns_in_any_order_and_ignores_others(tmp_path: Path) -> None:
    lines = [",".join([*reversed(line.split(",")), "sunny"]) for line in CSV_LINES]
    root = make_csv(tmp_path, lines, header="split,camera,identity,path,weather")
    assert Counter(record.split for record in records(read_layout("csv", root))) == {
        "train": 2,
        "query": 1,
        "gallery": 1,
    }


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("a/1.jpg,7,1,train", "a second time"),
        ("a/3.jpg,7,1,train", "is not there"),
        ("../x.jpg,7,1,train", "must lie inside"),
        ("/etc/x.jpg,7,1,train", "must lie inside"),
        (",7,1,train", "must lie inside"),
        ("a/3.jpg,seven,1,train", "identity 'seven' is not an integer"),
        ("a/3.jpg,7,,train", "camera '' is not an integer"),
        ("a/3.jpg,0,1,train", "in the gallery only"),
        ("a/3.jpg,-2,1,gallery", "in the gallery only"),
        ("a/3.jpg,7,1,validation_query", "split 'validation_query'"),
        ("a/3.jpg", "split ''"),
    ],
)
def test_csv_names_the_wrong_line(tmp_path: Path, line: str, complaint: str) -> None:
    root = make_csv(tmp_path, [*CSV_LINES, line])
    with pytest.raises(LayoutError, match=rf"index.csv, line 6\b.*{complaint}"):
        read_layout("csv", root)


def test_csv_names_a_missing_table_or_column(tmp_path: Path) -> None:
    with pytest.raises(LayoutError, match=r"cannot read .*index\.csv"):
        read_layout("csv", tmp_path)
    make_csv(tmp_path, CSV_LINES, header="path,identity,cam,split")
    with pytest.raises(LayoutError, match="no column camera"):
        read_layout("csv", tmp_path)


def make_parquet(root: Path, *, columns: dict[str, pa.Array] | None = None) -> Path:
    """The same table as Parquet, with numbers as numbers."""
    make_csv(root, CSV_LINES)
    table = pa.table(
        columns
        or {
            "weather": pa.array(["sunny"] * 4),
            "split": pa.array(["train", "train", "query", "gallery"]).dictionary_encode(),
            "camera": pa.array([1, 2, 1, 2], pa.int16()),
            "identity": pa.array([7, 7, 9, -1], pa.int64()),
            "path": pa.array(["a/1.jpg", "a/2.jpg", "q.png", "g.bmp"]),
        }
    )
    pq.write_table(table, root / "index.parquet", row_group_size=3)
    return root


def test_parquet_reads_what_csv_reads(tmp_path: Path) -> None:
    root = make_parquet(tmp_path)
    index = read_layout("parquet", root)
    assert index.layout == "parquet"
    assert records(index) == records(read_layout("csv", root))
    assert records(read_layout("parquet", root / "index.parquet")) == records(index)


@pytest.mark.parametrize(
    ("column", "values", "complaint"),
    [
        ("path", ["a/1.jpg", "a/1.jpg"], "row 2 names a/1.jpg a second time"),
        ("path", ["a/1.jpg", None], "row 2: path '' must lie inside"),
        ("camera", [1, None], "row 2: camera '' is not an integer"),
        ("camera", [1.0, 2.5], "row 1: camera '1.0' is not an integer"),
        ("split", ["train", "test"], "row 2: split 'test'"),
    ],
)
def test_parquet_names_the_wrong_row(
    tmp_path: Path, column: str, values: list[object], complaint: str
) -> None:
    columns = {
        "path": pa.array(["a/1.jpg", "a/2.jpg"]),
        "identity": pa.array([7, 7]),
        "camera": pa.array([1, 2]),
        "split": pa.array(["train", "train"]),
    }
    root = make_parquet(tmp_path, columns=columns | {column: pa.array(values)})
    with pytest.raises(LayoutError, match=rf"index\.parquet, {complaint}"):
        read_layout("parquet", root)


def test_parquet_names_a_missing_column_or_a_damaged_table(tmp_path: Path) -> None:
    root = make_parquet(tmp_path, columns={"path": pa.array(["a/1.jpg"])})
    with pytest.raises(LayoutError, match="no column identity, camera, split"):
        read_layout("parquet", root)
    (root / "index.csv").unlink()
    (root / "index.parquet").write_bytes(b"path,identity,camera,split")
    with pytest.raises(LayoutError, match=r"index\.parquet is not a Parquet table") as refused:
        read_layout("parquet", root)
    assert "\n" not in str(refused.value)
    (root / "index.parquet").unlink()
    with pytest.raises(LayoutError, match=r"cannot read .*index\.parquet: No such file"):
        read_layout("parquet", root)

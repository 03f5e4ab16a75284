"""A user's own table, in CSV and in Parquet."""

from collections import Counter
from datetime import datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from daam.dataset.importing.dataset_index import DatasetIndex
from daam.dataset.importing.layouts import read_layout
from daam.domains import Split
from daam.errors import DataError, LayoutError
from tests.support.layout_trees import make_tree, records

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
        ("a/3.jpg,7,1,train", "is not there; correct the path or remove the line"),
        ("1.jpg,7,1,train", "it is in .*/a: .* so write a/1.jpg"),
        ("../x.jpg,7,1,train", "must lie inside"),
        ("/etc/x.jpg,7,1,train", "must lie inside"),
        (",7,1,train", "must lie inside"),
        ("b.jpg,0,1,train", "identities count from 1, not 0 .*in the gallery only"),
        ("b.jpg,-2,1,gallery", "identities count from 1, not -2"),
        ("b.jpg,7,-2,train", "cameras count from 0, not -2"),
        ("b.jpg,9223372036854775808,1,train", "identity 9223372036854775808 is too large"),
        ("b.jpg,7,1,validation_query", "split 'validation_query'.*--cut-test"),
        ("b.jpg,7,1,test", "split 'test' is not one of train, query, gallery"),
        ("b.jpg", "has 1 cells, its header 4"),
        ("b,1.jpg,7,1,train", "has 5 cells, its header 4; .*quote"),
    ],
)
def test_csv_names_the_wrong_line(tmp_path: Path, line: str, complaint: str) -> None:
    root = make_csv(tmp_path, [*CSV_LINES, line])
    (root / "b.jpg").touch()
    with pytest.raises(LayoutError, match=rf"index.csv, line 6\b.*{complaint}"):
        read_layout("csv", root)


def test_csv_names_a_missing_table_or_column(tmp_path: Path) -> None:
    with pytest.raises(LayoutError, match=r"cannot read .*index\.csv.*--layout folder"):
        read_layout("csv", tmp_path)
    make_csv(tmp_path, CSV_LINES, header="where,identity,camera,split")
    with pytest.raises(LayoutError, match="no column path; its first line has where, identity"):
        read_layout("csv", tmp_path)


def read_lines(root: Path, *lines: str) -> DatasetIndex:
    """The index of a table with these lines, whose images are there."""
    make_tree(root, *(f"{number}.jpg" for number in range(4)))
    (root / "index.csv").write_text("\n".join(lines) + "\n")
    return read_layout("csv", root)


def test_a_path_is_enough(tmp_path: Path) -> None:
    index = read_lines(tmp_path, "path", "1.jpg", "", "0.jpg")
    assert index.splits[Split.TRAIN].to_pylist() == [
        {"path": path, "identity": None, "camera": None, "track": None, "time": None}
        for path in ("0.jpg", "1.jpg")
    ]


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|", " ; "])
@pytest.mark.parametrize("columns", [("path", "camera"), ("Image Path ", "CamID"), ("IMG", "cam")])
def test_delimiters_and_headers_as_programs_write_them(
    tmp_path: Path, delimiter: str, columns: tuple[str, str]
) -> None:
    lines = [delimiter.join(columns), *(f"{number}.jpg{delimiter}{number}" for number in range(3))]
    images = read_lines(tmp_path, *lines).splits[Split.TRAIN]
    assert images["path"].to_pylist() == ["0.jpg", "1.jpg", "2.jpg"]
    assert images["camera"].to_pylist() == [0, 1, 2]


def test_names_are_numbered_from_1_in_sorted_order(tmp_path: Path) -> None:
    index = read_lines(
        tmp_path, "path,identity,camera", "0.jpg,zoe,hall", "1.jpg,anna,door", "2.jpg,zoe, door "
    )
    images = index.splits[Split.TRAIN]
    assert images["identity"].to_pylist() == [2, 1, 2]
    assert images["camera"].to_pylist() == [2, 1, 1]
    assert index.camera_names == {1: "door", 2: "hall"}
    assert index.identity_names == {1: "anna", 2: "zoe"}
    assert any("1 door, 2 hall" in note for note in index.notes)


def test_serial_numbers_of_cameras_are_names(tmp_path: Path) -> None:
    index = read_lines(tmp_path, "path,camera", "0.jpg,192168001011", "1.jpg,192168001010")
    assert index.splits[Split.TRAIN]["camera"].to_pylist() == [2, 1]
    assert index.camera_names == {1: "192168001010", 2: "192168001011"}


@pytest.mark.parametrize("missing", ["", "nan", "None", "NULL", "-1", " "])
def test_a_column_without_values_is_unknown(tmp_path: Path, missing: str) -> None:
    lines = [f"{number}.jpg,{missing},{number}" for number in range(3)]
    images = read_lines(tmp_path, "path,identity,camera", *lines).splits[Split.TRAIN]
    assert images["identity"].to_pylist() == [None] * 3
    assert images["camera"].to_pylist() == [0, 1, 2]


@pytest.mark.parametrize("column", ["identity", "camera", "track", "time"])
def test_a_column_with_some_values_is_refused_with_those_without(
    tmp_path: Path, column: str
) -> None:
    with pytest.raises(DataError, match=rf"1 of 2 images of train .* no {column} \(1\.jpg\)"):
        read_lines(tmp_path, f"path,{column}", "0.jpg,3", "1.jpg,")


def test_numbers_that_became_decimals_beside_missing_ones_stay_numbers(tmp_path: Path) -> None:
    images = read_lines(tmp_path, "path,camera", "0.jpg,2.0", "1.jpg,010.0").splits[Split.TRAIN]
    assert images["camera"].to_pylist() == [2, 10]


def test_people_counted_from_0_are_counted_from_1(tmp_path: Path) -> None:
    index = read_lines(tmp_path, "path,identity", "0.jpg,0", "1.jpg,10", "2.jpg,2", "3.jpg,00")
    assert index.splits[Split.TRAIN]["identity"].to_pylist() == [1, 3, 2, 1]
    assert index.identity_names == {1: "0", 2: "2", 3: "10"}
    assert any("counted from 0" in note for note in index.notes)


def test_a_distractor_outside_the_gallery_is_named_where_it_is(tmp_path: Path) -> None:
    lines = ("0.jpg,0,gallery", "1.jpg,4,query", "2.jpg,0,query")
    with pytest.raises(LayoutError, match="line 4: identities count from 1, not 0"):
        read_lines(tmp_path, "path,identity,split", *lines)


def test_one_track_number_under_two_cameras_is_two_tracks(tmp_path: Path) -> None:
    index = read_lines(
        tmp_path, "path,camera,track", "0.jpg,1,5", "1.jpg,2,5", "2.jpg,1,5", "3.jpg,2,x"
    )
    assert index.splits[Split.TRAIN]["track"].to_pylist() == [1, 2, 1, 3]


@pytest.mark.parametrize(
    ("time", "expected"),
    [
        ("17", 17),
        ("1970-01-01T00:00:01", 1_000_000),
        ("1970-01-01 01:00:00.5+01:00", 500_000),
        ("1970-01-02", 86_400_000_000),
        ("19700101_000002", 2_000_000),
        ("1970-01-01 00-00-03.25", 3_250_000),
    ],
)
def test_times_are_counts_or_microseconds_since_1970(
    tmp_path: Path, time: str, expected: int
) -> None:
    images = read_lines(tmp_path, "path,time", f"0.jpg,{time}").splits[Split.TRAIN]
    assert images["time"].to_pylist() == [expected]


@pytest.mark.parametrize("times", [("17", "noon"), ("17", "2026-05-01"), ("2026-13-01", "x")])
def test_times_of_two_kinds_or_of_none_are_refused(tmp_path: Path, times: tuple[str, str]) -> None:
    with pytest.raises(LayoutError, match=r"line [23]: time .* is neither .*2026-05-01T12:30:00"):
        read_lines(tmp_path, "path,time", f"0.jpg,{times[0]}", f"1.jpg,{times[1]}")


def test_paths_of_windows_and_absolute_ones_are_understood(tmp_path: Path) -> None:
    make_tree(tmp_path, "b/4.jpg")
    index = read_lines(tmp_path, "path", "b\\4.jpg", f"{tmp_path}/0.jpg", "./1.jpg")
    assert index.splits[Split.TRAIN]["path"].to_pylist() == ["0.jpg", "1.jpg", "b/4.jpg"]


def test_two_columns_of_one_meaning_are_refused_and_others_noted(tmp_path: Path) -> None:
    with pytest.raises(LayoutError, match="2 columns for identity: pid, person"):
        read_lines(tmp_path, "path,pid,person", "0.jpg,1,1")
    index = read_lines(tmp_path, ",path,camra", "0,0.jpg,1")
    assert "columns that are not read: camra" in index.notes


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "has no column path; its first line has nothing"),
        (b"\xff\xfep\x00a\x00", "is not text in UTF-8"),
        (b"path,camera\n0.jpg,caf\xe9\n", "is not text in UTF-8"),
        (b'path,camera\n"0.jpg"x,1\n', "is not a CSV table: .* after line 1"),
        (b"0.jpg,1\n1.jpg,2\n", "its first line has 0.jpg, 1"),
        (b"path\n", "has no images"),
    ],
)
def test_what_is_no_table_is_one_clear_line(tmp_path: Path, content: bytes, complaint: str) -> None:
    (tmp_path / "index.csv").write_bytes(content)
    with pytest.raises(LayoutError, match=complaint) as refused:
        read_layout("csv", tmp_path)
    assert "\n" not in str(refused.value)


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
        ("camera", [1, -7], "row 2: cameras count from 0, not -7"),
        ("time", [datetime(2026, 5, 1), None], r"1 of 2 images of train .* no time \(a/2.jpg\)"),
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
    with pytest.raises(DataError, match=complaint):
        read_layout("parquet", root)


def test_parquet_knows_times_and_missing_numbers(tmp_path: Path) -> None:
    columns = {
        "path": pa.array(["a/1.jpg", "a/2.jpg"]).dictionary_encode(),
        "camera": pa.array([1.0, 2.0]),
        "track": pa.array([float("nan"), None]),
        "time": pa.array([datetime(1970, 1, 1, 0, 0, 1), datetime(1970, 1, 2)]),
    }
    images = read_layout("parquet", make_parquet(tmp_path, columns=columns)).splits[Split.TRAIN]
    assert images.select(["camera", "track", "time"]).to_pylist() == [
        {"camera": 1, "track": None, "time": 1_000_000},
        {"camera": 2, "track": None, "time": 86_400_000_000},
    ]


def test_parquet_with_text_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    valid = pa.array(["a/1.jpg", "a/2.jpg"])
    damaged = bytes(valid.buffers()[2] or b"").replace(b"2", b"\xff")
    paths = pa.Array.from_buffers(pa.string(), 2, [None, valid.buffers()[1], pa.py_buffer(damaged)])
    root = make_parquet(tmp_path, columns={"path": paths})
    with pytest.raises(LayoutError, match=r"index\.parquet is not a Parquet table .*UTF8"):
        read_layout("parquet", root)


def test_parquet_names_a_column_of_another_kind_or_a_damaged_table(tmp_path: Path) -> None:
    root = make_parquet(tmp_path, columns={"image": pa.array([{"bytes": b"", "path": "x"}])})
    with pytest.raises(LayoutError, match=r"column image holds struct<.*>, not text or numbers"):
        read_layout("parquet", root)
    (root / "index.csv").unlink()
    (root / "index.parquet").write_bytes(b"path,identity,camera,split")
    with pytest.raises(LayoutError, match=r"index\.parquet is not a Parquet table") as refused:
        read_layout("parquet", root)
    assert "\n" not in str(refused.value)
    (root / "index.parquet").unlink()
    with pytest.raises(LayoutError, match=r"cannot read .*index\.parquet: No such file"):
        read_layout("parquet", root)

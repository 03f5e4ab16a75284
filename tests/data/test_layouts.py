"""Each layout against a small tree in the exact naming of the real data set."""

import re
from collections import Counter
from pathlib import Path

import pytest

from daam.data.layouts import DatasetIndex, read_layout
from daam.domains import Split
from daam.errors import DataError, LayoutError


def counts(index: DatasetIndex) -> dict[str, int]:
    return dict(Counter(record.split for record in index.records))


def test_market_reads_identity_camera_and_split_from_names_and_folders(small_market: Path) -> None:
    index = read_layout("market1501", small_market)
    assert counts(index) == {"train": 48, "query": 12, "gallery": 30}
    for record in index.records:
        name = re.match(r"(-?\d+)_c(\d)", record.path.name)
        assert name is not None
        assert (record.identity, record.camera) == (int(name[1]), int(name[2]))
        assert (small_market / record.path).is_file()
    assert {record.identity for record in index.of(Split.GALLERY)} == {-1, 0, 101, 102, 103, 104}
    assert [(str(file.path), file.reason) for file in index.skipped] == [
        (f"{folder}/Thumbs.db", "not an image file")
        for folder in ("bounding_box_train", "query", "bounding_box_test")
    ]


def test_market_does_not_depend_on_the_order_of_the_folder(small_market: Path) -> None:
    before = read_layout("market1501", small_market)
    first = small_market / before.records[0].path
    content = first.read_bytes()
    first.unlink()
    first.write_bytes(content)
    assert read_layout("market1501", small_market) == before


@pytest.mark.parametrize(
    ("name", "identity", "camera"),
    [
        ("0002_c1s1_000451_03.jpg", 2, 1),
        ("0002_c1s1_000451_03.jpg.jpg", 2, 1),
        ("1501_c6s4_001877_01.JPG", 1501, 6),
        ("12345_c15s1_000001_00.png", 12345, 15),
    ],
)
def test_market_takes_the_names_that_occur(
    small_market: Path, name: str, identity: int, camera: int
) -> None:
    (small_market / "query" / name).touch()
    records = {r.path.name: r for r in read_layout("market1501", small_market).records}
    assert (records[name].identity, records[name].camera) == (identity, camera)


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("person.jpg", "not named like 0002_c1s1_000451_03.jpg"),
        ("0002_c1_f0046182.jpg", "not named like"),
        ("2_c1s1_000451_03.jpg", "not named like"),
        ("-1_c1s1_000451_03.jpg", "belong in bounding_box_test"),
        ("0000_c1s1_000451_03.jpg", "belong in bounding_box_test"),
    ],
)
def test_market_names_the_file_that_fits_no_rule(
    small_market: Path, name: str, complaint: str
) -> None:
    (small_market / "query" / name).touch()
    with pytest.raises(LayoutError, match=f"{re.escape(name)} .*{complaint}"):
        read_layout("market1501", small_market)


def test_market_names_a_missing_or_empty_folder(small_market: Path, tmp_path: Path) -> None:
    with pytest.raises(LayoutError, match=r"did you mean --root .*market"):
        read_layout("market1501", tmp_path)
    for path in (small_market / "query").iterdir():
        path.unlink()
    with pytest.raises(LayoutError, match="query holds no image"):
        read_layout("market1501", small_market)
    (small_market / "query").rmdir()
    with pytest.raises(LayoutError, match=r"cannot read .*query: No such file"):
        read_layout("market1501", small_market)


@pytest.mark.parametrize("folders", [["bounding_box_train"], ["query", "bounding_box_test"]])
def test_one_camera_cannot_be_matched(small_market: Path, folders: list[str]) -> None:
    for folder in folders:
        for path in (small_market / folder).glob("*_c[23]s*"):
            path.unlink()
    with pytest.raises(DataError, match="camera 1 only"):
        read_layout("market1501", small_market)


def test_an_unknown_layout_is_refused_with_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(LayoutError, match="market1501, msmt17, csv"):
        read_layout("imagenet", tmp_path)


MSMT17_LINES = {
    "list_train.txt": [
        "0000/0000_000_01_0303morning_0008_0.jpg 0",
        "0000/0000_001_14_0303noon_0015_1.jpg 0",
        "0001/0001_000_02_0113afternoon_0017_2_ex.jpg 1",
    ],
    "list_val.txt": ["0001/0001_001_15_0114noon_1439_0.jpg 1"],
    "list_query.txt": ["0000/0000_000_01_0303morning_0015_0.jpg 0"],
    "list_gallery.txt": [
        "0000/0000_001_12_0302noon_0016_0.jpg 0",
        "0002/0002_001_12_0302noon_0016_0.jpg 2",
    ],
}


def make_msmt17(root: Path, *, train: str, test: str) -> Path:
    for name, lines in MSMT17_LINES.items():
        tree = train if name in ("list_train.txt", "list_val.txt") else test
        for line in lines:
            path = root / tree / line.split(" ")[0]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        (root / name).write_text("".join(f"{line}\n" for line in lines))
    return root


@pytest.mark.parametrize(
    ("train", "test"), [("train", "test"), ("mask_train_v2", "mask_test_v2")], ids=["V1", "V2"]
)
def test_msmt17_reads_lists_and_two_digit_cameras(tmp_path: Path, train: str, test: str) -> None:
    root = make_msmt17(tmp_path, train=train, test=test)
    index = read_layout("msmt17", root)
    found = {
        (record.split, record.path.as_posix(), record.identity, record.camera)
        for record in index.records
    }
    assert found == {
        ("train", f"{train}/0000/0000_000_01_0303morning_0008_0.jpg", 1, 1),
        ("train", f"{train}/0000/0000_001_14_0303noon_0015_1.jpg", 1, 14),
        ("train", f"{train}/0001/0001_000_02_0113afternoon_0017_2_ex.jpg", 2, 2),
        ("train", f"{train}/0001/0001_001_15_0114noon_1439_0.jpg", 2, 15),
        ("query", f"{test}/0000/0000_000_01_0303morning_0015_0.jpg", 10_001, 1),
        ("gallery", f"{test}/0000/0000_001_12_0302noon_0016_0.jpg", 10_001, 12),
        ("gallery", f"{test}/0002/0002_001_12_0302noon_0016_0.jpg", 10_003, 12),
    }
    assert index.skipped == ()


def test_msmt17_counts_files_in_no_list(tmp_path: Path) -> None:
    root = make_msmt17(tmp_path, train="train", test="test")
    (root / "test" / "0000" / "0000_009_01_0303morning_0015_0.jpg").touch()
    (root / "train" / "Thumbs.db").touch()
    index = read_layout("msmt17", root)
    assert [file.reason for file in index.skipped] == ["in no list", "not an image file"]


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("0000/0000_000_1_0303morning_0008_0.jpg 0", "is not like"),
        ("0000_000_01_0303morning_0008_0.jpg 0", "is not like"),
        ("0000/0000_000_01_0303morning_0008_0.jpg", "is not like"),
        ("0000/0000_000_01_0303morning_0008_0.jpg 5", "two identities"),
        ("0000/0000_000_01_0303morning_9999_0.jpg 0", "listed but not there"),
        ("0000/0000_000_01_0303morning_0008_0.jpg 0", "a second time"),
    ],
)
def test_msmt17_names_the_wrong_line(tmp_path: Path, line: str, complaint: str) -> None:
    root = make_msmt17(tmp_path, train="train", test="test")
    with (root / "list_train.txt").open("a") as file:
        file.write(f"{line}\n")
    with pytest.raises(LayoutError, match=complaint):
        read_layout("msmt17", root)


def test_msmt17_names_what_is_missing_or_empty(tmp_path: Path) -> None:
    with pytest.raises(LayoutError, match="train and test or mask_train_v2"):
        read_layout("msmt17", tmp_path)
    root = make_msmt17(tmp_path, train="train", test="test")
    (root / "list_val.txt").write_text("")
    with pytest.raises(LayoutError, match=r"list_val\.txt lists no image"):
        read_layout("msmt17", root)
    (root / "list_val.txt").unlink()
    with pytest.raises(LayoutError, match=r"list_val\.txt is missing"):
        read_layout("msmt17", root)


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
        f"{record.path.as_posix()},{record.identity},{record.camera},{record.split}"
        for record in index.records
    ] == CSV_LINES
    assert read_layout("csv", root / "index.csv") == index


def test_csv_takes_columns_in_any_order_and_ignores_others(tmp_path: Path) -> None:
    lines = [",".join([*reversed(line.split(",")), "sunny"]) for line in CSV_LINES]
    root = make_csv(tmp_path, lines, header="split,camera,identity,path,weather")
    assert counts(read_layout("csv", root)) == {"train": 2, "query": 1, "gallery": 1}


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("a/1.jpg,7,1,train", "a second time"),
        ("a/3.jpg,7,1,train", "is not there"),
        ("../x.jpg,7,1,train", "must lie inside"),
        ("/etc/x.jpg,7,1,train", "must lie inside"),
        (",7,1,train", "must lie inside"),
        ("a/3.jpg,seven,1,train", "identity 'seven' is not a whole number"),
        ("a/3.jpg,7,,train", "camera '' is not a whole number"),
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


def test_query_without_gallery_is_refused(tmp_path: Path) -> None:
    root = make_csv(tmp_path, CSV_LINES[:3])
    with pytest.raises(LayoutError, match="only one of query and gallery"):
        read_layout("csv", root)

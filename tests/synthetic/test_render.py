"""The folder that a plan writes: its layout, its bytes, and what it refuses."""

import hashlib
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import simplejpeg

from daam.errors import ConfigError, DataError
from daam.synthetic import RenderPlan, render_domain, write_crops

PLAN = RenderPlan(
    domain="plaza",
    seed=3,
    num_train_identities=3,
    num_test_identities=3,
    num_cameras=3,
    height=64,
    width=32,
    max_images_per_camera=3,
    num_distractors=3,
    num_junk=4,
)
FOLDERS = ("bounding_box_train", "query", "bounding_box_test")
NAME = re.compile(r"(-1|\d{4})_c(\d)s(\d)_(\d{6})_(\d{2})\.jpg")


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("render") / "plaza"
    render_domain(PLAN, to=folder)
    return folder


def contents(folder: Path) -> dict[str, str]:
    """SHA-256 of every file by its path in the folder."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*.jpg"))
    }


def names(folder: Path, part: str) -> list[tuple[int, int]]:
    """(identity, camera) of every file of a part."""
    found = [NAME.fullmatch(path.name) for path in (folder / part).iterdir()]
    assert all(found)
    return [(int(match[1]), int(match[2])) for match in found if match]


def test_every_file_is_named_as_in_market_1501_and_is_a_jpeg_of_the_planned_size(rendered):
    assert sorted(path.name for path in rendered.iterdir()) == sorted(FOLDERS)
    for path in rendered.rglob("*.jpg"):
        assert NAME.fullmatch(path.name)
        assert simplejpeg.decode_jpeg_header(path.read_bytes())[:2] == (64, 32)


def test_train_and_test_identities_are_disjoint_and_complete(rendered):
    train = {identity for identity, _ in names(rendered, "bounding_box_train")}
    query = {identity for identity, _ in names(rendered, "query")}
    gallery = {identity for identity, _ in names(rendered, "bounding_box_test")}
    assert train == {1, 2, 3}
    assert query == {4, 5, 6}
    assert gallery == {-1, 0, 4, 5, 6}


def test_each_test_identity_has_one_query_per_camera_and_a_gallery_image_beside_it(rendered):
    queries = Counter(names(rendered, "query"))
    gallery = Counter(names(rendered, "bounding_box_test"))
    assert set(queries.values()) == {1}
    assert all(gallery[seen] >= 1 for seen in queries)


def test_each_identity_is_seen_by_two_cameras_or_more(rendered):
    for part in ("bounding_box_train", "query"):
        cameras = Counter(identity for identity, _ in set(names(rendered, part)))
        assert min(cameras.values()) >= 2


def test_distractors_and_junk_are_as_many_as_planned(rendered):
    counts = Counter(identity for identity, _ in names(rendered, "bounding_box_test"))
    assert (counts[0], counts[-1]) == (3, 4)


def test_two_processes_write_the_same_bytes_as_one(rendered, tmp_path):
    count = render_domain(PLAN, to=tmp_path / "again", num_processes=2)
    assert contents(tmp_path / "again") == contents(rendered)
    assert count == len(contents(rendered))


def test_more_identities_leave_the_images_of_the_first_ones_as_they_were(rendered, tmp_path):
    render_domain(
        replace(PLAN, num_train_identities=4, num_test_identities=0), to=tmp_path / "more"
    )
    before, after = contents(rendered), contents(tmp_path / "more")
    for name, digest in before.items():
        if name.startswith("bounding_box_train"):
            assert after[name] == digest


@pytest.mark.parametrize("change", [{"seed": 4}, {"domain": "campus"}])
def test_another_seed_or_domain_shares_no_image(rendered, tmp_path, change):
    render_domain(replace(PLAN, **change, num_test_identities=0, num_junk=0), to=tmp_path / "x")
    assert not set(contents(rendered).values()) & set(contents(tmp_path / "x").values())


def test_progress_ends_at_the_number_of_images(tmp_path):
    calls: list[tuple[int, int]] = []
    plan = replace(PLAN, num_train_identities=1, num_test_identities=0)
    count = render_domain(plan, to=tmp_path / "p", progress=lambda *call: calls.append(call))
    assert calls[-1] == (count, count)


def test_an_existing_folder_is_refused_and_left_alone(tmp_path):
    (tmp_path / "mine.txt").write_text("keep")
    with pytest.raises(DataError, match="exists already"):
        render_domain(PLAN, to=tmp_path)
    assert (tmp_path / "mine.txt").read_text() == "keep"


def test_what_a_killed_process_left_is_removed(tmp_path):
    (tmp_path / ".plaza.partial-abcdefgh").mkdir()
    render_domain(replace(PLAN, num_test_identities=0, num_junk=0), to=tmp_path / "plaza")
    assert [path.name for path in tmp_path.iterdir()] == ["plaza"]


def test_a_failure_leaves_nothing_behind(tmp_path):
    def fail(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        render_domain(PLAN, to=tmp_path / "half", progress=fail)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_a_data_error(tmp_path):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(DataError, match="can't be written"):
        render_domain(PLAN, to=tmp_path / "file" / "plaza")


@pytest.mark.parametrize(
    "change",
    [
        {"num_cameras": 1},
        {"num_cameras": 10},
        {"max_images_per_camera": 1},
        {"height": 8},
        {"min_cameras": 4},
        {"num_train_identities": -1},
    ],
)
def test_numbers_out_of_range_are_refused_by_name(change):
    with pytest.raises(ConfigError, match=next(iter(change))):
        replace(PLAN, **change)


def test_a_name_that_cannot_be_a_domain_is_refused():
    with pytest.raises(ConfigError, match="not a domain name"):
        replace(PLAN, domain="Plaza Nova")


def test_crops_are_the_train_images_under_names_that_keep_camera_and_frame_alone(
    rendered: Path, tmp_path: Path
) -> None:
    crops = tmp_path / "crops"
    count = write_crops(rendered, to=crops)
    originals = {
        hashlib.sha256(path.read_bytes()).hexdigest(): path.name
        for path in (rendered / FOLDERS[0]).iterdir()
    }
    found = {hashlib.sha256(path.read_bytes()).hexdigest(): path.name for path in crops.iterdir()}
    assert count == len(found) == len(originals)
    for digest, name in found.items():
        match = NAME.fullmatch(originals[digest])
        assert match is not None
        _, camera, _, frame, _ = match.groups()
        assert re.fullmatch(rf"cam{camera}_{frame}_[0-9a-f]{{6}}\.jpg", name)
    with pytest.raises(DataError, match="exists already"):
        write_crops(rendered, to=crops)

import math

import numpy as np
import pytest

from daam.errors import ConfigError, EvaluationError, StorageError
from daam.plots.ranked_lists import (
    CORRECT_FRAME,
    WRONG_FRAME,
    RankedList,
    Result,
    draw_ranked_lists,
    spread_queries,
)
from tests.support.drawn_pixels import flat, image_rows, images_in, num_pixels, pixels


def ranked_lists(to, *, correct, image=None, title="title"):
    """Draw grey images; `correct` has a list of bools for each query."""
    image = flat(90) if image is None else image
    lists = [
        RankedList(
            query=flat(90),
            caption="camera 1\nAP 0.50",
            results=[Result(image=image, caption="camera 2", correct=hit) for hit in row],
        )
        for row in correct
    ]
    draw_ranked_lists(lists, title=title, subtitle="subtitle", to=to)


def frames_by_row(path):
    """For each query whether its results have the frame of a correct one, left to right."""
    picture = pixels(path)
    found = []
    for top, bottom in image_rows(picture):
        assert bottom - top < 205  # captions stand clear of the images
        row = picture[top:bottom]
        cells = [row[:, left:right] for left, right in images_in(row)]
        green = [num_pixels(cell, CORRECT_FRAME.colour) > 0 for cell in cells]
        orange = [num_pixels(cell, WRONG_FRAME.colour) > 0 for cell in cells]
        assert not green[0]
        assert not orange[0]
        assert all(one != other for one, other in zip(green[1:], orange[1:], strict=True))
        found.append(green[1:])
    return found


# spread_queries


def spread_by_hand(average_precisions, count):
    scored = [place for place, value in enumerate(average_precisions) if not math.isnan(value)]
    best_first = sorted(scored, key=lambda place: -average_precisions[place])
    count = min(count, len(scored))
    return [best_first[math.floor((i + 0.5) * len(scored) / count)] for i in range(count)]


@pytest.mark.parametrize("num_queries", [1, 2, 7, 16, 101])
@pytest.mark.parametrize("count", [1, 2, 5, 8, 200])
def test_the_spread_takes_the_middle_query_of_equal_shares(num_queries, count):
    rng = np.random.default_rng(num_queries)
    scores = rng.random(num_queries).round(1)  # with many equal ones
    scores[1::4] = np.nan
    assert spread_queries(scores, count=count).tolist() == spread_by_hand(scores.tolist(), count)


def test_one_query_alone_is_the_median_not_the_best():
    assert spread_queries(np.array([0.1, 0.9, 0.5]), count=1).tolist() == [2]


@pytest.mark.parametrize(
    ("scores", "count", "says"),
    [([0.5], 0, "at least 1"), ([np.nan, np.nan], 3, "none of 2"), ([], 3, "none of 0")],
)
def test_nothing_to_choose_is_an_error(scores, count, says):
    with pytest.raises(EvaluationError, match=says):
        spread_queries(np.array(scores, dtype=float), count=count)


# draw_ranked_lists


def test_correct_and_wrong_results_are_framed_where_they_stand(tmp_path):
    correct = [[True, False, True, True], [False, False, False, True], [True, True, True, False]]
    ranked_lists(tmp_path / "ranked.png", correct=correct)
    assert frames_by_row(tmp_path / "ranked.png") == correct


def test_correct_and_wrong_differ_without_colour_too(tmp_path):
    ranked_lists(tmp_path / "ranked.png", correct=[[True, False]])
    picture = pixels(tmp_path / "ranked.png")
    top = image_rows(picture)[0][0]
    row = picture[top : top + 200]
    solid, dashed = (row[:, left : left + 1] for left, _ in images_in(row)[1:])
    assert num_pixels(solid, CORRECT_FRAME.colour) > 0.95 * 200
    assert 0.4 * 200 < num_pixels(dashed, WRONG_FRAME.colour) < 0.9 * 200


def test_a_shorter_list_leaves_the_rest_of_its_row_blank(tmp_path):
    correct = [[True, False, True], [True], []]
    ranked_lists(tmp_path / "ranked.png", correct=correct)
    assert frames_by_row(tmp_path / "ranked.png") == correct


def test_an_image_is_drawn_whole_and_in_its_colours(tmp_path):
    image = flat(0, height=64, width=32)
    image[:32], image[32:, :16], image[32:, 16:] = (200, 30, 40), (20, 150, 60), (30, 60, 220)
    alone = RankedList(query=image, caption="", results=[])
    draw_ranked_lists([alone], title="", subtitle="", to=tmp_path / "ranked.png")
    picture = pixels(tmp_path / "ranked.png")
    top, bottom = image_rows(picture)[0]
    left, right = images_in(picture[top:bottom])[0]
    height, width = bottom - top, right - left
    assert tuple(picture[top + height // 4, left + width // 2]) == (200, 30, 40)
    assert tuple(picture[top + 3 * height // 4, left + width // 4]) == (20, 150, 60)
    assert tuple(picture[top + 3 * height // 4, left + 3 * width // 4]) == (30, 60, 220)


def test_the_same_lists_give_the_same_bytes(tmp_path):
    for name in ("one.png", "two.png"):
        ranked_lists(tmp_path / name, correct=[[True, False]])
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()


def test_captions_are_never_read_as_formulas(tmp_path):
    ranked_lists(tmp_path / "ranked.png", correct=[[True]], title=r"$\nosuchcommand$ and $")
    assert image_rows(pixels(tmp_path / "ranked.png"))


@pytest.mark.parametrize(
    ("correct", "image", "says"),
    [
        ([], flat(1), "no image"),
        ([[True]], flat(1, width=8), "decode all to one size"),
        ([[True]], flat(1).astype(float), "float64"),
        ([[True]], flat(1)[..., 0], r"uint8 \(H, W, 3\)"),
        ([[True]] * 300, flat(1), "show fewer"),
    ],
)
def test_lists_that_cannot_be_drawn_are_refused_and_leave_nothing(tmp_path, correct, image, says):
    with pytest.raises(EvaluationError, match=says):
        ranked_lists(tmp_path / "ranked.png", correct=correct, image=image)
    assert list(tmp_path.iterdir()) == []


def test_a_picture_of_another_format_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"ranked.gif is neither .png nor .svg"):
        ranked_lists(tmp_path / "ranked.gif", correct=[[True]])


def test_a_folder_that_is_a_file_is_named_and_left_as_it_was(tmp_path):
    (tmp_path / "taken").write_text("kept")
    with pytest.raises(StorageError, match="taken"):
        ranked_lists(tmp_path / "taken" / "ranked.png", correct=[[True]])
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]
    assert (tmp_path / "taken").read_text() == "kept"


def test_without_labels_no_image_is_right_or_wrong(tmp_path):
    to = tmp_path / "lists.png"
    ranked_lists(to, correct=[[None, None], [None, None]])
    assert num_pixels(pixels(to), CORRECT_FRAME.colour) == 0
    assert num_pixels(pixels(to), WRONG_FRAME.colour) == 0

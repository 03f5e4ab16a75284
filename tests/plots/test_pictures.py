import math

import numpy as np
import pytest
from PIL import Image

from daam.errors import EvaluationError, StorageError
from daam.plots.pictures import (
    RIGHT_FRAME,
    WRONG_FRAME,
    draw_attention_maps,
    draw_ranked_lists,
    spread_queries,
)

WHITE = (255, 255, 255)


def flat(level, *, height=32, width=16):
    return np.full((height, width, 3), level, np.uint8)


def ranked_lists(to, *, right, num_results=None, **changes):
    """Draw grey images; `num_results` says how many each query has, all places if left out."""
    right = np.array(right, dtype=bool)
    num_results = [right.shape[1]] * len(right) if num_results is None else num_results
    arguments = {
        "results": [[flat(90)] * count for count in num_results],
        "right": right,
        "query_captions": ["camera 1\nAP 0.50"] * len(right),
        "result_captions": [["camera 2"] * count for count in num_results],
        "title": "title",
        "subtitle": "subtitle",
        "to": to,
    }
    draw_ranked_lists([flat(90)] * len(right), **arguments | changes)


def attention_maps(to, *, shared, images=None, **changes):
    arguments = {
        "shared": shared,
        "captions": ["campus"] * len(shared),
        "title": "title",
        "subtitle": "subtitle",
        "to": to,
    }
    images = [flat(128)] * len(shared) if images is None else images
    draw_attention_maps(images, **arguments | changes)


def pixels(path):
    with Image.open(path) as image:
        assert image.format == "PNG"
        return np.asarray(image.convert("RGB"))


def runs(mask):
    """(start, end) of every stretch of True."""
    edges = np.flatnonzero(np.diff(np.r_[False, mask, False].astype(int)))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))


def image_rows(picture):
    """(top, bottom) of every line of images; text is lower than they are."""
    inked = (picture != WHITE).any(axis=(1, 2))
    return [(top, bottom) for top, bottom in runs(inked) if bottom - top > 150]


def images_in(row):
    """(left, right) of every framed image in a line of them."""
    return [(a, b) for a, b in runs((row != WHITE).any(axis=2).mean(axis=0) > 0.3) if b - a > 50]


def share_of(colour, picture):
    return (picture == colour).all(axis=2).mean()


def frames_by_row(path):
    """For each query whether its results have the frame of a right one, left to right."""
    picture = pixels(path)
    found = []
    for top, bottom in image_rows(picture):
        assert bottom - top < 205  # captions stand clear of the images
        row = picture[top:bottom]
        cells = [row[:, left:right] for left, right in images_in(row)]
        green = [share_of(RIGHT_FRAME.colour, cell) > 0 for cell in cells]
        orange = [share_of(WRONG_FRAME.colour, cell) > 0 for cell in cells]
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


def test_right_and_wrong_results_are_framed_where_they_stand(tmp_path):
    right = [[True, False, True, True], [False, False, False, True], [True, True, True, False]]
    ranked_lists(tmp_path / "ranked.png", right=right)
    assert frames_by_row(tmp_path / "ranked.png") == right


def test_right_and_wrong_differ_without_colour_too(tmp_path):
    ranked_lists(tmp_path / "ranked.png", right=[[True, False]])
    picture = pixels(tmp_path / "ranked.png")
    top = image_rows(picture)[0][0]
    row = picture[top : top + 200]
    solid, dashed = (row[:, left] for left, _ in images_in(row)[1:])
    assert (solid == RIGHT_FRAME.colour).all(axis=1).mean() > 0.95
    assert 0.4 < (dashed == WRONG_FRAME.colour).all(axis=1).mean() < 0.9


def test_places_without_a_result_stay_blank(tmp_path):
    right = [[True, False, True], [True, True, True], [True, True, True]]
    ranked_lists(tmp_path / "ranked.png", right=right, num_results=[3, 1, 0])
    assert frames_by_row(tmp_path / "ranked.png") == [[True, False, True], [True], []]


def test_an_image_is_drawn_whole_and_in_its_colours(tmp_path):
    image = flat(0, height=64, width=32)
    image[:32], image[32:, :16], image[32:, 16:] = (200, 30, 40), (20, 150, 60), (30, 60, 220)
    draw_ranked_lists(
        [image],
        results=[[]],
        right=np.zeros((1, 1), bool),
        query_captions=[""],
        result_captions=[[]],
        title="",
        subtitle="",
        to=tmp_path / "ranked.png",
    )
    picture = pixels(tmp_path / "ranked.png")
    top, bottom = image_rows(picture)[0]
    left, right = images_in(picture[top:bottom])[0]
    height, width = bottom - top, right - left
    assert tuple(picture[top + height // 4, left + width // 2]) == (200, 30, 40)
    assert tuple(picture[top + 3 * height // 4, left + width // 4]) == (20, 150, 60)
    assert tuple(picture[top + 3 * height // 4, left + 3 * width // 4]) == (30, 60, 220)


def test_the_picture_grows_with_queries_and_places(tmp_path):
    ranked_lists(tmp_path / "small.png", right=np.zeros((1, 10)))
    ranked_lists(tmp_path / "large.png", right=np.zeros((3, 12)))
    small, large = pixels(tmp_path / "small.png"), pixels(tmp_path / "large.png")
    assert small.shape[0] >= 192
    assert small.shape[1] >= 11 * 96
    assert large.shape[0] >= small.shape[0] + 2 * 192
    assert large.shape[1] >= small.shape[1] + 2 * 96


def test_the_same_lists_give_the_same_bytes(tmp_path):
    for name in ("one.png", "two.png"):
        ranked_lists(tmp_path / name, right=[[True, False]])
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()


def test_captions_are_never_read_as_formulas(tmp_path):
    ranked_lists(tmp_path / "ranked.png", right=[[True]], title=r"$\nosuchcommand$ and $")
    assert image_rows(pixels(tmp_path / "ranked.png"))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"right": np.zeros((0, 3))}, "no query"),
        ({"right": np.zeros((2, 0))}, "for each query and place"),
        ({"query_captions": ["one"]}, "1 captions of queries"),
        ({"results": [[flat(1)] * 3]}, "1 lists of results"),
        ({"result_captions": [["a"] * 3, ["a"] * 2]}, "query 1 has 3 results and 2 captions"),
        ({"num_results": [3, 4]}, "query 1 has 4 results and 4 captions for 3 places"),
        ({"results": [[flat(1)] * 3, [flat(1, width=8)] * 3]}, "decode all to one size"),
        ({"results": [[flat(1)] * 3, [flat(1).astype(float)] * 3]}, "float64"),
        ({"results": [[flat(1)] * 3, [flat(1)[..., 0]] * 3]}, r"uint8 \(H, W, 3\)"),
        ({"right": np.zeros((300, 1))}, "show fewer"),
    ],
)
def test_lists_that_do_not_fit_are_refused_and_leave_nothing(tmp_path, changes, says):
    with pytest.raises(EvaluationError, match=says):
        ranked_lists(tmp_path / "ranked.png", **{"right": np.zeros((2, 3))} | changes)
    assert list(tmp_path.iterdir()) == []


def test_whether_a_result_is_right_must_be_a_bool(tmp_path):
    with pytest.raises(EvaluationError, match="right is int64"):
        draw_ranked_lists(
            [flat(1)],
            results=[[flat(1)]],
            right=np.ones((1, 1), np.int64),  # pyright: ignore[reportArgumentType]
            query_captions=[""],
            result_captions=[[""]],
            title="",
            subtitle="",
            to=tmp_path / "ranked.png",
        )


def test_a_folder_that_is_a_file_is_named_and_left_as_it_was(tmp_path):
    (tmp_path / "taken").write_text("kept")
    with pytest.raises(StorageError, match="taken"):
        ranked_lists(tmp_path / "taken" / "ranked.png", right=[[True]])
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]
    assert (tmp_path / "taken").read_text() == "kept"


# draw_attention_maps


def panels(path):
    """The panels of the first line, left to right, without the colour bar."""
    picture = pixels(path)
    top, bottom = image_rows(picture)[0]
    return [picture[top:bottom, left:right] for left, right in images_in(picture[top:bottom])]


def test_the_specific_part_shows_the_complement_of_the_shared(tmp_path):
    shared = np.linspace(0.2, 0.8, 8, dtype=np.float32)[None, :, None].repeat(4, axis=2)
    attention_maps(tmp_path / "maps.png", shared=shared)
    _, shared_panel, specific_panel = panels(tmp_path / "maps.png")
    upside_down = specific_panel[::-1].astype(int)
    assert np.abs(shared_panel.astype(int) - upside_down).max() <= 2
    dark, bright = shared_panel[2].mean(), shared_panel[-3].mean()
    assert bright > dark + 30  # the colour map rises in lightness


def test_the_brightest_place_is_where_the_attention_is(tmp_path):
    shared = np.full((2, 8, 4), 0.1, np.float32)
    shared[0, 1, 3], shared[1, 6, 0] = 0.9, 0.9
    attention_maps(tmp_path / "maps.png", shared=shared)
    found = panels(tmp_path / "maps.png")
    assert len(found) == 6
    for panel, (row, column) in ((found[1], (1, 3)), (found[4], (6, 0))):
        lightness = panel.sum(axis=2)
        y, x = np.unravel_index(lightness.argmax(), lightness.shape)
        assert int(y * 8 / len(panel)) == row
        assert int(x * 4 / panel.shape[1]) == column


def test_attention_that_is_the_same_everywhere_looks_so(tmp_path):
    shared = 0.5 + np.random.default_rng(0).normal(0, 1e-6, (1, 8, 4))
    attention_maps(tmp_path / "maps.png", shared=shared)
    _, shared_panel, specific_panel = panels(tmp_path / "maps.png")
    assert np.ptp(shared_panel[4:-4, 4:-4], axis=(0, 1)).max() <= 1
    assert np.abs(shared_panel.astype(int) - specific_panel).max() <= 1


@pytest.mark.parametrize(("num_images", "num_lines"), [(1, 1), (4, 1), (5, 2), (9, 3)])
def test_images_fill_line_after_line(tmp_path, num_images, num_lines):
    attention_maps(tmp_path / "maps.png", shared=np.full((num_images, 4, 2), 0.5))
    assert len(image_rows(pixels(tmp_path / "maps.png"))) == num_lines


@pytest.mark.parametrize(
    ("shared", "changes", "says"),
    [
        (np.zeros((0, 4, 2)), {}, "no image"),
        (np.zeros((2, 4)), {}, r"attention maps of shape \(2, 4\)"),
        (np.zeros((2, 0, 2)), {}, r"one \(h, w\) map an image"),
        (np.zeros((2, 4, 2)), {"captions": ["one"]}, "1 captions"),
        (np.zeros((2, 4, 2)), {"images": [flat(1)]}, "1 images"),
        (np.zeros((2, 4, 2)), {"images": [flat(1), flat(1, height=8)]}, "one size"),
        (np.full((2, 4, 2), 1.5), {}, "not within 0 to 1"),
        (np.full((2, 4, 2), -0.1), {}, "not within 0 to 1"),
        (np.full((2, 4, 2), np.nan), {}, "not within 0 to 1"),
    ],
)
def test_maps_that_do_not_fit_are_refused_and_leave_nothing(tmp_path, shared, changes, says):
    with pytest.raises(EvaluationError, match=says):
        attention_maps(tmp_path / "maps.png", shared=shared, **changes)
    assert list(tmp_path.iterdir()) == []

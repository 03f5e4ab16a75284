import numpy as np
import pytest

from daam.inference.pictures import rows_of_all_cameras


@pytest.mark.parametrize(("num_cameras", "count"), [(1, 5), (4, 12), (5, 12), (15, 12), (3, 3)])
def test_cameras_have_equally_many_rows_spread_over_theirs(num_cameras, count):
    cameras = np.random.default_rng(0).permutation(np.arange(60 * num_cameras) % num_cameras)
    rows = rows_of_all_cameras(cameras, count=count)
    assert len(rows) == len(set(rows.tolist())) == count
    per_camera = np.unique(cameras[rows], return_counts=True)[1]
    assert len(per_camera) == min(num_cameras, count)
    assert per_camera.max() - per_camera.min() <= 1
    for camera in np.unique(cameras[rows]):
        its_rows = np.flatnonzero(cameras == camera)
        places = np.searchsorted(its_rows, rows[cameras[rows] == camera])
        parts = np.arange(len(places) + 1) * len(its_rows) / len(places)
        for part, place in enumerate(places):
            assert parts[part] <= place < parts[part + 1]


def test_a_camera_with_few_images_has_each_of_them_once():
    cameras = np.array([1, 2, 2, 2, 2, 2, 2, 2])
    rows = rows_of_all_cameras(cameras, count=6)
    assert cameras[rows].tolist() == [1, 2, 2, 2]
    assert len(set(rows.tolist())) == 4

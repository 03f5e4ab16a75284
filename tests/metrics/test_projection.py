import numpy as np
import pytest

from daam.errors import EvaluationError
from daam.metrics.projection import project


def three_crowds(num_images=90, *, width=64, seed=0):
    generator = np.random.default_rng(seed)
    centres = generator.normal(size=(3, width))
    crowd = np.arange(num_images) % 3
    points = centres[crowd] + 0.4 * generator.normal(size=(num_images, width))
    return (points / np.linalg.norm(points, axis=1, keepdims=True)).astype(np.float32), crowd


def test_neighbours_stay_neighbours():
    embeddings, crowd = three_crowds()
    points = project(embeddings, seed=0)
    assert points.shape == (90, 2)
    for place in range(len(points)):
        distances = np.linalg.norm(points - points[place], axis=1)
        distances[place] = np.inf
        assert crowd[distances.argmin()] == crowd[place]


def test_the_same_seed_gives_the_same_points():
    embeddings, _ = three_crowds()
    one, again = (project(embeddings, seed=3) for _ in range(2))
    assert np.array_equal(one, again)


@pytest.mark.parametrize("num_images", [4, 7])
def test_a_few_images_can_be_laid_out(num_images):
    points = project(three_crowds(num_images)[0], seed=0)
    assert points.shape == (num_images, 2)
    assert np.isfinite(points).all()


def test_images_that_are_all_alike_are_one_point():
    assert (project(np.full((10, 8), 0.5, np.float32), seed=0) == 0).all()


def test_too_few_images_are_refused():
    with pytest.raises(EvaluationError, match="3 images are too few"):
        project(three_crowds(3)[0], seed=0)


def test_embeddings_that_are_not_finite_are_refused():
    embeddings, _ = three_crowds()
    embeddings[5, 2] = np.nan
    with pytest.raises(EvaluationError, match="NaN or infinite"):
        project(embeddings, seed=0)

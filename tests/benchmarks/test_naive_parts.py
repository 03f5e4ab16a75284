"""The parts of the naive study do the same as ours: only their cost may differ."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from benchmarks.naive_parts import (
    PARTS,
    STD,
    ImageFiles,
    dense_jaccard,
    dense_pseudo_labels,
    naive,
    sorted_scores,
)
from benchmarks.naive_study import Plan, trained
from daam.config.schema import RunConfig
from daam.dataset.pixels.normalise import normalise
from daam.dataset.pixels.reader import PixelReader
from daam.metrics.labels import Labels
from daam.metrics.retrieval import retrieval_scores_from_embeddings
from daam.pseudo_labels.grouping import pseudo_labels
from daam.pseudo_labels.jaccard import jaccard_distances
from daam.training.scoring import extract
from tests.support.images_in_memory import make_images

pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """As in a trial; workers of a DataLoader are forked, and OpenMP's threads would be missing."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def embeddings_of(num_people: int, *, generator: torch.Generator) -> torch.Tensor:
    people = torch.randn(num_people, 1, 16, generator=generator)
    images = people + 0.4 * torch.randn(num_people, 5, 16, generator=generator)
    return F.normalize(images.flatten(0, 1), dim=1)


@pytest.mark.parametrize(("k1", "k2"), [(8, 3), (9, 1), (500, 4)])
def test_dense_jaccard_has_the_distances_of_the_sparse_graph(k1: int, k2: int) -> None:
    embeddings = embeddings_of(12, generator=torch.Generator().manual_seed(1))
    sparse = jaccard_distances(embeddings, k1=k1, k2=k2)
    expected = np.ones((len(embeddings), len(embeddings)), np.float32)
    coordinates = sparse.tocoo()
    expected[coordinates.coords] = coordinates.data
    np.testing.assert_allclose(dense_jaccard(embeddings.numpy(), k1=k1, k2=k2), expected, atol=2e-6)


def test_dense_grouping_finds_the_same_groups() -> None:
    embeddings = embeddings_of(12, generator=torch.Generator().manual_seed(2))
    settings = {"k1": 8, "k2": 3, "eps": 0.5, "min_samples": 3}
    ours = pseudo_labels(embeddings, **settings)
    assert ours.num_groups > 3
    np.testing.assert_array_equal(dense_pseudo_labels(embeddings, **settings).groups, ours.groups)


def test_a_sorted_gallery_gives_the_same_scores() -> None:
    generator = torch.Generator().manual_seed(3)
    query, gallery = (
        F.normalize(torch.randn(count, 8, generator=generator), dim=1) for count in (12, 60)
    )
    labels = np.random.default_rng(3)
    of_query = Labels(identities=labels.integers(1, 5, 12), cameras=labels.integers(1, 3, 12))
    of_gallery = Labels(identities=labels.integers(-1, 5, 60), cameras=labels.integers(1, 3, 60))
    both: dict[str, Any] = {"query_labels": of_query, "gallery_labels": of_gallery}
    expected = retrieval_scores_from_embeddings(query, gallery, chunk=5, **both)
    found = sorted_scores(query, gallery, **both)
    assert found.mean_average_precision == pytest.approx(expected.mean_average_precision)
    assert found.cmc[1] == pytest.approx(expected.cmc[1])


@pytest.mark.parametrize(("size", "levels"), [((16, 8), 0), ((12, 6), 1)])
def test_image_files_have_the_pixels_of_the_shards(
    size: tuple[int, int], levels: int, tmp_path: Path
) -> None:
    height, width = size
    reader = PixelReader(make_images(10, height=16, width=8), height=height, width=width)
    files = ImageFiles(tmp_path)
    files.write(reader)
    rows, images = zip(*files.ordered_batches(reader, batch_size=4), strict=True)
    np.testing.assert_array_equal(np.concatenate(rows), np.arange(10))
    expected = normalise(reader.read(np.arange(10)))
    tolerance = levels / 255 / min(STD) + 1e-5
    torch.testing.assert_close(torch.cat(images), expected, atol=tolerance, rtol=0)


def scores_with(parts: Sequence[str], config: RunConfig, to: Path) -> list[float]:
    plan = Plan(run=config.model_dump(), transfers=("plaza->campus",), parts=tuple(parts), to=to)
    return [epoch["mAP"] for [epoch] in trained({}, plan=plan) if epoch["is_adapted"]]


def test_a_run_scores_the_same_with_naive_parts(tiny_config: RunConfig, tmp_path: Path) -> None:
    ours = scores_with((), tiny_config, tmp_path)
    naive_but_the_loader = [part for part in PARTS if part != "loader"]
    assert scores_with(naive_but_the_loader, tiny_config, tmp_path) == pytest.approx(ours)


def test_a_run_trains_from_image_files(tiny_config: RunConfig, tmp_path: Path) -> None:
    [score] = scores_with(PARTS, tiny_config, tmp_path)
    assert 0 < score <= 1
    assert list(tmp_path.glob("files/*/images/0000000.jpg"))


def test_parts_are_back_after_the_block(tmp_path: Path) -> None:
    with naive(PARTS, ImageFiles(tmp_path)):
        assert extract.normalise is not normalise
    assert extract.normalise is normalise

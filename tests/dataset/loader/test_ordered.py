import threading

import numpy as np
import pytest
import torch

from daam.dataset.loader.ordered import ordered_batches
from daam.dataset.pixels.decode import decode_images
from daam.dataset.pixels.reader import PixelReader
from daam.errors import ConfigError
from tests.support.images_in_memory import make_images


def stream(reader: PixelReader, *, batch_size: int = 4, rank: int = 0, num_ranks: int = 1):
    return ordered_batches(
        reader, batch_size=batch_size, rank=rank, num_ranks=num_ranks, num_threads=2
    )


@pytest.mark.parametrize("num_rows", [1, 3, 11, 12])
@pytest.mark.parametrize("num_ranks", [1, 2, 4])
def test_each_row_comes_once_over_all_ranks_in_order(num_rows, num_ranks):
    reader = PixelReader(make_images(num_rows), height=16, width=8)
    rows_of_rank = [
        [row for rows, _ in stream(reader, rank=rank, num_ranks=num_ranks) for row in rows.tolist()]
        for rank in range(num_ranks)
    ]
    assert [row for rows in rows_of_rank for row in rows] == list(range(num_rows))
    sizes = [len(rows) for rows in rows_of_rank]
    assert max(sizes) - min(sizes) <= 1


def test_images_belong_to_their_rows_and_only_the_last_batch_is_smaller():
    images = make_images(11)
    expected = decode_images(images.encoded, height=16, width=8)
    made = list(stream(PixelReader(images, height=16, width=8)))
    assert [len(rows) for rows, _ in made] == [4, 4, 3]
    for rows, pixels in made:
        assert rows.dtype == np.int64
        assert torch.equal(pixels, expected[rows])


def test_a_split_without_images_has_no_batches():
    assert list(stream(PixelReader(make_images(0), height=16, width=8))) == []


def test_closing_early_ends_the_threads():
    before = threading.active_count()
    made = stream(PixelReader(make_images(40), height=16, width=8), batch_size=2)
    next(made)
    made.close()
    assert threading.active_count() == before


@pytest.mark.parametrize("rank", [-1, 2])
def test_a_rank_outside_the_ranks_is_refused_at_once(rank):
    with pytest.raises(ConfigError, match="count from 0"):
        stream(PixelReader(make_images(3), height=16, width=8), rank=rank, num_ranks=2)

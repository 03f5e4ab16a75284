import pytest
import torch

from daam.dataset.pixels.buffers import BatchMemory, pixel_memory

SHAPE = (2, 4, 3)


def memory() -> BatchMemory:
    return BatchMemory(SHAPE)


def test_memory_that_nothing_refers_to_is_reused():
    batches = memory()
    first = batches.take()
    address = first.data_ptr()
    assert first.shape == SHAPE
    assert first.dtype == torch.uint8
    del first
    assert batches.take().data_ptr() == address


@pytest.mark.parametrize(
    "view",
    [
        lambda batch: batch,
        lambda batch: batch[1:].permute(2, 0, 1),
        lambda batch: batch.numpy(),
        lambda batch: batch.numpy()[1:][0].T,
        lambda batch: torch.from_numpy(batch.numpy()[0])[1:],
        lambda batch: memoryview(batch.numpy())[1:],
    ],
    ids=["tensor", "its view", "array", "its view's view", "tensor of an array", "buffer"],
)
def test_memory_is_not_reused_while_anything_refers_to_it(view):
    batches = memory()
    first = batches.take()
    address, held = first.data_ptr(), view(first)
    del first
    second = batches.take()
    assert second.data_ptr() != address
    del held
    assert batches.take().data_ptr() == address


def test_an_empty_batch_needs_no_memory():
    assert BatchMemory((0, 4, 3)).take().shape == (0, 4, 3)


def test_a_consumer_that_keeps_every_batch_gets_all_of_them():
    batches = memory()
    kept = [batches.take().fill_(number) for number in range(20)]
    assert len({batch.data_ptr() for batch in kept}) == 20
    assert [batch.unique().item() for batch in kept] == list(range(20))


def test_memory_for_pixels_is_off_the_grid_that_decoders_write_past_the_cache_on():
    batches = BatchMemory((64, 256, 128, 3))
    for _ in range(9):  # the system puts large ones in more than one place
        images = pixel_memory((64, 256, 128, 3))
        assert images.shape == (64, 256, 128, 3)
        assert images.flags.c_contiguous
        assert images.ctypes.data % 32 == 16
        assert batches.take()[1].data_ptr() % 32 == 16
        del images

"""The exemplar memory against a loop over the images of the batch."""

import pytest
import torch
from torch.nn.functional import normalize

from daam.pseudo_labels.exemplars import initial_exemplars, update_exemplars

NUM_IMAGES = 7
ROWS = [[0, 3, 6], [2, 2, 5, 2], [1, 1], [4], [6, 5, 4, 3, 2, 1, 0], []]


def memory_and_batch(rows, *, width=8):
    generator = torch.Generator().manual_seed(len(rows))
    memory = normalize(torch.randn(NUM_IMAGES, width, generator=generator), dim=1)
    embeddings = normalize(torch.randn(len(rows), width, generator=generator), dim=1)
    return memory, embeddings, torch.tensor(rows, dtype=torch.int64)


def test_the_memory_starts_as_each_image_s_direction():
    embeddings = torch.tensor([[3.0, 4.0], [0.0, -2.0]])
    found = initial_exemplars(embeddings)
    for row in range(2):
        torch.testing.assert_close(found[row], embeddings[row] / embeddings[row].norm())


@pytest.mark.parametrize("keep", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("rows", ROWS)
def test_moved_exemplars_match_the_loop(rows, keep):
    memory, embeddings, labels = memory_and_batch(rows)
    moved = update_exemplars(memory, embeddings, labels, keep=keep)
    for row in range(NUM_IMAGES):
        own = [z for z, r in zip(embeddings, rows, strict=True) if r == row]
        if own:
            vector = keep * memory[row] + (1 - keep) * sum(own) / len(own)
            torch.testing.assert_close(moved[row], vector / vector.norm())
        else:
            assert torch.equal(moved[row], memory[row])


def test_an_image_that_is_several_times_in_the_batch_moves_once_in_any_order():
    rows = [2, 0, 2, 5, 2, 0, 1]
    memory, embeddings, labels = memory_and_batch(rows)
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(
        update_exemplars(memory, embeddings, labels, keep=0.3),
        update_exemplars(memory, embeddings[order], labels[order], keep=0.3),
    )


def test_the_same_gathered_batch_gives_the_same_bits():
    generator = torch.Generator().manual_seed(0)
    memory = normalize(torch.randn(50, 129, generator=generator), dim=1)
    embeddings = normalize(torch.randn(400, 129, generator=generator), dim=1)
    rows = torch.randint(50, (400,), generator=generator)  # each image about 8 times
    first = update_exemplars(memory, embeddings, rows, keep=0.1)
    assert all(
        torch.equal(first, update_exemplars(memory.clone(), embeddings.clone(), rows, keep=0.1))
        for _ in range(5)
    )


def test_vectors_stay_of_unit_length():
    memory, embeddings, labels = memory_and_batch([0, 1, 1, 6])
    moved = update_exemplars(memory, embeddings, labels, keep=0.4)
    torch.testing.assert_close(moved.norm(dim=1), torch.ones(NUM_IMAGES))


def test_nothing_given_is_changed_and_no_gradient_flows():
    memory, embeddings, labels = memory_and_batch([0, 1, 1])
    embeddings.requires_grad_()
    before = memory.clone()
    moved = update_exemplars(memory, embeddings, labels, keep=0.2)
    assert torch.equal(memory, before)
    assert not moved.requires_grad
    assert not initial_exemplars(embeddings).requires_grad


def test_bf16_embeddings_move_a_float32_memory():
    memory, embeddings, labels = memory_and_batch([0, 1, 1])
    started = initial_exemplars(embeddings.bfloat16())
    moved = update_exemplars(memory, embeddings.bfloat16(), labels, keep=0.2)
    assert started.dtype == moved.dtype == torch.float32


def test_opposite_vectors_stay_finite():
    memory = torch.tensor([[1.0, 0.0]])
    moved = update_exemplars(memory, -memory, torch.tensor([0]), keep=0.5)
    assert torch.isfinite(moved).all()


def test_moving_is_one_graph_so_no_value_is_read_back_from_the_device():
    memory, embeddings, labels = memory_and_batch([2, 2, 5, 2])

    def move(memory, embeddings, labels):
        return update_exemplars(memory, embeddings, labels, keep=0.3)

    compiled = torch.compile(move, fullgraph=True, backend="eager")
    assert torch.equal(compiled(memory, embeddings, labels), move(memory, embeddings, labels))

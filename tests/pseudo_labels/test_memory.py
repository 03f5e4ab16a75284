"""Group centres against a loop over groups."""

import pytest
import torch
from torch.nn.functional import normalize

from daam.pseudo_labels.memory import initial_centres, update_centres

GROUPS = [[0, 1, 0, 2, 2, 2], [3, -1, 3, -1, 0], [1], [-1, -1], []]
NUM_GROUPS = 4


def images_of(groups, *, width=8):
    generator = torch.Generator().manual_seed(len(groups))
    embeddings = normalize(torch.randn(len(groups), width, generator=generator), dim=1)
    return embeddings, torch.tensor(groups, dtype=torch.int64)


def mean_by_hand(embeddings, groups, group):
    rows = [embeddings[row] for row, g in enumerate(groups) if g == group]
    return torch.stack(rows).mean(dim=0) if rows else None


@pytest.mark.parametrize("groups", GROUPS)
def test_initial_centres_match_the_loop(groups):
    embeddings, labels = images_of(groups)
    centres = initial_centres(embeddings, labels, num_groups=NUM_GROUPS)
    for group in range(NUM_GROUPS):
        mean = mean_by_hand(embeddings, groups, group)
        expected = torch.zeros(8) if mean is None else mean / mean.norm()
        torch.testing.assert_close(centres[group], expected)


@pytest.mark.parametrize("momentum", [0.0, 0.2, 1.0])
@pytest.mark.parametrize("groups", GROUPS)
def test_moved_centres_match_the_loop(groups, momentum):
    embeddings, labels = images_of(groups)
    centres = normalize(torch.randn(NUM_GROUPS, 8, generator=torch.Generator().manual_seed(9)))
    moved = update_centres(centres, embeddings, labels, momentum=momentum)
    for group in range(NUM_GROUPS):
        mean = mean_by_hand(embeddings, groups, group)
        if mean is None:
            assert torch.equal(moved[group], centres[group])
        else:
            expected = momentum * centres[group] + (1 - momentum) * mean
            torch.testing.assert_close(moved[group], expected / expected.norm())


def test_the_order_of_the_batch_does_not_matter():
    embeddings, labels = images_of([0, 1, 0, 2, 2, 2, 0, -1, 1])
    centres = normalize(torch.randn(3, 8, generator=torch.Generator().manual_seed(9)))
    order = torch.randperm(9, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(
        update_centres(centres, embeddings, labels, momentum=0.2),
        update_centres(centres, embeddings[order], labels[order], momentum=0.2),
    )


def test_nothing_given_is_changed_and_no_gradient_flows():
    embeddings, labels = images_of([0, 1, 1])
    embeddings.requires_grad_()
    centres = initial_centres(embeddings, labels, num_groups=2)
    before = centres.clone()
    moved = update_centres(centres, embeddings, labels, momentum=0.2)
    assert torch.equal(centres, before)
    assert not centres.requires_grad
    assert not moved.requires_grad


def test_bf16_embeddings_move_float32_centres():
    embeddings, labels = images_of([0, 1, 1])
    centres = initial_centres(embeddings.bfloat16(), labels, num_groups=2)
    moved = update_centres(centres, embeddings.bfloat16(), labels, momentum=0.2)
    assert centres.dtype == moved.dtype == torch.float32


def test_without_groups_there_are_no_centres():
    embeddings, labels = images_of([-1, -1])
    centres = initial_centres(embeddings, labels, num_groups=0)
    assert centres.shape == (0, 8)
    assert update_centres(centres, embeddings, labels, momentum=0.2).shape == (0, 8)

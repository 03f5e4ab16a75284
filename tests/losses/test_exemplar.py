"""Exemplar loss against a loop over images and the rows of the memory."""

import math

import pytest
import torch
from torch.nn.functional import normalize

from daam.losses.target import exemplar_loss


def exemplar_by_hand(embeddings, rows, memory, temperature, num_neighbours):
    losses = []
    for z, own in zip(embeddings, rows, strict=True):
        scores = [float(z @ vector) / temperature for vector in memory]
        log_sum = math.log(sum(math.exp(score - max(scores)) for score in scores)) + max(scores)
        others = sorted((j for j in range(len(scores)) if j != own), key=lambda j: -scores[j])
        nearest = others[:num_neighbours]
        weights = {own: 1.0} | {j: 1 / len(nearest) for j in nearest}
        total = sum(weights.values())
        losses.append(sum(w / total * (log_sum - scores[j]) for j, w in weights.items()))
    return sum(losses) / len(losses) if losses else 0.0


def batch(rows, num_images, *, width=8):
    generator = torch.Generator().manual_seed(0)
    embeddings = normalize(torch.randn(len(rows), width, generator=generator), dim=1)
    memory = normalize(torch.randn(num_images, width, generator=generator), dim=1)
    return embeddings.requires_grad_(), torch.tensor(rows, dtype=torch.int64), memory


@pytest.mark.parametrize("num_neighbours", [0, 1, 6])
@pytest.mark.parametrize(
    ("rows", "num_images"),
    [
        ([4, 0, 11], 12),
        ([3, 3, 5], 9),  # an image twice
        ([2, 0], 3),  # fewer others than neighbours
        ([0], 1),  # no other image
        ([], 5),
        ([], 0),
    ],
)
def test_matches_the_loop(rows, num_images, num_neighbours):
    embeddings, labels, memory = batch(rows, num_images)
    loss = exemplar_loss(
        embeddings, labels, memory, temperature=0.05, num_neighbours=num_neighbours
    )
    (gradient,) = torch.autograd.grad(loss, embeddings)
    by_hand = exemplar_by_hand(embeddings.detach(), rows, memory, 0.05, num_neighbours)
    assert loss.item() == pytest.approx(by_hand, rel=1e-5, abs=1e-5)
    assert torch.isfinite(gradient).all()


def test_the_gradient_is_prediction_minus_label():
    embeddings, rows, memory = batch([4, 0, 11], 12)
    loss = exemplar_loss(embeddings, rows, memory, temperature=0.5, num_neighbours=2)
    (gradient,) = torch.autograd.grad(loss, embeddings)
    for image, own in enumerate(rows.tolist()):
        scores = memory @ embeddings[image].detach() / 0.5
        label = torch.zeros(12)
        others = [j for j in scores.argsort(descending=True).tolist() if j != own]
        label[own] = 1 / 2
        label[others[:2]] = 1 / 4
        expected = (scores.softmax(dim=0) - label) @ memory / 0.5 / len(rows)
        torch.testing.assert_close(gradient[image], expected)


def test_an_image_is_not_its_own_neighbour():
    memory = torch.eye(3)
    loss = exemplar_loss(
        memory[:1], torch.tensor([0]), memory, temperature=1.0, num_neighbours=1
    )  # itself scores 1, either other 0
    assert loss.item() == pytest.approx(math.log(math.e + 2) - 1 / 2, abs=1e-6)


def test_only_the_embeddings_get_a_gradient():
    embeddings, rows, memory = batch([0, 1, 3], 6)
    memory.requires_grad_()
    exemplar_loss(embeddings, rows, memory, temperature=0.05, num_neighbours=2).backward()
    assert memory.grad is None


@pytest.mark.parametrize("num_neighbours", [0, 3])
def test_equal_embeddings_and_exemplars_have_a_finite_gradient(num_neighbours):
    embeddings = normalize(torch.ones(4, 8), dim=1).requires_grad_()
    memory = normalize(torch.ones(5, 8), dim=1)
    loss = exemplar_loss(
        embeddings,
        torch.tensor([0, 1, 2, 4]),
        memory,
        temperature=0.05,
        num_neighbours=num_neighbours,
    )
    (gradient,) = torch.autograd.grad(loss, embeddings)
    assert loss.item() == pytest.approx(math.log(5), abs=1e-5)
    assert torch.isfinite(gradient).all()


def test_an_embedding_that_is_not_a_number_is_not_hidden():
    embeddings, rows, memory = batch([0, 1], 6)
    broken = embeddings.detach().clone()
    broken[1, 0] = torch.nan
    assert exemplar_loss(broken, rows, memory, temperature=0.05, num_neighbours=2).isnan()

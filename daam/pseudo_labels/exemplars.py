"""Exemplar memory: one unit vector for each image of the target's train split, moved once a step.

Shapes: N = images of the target's train split, B = images of one step, C = embedding width. Pure
functions of their arguments: ranks that pass the same gathered batch hold the same memory, to the
bit.
"""

import torch
from torch import Tensor
from torch.nn.functional import normalize

from daam.pseudo_labels.memory import mean_by_group


@torch.no_grad()
def initial_exemplars(embeddings: Tensor) -> Tensor:
    """(N, C) float32: each image's own direction, L2-normalised.

    ECN (arXiv:1904.01990) starts from zeros; from the embeddings, neighbours mean something
    before the whole split has been seen.

    Args:
        embeddings: (N, C), in the order of the split's rows.
    """
    return normalize(embeddings.float(), dim=1)


@torch.no_grad()
def update_exemplars(memory: Tensor, embeddings: Tensor, rows: Tensor, *, keep: float) -> Tensor:
    """(N, C): the memory after a step; images that are not in the batch stay where they are.

    M[t] <- normalise(keep M[t] + (1 - keep) z), after Zhong et al. 2019, arXiv:1904.01990. An
    image that is several times in the batch counts once, with the mean of its
    z: one update an image and step, whatever the order of the batch.

    Args:
        memory: (N, C), L2-normalised.
        embeddings: (B, C), L2-normalised, of the whole step: gathered from every rank.
        rows: (B,) int64, where each image is in the memory, 0 to N - 1.
        keep: share of the old vector that stays, 0 to 1.
    """
    if len(rows) == 0:
        return memory
    first_B = (rows[:, None] == rows[None, :]).byte().argmax(dim=1)  # the first of equal rows
    mean_BC, _ = mean_by_group(embeddings, first_B, num_groups=len(rows))
    moved_BC = normalize(keep * memory[rows] + (1 - keep) * mean_BC, dim=1)
    # Equal rows write equal values, so it does not matter which of them is written last.
    return memory.index_copy(0, rows, moved_BC[first_B])

"""Exemplar memory: a unit vector per image of the target's train split, updated every step.

Shapes: N = images of the target's train split, B = images of one step, C = embedding width. Pure
functions: ranks that pass the same gathered batch get bitwise identical memories.
"""

import torch
from torch import Tensor
from torch.nn.functional import normalize

from daam.pseudo_labels.memory import mean_by_group


@torch.no_grad()
def initial_exemplars(embeddings: Tensor) -> Tensor:
    """(N, C) float32: the embedding of each image, L2-normalised.

    ECN (arXiv:1904.01990) starts from zeros; embeddings make neighbours meaningful before the
    whole split has been seen.

    Args:
        embeddings: (N, C), in the order of the split's rows.
    """
    return normalize(embeddings.float(), dim=1)


@torch.no_grad()
def update_exemplars(memory: Tensor, embeddings: Tensor, rows: Tensor, *, keep: float) -> Tensor:
    """(N, C): the memory after a step; images outside the batch keep their vectors.

    M[t] <- normalise(keep M[t] + (1 - keep) z), after Zhong et al. 2019, arXiv:1904.01990. An
    image that is in the batch several times is updated once, with the mean of its z, so that the
    order of the batch does not matter.

    Args:
        memory: (N, C), L2-normalised.
        embeddings: (B, C), L2-normalised, of the whole step, gathered from all ranks.
        rows: (B,) int64, the row of each image in the memory, 0 to N - 1.
        keep: share of the old vector that is kept, 0 to 1.
    """
    if len(rows) == 0:
        return memory
    first_B = (rows[:, None] == rows[None, :]).byte().argmax(dim=1)  # the first of equal rows
    mean_BC, _ = mean_by_group(embeddings, first_B, num_groups=len(rows))
    new_BC = normalize(keep * memory[rows] + (1 - keep) * mean_BC, dim=1)
    # Equal rows write equal values, so their order does not matter.
    return memory.index_copy(0, rows, new_BC[first_B])

"""Collectives over the ranks of a run; without a process group each is the identity.

All ranks call a collective, or none does. Shapes: N = rows over all ranks, D = width.
"""

from collections.abc import Iterable
from typing import Any, TypeVar

import torch
from torch import Tensor, distributed

T = TypeVar("T")

_group: distributed.ProcessGroup | None = None  # the ranks that train; None: all


def keep_first(num: int) -> bool:
    """Let the first ranks alone be the group from now on; return whether this is one of them.

    Collective. The others call no collective any more.
    """
    global _group
    if num == num_ranks():
        return True
    is_kept = rank() < num
    first = distributed.new_group(range(num))
    if isinstance(first, distributed.ProcessGroup):
        _group = first
    return is_kept


def group() -> distributed.ProcessGroup | None:
    """Return the process group of the ranks that train; None for torch's default group."""
    return _group


def rank() -> int:
    """Return this process's rank, 0 without a process group."""
    return distributed.get_rank(_group) if distributed.is_initialized() else 0


def num_ranks() -> int:
    """Return the number of ranks, 1 without a process group."""
    return distributed.get_world_size(_group) if distributed.is_initialized() else 1


def mean_over_ranks(tensor: Tensor) -> Tensor:
    """Return the mean of a tensor over all ranks, the same on each; no gradient flows back."""
    result = tensor.detach().clone()
    if num_ranks() > 1:
        distributed.all_reduce(result, group=_group)
        result /= num_ranks()
    return result


def gather_equal(tensor: Tensor) -> Tensor:
    """Concatenate tensors of one shape over all ranks in rank order; no gradient flows back."""
    if num_ranks() == 1:
        return tensor.detach()
    parts = [torch.empty_like(tensor) for _ in range(num_ranks())]
    distributed.all_gather(parts, tensor.detach().contiguous(), group=_group)
    return torch.cat(parts)


def gather_rows(rows: Tensor, values_ND: Tensor, *, num_rows: int) -> Tensor:
    """Combine the rows of all ranks into one table that every rank gets.

    Args:
        rows: (n,) int64, the rows of the table this rank has; each is on exactly one rank.
        values_ND: (n, D), their values.
        num_rows: N.
    """
    table_ND = values_ND.new_zeros((num_rows, values_ND.shape[1]))
    table_ND[rows] = values_ND
    if num_ranks() > 1:
        distributed.all_reduce(table_ND, group=_group)  # every other rank adds exactly zero
    return table_ND


def overwrite_with_rank_zero(tensors: Iterable[Tensor]) -> None:
    """Broadcast the values of rank 0's tensors to all ranks, in place."""
    if num_ranks() > 1:
        for tensor in tensors:
            distributed.broadcast(tensor, src=0, group=_group)


def from_rank_zero(value: T) -> T:
    """Return rank 0's value on every rank; it must be picklable."""
    if num_ranks() == 1:
        return value
    box = [value]
    distributed.broadcast_object_list(box, src=0, group=_group)
    return box[0]


def from_all_ranks(value: T) -> list[T]:
    """Return each rank's value on every rank, in rank order; they must be picklable."""
    if num_ranks() == 1:
        return [value]
    values: list[Any] = [None] * num_ranks()
    distributed.all_gather_object(values, value, group=_group)
    return values

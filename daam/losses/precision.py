"""Losses in float32, whatever the precision of the network."""

from collections.abc import Callable
from functools import wraps
from typing import Concatenate, ParamSpec, TypeVar

import torch
from torch import Tensor

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


def in_float32(
    loss: Callable[Concatenate[Tensor, Arguments], Result],
) -> Callable[Concatenate[Tensor, Arguments], Result]:
    """Run a loss with its first argument in float32 and autocast off.

    Casting the inputs is not enough: under autocast the product of two float32 tensors is computed
    in bfloat16, whose three digits are too few for a difference of distances or for a softmax at
    temperature 0.05.
    """

    @wraps(loss)
    def computed_in_float32(
        first: Tensor, *args: Arguments.args, **kwargs: Arguments.kwargs
    ) -> Result:
        with torch.autocast(device_type=first.device.type, enabled=False):
            return loss(first.float(), *args, **kwargs)

    return computed_in_float32

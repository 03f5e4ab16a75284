"""Losses are computed in float32, whatever precision the network around them runs in."""

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

    Under autocast a product of two float32 tensors is taken in bf16, whose three digits are too
    few for a difference of distances or for a softmax at temperature .05: casting the inputs alone
    does not help.
    """

    @wraps(loss)
    def computed_in_float32(
        first: Tensor, *args: Arguments.args, **kwargs: Arguments.kwargs
    ) -> Result:
        with torch.autocast(device_type=first.device.type, enabled=False):
            return loss(first.float(), *args, **kwargs)

    return computed_in_float32

"""Tensors from untrusted files: loaded without running code, compared with a network."""

from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import torch
from torch import Tensor

from daam.documents import MalformedError


def read_tensors(file: Path | IO[bytes]) -> Any:
    """Return the tensors and plain values of a PyTorch file, on the CPU. No code in it is run.

    Raises:
        MalformedError: it is damaged or of another kind, or holds other Python objects; the cause
            is PyTorch's own error.
        OSError: it cannot be opened or read.
    """
    try:
        return torch.load(file, map_location="cpu", weights_only=True)
    except OSError:
        raise
    except Exception as error:  # a damaged file ends PyTorch's reader in any way
        raise MalformedError(f"PyTorch cannot read it ({type(error).__name__})") from error


def check_tensors(found: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    """Compare tensors that were read with those of the network that is to take them.

    Raises:
        MalformedError: a name is missing or unknown, or a tensor differs in shape or type, or is
            not finite.
    """
    if missing := sorted(expected.keys() - found.keys()):
        raise MalformedError(f"{missing[0]} is missing")
    if unknown := sorted(found.keys() - expected.keys()):
        raise MalformedError(f"{unknown[0]!r} is unknown")
    for name, tensor in found.items():
        check_tensor(name, tensor, shape=expected[name].shape, dtype=expected[name].dtype)


def check_tensor(
    name: str, tensor: Tensor, *, shape: tuple[int, ...], dtype: torch.dtype | None
) -> None:
    """Check one tensor.

    Args:
        name: for messages.
        tensor: that was read.
        shape: that it must have.
        dtype: that it must have; None for any type of floating-point numbers.

    Raises:
        MalformedError: it has another shape or type, or is not finite.
    """
    if not is_plain(tensor):
        raise MalformedError(f"{name} is not a plain tensor")
    if tensor.shape != shape:
        raise MalformedError(f"{name} has the shape {tuple(tensor.shape)}, not {tuple(shape)}")
    if tensor.dtype != dtype and (dtype is not None or not tensor.is_floating_point()):
        raise MalformedError(
            f"{name} is of {tensor.dtype}, not {dtype or 'floating-point numbers'}"
        )
    if not is_finite(tensor):
        raise MalformedError(f"{name} is not finite")


def is_plain(value: object) -> bool:
    """Whether it is a tensor all of whose numbers are in memory: not sparse, `meta` or repeated."""
    return (
        isinstance(value, Tensor)
        and value.layout == torch.strided
        and value.device.type == "cpu"
        and not value.is_quantized
        and not value.is_nested
        and value.numel() * value.element_size() <= value.untyped_storage().nbytes()
    )


def is_finite(tensor: Tensor) -> bool:
    """Whether a tensor has no NaN and no infinity."""
    return bool(torch.isfinite(tensor).all())

"""Strategies for PyTorch's files: other values and tensors in the tree, and other bytes in the zip,
whose checksums are made to fit."""

import copy
import io
import zipfile
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy
from torch import Tensor

from tests.fuzz.mutations import MAX_EDITS, VALUES, Input, edited

# What a tensor is replaced by.
CHANGES = (
    lambda tensor: tensor.to(torch.complex64),
    lambda tensor: tensor.to(torch.int64),
    lambda tensor: tensor.bool(),
    lambda tensor: torch.full_like(tensor, float("nan")) if tensor.is_floating_point() else tensor,
    lambda tensor: torch.full_like(tensor, float("inf")) if tensor.is_floating_point() else tensor,
    lambda tensor: tensor.flatten()[:1],
    lambda tensor: tensor[None],
    lambda _: torch.empty(0),
    lambda _: torch.zeros(()),
    lambda _: torch.zeros(1).expand(1 << 40),  # 4 TiB of one number
    lambda tensor: torch.empty_like(tensor, device="meta"),
    lambda tensor: tensor.to_sparse() if tensor.dim() else tensor,
    lambda tensor: tensor.flatten().as_strided((tensor.numel(),), (0,)),
)


def as_file(tree: Any) -> bytes:
    """A tree in PyTorch's format."""
    file = io.BytesIO()
    torch.save(tree, file)
    return file.getvalue()


def mutated_tensors(samples: Sequence[bytes]) -> SearchStrategy[bytes]:
    """PyTorch's files after one to four edits, half in the tree and half in the bytes."""

    @st.composite
    def mutate(draw: DrawFn) -> bytes:
        sample = draw(st.sampled_from(samples))
        edits = range(draw(st.integers(1, MAX_EDITS)))
        match draw(st.sampled_from(("tree", "tree", "entries", "file"))):
            case "tree":
                tree = torch.load(io.BytesIO(sample), weights_only=True)
                for _ in edits:
                    tree = _edited_tree(draw, tree)
                return as_file(tree)
            case "entries":
                return _with_edited_entry(draw, sample, num_edits=len(edits))
            case _:
                for _ in edits:
                    sample = edited(draw, sample) if sample else sample
                return sample

    return mutate().map(Input)


def _edited_tree(draw: DrawFn, tree: Any) -> Any:
    places = list(_places_in(tree))
    if not places:
        return tree
    holder, key = draw(st.sampled_from(places))
    value = holder[key]
    match draw(st.sampled_from(("change", "change", "replace", "remove", "copy"))):
        case "change" if isinstance(value, Tensor) and _is_small(value):
            holder[key] = draw(st.sampled_from(CHANGES))(value)
        case "remove":
            del holder[key]
        case "copy":
            other, other_key = draw(st.sampled_from(places))
            holder[key] = copy.deepcopy(other[other_key])
        case _:
            values = (*VALUES, (1, 1), torch.zeros(3), b"bytes")
            holder[key] = copy.deepcopy(draw(st.sampled_from(values)))
    return tree


def _is_small(tensor: Tensor) -> bool:
    """Whether it is one that can be changed: an earlier change may have made it huge or sparse."""
    is_plain = tensor.layout == torch.strided and tensor.device.type == "cpu"
    return is_plain and not tensor.is_complex() and tensor.numel() < 1e6


def _places_in(tree: Any) -> Iterator[tuple[Any, Any]]:
    if isinstance(tree, dict | list):
        for key in list(tree) if isinstance(tree, dict) else range(len(tree)):
            yield tree, key
            yield from _places_in(tree[key])


def _with_edited_entry(draw: DrawFn, sample: bytes, *, num_edits: int) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(sample)) as source, zipfile.ZipFile(file, "w") as target:
        names = source.namelist()
        # Half of the edits are in the pickle, which says what is where.
        pickles = [name for name in names if name.endswith("data.pkl")]
        chosen = draw(st.sampled_from(pickles if draw(st.booleans()) else names))
        for name in names:
            content = source.read(name)
            for _ in range(num_edits if name == chosen else 0):
                content = edited(draw, content) if content else content
            target.writestr(name, content)
    return file.getvalue()

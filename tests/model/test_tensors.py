"""Files of weights that were damaged or made to mislead: read right, or refused in a line."""

import io
import warnings
from typing import Any

import pytest
import torch
from torch import Tensor
from torchvision import models

from daam.documents import MalformedError
from daam.errors import ConfigError
from daam.model.tensors import check_tensors, read_tensors
from daam.model.weights import StateDict, load_backbone_state, read_state_dict
from tests.support.damage import damaged_bytes


def saved(state: Any, *, is_zip: bool = True) -> bytes:
    file = io.BytesIO()
    torch.save(state, file, _use_new_zipfile_serialization=is_zip)
    return file.getvalue()


@pytest.mark.parametrize("is_zip", [True, False], ids=["zip", "as before 1.6"])
def test_a_damaged_file_is_read_or_refused(is_zip: bool) -> None:
    content = saved({"conv1.weight": torch.ones(2, 3, 3, 3), "name": "x", 3: [1, 2]}, is_zip=is_zip)
    for name, damaged in damaged_bytes(content, is_text=False):
        with warnings.catch_warnings(action="ignore"):
            try:
                read_tensors(io.BytesIO(damaged))
            except MalformedError:
                continue
        assert name.startswith(("a flipped bit", "without its end"))


@pytest.mark.parametrize(
    ("name", "tensor", "problem"),
    [
        ("a", torch.ones(3, 2), "a has the shape (3, 2), not (2, 3)"),
        ("a", torch.ones(2, 3).double(), "a is of torch.float64, not torch.float32"),
        ("a", torch.ones(2, 3) / 0, "a is not finite"),
        ("a", torch.ones(2, 3).to_sparse(), "a is not a plain tensor"),
        ("a", torch.ones(2, 3, device="meta"), "a is not a plain tensor"),
        ("a", torch.ones(1).expand(2, 3), "a is not a plain tensor"),
        ("b", torch.ones(2, 3), "a is missing"),
    ],
)
def test_a_tensor_that_does_not_fit_is_named(name: str, tensor: Tensor, problem: str) -> None:
    check_tensors({"a": torch.zeros(2, 3)}, {"a": torch.ones(2, 3)})
    with pytest.raises(MalformedError) as caught:
        check_tensors({name: tensor}, {"a": torch.ones(2, 3)})
    assert str(caught.value) == problem
    with pytest.raises(MalformedError, match="'c' is unknown"):
        check_tensors({"a": torch.ones(1), "c": torch.ones(1)}, {"a": torch.ones(1)})


@pytest.mark.parametrize(
    "value",
    [
        torch.full((64, 3, 7, 7), torch.nan),
        torch.ones(64, 3, 7, 7).to_sparse(),
        torch.ones(64, 3, 7, 7, device="meta"),
        torch.ones(1).expand(64, 3, 7, 7),
        torch.ones(64),
        torch.ones(10**6, 3, 1, 1),
        torch.ones(()),
        "text",
        None,
        {"a": torch.ones(1)},
        [torch.ones(1)],
    ],
)
def test_initial_weights_that_do_not_fit_are_refused(value: object) -> None:
    network = models.resnet18(weights=None)
    content = saved(network.state_dict() | {"conv1.weight": value})
    with pytest.raises(ConfigError, match=r"^model\.weights: here\.pt "):
        load_backbone_state(
            network,
            read_state_dict(io.BytesIO(content), where="here.pt"),
            name="resnet18",
            classifier="fc.",
        )


def test_a_number_that_python_does_not_read_is_no_stage() -> None:
    state = StateDict(tensors={"²²²²².weight": torch.ones(1)}, where="here.pt")
    with pytest.raises(ConfigError, match="it has no conv1"):
        load_backbone_state(models.resnet18(weights=None), state, name="resnet18", classifier="fc.")

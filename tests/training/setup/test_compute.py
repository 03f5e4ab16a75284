"""Where a run computes: the device asked for, its precision and memory format."""

import pytest
import torch
from torch import nn

from daam.errors import TrainingError
from daam.model.backbone import tiny_backbone
from daam.training.setup.compute import choose_compute

needs_no_gpu = pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")


@needs_no_gpu
def test_a_gpu_that_is_not_there_is_refused_with_what_to_do():
    with pytest.raises(TrainingError, match=r"finds no GPU.*use compute\.device=auto"):
        choose_compute(device="cuda", precision="float32", channels_last=True)


@needs_no_gpu
def test_auto_is_the_cpu_where_there_is_no_gpu():
    compute = choose_compute(device="auto", precision="float32", channels_last=True)
    assert compute.device == torch.device("cpu")


@pytest.mark.parametrize(
    ("precision", "dtype"), [("float32", torch.float32), ("bfloat16", torch.bfloat16)]
)
def test_the_forward_pass_has_the_precision_asked_for(precision, dtype):
    compute = choose_compute(device="cpu", precision=precision, channels_last=True)
    with compute.autocast():
        assert nn.Linear(3, 2)(torch.zeros(1, 3)).dtype == dtype


@pytest.mark.parametrize(
    ("channels_last", "layout"), [(True, torch.channels_last), (False, torch.contiguous_format)]
)
def test_weights_get_the_memory_format_asked_for_and_keep_their_values(channels_last, layout):
    compute = choose_compute(device="cpu", precision="float32", channels_last=channels_last)
    network = tiny_backbone()
    before = {name: weight.detach().clone() for name, weight in network.named_parameters()}
    compute.place(network)
    for name, weight in network.named_parameters():
        assert torch.equal(weight, before[name])
        if weight.dim() == 4:
            assert weight.is_contiguous(memory_format=layout)


def test_moving_to_where_a_tensor_is_gives_that_tensor():
    compute = choose_compute(device="cpu", precision="float32", channels_last=True)
    tensor = torch.ones(2)
    assert compute.move(tensor) is tensor

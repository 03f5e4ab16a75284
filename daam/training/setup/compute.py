"""Where a run computes and how: device, precision and memory format."""

import platform
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch
from torch import Tensor, nn

from daam.config.schema import RunConfig
from daam.dataset.pixels.buffers import to_device
from daam.errors import TrainingError


@dataclass(frozen=True, slots=True, kw_only=True)
class Compute:
    """A device, the precision of its forward passes and the memory format of its images."""

    device: torch.device
    precision: torch.dtype
    channels_last: bool

    @property
    def augments_on(self) -> torch.device | None:
        """The GPU that augments training images; None: the decoding threads do."""
        return self.device if self.device.type == "cuda" else None

    def describe(self) -> dict[str, str | int | None]:
        """Describe what rounding depends on: the processor, its kernels and the threads."""
        if self.device.type == "cuda":
            return {
                "device": torch.cuda.get_device_name(self.device),
                "cuda": torch.version.cuda,
                "cudnn": torch.backends.cudnn.version(),
            }
        return {
            "device": cpu_name(),
            "kernels": torch.backends.cpu.get_cpu_capability(),
            "threads": torch.get_num_threads(),
        }

    def autocast(self) -> torch.autocast:
        """Return the context of a forward pass."""
        return torch.autocast(
            self.device.type, dtype=torch.bfloat16, enabled=self.precision == torch.bfloat16
        )

    def move(self, tensor: Tensor) -> Tensor:
        """Copy a tensor to the device asynchronously."""
        return to_device(tensor, self.device)

    def place(self, network: nn.Module) -> None:
        """Move a network's weights to the device, in the memory format of the images."""
        memory_format = torch.channels_last if self.channels_last else torch.contiguous_format
        network.to(self.device)
        for weight in network.parameters():
            if weight.dim() == 4:
                weight.data = weight.data.contiguous(memory_format=memory_format)


@cache
def cpu_name() -> str:
    """Return the model of this machine's CPU, or its architecture if the model is unknown."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())


def compute_of(config: RunConfig) -> Compute:
    """Choose the run's device and precision.

    Raises:
        TrainingError: the settings require a GPU, to compute or to decode, and there is none.
    """
    compute = choose_compute(
        device=config.compute.device,
        precision=config.compute.precision,
        channels_last=config.compute.channels_last,
    )
    if config.data.decode == "cuda" and compute.device.type != "cuda":
        raise TrainingError(
            f"data.decode is cuda and the run computes on the {compute.device.type}; "
            "use data.decode=auto, or compute.device=cuda on a machine with a GPU"
        )
    return compute


def choose_compute(*, device: str, precision: str, channels_last: bool) -> Compute:
    """Make a `Compute` from settings; `auto` takes a GPU if there is one.

    Raises:
        TrainingError: the device is `cuda` and there is no GPU.
    """
    if device == "cuda" and not torch.cuda.is_available():
        raise TrainingError(
            "compute.device is cuda and PyTorch finds no GPU on this machine; "
            "use compute.device=auto, or check the driver with nvidia-smi"
        )
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    return Compute(
        device=torch.device(device, torch.cuda.current_device())
        if device == "cuda"
        else torch.device(device),
        precision=getattr(torch, precision),
        channels_last=channels_last,
    )

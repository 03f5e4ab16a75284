"""What attention and branches add to a network's forward and backward pass.

    python benchmarks/network_cost.py --backbone tiny --height 128 --width 64 --batch 128

Each kind of attention, with both branches and their classifiers, beside the same backbone with a
pooled, normalised and linear classifier, on the same batch with one thread. The two sides take
turns, and the ratio is the median over the rounds; wall time and CPU time are both reported.
Losses are cross-entropies on both sides, domain classification among them.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from daam.model.attention import (
    Attention,
    ChannelAttention,
    FactorisedAttention,
    FullAttention,
    SpatialAttention,
)
from daam.model.backbone import (
    convnext_backbone,
    num_output_channels,
    resnet_backbone,
    split_last_stage,
    tiny_backbone,
)
from daam.model.network import DaamNetwork

NUM_IDENTITIES = 200
BACKBONES = ("tiny", "resnet18", "resnet34", "resnet50", "convnext_tiny")
KINDS = ("none", "factorised", "channel", "spatial", "full", "before_last")


class Plain(nn.Module):
    """A backbone with a classifier of all images."""

    def __init__(self, backbone: nn.Module, *, num_channels: int) -> None:
        super().__init__()
        self.backbone = backbone
        self.bottleneck = nn.BatchNorm1d(num_channels)
        self.classifier = nn.Linear(num_channels, NUM_IDENTITIES, bias=False)

    def forward(self, images_BCHW: Tensor) -> Tensor:
        """Return (B, I)."""
        return self.classifier(self.bottleneck(self.backbone(images_BCHW).mean(dim=(2, 3))))


def main() -> None:
    """Print a line for each kind of attention."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--backbone", choices=BACKBONES, default="tiny")
    parser.add_argument("--height", type=int, default=128)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=["factorised"])
    arguments = parser.parse_args()

    torch.set_num_threads(1)
    torch.manual_seed(0)
    size = (arguments.batch, 3, arguments.height, arguments.width)
    images = torch.randn(size).contiguous(memory_format=torch.channels_last)
    identities = torch.randint(0, NUM_IDENTITIES, (arguments.batch,))
    backbone = make_backbone(arguments.backbone)
    plain = placed(Plain(backbone, num_channels=num_output_channels(backbone)))

    def plain_pass() -> None:
        plain.zero_grad(set_to_none=True)
        F.cross_entropy(plain(images), identities).backward()

    print(f"{arguments.backbone}, {arguments.height}x{arguments.width}, batch {arguments.batch}")
    for kind in arguments.kinds:
        network = placed(make_network(arguments.backbone, kind))
        ours, theirs = in_turns(
            daam_pass(network, images, identities), plain_pass, rounds=arguments.rounds
        )
        ratios = [
            statistics.median(
                mine[at] / other[at] for mine, other in zip(ours, theirs, strict=True)
            )
            for at in (0, 1)
        ]
        cpu_ms = [1e3 * statistics.median(cpu for _, cpu in side) for side in (ours, theirs)]
        print(
            f"{kind:12} {ratios[0]:.3f} x wall, {ratios[1]:.3f} x CPU "
            f"({cpu_ms[0]:.1f} ms beside {cpu_ms[1]:.1f} ms)"
        )


def daam_pass(network: nn.Module, images: Tensor, identities: Tensor) -> Callable[[], None]:
    """One forward and backward pass of a batch, half of it the source's."""
    num_source = len(images) // 2
    domains = (torch.arange(len(images)) >= num_source).long()

    def run() -> None:
        network.zero_grad(set_to_none=True)
        output = network(images, num_source=num_source)
        total = F.cross_entropy(output.identity_logits_SI, identities[:num_source])
        if output.domain_logits_B2 is not None:
            total = total + F.cross_entropy(output.domain_logits_B2, domains)
        total.backward()

    return run


def in_turns(
    first: Callable[[], None], second: Callable[[], None], *, rounds: int
) -> tuple[list[tuple[float, float]], list[tuple[float, float]]]:
    """Run A B A B; return (wall, CPU) seconds of each run. One run of each warms up."""
    times: tuple[list[tuple[float, float]], ...] = ([], [])
    for number in range(rounds + 1):
        for side, run in zip(times, (first, second), strict=True):
            wall, cpu = time.perf_counter(), time.process_time()
            run()
            if number > 0:
                side.append((time.perf_counter() - wall, time.process_time() - cpu))
    return times[0], times[1]


def make_backbone(name: str) -> nn.Sequential:
    """Return a backbone with random weights."""
    match name:
        case "tiny":
            return tiny_backbone()
        case "convnext_tiny":
            return convnext_backbone(weights="none")
        case _:
            return resnet_backbone(name, weights="none")


def make_network(backbone_name: str, kind: str) -> DaamNetwork:
    """Return a network with a kind of attention, `before_last` with the factorised one there."""
    backbone = make_backbone(backbone_name)
    num_channels = num_split = num_output_channels(backbone)
    branch_stage = None
    if kind == "before_last":
        backbone, branch_stage = split_last_stage(backbone)
        num_split = num_output_channels(backbone)
    return DaamNetwork(
        backbone,
        num_channels=num_channels,
        num_identities=NUM_IDENTITIES,
        attention=make_attention(kind, num_channels=num_split),
        branch_stage=branch_stage,
    )


def make_attention(kind: str, *, num_channels: int) -> Attention | None:
    """Return an attention of the default settings."""
    match kind:
        case "none":
            return None
        case "channel":
            return ChannelAttention(num_channels, reduction=16, initial_bias=1.0, temperature=1.0)
        case "spatial":
            return SpatialAttention(initial_bias=1.0, kernel=3, temperature=1.0)
        case "full":
            return FullAttention(num_channels, reduction=16, initial_bias=1.0, temperature=1.0)
        case _:
            return FactorisedAttention(
                num_channels, reduction=16, initial_bias=1.0, kernel=3, temperature=1.0
            )


def placed(network: nn.Module) -> nn.Module:
    """Return the network in training mode, its convolutions in the layout of the images."""
    for weight in network.parameters():
        if weight.dim() == 4:
            weight.data = weight.data.contiguous(memory_format=torch.channels_last)
    return network.train()


if __name__ == "__main__":
    main()

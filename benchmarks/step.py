"""Cost of a training step of DAAM beside the same backbone with a plain classifier.

Both take the same synthetic images in memory, equally many per domain, normalise them, and run one
forward pass, one backward pass and one update of Adam. The plain step pools the features and
classifies the source's identities with a cross-entropy; its backbone sees the target's images too,
as DAAM's does. DAAM's is `daam.training.step.train_step` with every loss of the preset daam_v2.
Rounds are interleaved; medians of CPU time, wall time and their ratio are printed.

    python benchmarks/step.py --backbone tiny --size 128x64 --batch 64
    python benchmarks/step.py --set model.attention.kind=full
    python benchmarks/step.py --backbone resnet50 --size 256x128 --batch 64 --device cuda \
        --precision bfloat16 --compile
"""

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from daam.config.load import nested, read_preset, run_config
from daam.config.schema import RunConfig
from daam.dataset.loader.batches import DomainBatch
from daam.dataset.pixels.normalise import normalise
from daam.domains import Split
from daam.model.backbone import num_output_channels
from daam.pseudo_labels.memory import initial_centres
from daam.runs.preparation import prepare_domains
from daam.training.batches import source_batches, target_batches
from daam.training.objective import BatchGroups, Weights
from daam.training.setup.assemble import Run, assemble
from daam.training.setup.compute import Compute, compute_of
from daam.training.setup.network import backbone_of
from daam.training.step import train_step

NUM_IDENTITIES, NUM_GROUPS = 751, 500
SPLITS = {Split.TRAIN}
WEIGHTS = Weights(
    triplet=1.0,
    domain_similarity=5.0,
    domain_classification=0.1,
    target=1.0,
    target_triplet=0.0,
)


def main() -> None:
    """Measure both sides in turns."""
    parser = argparse.ArgumentParser(description="A training step beside a plain classifier's")
    parser.add_argument("--backbone", default="tiny")
    parser.add_argument("--size", default="128x64", help="HEIGHTxWIDTH")
    parser.add_argument("--batch", type=int, default=64, help="images of each domain")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--steps", type=int, default=5, help="of each side in a round")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", default="float32")
    parser.add_argument("--compile", action="store_true", help="both sides' networks")
    parser.add_argument("--set", dest="settings", nargs="*", default=[], help="of DAAM's side")
    arguments = parser.parse_args()
    height, width = map(int, arguments.size.split("x"))
    config = run_config(
        read_preset("daam_v2"),
        nested(
            {
                "model.backbone": arguments.backbone,
                "model.weights": "none",
                "data.height": height,
                "data.width": width,
                "data.identities_per_batch": arguments.batch // 4,
                "data.target_batch_size": arguments.batch,
                "compute.device": arguments.device,
                "compute.precision": arguments.precision,
            }
        ),
    )
    compute = compute_of(config)
    prepare_domains(config, dict.fromkeys(("plaza", "campus"), SPLITS), progress=lambda *_: None)
    run = assemble(config)
    run.network.train()
    source = next(source_batches(run, epoch=0, steps=range(1)))
    target = next(target_batches(run, epoch=0, steps=range(1), labels=None))
    sides = {
        "plain classifier": plain_step(config, source, target, compiled=arguments.compile),
        "DAAM": daam_step(run, source, target, compiled=arguments.compile),
    }
    for step in sides.values():
        timed(step, steps=3, compute=compute)
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in sides}
    for _ in range(arguments.rounds):
        for name, step in sides.items():
            found[name].append(timed(step, steps=arguments.steps, compute=compute))
    images = 2 * arguments.batch
    print(f"{arguments.backbone}, {arguments.size}, {images} images, {compute.device}")
    print("| side | CPU ms a step | wall ms a step | images/s |")
    print("|---|---|---|---|")
    for name, rounds in found.items():
        cpu, wall = (statistics.median(r[k] for r in rounds) for k in (0, 1))
        print(f"| {name} | {1e3 * cpu:.1f} | {1e3 * wall:.1f} | {images / wall:.0f} |")
    for k, what in enumerate(("CPU", "wall")):
        ratios = [ours[k] / plain[k] for plain, ours in zip(*found.values(), strict=True)]
        print(f"{what} time, DAAM over plain: median {statistics.median(ratios):.3f}")


def plain_step(
    config: RunConfig, source: DomainBatch, target: DomainBatch, *, compiled: bool
) -> Callable[[], object]:
    """A step of backbone, mean over positions, batch norm and a linear classifier."""
    compute = compute_of(config)
    torch.manual_seed(0)
    network = PlainClassifier(backbone_of(config))
    compute.place(network)
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-4, weight_decay=5e-4)
    if compiled:
        network.compile()
    assert source.identities is not None
    identities = compute.move(source.identities)

    def step() -> None:
        images = normalise(compute.move(torch.cat([source.images, target.images])))
        with compute.autocast():
            logits = network(images)[: len(identities)]
        loss = F.cross_entropy(logits.float(), identities, label_smoothing=0.1)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()

    return step


class PlainClassifier(nn.Module):
    """What a re-identification baseline has: a backbone and a classifier behind a norm."""

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        num_channels = num_output_channels(backbone)
        self.backbone = backbone
        self.norm = nn.BatchNorm1d(num_channels)
        self.classifier = nn.Linear(num_channels, NUM_IDENTITIES, bias=False)

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits."""
        return self.classifier(self.norm(self.backbone(images).mean(dim=(2, 3))))


def daam_step(
    run: Run, source: DomainBatch, target: DomainBatch, *, compiled: bool
) -> Callable[[], object]:
    """A step of training with every loss of the preset, on groups that are made up."""
    num_channels = run.network.shared.bottleneck.num_features
    embeddings = F.normalize(torch.randn(NUM_GROUPS, num_channels), dim=1)
    centres = initial_centres(embeddings, torch.arange(NUM_GROUPS), num_groups=NUM_GROUPS)
    run.memory.centres_KC = run.compute.move(centres)
    labels = BatchGroups(
        of_images_T=run.compute.move(torch.arange(len(target.rows)) // 4),
        embeddings_TC=run.compute.move(embeddings[: len(target.rows)]),
    )
    if compiled:
        run.network.compile()
    return lambda: train_step(
        run,
        run.network,
        source=source,
        target=target,
        labels=labels,
        weights=WEIGHTS,
        learning_rate=1e-4,
        teacher_momentum=0.999,
        with_gradients=False,
    )


def timed(step: Callable[[], object], *, steps: int, compute: Compute) -> tuple[float, float]:
    """CPU and wall seconds of a step."""
    synchronise(compute)
    cpu, wall = time.process_time(), time.perf_counter()
    for _ in range(steps):
        step()
    synchronise(compute)
    return (time.process_time() - cpu) / steps, (time.perf_counter() - wall) / steps


def synchronise(compute: Compute) -> None:
    """Wait for what the device was given to do."""
    if compute.device.type == "cuda":
        torch.cuda.synchronize()


if __name__ == "__main__":
    main()

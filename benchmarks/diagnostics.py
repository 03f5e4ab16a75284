"""Cost of the label-free diagnostics as a share of an epoch.

They are the inspection of both domains after the epoch (probe, attention, distances), the gradient
of each loss in its last step, and the silhouette of its groups. None of them depends on the number
of steps: few are run, and the cost is scaled to an epoch of `--steps-per-epoch`. CPU time of this
process, medians over epochs.

    python benchmarks/diagnostics.py
    python benchmarks/diagnostics.py --size 128x64 --steps-per-epoch 400
"""

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import ParamSpec, TypeVar

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from daam.config.load import nested, read_preset, run_config
from daam.domains import Split
from daam.runs.preparation import prepare_domains
from daam.training import loop, relabel, step
from daam.training.setup.assemble import assemble

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")
PARTS = ("inspect", "gradients", "silhouette")


class Clock:
    """CPU seconds of calls, by name."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def timed(self, name: str, work: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
        """Return the work, which now adds its time under the name."""

        def timed_work(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
            begin = time.process_time()
            result = work(*args, **kwargs)
            self.seconds[name] = self.seconds.get(name, 0.0) + time.process_time() - begin
            return result

        return timed_work


def main() -> None:
    """Train a few short epochs with every diagnostic timed."""
    parser = argparse.ArgumentParser(description="The diagnostics' share of an epoch")
    parser.add_argument("--transfer", default="plaza->station")
    parser.add_argument("--preset", default="daam_v2")
    parser.add_argument("--size", default="48x24", help="HEIGHTxWIDTH")
    parser.add_argument("--steps-per-epoch", type=int, default=30)
    parser.add_argument("--steps", type=int, default=10, help="run in each epoch")
    parser.add_argument("--epochs", type=int, default=5)
    arguments = parser.parse_args()
    height, width = map(int, arguments.size.split("x"))
    config = run_config(
        read_preset(arguments.preset),
        nested(
            {
                "transfer": arguments.transfer,
                "model.backbone": "tiny",
                "data.height": height,
                "data.width": width,
                "data.num_threads": 1,
                "optimiser.num_epochs": arguments.epochs + 1,
                "optimiser.warmup_epochs": 1.0,
                "optimiser.steps_per_epoch": arguments.steps,
                "loss.warmup_epochs": 0,
                "loss.target.num_neighbours": 16,
                "loss.target.num_expansion": 3,
                "compute.device": "cpu",
            }
        ),
    )
    prepare_domains(
        config, {name: {Split.TRAIN} for name in config.domains()}, progress=lambda *_: None
    )
    clock = Clock()
    loop.inspect = clock.timed("inspect", loop.inspect)
    step.gradient_norms = clock.timed("gradients", step.gradient_norms)
    relabel.silhouette = clock.timed("silhouette", relabel.silhouette)
    loop.relabel = clock.timed("labels", loop.relabel)
    loop.train_epoch = clock.timed("steps", loop.train_epoch)
    epochs = []
    for _ in loop.fit(assemble(config)):
        epochs.append(clock.seconds)
        clock.seconds = {}
    found = {
        name: statistics.median(epoch.get(name, 0.0) for epoch in epochs[1:])  # the first warms up
        for name in (*PARTS, "labels", "steps")
    }
    diagnostics = sum(found[part] for part in PARTS)
    labels = found["labels"] - found["silhouette"]
    one_step = (found["steps"] - found["gradients"]) / arguments.steps
    epoch = labels + arguments.steps_per_epoch * one_step + diagnostics
    print(
        f"{arguments.transfer}, {arguments.size}, {arguments.preset}: "
        + ", ".join(f"{part} {1e3 * found[part]:.0f} ms" for part in PARTS)
        + f"; labels {labels:.2f} s, a step {1e3 * one_step:.0f} ms"
    )
    print(
        f"an epoch of {arguments.steps_per_epoch} steps {epoch:.1f} s, "
        f"of which diagnostics {100 * diagnostics / epoch:.1f} %"
    )


if __name__ == "__main__":
    main()

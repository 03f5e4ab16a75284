"""Size of exported model files, time to export, and embedding speed beside PyTorch.

Weights are random, which changes nothing here. Rounds are interleaved; CPU time of one thread.

    OMP_NUM_THREADS=1 python benchmarks/exported_files.py --backbone tiny --height 128 --width 64
"""

import argparse
import io
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from daam.config.load import run_config
from daam.dataset.pixels.normalise import IMAGENET_MEAN, IMAGENET_STD, normalise
from daam.inference.contract import EmbeddingContract
from daam.inference.export import exported_program, onnx_content, torch_content
from daam.training.setup.network import build_network

BATCH, ROUNDS = 16, 7
Result = TypeVar("Result")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--backbone", default="tiny")
    parser.add_argument("--height", type=int, default=128)
    parser.add_argument("--width", type=int, default=64)
    options = parser.parse_args()
    height, width = options.height, options.width
    torch.set_num_threads(1)
    torch.manual_seed(0)
    settings = {"backbone": options.backbone, "weights": "none"}
    network = build_network(run_config({"model": settings}), num_identities=751).eval()
    contract = EmbeddingContract(
        height=height,
        width=width,
        embedding_width=network.shared.bottleneck.num_features,
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
        embedding=network.retrieval_embedding,
        precision="float32",
        run="random",
        transfer="none",
        num_epochs=0,
        norm_statistics="training",
        daam_version="",
    )
    program, trace_s = timed(lambda: exported_program(network, height=height, width=width))
    onnx, onnx_s = timed(lambda: onnx_content(program, contract=contract))
    archive, torch_s = timed(lambda: torch_content(program, contract=contract))
    images_BHWC = torch.randint(0, 256, (BATCH, height, width, 3), dtype=torch.uint8)
    images_BCHW = images_BHWC.permute(0, 3, 1, 2).float().contiguous()
    sides = {
        "PyTorch": lambda: network.embed(normalise(images_BHWC)).numpy(),
        "ONNX Runtime": onnx_side(onnx, images_BCHW),
        "torch file": torch_side(archive, images_BCHW),
    }
    with torch.inference_mode():
        outputs = [embed() for embed in sides.values()]
        difference = max(float(np.abs(output - outputs[0]).max()) for output in outputs)
        seconds: dict[str, list[float]] = {name: [] for name in sides}
        for _ in range(ROUNDS):
            for name, embed in sides.items():
                seconds[name].append(timed(embed)[1])
    speeds = [f"{BATCH / statistics.median(seconds[name]):,.0f} images/s" for name in sides]
    cells = [
        options.backbone,
        f"{trace_s + onnx_s:.1f} s",
        f"{len(onnx) / 1e6:.1f} MB",
        f"{trace_s + torch_s:.1f} s",
        f"{len(archive) / 1e6:.1f} MB",
        *speeds,
        f"{difference:.0e}",
    ]
    print("| " + " | ".join(cells) + " |")


def onnx_side(content: bytes, images_BCHW: torch.Tensor) -> Callable[[], np.ndarray]:
    """One thread of ONNX Runtime."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(content, options)
    images = images_BCHW.numpy()
    return lambda: np.asarray(session.run(["embeddings"], {"images": images})[0])


def torch_side(content: bytes, images_BCHW: torch.Tensor) -> Callable[[], np.ndarray]:
    """The archive, loaded as a user would."""
    module = torch.export.load(io.BytesIO(content)).module()
    return lambda: module(images_BCHW).numpy()


def timed(work: Callable[[], Result]) -> tuple[Result, float]:
    """Return what work gives and the CPU seconds it took."""
    begin = time.process_time()
    return work(), time.process_time() - begin


if __name__ == "__main__":
    main()

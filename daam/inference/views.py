"""A domain's images embedded as they are and slightly changed, to see what the embedding keeps.

Shapes: N = images, B = images in a batch, C = embedding width, H = height, W = width.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from daam.config.schema import RunConfig
from daam.dataset.pixels.normalise import normalise
from daam.dataset.pixels.reader import Pixels
from daam.model.network import DaamNetwork
from daam.training.setup.compute import compute_of

CROPPED_SHARE = 8  # a crop leaves out an eighth of the height and of the width
DARKER = 0.75


def cropped(images_BHWC: Tensor) -> Tensor:
    """(B, H, W, 3) uint8: the middle 7/8 of each image, scaled back to its size."""
    height, width = images_BHWC.shape[1:3]
    top, left = max(1, height // (2 * CROPPED_SHARE)), max(1, width // (2 * CROPPED_SHARE))
    middle_BCHW = images_BHWC[:, top : height - top, left : width - left].permute(0, 3, 1, 2)
    scaled_BCHW = F.interpolate(
        middle_BCHW.float(), size=(height, width), mode="bilinear", align_corners=False
    )
    return scaled_BCHW.round().to(torch.uint8).permute(0, 2, 3, 1)


def darker(images_BHWC: Tensor) -> Tensor:
    """(B, H, W, 3) uint8: with three quarters of the brightness."""
    return (images_BHWC.float() * DARKER).round().to(torch.uint8)


VIEWS: dict[str, Callable[[Tensor], Tensor]] = {
    "plain": lambda images_BHWC: images_BHWC,
    "mirrored": lambda images_BHWC: images_BHWC.flip(2),
    "cropped": cropped,
    "darker": darker,
}


def embedded_views(
    embedder: DaamNetwork,
    reader: Pixels,
    config: RunConfig,
    *,
    rows: np.ndarray,
    names: Sequence[str] = tuple(VIEWS),
) -> dict[str, Tensor]:
    """Embed each image once per view; each view (N, C) float32 of length 1, on the CPU.

    Args:
        embedder: with the norm statistics of the images' domain; put into eval mode.
        reader: the images.
        config: of the run: batch size, precision and device.
        rows: (N,), of the images, at least one.
        names: of the views.
    """
    compute = compute_of(config)
    embedder.eval()
    parts: dict[str, list[Tensor]] = {name: [] for name in names}
    with torch.inference_mode(), compute.autocast():
        for part in np.array_split(rows, -(-len(rows) // config.evaluation.batch_size)):
            images_BHWC = compute.move(reader.read(part))
            for name in names:
                view_BHWC = VIEWS[name](images_BHWC).contiguous()
                embeddings_BC = embedder.embed(normalise(view_BHWC))
                parts[name].append(embeddings_BC.float().cpu())
    return {name: torch.cat(of_view) for name, of_view in parts.items()}

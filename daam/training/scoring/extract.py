"""Embeddings of whole splits, each row once over all ranks, in eval mode and without augmentation.

Shapes: N = rows, B = images in a batch, C = embedding width.
"""

import copy
from collections.abc import Iterator
from contextlib import closing

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from daam.dataset.loader.ordered import ordered_batches
from daam.dataset.pixels.normalise import normalise
from daam.dataset.pixels.reader import Pixels
from daam.model.branches import Embedding
from daam.model.network import DaamNetwork
from daam.model.norm import reestimate_statistics
from daam.spread import spread_evenly
from daam.training import collectives
from daam.training.setup.compute import Compute

NUM_NORM_IMAGES = 512


def adapted_to(
    network: DaamNetwork, reader: Pixels, *, batch_size: int, compute: Compute
) -> DaamNetwork:
    """Return a copy of a network with its batch-norm statistics re-estimated on given images.

    At most 512 rows are used, spread evenly over the split and the same on every rank.
    """
    adapted = copy.deepcopy(network)
    rows = spread_evenly(reader.num_rows, count=NUM_NORM_IMAGES)

    def batches() -> Iterator[Tensor]:
        num_batches = max(1, len(rows) // max(batch_size, 2))  # one image has no variance
        for part in np.array_split(rows, num_batches):
            yield normalise(compute.move(reader.read(part)))

    with compute.autocast():
        reestimate_statistics(adapted, batches())
    return adapted


def embed_rows(
    network: DaamNetwork,
    reader: Pixels,
    *,
    batch_size: int,
    flip: bool,
    compute: Compute,
    num_threads: int,
    embedding: Embedding | None = None,
) -> Tensor:
    """Return the embeddings of every row, (N, C) float32 of length 1 on the CPU, on every rank.

    Args:
        network: its training mode is kept.
        reader: the rows.
        batch_size: images in a forward pass.
        flip: average the embeddings of an image and its mirror image.
        compute: where and how to run.
        num_threads: threads that decode.
        embedding: which one, by default the network's for retrieval.
    """
    was_training = network.training
    network.eval()
    # There may be fewer rows than ranks: a rank without any contributes an empty part.
    rows = [torch.empty(0, dtype=torch.int64)]
    parts = [torch.empty((0, network.shared.bottleneck.num_features), device=compute.device)]
    batches = ordered_batches(
        reader,
        batch_size=batch_size,
        rank=collectives.rank(),
        num_ranks=collectives.num_ranks(),
        num_threads=num_threads,
    )
    with closing(batches), torch.inference_mode(), compute.autocast():
        for batch_rows, images_BHWC in batches:
            images_BCHW = normalise(compute.move(images_BHWC))
            rows.append(torch.from_numpy(batch_rows))
            parts.append(embed_batch(network, images_BCHW, flip=flip, embedding=embedding))
    network.train(was_training)
    own_rows = torch.cat(rows).to(compute.device)
    own = torch.cat(parts)
    table = collectives.gather_rows(own_rows, own, num_rows=reader.num_rows)
    return table.cpu()


def embed_batch(
    network: DaamNetwork, images_BCHW: Tensor, *, flip: bool, embedding: Embedding | None = None
) -> Tensor:
    """Embed normalised images, (B, C) of length 1, perhaps averaged with their mirror images."""
    embeddings_BC = network.embed(images_BCHW, embedding=embedding)
    if flip:
        mirrored_BC = network.embed(images_BCHW.flip(3), embedding=embedding)
        embeddings_BC = F.normalize(embeddings_BC + mirrored_BC, dim=1)
    return embeddings_BC

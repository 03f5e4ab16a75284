"""Batch-norm statistics of one domain, for a network trained on two.

Shapes: B = images.
"""

from collections.abc import Iterable

import torch
from torch import Tensor, nn


def reestimate_statistics(network: nn.Module, batches: Iterable[Tensor]) -> None:
    """Replace the running statistics of every batch norm by those of the given images.

    Training leaves an average over source and target; a test is on the target alone, so its
    statistics are taken from the target's unlabelled train images (Li et al. 2016,
    arXiv:1603.04779). The means over the batches are plain averages: all batches weigh the same.

    Args:
        network: changed in place; its training mode is kept.
        batches: normalised images (B, 3, H, W), at least one batch.
    """
    norms = [
        module
        for module in network.modules()
        if isinstance(module, nn.modules.batchnorm._BatchNorm)
    ]
    was_training = {module: module.training for module in network.modules()}
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a plain average over the batches
    network.train()
    with torch.no_grad():
        for images_BCHW in batches:
            network(images_BCHW, num_source=0)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    for module, mode in was_training.items():
        module.training = mode

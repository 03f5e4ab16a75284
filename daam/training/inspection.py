"""Diagnostics of an epoch that need no label: do the two branches do their work?

Shapes: B = images of a domain, C = channels.
"""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from daam.data.decode import PixelReader
from daam.data.transforms import normalise
from daam.errors import TrainingError
from daam.evaluation.diagnostics import (
    attention_statistics,
    domain_mean_cosine,
    domain_probe_accuracy,
    mean_pairwise_distance,
)
from daam.training.assemble import Run

NUM_IMAGES = 256


def inspect(run: Run) -> dict[str, float]:
    """Look at images of both domains as the network sees them at the end of an epoch.

    `probe_shared` and `probe_specific` are the held-out accuracies of a linear probe that tells
    source from target: .5 says that the domains cannot be told apart. The same images are used in
    every epoch and on every rank.

    Raises:
        TrainingError: the network's features are not finite.
    """
    source, target = run.source.reader, run.target.reader
    images_BHWC = torch.cat([spread_out(source), spread_out(target)])
    num_source = min(NUM_IMAGES, source.num_rows)
    domains = (torch.arange(len(images_BHWC)) >= num_source).long()
    was_training = run.network.training
    run.network.eval()
    with torch.inference_mode(), run.compute.autocast():
        output = run.network(normalise(run.compute.move(images_BHWC)), num_source=num_source)
    run.network.train(was_training)
    if not output.shared_BC.isfinite().all():
        raise TrainingError(
            f"the features of epoch {run.num_epochs_done} are NaN or infinite: its last step "
            "diverged; lower optimiser.learning_rate and go on from the last checkpoint"
        )
    shared_BC = unit(output.shared_BC)
    found = {
        "probe_shared": domain_probe_accuracy(shared_BC, domains, seed=run.config.seed),
        "domain_mean_cosine": domain_mean_cosine(shared_BC, domains),
        "source_distance": mean_pairwise_distance(shared_BC[:num_source]),
        "target_distance": mean_pairwise_distance(shared_BC[num_source:]),
    }
    if output.attention_BCHW is not None and output.specific_BC is not None:
        specific_BC = unit(output.specific_BC)
        found["probe_specific"] = domain_probe_accuracy(specific_BC, domains, seed=run.config.seed)
        statistics = attention_statistics(output.attention_BCHW)
        found["attention_mean"] = statistics.mean
        found["attention_std"] = statistics.std
        found["attention_above_0.9"] = statistics.share_above
        found["attention_below_0.1"] = statistics.share_below
    return found


def spread_out(reader: PixelReader) -> Tensor:
    """Return up to 256 images spread evenly over a split."""
    count = min(NUM_IMAGES, reader.num_rows)
    return reader.read(np.linspace(0, reader.num_rows - 1, count).astype(np.int64))


def unit(embeddings_BC: Tensor) -> Tensor:
    """Return embeddings of length 1 on the CPU."""
    return F.normalize(embeddings_BC.float(), dim=1).cpu()

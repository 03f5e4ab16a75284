"""Label-free diagnostics of an epoch: do the two branches do their work?

Shapes: N = images looked at, B = images in a forward pass, C = channels.
"""

from collections.abc import Iterator

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from daam.dataset.pixels.normalise import normalise
from daam.errors import TrainingError
from daam.metrics.diagnostics import (
    AttentionStatistics,
    attention_statistics,
    domain_mean_cosine,
    domain_probe_accuracy,
    mean_pairwise_distance,
)
from daam.spread import spread_evenly
from daam.training.setup.assemble import Run

NUM_IMAGES = 160


def inspect(run: Run) -> dict[str, float]:
    """Compute diagnostics on images of both domains at the end of an epoch.

    `probe_shared` and `probe_specific` are the held-out accuracies of a linear probe that separates
    source from target; .5 means that it cannot. The same images are used in every epoch and on
    every rank.

    Raises:
        TrainingError: the network's features are not finite.
    """
    shared, specific, attention = [], [], []
    was_training = run.network.training
    run.network.eval()
    with torch.inference_mode(), run.compute.autocast():
        for images_BHWC, num_source in batches(run):
            output = run.network(normalise(run.compute.move(images_BHWC)), num_source=num_source)
            shared.append(output.shared_BC.float())
            if output.attention_BCHW is not None and output.specific_BC is not None:
                specific.append(output.specific_BC.float())
                attention.append(attention_statistics(output.attention_BCHW))
    run.network.train(was_training)

    shared_NC = torch.cat(shared)
    if not shared_NC.isfinite().all():
        raise TrainingError(
            f"the features of epoch {run.num_epochs_done} are NaN or infinite: its last step "
            "diverged; lower optimiser.learning_rate and resume from the last checkpoint"
        )
    shared_NC = F.normalize(shared_NC, dim=1)
    num_source = min(NUM_IMAGES, run.source.reader.num_rows)
    domains_N = (torch.arange(len(shared_NC), device=shared_NC.device) >= num_source).long()
    seed = run.config.seed
    found = {
        "probe_shared": domain_probe_accuracy(shared_NC, domains_N, seed=seed),
        "domain_mean_cosine": domain_mean_cosine(shared_NC, domains_N),
        "source_distance": mean_pairwise_distance(shared_NC[:num_source]),
        "target_distance": mean_pairwise_distance(shared_NC[num_source:]),
    }
    if attention:
        specific_NC = F.normalize(torch.cat(specific), dim=1)
        found["probe_specific"] = domain_probe_accuracy(specific_NC, domains_N, seed=seed)
        statistics = AttentionStatistics.pooled(
            attention, num_images=[len(part) for part in specific]
        )
        found["attention_mean"] = statistics.mean
        found["attention_std"] = statistics.std
        found["attention_above_0.9"] = statistics.share_above
        found["attention_below_0.1"] = statistics.share_below
    return found


def batches(run: Run) -> Iterator[tuple[Tensor, int]]:
    """Yield images spread over both domains, the source first, and how many are of the source.

    They are decoded again in every epoch: that costs a few percent of embedding them, and keeping
    them would cost 31 MB per run at 256 x 128.
    """
    for reader, is_source in ((run.source.reader, True), (run.target.reader, False)):
        rows = spread_evenly(reader.num_rows, count=NUM_IMAGES)
        for part in np.array_split(rows, -(-len(rows) // run.config.evaluation.batch_size)):
            yield reader.read(part), len(part) if is_source else 0

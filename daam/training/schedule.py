"""Schedules over epochs and steps: loss weights, learning rate, teacher momentum."""

import math

from daam.config.schema import RunConfig
from daam.training.objective import Weights


def weights_at(config: RunConfig, *, epoch: int) -> Weights:
    """Return the loss weights of an epoch (from 0): zero in the warm-up, then a ramp, then full."""
    loss = config.loss
    since_warmup = epoch - loss.warmup_epochs + 1
    ramp = min(1.0, max(0.0, since_warmup / (loss.ramp_epochs + 1)))
    return Weights(
        triplet=loss.triplet.weight,
        domain_similarity=ramp * loss.domain_similarity.weight
        if loss.domain_similarity.kind != "none"
        else 0.0,
        domain_classification=ramp * loss.domain_classification.weight,
        target=ramp * loss.target.weight if loss.target.kind != "none" else 0.0,
        target_triplet=ramp * loss.target.weight * loss.target.triplet_weight,
    )


def learning_rate_at(config: RunConfig, *, step: int) -> float:
    """Return the learning rate of a step of the run (from 0): warm-up, then steps or a cosine."""
    optimiser = config.optimiser
    epochs = (step + 1) / optimiser.steps_per_epoch
    rate = optimiser.learning_rate
    if config.loss.uses_target and step >= config.loss.warmup_epochs * optimiser.steps_per_epoch:
        rate *= optimiser.adaptation_rate
    if epochs < optimiser.warmup_epochs:
        return rate * epochs / optimiser.warmup_epochs
    done = step / (optimiser.num_epochs * optimiser.steps_per_epoch)
    if optimiser.schedule == "step":
        return rate * 0.1 ** ((done >= 0.5) + (done >= 0.8))
    warm = min(1.0, optimiser.warmup_epochs / optimiser.num_epochs)
    share = 0.0 if warm == 1.0 else (done - warm) / (1 - warm)
    return float(rate * 0.5 * (1 + math.cos(math.pi * min(1.0, max(0.0, share)))))


def teacher_momentum_at(config: RunConfig, *, step: int) -> float:
    """Return the teacher's momentum after a step of the run (from 0).

    It rises to its setting, so that even a short run forgets the initial random weights.
    """
    return min(config.teacher.momentum, (1 + step) / (10 + step))

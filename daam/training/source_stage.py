"""The source stage of a run: what its state depends on, and which runs may take it over.

Until the end of `loss.warmup_epochs` a run trains on its source alone, so that one source stage can
be adapted to many targets and with many settings. A run that takes it over ends with the same bits
as if it had trained it. Every setting counts as acting on the source stage unless it is named here.
"""

import hashlib
from array import array
from typing import Any

from daam.config.schema import RunConfig
from daam.errors import CheckpointError, ConfigError
from daam.training import collectives
from daam.training.schedule import learning_rate_at, weights_at
from daam.training.setup.assemble import Run
from daam.training.setup.data import manifest_of, source_digest, target_splits, windows_of
from daam.training.setup.software import software
from daam.training.state import FORMAT, changed_settings, check_format, flat, is_named

# Settings that act only on the target, on its losses, or on how a trained network is tested. A name
# that ends in a dot is a whole table.
ADAPTATION = (
    "transfer",
    "stage",
    "data.target_batch_size",
    "loss.domain_similarity.",
    "loss.domain_classification.",
    "loss.target.",
    "loss.warmup_epochs",
    "loss.ramp_epochs",
    "teacher.labels",
    "teacher.embeds",
    "evaluation.",
)
# Their effect on the source stage is compared: the learning rate of each step.
SCHEDULE = (
    "optimiser.num_epochs",
    "optimiser.learning_rate",
    "optimiser.warmup_epochs",
    "optimiser.schedule",
    "optimiser.adaptation_rate",
)
# Forms of domain similarity whose head is part of the network from the start.
WITH_HEAD = ("nominal_classifier", "domain_confusion", "gradient_reversal")
# Settings without an effect on the state, or whose effect `stage_description` covers otherwise:
# where data and weights are, how much is cached, how many threads decode, and the device.
DESCRIBED = (
    "data.root",
    "data.cache",
    "data.cache_gb",
    "data.num_threads",
    "model.weights",
    "compute.device",
    "compute.max_failures",
)


def num_source_epochs(config: RunConfig) -> int:
    """Return the number of epochs at the start of a run that train on its source alone."""
    return min(config.loss.warmup_epochs, config.num_epochs)


def source_settings(config: RunConfig) -> dict[str, Any]:
    """Return the settings that act on the source stage, by dotted path.

    A head for domain similarity and a teacher are part of the state from the start, so whether a
    run has one counts, although their other settings belong to the adaptation.
    """
    similarity = config.loss.domain_similarity.kind
    return {
        **{
            path: value
            for path, value in flat(config.model_dump()).items()
            if not is_named(path, (*ADAPTATION, *SCHEDULE))
        },
        "loss.domain_similarity.kind": similarity if similarity in WITH_HEAD else "none",
        "teacher.labels or teacher.embeds": config.teacher.is_used,
    }


def stage_description(run: Run) -> dict[str, Any]:
    """Return everything that determines the state at the end of a run's source stage, to the bit.

    Runs with equal descriptions, which are plain values, reach equal states. Collective.
    """
    num_epochs = num_source_epochs(run.config)
    steps = range(num_epochs * run.config.optimiser.steps_per_epoch)
    rates = array("d", (learning_rate_at(run.config, step=step) for step in steps))
    settings = source_settings(run.config)
    return {
        "checkpoint_format": FORMAT,
        "settings": {path: settings[path] for path in settings if path not in DESCRIBED},
        "num_epochs": num_epochs,
        "learning_rates": hashlib.sha256(rates.tobytes()).hexdigest(),
        "network": run.initial_digest,
        "source": run.source.digest,
        "windows": run.windows.counts[0],
        "software": software(),
        "hardware": collectives.from_all_ranks(run.compute.describe()),
    }


def taken_over(
    config: RunConfig, state: dict[str, Any], *, then: RunConfig, where: str
) -> dict[str, Any]:
    """Return the state of another run's source stage as the state of a run with these settings.

    Args:
        config: settings of the new run, in portable form.
        state: from `daam.training.state.state_dict`, after one epoch or more.
        then: the settings of the run that it is of.
        where: the state comes from, for messages.

    Raises:
        ConfigError: the new run would not adapt.
        CheckpointError: the state has another format or has seen a target, or its source stage was
            not what the new run's would be; the message says what differs.
    """
    check_format(state, where=where)
    if not config.loss.uses_target or config.stage == "source":
        raise ConfigError(
            f"there is nothing to start from {where}: no loss of this run uses the target; choose "
            "a preset that adapts, and leave stage at 'all'"
        )
    check_source_settings(config, then=then, where=where)
    num_epochs = state["num_epochs_done"]
    check_schedule(config, num_epochs, then=then, where=where)
    pair = config.pair()
    sources = [manifest_of(config, domain) for domain in pair.sources]
    target = manifest_of(config, pair.target)
    if state["source_digest"] != source_digest(config, sources):
        raise CheckpointError(
            f"{where} was trained on {then.pair().source}, and {pair.source} in "
            f"{config.data.root} has other images or labels; name that source, import it again as "
            "it was, or train the source stage anew"
        )
    windows = windows_of(config, sources=sources, target=target).counts
    # Which shards of the source share a window depends on the sizes of both domains.
    if windows[0] != state["windows"][0]:
        raise CheckpointError(
            f"{where} cannot be adapted to another target: the images are more than "
            "data.cache_gb, so that the order of the source's batches depends on the target; set "
            "a data.cache_gb that holds both domains, in both runs"
        )
    target_digest = target.digest(target_splits(config, target), with_labels=False)
    return adopted(state, config, target_digest=target_digest, windows=windows)


def adopted(
    state: dict[str, Any], config: RunConfig, *, target_digest: str, windows: tuple[int, int]
) -> dict[str, Any]:
    """Return the state of a source stage as that of a run with these settings and this target."""
    return state | {
        "config": config.model_dump(),
        "target_digest": target_digest,
        "windows": windows,
    }


def check_source_settings(config: RunConfig, *, then: RunConfig, where: str) -> None:
    """Refuse a state of a network or of source batches that are not those of these settings."""
    if changed := changed_settings(source_settings(then), source_settings(config)):
        raise CheckpointError(
            f"{where} has another source stage than this run would: {', '.join(changed)}; "
            "use the same values, or train the source stage anew with these"
        )


def check_schedule(config: RunConfig, num_epochs: int, *, then: RunConfig, where: str) -> None:
    """Refuse a state that has seen a target, or was trained at other learning rates."""
    for epoch in range(num_epochs):
        if weights_at(then, epoch=epoch).need_target:
            raise CheckpointError(
                f"{where} has been adapted to {then.pair().target}: {num_epochs} epochs, of which "
                f"{epoch} on the source alone; start from a run that ends there: "
                f"daam train --transfer '{then.transfer}' --set stage=source"
            )
        if weights_at(config, epoch=epoch).need_target:
            raise CheckpointError(
                f"{where} has {num_epochs} epochs on the source alone, and this run would have "
                f"{epoch}; set loss.warmup_epochs={num_epochs}"
            )
        for step in range(
            epoch * config.optimiser.steps_per_epoch, (epoch + 1) * config.optimiser.steps_per_epoch
        ):
            rates = [learning_rate_at(each, step=step) for each in (then, config)]
            if rates[0] != rates[1]:
                raise CheckpointError(
                    f"{where} had a learning rate of {rates[0]:g} in epoch {epoch + 1}, and this "
                    f"run would have {rates[1]:g}; use the same {', '.join(SCHEDULE)}"
                )

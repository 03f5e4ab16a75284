"""Checks across settings: combinations that cannot work are refused before any work starts.

Each check raises a ValueError that names the settings and says what to change.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from daam.config.schema import RunConfig


def check_workers(config: "RunConfig") -> None:
    """The batches can be divided among the workers, of which no more are needed than there are."""
    compute = config.compute
    if compute.min_workers > compute.num_workers:
        raise ValueError(
            f"compute.min_workers = {compute.min_workers} is more than compute.num_workers = "
            f"{compute.num_workers}; use at most that, or more workers"
        )
    check_batches(config, workers=compute.num_workers)


def usable_workers(config: "RunConfig", *, num_started: int) -> int:
    """Return among how many of the workers that were started the batches can be divided."""
    for workers in range(num_started, 1, -1):
        try:
            check_batches(config, workers=workers)
        except ValueError:
            continue
        return workers
    return 1


def check_batches(config: "RunConfig", *, workers: int) -> None:
    """Every worker gets complete groups, and two identities if a loss compares identities."""
    for name, value in (
        ("data.identities_per_batch", config.data.identities_per_batch),
        ("data.target_batch_size", config.data.target_batch_size),
    ):
        if value % workers:
            raise ValueError(
                f"{name} = {value} cannot be divided among compute.num_workers = "
                f"{workers}; use a multiple of it"
            )
    of_groups = config.data.images_per_identity * workers
    if config.loss.target.makes_groups and config.data.target_batch_size % of_groups:
        raise ValueError(
            f"data.target_batch_size = {config.data.target_batch_size} does not hold complete "
            f"groups of data.images_per_identity = {config.data.images_per_identity} on each of "
            f"{workers} workers; use a multiple of {of_groups}"
        )
    target = config.loss.target
    for name, needed, path, size, of_one in (
        (
            "loss.triplet.weight > 0",
            config.loss.triplet.weight > 0,
            "data.identities_per_batch",
            config.data.identities_per_batch,
            workers,
        ),
        (
            "loss.target.kind = 'cluster_triplet'",
            target.makes_groups and target.kind == "cluster_triplet",
            "data.target_batch_size",
            config.data.target_batch_size,
            of_groups,
        ),
        (
            "loss.target.triplet_weight > 0",
            target.makes_groups and target.triplet_weight > 0,
            "data.target_batch_size",
            config.data.target_batch_size,
            of_groups,
        ),
    ):
        if needed and size < 2 * of_one:
            raise ValueError(
                f"{name} compares identities, and {path} = {size} gives each of "
                f"{workers} workers images of only one; use at least {2 * of_one}"
            )


def check_epochs(config: "RunConfig") -> None:
    """The warm-ups end before the run does, and a source stage has epochs."""
    num_epochs = config.optimiser.num_epochs
    if config.stage == "source" and not 0 < config.loss.warmup_epochs <= num_epochs:
        raise ValueError(
            f"stage = 'source' ends after loss.warmup_epochs = {config.loss.warmup_epochs} epochs; "
            f"use 1 to optimiser.num_epochs = {num_epochs}"
        )
    if config.optimiser.warmup_epochs > num_epochs:
        raise ValueError(
            f"optimiser.warmup_epochs = {config.optimiser.warmup_epochs:g} is longer than the "
            f"run of optimiser.num_epochs = {num_epochs}: the learning rate would never be "
            "reached; use fewer"
        )
    if config.loss.uses_target and config.loss.warmup_epochs >= num_epochs:
        raise ValueError(
            f"loss.warmup_epochs = {config.loss.warmup_epochs} leaves no epoch of "
            f"optimiser.num_epochs = {num_epochs} to learn from the target; use fewer, or "
            "the preset source_only"
        )


def check_parts(config: "RunConfig") -> None:
    """The network has the parts that the losses need, and the losses use the parts it has."""
    if config.model.backbone == "tiny" and config.model.weights not in ("imagenet", "none"):
        raise ValueError(
            f"model.weights = {config.model.weights!r} cannot be loaded: model.backbone = 'tiny' "
            "has random weights; leave model.weights out or choose another backbone"
        )
    smallest_side = min(config.data.height, config.data.width)
    if config.data.augmentation.pad >= smallest_side:
        raise ValueError(
            f"data.augmentation.pad = {config.data.augmentation.pad} is as large as the image "
            f"({config.data.height} x {config.data.width}); use less than {smallest_side}"
        )
    for name, needs in (
        ("loss.domain_classification.weight > 0", config.loss.domain_classification.weight > 0),
        (
            "loss.domain_similarity.kind = 'nominal_classifier'",
            config.loss.domain_similarity.kind == "nominal_classifier",
        ),
    ):
        if config.model.attention.kind == "none" and needs:
            raise ValueError(
                f"{name} needs a specific branch, which model.attention.kind = 'none' has not; "
                "change one of the two"
            )
    if config.model.norm == "domain_specific" and not config.loss.uses_target:
        raise ValueError(
            "model.norm = 'domain_specific' would never see a target image: no loss uses the "
            "target; set a loss of the target or model.norm = 'shared'"
        )
    similarity = config.loss.domain_similarity
    if (
        config.model.norm == "domain_specific"
        and similarity.kind == "nominal_moment"
        and similarity.weight > 0
        and similarity.embedding == "bottleneck"
    ):
        raise ValueError(
            "loss.domain_similarity.embedding = 'bottleneck' leaves nominal_moment without effect: "
            "model.norm = 'domain_specific' gives the bottleneck of each domain the same mean and "
            "deviation in every batch; use 'pooled', another kind, or model.norm = 'shared'"
        )
    if config.model.attention.kind == "none" and config.model.attention.placement != "last":
        raise ValueError(
            "model.attention.placement = 'before_last' has no effect with "
            "model.attention.kind = 'none'; leave the placement out"
        )


def check_losses(config: "RunConfig") -> None:
    """No loss setting is without effect."""
    if config.data.oracle_labels and config.loss.uses_target:
        raise ValueError(
            "data.oracle_labels = true leaves no unlabelled domain for the losses that use "
            "the target; turn these off, or start from the preset supervised_target"
        )
    if config.loss.target.triplet_weight > 0 and config.loss.target.kind != "soft_label":
        raise ValueError(
            "loss.target.triplet_weight adds triplets to loss.target.kind = 'soft_label', "
            f"but the kind is {config.loss.target.kind!r}; leave it 0 and set loss.target.weight"
        )
    if config.teacher.labels and not config.loss.target.makes_groups:
        raise ValueError(
            "teacher.labels = true has no groups to make: loss.target.kind = "
            f"{config.loss.target.kind!r}, loss.target.weight = {config.loss.target.weight:g}; "
            "choose soft_label or cluster_triplet with a weight, or leave it out"
        )

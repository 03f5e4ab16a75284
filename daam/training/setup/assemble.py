"""From settings to a run: the one place that turns config into objects."""

from dataclasses import dataclass, field

import torch

from daam.config.schema import RunConfig
from daam.dataset.pixels.augmentation import Augmentation
from daam.model.network import DaamNetwork
from daam.pseudo_labels.automatic import Grouping, choose_grouping
from daam.training.objective import Memory, Objective
from daam.training.setup.compute import Compute, compute_of
from daam.training.setup.data import (
    LabelledRows,
    UnlabelledRows,
    Windows,
    manifest_of,
    open_sources,
    open_target,
    windows_of,
)
from daam.training.setup.network import build_network, digest_of
from daam.training.teacher import teacher_of


@dataclass(slots=True, kw_only=True)
class Run:
    """A run that can be trained: its parts, and how many epochs are done.

    Attributes:
        initial_digest: SHA-256 of the network as it was made: of its parts and their weights.
    """

    config: RunConfig
    compute: Compute
    network: DaamNetwork
    initial_digest: str
    teacher: DaamNetwork | None
    optimiser: torch.optim.Optimizer
    objective: Objective
    augmentation: Augmentation
    source: LabelledRows
    target: UnlabelledRows
    grouping: Grouping
    windows: Windows = field(default_factory=Windows)
    memory: Memory = field(default_factory=Memory)
    num_epochs_done: int = 0

    @property
    def networks(self) -> tuple[DaamNetwork, ...]:
        """The network and, where the run has one, its teacher."""
        return (self.network,) if self.teacher is None else (self.network, self.teacher)

    @property
    def embedder(self) -> DaamNetwork:
        """The network that is tested: the student, or its teacher."""
        if self.config.teacher.embeds and self.teacher is not None:
            return self.teacher
        return self.network


def assemble(config: RunConfig) -> Run:
    """Open the data and make the network of a run. Collective: all ranks make the same one.

    Rank 0 reads each manifest once, so a later import of a domain does not change the run.

    Raises:
        DaamError: a domain, its shards or the weights are missing or damaged, or there is no GPU
            but the settings require one.
    """
    transfer = config.pair()
    compute = compute_of(config)
    learnt = (transfer.target,) if config.data.oracle_labels else transfer.sources
    manifests = {
        domain: manifest_of(config, domain) for domain in dict.fromkeys((*learnt, transfer.target))
    }
    of_sources, of_target = [manifests[domain] for domain in learnt], manifests[transfer.target]
    windows = windows_of(config, sources=of_sources, target=of_target)
    source = open_sources(config, of_sources, only_prefetched=windows.are_used)
    target = open_target(config, of_target, only_prefetched=windows.are_used)
    torch.manual_seed(config.seed)
    network = build_network(config, num_identities=source.num_identities)
    initial_digest = digest_of(network)
    compute.place(network)
    loss = config.loss
    augmentation = config.data.augmentation
    return Run(
        config=config,
        compute=compute,
        network=network,
        initial_digest=initial_digest,
        teacher=teacher_of(network) if config.teacher.is_used else None,
        optimiser=torch.optim.Adam(
            [weight for weight in network.parameters() if weight.requires_grad],
            lr=config.optimiser.learning_rate,
            weight_decay=config.optimiser.weight_decay,
        ),
        objective=Objective(
            label_smoothing=loss.identity.label_smoothing,
            triplet_margin=loss.triplet.margin,
            triplet_embedding=loss.triplet.embedding,
            similarity_kind=loss.domain_similarity.kind,
            similarity_embedding=loss.domain_similarity.embedding,
            similarity_quantile=loss.domain_similarity.quantile,
            nominal_spread_weight=loss.domain_similarity.spread_weight,
            nominal_momentum=loss.domain_similarity.momentum,
            target_kind=loss.target.kind,
            target_temperature=loss.target.temperature,
            soft_target_temperature=loss.target.target_temperature,
            target_softness=loss.target.softness,
            target_triplet_margin=loss.target.triplet_margin,
            target_triplet_embedding=loss.target.triplet_embedding,
            centre_momentum=loss.target.momentum,
        ),
        augmentation=Augmentation(**augmentation.model_dump()),
        source=source,
        target=target,
        grouping=grouping_of(config, source=source, target=target),
        windows=windows,
    )


def grouping_of(config: RunConfig, *, source: LabelledRows, target: UnlabelledRows) -> Grouping:
    """Decide how the target is grouped, see `choose_grouping`.

    Raises:
        DataError: cameras are to be centred, but the target does not know them.
    """
    given = config.loss.target
    return choose_grouping(
        num_images=target.reader.num_rows,
        cameras_N=target.cameras,
        tracks_N=target.tracks,
        source_images_per_person=len(source.identities) / max(1, source.num_identities),
        num_neighbours=None if given.num_neighbours == "auto" else given.num_neighbours,
        num_expansion=None if given.num_expansion == "auto" else given.num_expansion,
        centre_cameras=None
        if given.centre_cameras == "auto"
        else given.centre_cameras and given.makes_groups,
    )

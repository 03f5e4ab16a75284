"""Retrieval tests: how well a network finds the people of a domain whose labels may be read.

Not part of `fit`: the caller decides which labels are read, and when.
Shapes: N = rows, C = embedding width.
"""

import copy
from dataclasses import dataclass
from typing import Self

from torch import Tensor

from daam.config.load import with_settings
from daam.config.schema import RunConfig
from daam.dataset.format.manifest import DomainManifest
from daam.dataset.pixels.reader import Pixels
from daam.dataset.reading.image_table import open_images
from daam.dataset.reading.labels import read_identities
from daam.domains import Split
from daam.metrics.labels import Labels
from daam.metrics.retrieval import RetrievalScores, retrieval_scores_from_embeddings
from daam.model.network import DaamNetwork
from daam.model.norm import SOURCE, TARGET, with_plain_norms
from daam.storage import open_store
from daam.training.scoring.extract import adapted_to, embed_rows
from daam.training.setup.compute import compute_of
from daam.training.setup.data import manifest_of, pixel_reader, shard_cache

QUERIES_AT_ONCE = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledSplit:
    """The images of a split with their labels."""

    reader: Pixels
    labels: Labels


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrievalTest:
    """A query and a gallery with labels, and unlabelled images of the same domain."""

    domain: str
    query: LabelledSplit
    gallery: LabelledSplit
    unlabelled: Pixels

    @classmethod
    def on_validation(
        cls, config: RunConfig, *, manifest: DomainManifest, only_prefetched: bool = False
    ) -> Self:
        """Open the identities cut from the train split of the run's target.

        `evaluation.hold_out` keeps them out of training.

        Args:
            manifest: of the target as it is trained on; another import may hold out other people.
            only_prefetched: as in `open_images`: a run beside the test needs the cache.
        """
        return cls.opened(
            config,
            manifest=manifest,
            splits=(Split.VALIDATION_QUERY, Split.VALIDATION_GALLERY),
            unlabelled=(Split.TRAIN,),
            only_prefetched=only_prefetched,
        )

    @classmethod
    def on_test(cls, config: RunConfig, *, domain: str) -> Self:
        """Open a domain's query and gallery. Collective: all ranks call it."""
        manifest = manifest_of(config, domain)
        return cls.opened(
            config,
            manifest=manifest,
            splits=(Split.QUERY, Split.GALLERY),
            unlabelled=manifest.whole_train_splits,
        )

    @classmethod
    def opened(
        cls,
        config: RunConfig,
        *,
        manifest: DomainManifest,
        splits: tuple[Split, Split],
        unlabelled: tuple[Split, ...],
        only_prefetched: bool = False,
    ) -> Self:
        """Open two splits with labels, and others without.

        Images are decoded on the CPU, so that scores are of the pixels that every machine has.
        """
        config = with_settings(config, {"data.decode": "cpu"})
        where = {"manifest": manifest, "only_prefetched": only_prefetched}
        query, gallery = (open_labelled(config, split=split, **where) for split in splits)
        return cls(
            domain=manifest.domain,
            query=query,
            gallery=gallery,
            unlabelled=open_unlabelled(config, splits=unlabelled, **where),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class TestResult:
    """The scores of a network on a test, and the embeddings they were computed from."""

    __test__ = False  # not a test case of pytest

    scores: RetrievalScores
    embedder: DaamNetwork
    query_NC: Tensor
    gallery_NC: Tensor


def score(network: DaamNetwork, test: RetrievalTest, config: RunConfig) -> TestResult:
    """Embed query and gallery and score the retrieval. Collective: all ranks call it.

    The network embeds as `embedder_for` the test's domain.
    """
    evaluation, compute = config.evaluation, compute_of(config)
    embedder = embedder_for(test.unlabelled, network, config, domain=test.domain)
    query_NC, gallery_NC = (
        embed_rows(
            embedder,
            side.reader,
            batch_size=evaluation.batch_size,
            flip=evaluation.flip,
            compute=compute,
            num_threads=config.data.num_threads,
        )
        for side in (test.query, test.gallery)
    )
    scores = retrieval_scores_from_embeddings(
        query_NC,
        gallery_NC,
        query_labels=test.query.labels,
        gallery_labels=test.gallery.labels,
        chunk=QUERIES_AT_ONCE,
    )
    return TestResult(scores=scores, embedder=embedder, query_NC=query_NC, gallery_NC=gallery_NC)


def embedder_for(
    unlabelled: Pixels, network: DaamNetwork, config: RunConfig, *, domain: str
) -> DaamNetwork:
    """Return the network that embeds a domain, given unlabelled images of it.

    If source and target have their own batch norms, it uses the source's for a source and the
    target's for any other domain. With `evaluation.reestimate_norm` their statistics are
    re-estimated on the images.
    """
    network = with_norms_of(domain, network, config)
    if not config.evaluation.reestimate_norm:
        return network
    return adapted_to(
        network,
        unlabelled,
        batch_size=config.evaluation.batch_size,
        compute=compute_of(config),
    )


def with_norms_of(domain: str, network: DaamNetwork, config: RunConfig) -> DaamNetwork:
    """Return the network with the batch norms of one domain alone."""
    if config.model.norm == "shared":
        return network
    which = SOURCE if domain in config.pair().sources else TARGET
    return with_plain_norms(copy.deepcopy(network), domain=which)


def open_unlabelled(
    config: RunConfig,
    *,
    manifest: DomainManifest,
    splits: tuple[Split, ...] | None = None,
    only_prefetched: bool = False,
) -> Pixels:
    """Open the images of splits without their labels.

    Args:
        manifest: of the domain.
        splits: None: the whole train split.
        only_prefetched: as in `open_images`.
    """
    images = open_images(
        open_store(config.data.root),
        manifest=manifest,
        splits=manifest.whole_train_splits if splits is None else splits,
        cache=shard_cache(config),
        only_prefetched=only_prefetched,
    )
    return pixel_reader(config, images)


def open_labelled(
    config: RunConfig, *, manifest: DomainManifest, split: Split, only_prefetched: bool = False
) -> LabelledSplit:
    """Open one split with its labels; `only_prefetched` as in `open_images`."""
    reader = open_unlabelled(
        config, manifest=manifest, splits=(split,), only_prefetched=only_prefetched
    )
    identities = read_identities(
        open_store(config.data.root), manifest=manifest, splits=(split,), cache=shard_cache(config)
    )
    labels = Labels(identities=identities, cameras=reader.cameras)
    return LabelledSplit(reader=reader, labels=labels)

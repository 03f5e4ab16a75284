"""A trained run, opened to embed images of a domain."""

import hashlib
from dataclasses import dataclass
from typing import Any

from daam import __version__
from daam.config.load import with_settings
from daam.config.schema import RunConfig
from daam.dataset.pixels.normalise import IMAGENET_MEAN, IMAGENET_STD
from daam.domains import check_domain
from daam.inference.contract import EmbeddingContract
from daam.model.network import DaamNetwork
from daam.runs.run_folder import trained
from daam.storage import open_store
from daam.training.scoring.retrieval_test import embedder_for, open_unlabelled, with_norms_of
from daam.training.setup.data import manifest_of
from daam.training.state import trained_network

# For a trained run: its weights come from the checkpoint, so those it started from may be gone, and
# the machine need not have a GPU.
ANYWHERE = {"model.weights": "none", "compute.device": "auto", "data.decode": "cpu"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Embedder:
    """A network that embeds a domain as `evaluate` does.

    Attributes:
        network: on the device of `config`, in eval mode.
        config: of the run, changed to hold on this machine.
        contract: of the embeddings.
        domain: whose images it embeds.
        digest: of all that decides its embeddings: weights, norm statistics, how images are read.
    """

    network: DaamNetwork
    config: RunConfig
    contract: EmbeddingContract
    domain: str
    digest: str


def open_embedder(
    folder_uri: str, *, domain: str | None, data_root: str | None, precision: str | None = None
) -> Embedder:
    """Load the newest checkpoint of a run, with the norm statistics of a domain.

    Args:
        folder_uri: of the run, local or on S3.
        domain: whose images will be embedded; by default the run's target.
        data_root: where the domains are, if they have moved since the run.
        precision: of the computation, if not the run's.

    Raises:
        DaamError: there is no such run or domain, or one of them is damaged.
    """
    config, state = open_trained(folder_uri, data_root=data_root, precision=precision)
    return embedder_of(config, state, domain=domain, run=open_store(folder_uri).name)


def embedder_of(
    config: RunConfig, state: dict[str, Any], *, domain: str | None, run: str
) -> Embedder:
    """Return what `open_embedder` does, for a run that `open_trained` has opened."""
    domain = config.pair().target if domain is None else check_domain(domain)
    network = trained_network(config, state, where=run)
    digest = hashlib.sha256()
    for name, tensor in sorted(state["network"].items()):
        digest.update(name.encode() + tensor.contiguous().numpy().tobytes())
    if config.evaluation.reestimate_norm:
        manifest = manifest_of(config, domain)
        unlabelled = open_unlabelled(config, manifest=manifest)
        digest.update(manifest.digest(manifest.whole_train_splits, with_labels=False).encode())
        network = embedder_for(unlabelled, network, config, domain=domain)
    else:  # the domain need not be here
        network = with_norms_of(domain, network, config)
    contract = EmbeddingContract(
        height=config.data.height,
        width=config.data.width,
        embedding_width=network.shared.bottleneck.num_features,
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
        embedding=network.retrieval_embedding,
        precision=config.compute.precision,
        run=run,
        transfer=config.transfer,
        num_epochs=state["num_epochs_done"],
        norm_statistics=domain if config.evaluation.reestimate_norm else "training",
        daam_version=__version__,
    )
    digest.update(f"{contract.to_json()}{config.evaluation.flip}".encode())
    return Embedder(
        network=network.eval(),
        config=config,
        contract=contract,
        domain=domain,
        digest=digest.hexdigest(),
    )


def open_trained(
    folder_uri: str, *, data_root: str | None, precision: str | None = None
) -> tuple[RunConfig, dict[str, Any]]:
    """Return the newest state of a run and its settings, changed to hold on this machine.

    Raises:
        CheckpointError: the folder holds no checkpoint, or a damaged one.
    """
    config, state = trained(folder_uri)
    changes = {"data.root": data_root, "compute.precision": precision}
    changes = {path: value for path, value in changes.items() if value is not None}
    return with_settings(config, ANYWHERE | changes), state

"""Batch norm for a network trained on two domains: shared, or with a set per domain.

Shapes: B = images, C = channels, 2 = source and target; N has any number of dimensions behind them.
"""

from collections.abc import Callable, Iterable
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from daam.errors import ConfigError

SOURCE, TARGET = 0, 1
NUM_DOMAINS = 2

Network = TypeVar("Network", bound=nn.Module)


class BatchDomains:
    """The domain of each image in the current batch.

    A network shares one of these with all its `DomainBatchNorm`s: a norm deep inside a backbone
    is called with features alone, so the caller of the network sets the domains here first. It is
    neither a parameter nor a buffer: it is in no state_dict, and a deep copy of a network has its
    own.
    """

    def __init__(self) -> None:
        self.counts = (0, 0)
        """Number of source and of target images in the batch."""
        self.order_B: Tensor | None = None
        """The images' places sorted by domain; None if they are in that order."""
        self.place_B: Tensor | None = None
        """The place of each image in that order."""

    def set_source_first(self, num_source: int, *, num_images: int) -> None:
        """Set a batch of source images followed by target images."""
        self.counts = (num_source, num_images - num_source)
        self.order_B = self.place_B = None

    def set_all(self, domain: int, *, num_images: int) -> None:
        """Set a batch of one domain, 0 source or 1 target."""
        self.set_source_first(num_images if domain == SOURCE else 0, num_images=num_images)

    def set_each(self, domains_B: Tensor) -> None:
        """Set the domain of each image, in any order: (B,) int64, 0 or 1."""
        num_target = int(domains_B.sum())
        self.set_source_first(len(domains_B) - num_target, num_images=len(domains_B))
        self.order_B = domains_B.argsort(stable=True)
        self.place_B = self.order_B.argsort()


class DomainBatchNorm(nn.Module):
    """Batch norm with separate statistics, weight and bias per domain.

    Source: Chang et al. 2019, arXiv:1906.03950. Each domain's images are normalised as if they were
    the whole batch of a plain batch norm. A domain without images keeps its statistics, and its
    weight and bias get a gradient of zero, so that data parallelism sees a gradient for every
    parameter. A domain with a single value per channel has no variance: it is normalised with its
    running statistics, which are not updated.

    Args:
        norm: a plain batch norm that both domains start from.
        domains: of the network that contains it.
    """

    weight: nn.Parameter
    bias: nn.Parameter
    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor

    def __init__(self, norm: _BatchNorm, *, domains: BatchDomains) -> None:
        super().__init__()
        if norm.running_mean is None or norm.running_var is None or not norm.affine:
            raise ConfigError(
                f"{norm} has no weights or no running statistics to copy to each domain; "
                "create it with affine=True and track_running_stats=True"
            )
        self.plain_type = type(norm)
        self.domains = domains
        self.num_features = norm.num_features
        self.eps = norm.eps
        self.momentum = norm.momentum
        for name in ("weight", "bias"):
            weight_C: nn.Parameter = getattr(norm, name)
            pair_2C = nn.Parameter(stacked_pair(weight_C), requires_grad=weight_C.requires_grad)
            self.register_parameter(name, pair_2C)
        for name in ("running_mean", "running_var", "num_batches_tracked"):
            self.register_buffer(name, stacked_pair(getattr(norm, name)))

    def forward(self, features_BCN: Tensor) -> Tensor:
        """Return the normalised features, each image by the set of its domain."""
        counts, order_B, place_B = self.domains.counts, self.domains.order_B, self.domains.place_B
        if sum(counts) != len(features_BCN):
            raise AssertionError(
                f"the batch has {len(features_BCN)} images, but domains were set for {counts}"
            )
        weights, biases = self.weight.unbind(), self.bias.unbind()
        if order_B is not None:
            features_BCN = features_BCN[order_B]
        if 0 in counts:
            domain = TARGET if counts[SOURCE] == 0 else SOURCE
            parts = [self.normalised(features_BCN, domain, weights[domain], biases[domain])]
        else:
            parts = [
                self.normalised(part, domain, weights[domain], biases[domain])
                for domain, part in enumerate(features_BCN.split(counts))
            ]
        result_BCN = parts[0] if len(parts) == 1 else torch.cat(parts)
        return result_BCN if place_B is None else result_BCN[place_B]

    def normalised(
        self, features_BCN: Tensor, domain: int, weight_C: Tensor, bias_C: Tensor
    ) -> Tensor:
        """Return normalised features of one domain; in training its statistics are updated."""
        is_batch = self.training and features_BCN.numel() > self.num_features
        momentum = 0.0
        if is_batch:
            num_batches = self.num_batches_tracked[domain].add_(1)
            momentum = 1 / int(num_batches) if self.momentum is None else self.momentum
        return F.batch_norm(
            features_BCN,
            self.running_mean[domain],
            self.running_var[domain],
            weight_C,
            bias_C,
            training=is_batch,
            momentum=momentum,
            eps=self.eps,
        )

    def reset_running_stats(self, domain: int) -> None:
        """Reset the statistics of one domain."""
        self.running_mean[domain] = 0
        self.running_var[domain] = 1
        self.num_batches_tracked[domain] = 0

    def plain(self, domain: int) -> _BatchNorm:
        """Return the set of one domain as a plain batch norm."""
        norm = self.plain_type(self.num_features, eps=self.eps, momentum=self.momentum)
        for name in ("weight", "bias"):
            weight_2C: nn.Parameter = getattr(self, name)
            weight_C = weight_2C.detach()[domain].clone()
            setattr(norm, name, nn.Parameter(weight_C, requires_grad=weight_2C.requires_grad))
        for name in ("running_mean", "running_var", "num_batches_tracked"):
            setattr(norm, name, getattr(self, name)[domain].clone())
        return norm.train(self.training)

    def extra_repr(self) -> str:
        """Return the text that `print(network)` shows."""
        return f"{self.num_features}, eps={self.eps}, momentum={self.momentum}"


def with_domain_norms(network: Network, *, domains: BatchDomains) -> Network:
    """Replace every batch norm of a network by one with a set per domain, both equal to it.

    Args:
        network: changed in place and returned; norms that have sets per domain stay.
        domains: that the norms read; for a `DaamNetwork` its `batch_domains`, which its methods
            set. For another network the caller sets it before each call.

    Raises:
        ConfigError: a batch norm without weights or without running statistics.
    """

    def replacement(module: nn.Module) -> nn.Module:
        if isinstance(module, _BatchNorm):
            return DomainBatchNorm(module, domains=domains).train(module.training)
        return module

    return replace_modules(network, replacement)


def with_plain_norms(network: Network, *, domain: int = TARGET) -> Network:
    """Replace every domain-specific norm by the plain batch norm of one domain.

    In eval mode the network then treats every image as one of that domain.

    Args:
        network: changed in place and returned; without such norms it is unchanged.
        domain: 0 source, 1 target.
    """

    def replacement(module: nn.Module) -> nn.Module:
        return module.plain(domain) if isinstance(module, DomainBatchNorm) else module

    return replace_modules(network, replacement)


@torch.no_grad()
def copy_source_norms_to_target(network: nn.Module) -> None:
    """Copy statistics, weights and biases from source to target in every domain-specific norm.

    Epochs on the source alone train everything but the target's sets; this brings them up to date
    before its images come in.
    """
    for module in network.modules():
        if isinstance(module, DomainBatchNorm):
            for values_2C in (*module.parameters(), *module.buffers()):
                values_2C[TARGET] = values_2C[SOURCE]


def reestimate_statistics(network: nn.Module, batches: Iterable[Tensor]) -> None:
    """Replace the running statistics of every batch norm by those of the given target images.

    Training leaves an average over source and target, while a test uses target images alone. So
    statistics are re-estimated on the target's unlabelled train images (AdaBN, Li et al. 2016,
    arXiv:1603.04779), as plain averages over the batches. In a domain-specific norm only the
    target's statistics change.

    Args:
        network: changed in place; its training mode is kept.
        batches: normalised images (B, 3, H, W), at least one batch.
    """
    norms = [
        module for module in network.modules() if isinstance(module, _BatchNorm | DomainBatchNorm)
    ]
    was_training = {module: module.training for module in network.modules()}
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        if isinstance(norm, DomainBatchNorm):
            norm.reset_running_stats(TARGET)
        else:
            norm.reset_running_stats()
        norm.momentum = None  # cumulative: a plain average over the batches
    network.train()
    with torch.no_grad():
        for images_BCHW in batches:
            network(images_BCHW, num_source=0)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    for module, mode in was_training.items():
        module.training = mode


def stacked_pair(tensor: Tensor) -> Tensor:
    """Return two copies of a tensor, stacked: one per domain."""
    return torch.stack([tensor.detach()] * NUM_DOMAINS)


def replace_modules(network: Network, replacement: Callable[[nn.Module], nn.Module]) -> Network:
    """Replace every module of a network, and the network itself, in place."""
    for name, child in network.named_children():
        setattr(network, name, replace_modules(child, replacement))
    return replacement(network)  # type: ignore[return-value]

"""Heads of the learned forms of domain similarity; a network has at most one.

They take L2-normalised float32 embeddings, and return two sets of logits, or one and None.

Shapes: B = images of both domains, C = channels.
"""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class NominalHead(nn.Module):
    """One classifier {source, target, nominal} on both branches.

    It should assign specific parts to their own domain and shared parts to the nominal one. The
    abstract of arXiv:1905.10529 speaks of a "new nominal domain"; this form of it is ours.
    """

    def __init__(self, num_channels: int) -> None:
        super().__init__()
        self.classifier = nn.Linear(num_channels, 3)

    def forward(self, shared_BC: Tensor, specific_BC: Tensor) -> tuple[Tensor, Tensor]:
        """Return the logits of the shared and of the specific part, both (B, 3)."""
        return self.classifier(rescaled(shared_BC)), self.classifier(rescaled(specific_BC))


class ConfusionHead(nn.Module):
    """A domain classifier, and embeddings trained to make its prediction uniform.

    Source: domain confusion, Tzeng et al. 2015, arXiv:1510.02192. The paper alternates two steps;
    here one pass gives two sets of logits, each with the gradient of one side stopped.
    """

    def __init__(self, num_channels: int) -> None:
        super().__init__()
        self.hidden, self.output = domain_classifier(num_channels)

    def forward(self, shared_BC: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits (B, 2) with gradients for the head alone, and equal ones for all but it."""
        learning_B2 = self.output(torch.relu(self.hidden(rescaled(shared_BC.detach()))))
        hidden_BD = torch.relu(frozen_linear(self.hidden, rescaled(shared_BC)))
        return learning_B2, frozen_linear(self.output, hidden_BD)


class ReversalHead(nn.Module):
    """A domain classifier behind a gradient reversal, which trains embeddings against it.

    Source: DANN, Ganin et al. 2016, arXiv:1505.07818.
    """

    def __init__(self, num_channels: int) -> None:
        super().__init__()
        self.hidden, self.output = domain_classifier(num_channels)

    def forward(self, shared_BC: Tensor) -> tuple[Tensor, None]:
        """Return the domain logits (B, 2)."""
        reversed_BC = reverse_gradient(rescaled(shared_BC))
        return self.output(torch.relu(self.hidden(reversed_BC))), None


SimilarityHead = NominalHead | ConfusionHead | ReversalHead


def reverse_gradient(tensor: Tensor) -> Tensor:
    """Return the tensor; its gradient gets the opposite sign."""
    return ReversedGradient.apply(tensor)


class ReversedGradient(torch.autograd.Function):
    """The identity in the forward pass, negation in the backward pass."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:  # noqa: ARG004  (torch's own signature)
        """Return a view of the tensor."""
        return tensor.view_as(tensor)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:  # noqa: ARG004
        """Return the gradient with the opposite sign."""
        return -gradients[0]


def rescaled(embeddings_BC: Tensor) -> Tensor:
    """Scale unit vectors to a mean square of 1, which layers are initialised for."""
    return embeddings_BC * math.sqrt(embeddings_BC.shape[1])


def domain_classifier(num_channels: int) -> tuple[nn.Linear, nn.Linear]:
    """Return the two layers of a domain classifier, of the specific branch's size."""
    num_hidden = max(16, num_channels // 4)
    return nn.Linear(num_channels, num_hidden), nn.Linear(num_hidden, 2)


def frozen_linear(layer: nn.Linear, inputs: Tensor) -> Tensor:
    """Apply a layer without gradients for its weights."""
    return F.linear(inputs, layer.weight.detach(), layer.bias.detach())

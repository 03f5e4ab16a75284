"""Initial weights of a backbone: published ones, or a state_dict from a file."""

import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO
from urllib.error import URLError

import torch
from torch import Tensor, nn
from torchvision.models import WeightsEnum

from daam.errors import ConfigError
from daam.storage.local import absolute_folder


@dataclass(frozen=True, slots=True, kw_only=True)
class StateDict:
    """Weights by torchvision's names."""

    tensors: Mapping[str, Tensor]
    where: str
    """Their origin, for messages."""


Weights = str | StateDict
"""`imagenet` (from torchvision, downloaded once), `none`, a file's path, or a read state_dict."""


def read_state_dict(file: Path | IO[bytes], *, where: str) -> StateDict:
    """Read a state_dict, also one wrapped as {"state_dict": ...} or saved from DataParallel.

    Args:
        file: a path, or a file open for reading and seeking, `io.BytesIO` for example.
        where: its path or address, for messages.

    Raises:
        ConfigError: there is no such file, or it holds no state dict.
    """
    try:
        state = torch.load(file, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise ConfigError(f"model.weights: there is no file {where}; check the path") from error
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise ConfigError(
            f"model.weights: {where} is not a PyTorch state dict ({type(error).__name__}); "
            "save one with torch.save(model.state_dict(), path)"
        ) from error
    if isinstance(state, dict) and isinstance(state.get("state_dict"), dict):
        state = state["state_dict"]
    if not isinstance(state, dict) or not all(
        isinstance(key, str) and isinstance(value, Tensor) for key, value in state.items()
    ):
        raise ConfigError(
            f"model.weights: {where} holds a {type(state).__name__} and not a state dict; "
            "save one with torch.save(model.state_dict(), path)"
        )
    if all(key.startswith("module.") for key in state):
        state = {key.removeprefix("module."): value for key, value in state.items()}
    return StateDict(tensors=state, where=where)


def load_weights(
    network: nn.Module, weights: Weights, *, name: str, published: WeightsEnum, classifier: str
) -> None:
    """Load weights into a torchvision network; those of its classifier are ignored.

    Args:
        network: changed in place.
        weights: see `Weights`.
        name: of the network, for messages.
        published: the weights of `imagenet`.
        classifier: prefix of the names of its classifier's weights.

    Raises:
        ConfigError: the weights cannot be downloaded or read, or are of another network.
    """
    if weights == "imagenet":
        network.load_state_dict(download_state(name, published))
    elif isinstance(weights, StateDict):
        load_backbone_state(network, weights, name=name, classifier=classifier)
    elif weights != "none":
        state = read_state_dict(absolute_folder(Path(weights)), where=weights)
        load_backbone_state(network, state, name=name, classifier=classifier)


def download_state(name: str, published: WeightsEnum) -> Mapping[str, Tensor]:
    """Return torchvision's published weights, from its cache or downloaded."""
    try:
        return published.get_state_dict(progress=False, check_hash=True)
    except (URLError, OSError, RuntimeError) as error:
        raise ConfigError(
            f"the ImageNet weights of {name} cannot be downloaded ({error}); get {published.url} "
            "elsewhere and name the file: --set model.weights=PATH, or use random weights: "
            "--set model.weights=none"
        ) from error


def load_backbone_state(
    network: nn.Module, state: StateDict, *, name: str, classifier: str
) -> None:
    """Load a state_dict whose classifier may be missing or of any size."""
    trunk = {key: value for key, value in state.tensors.items() if not key.startswith(classifier)}
    try:
        missing, unexpected = network.load_state_dict(trunk, strict=False)
    except RuntimeError as error:
        first = str(error).splitlines()[1].strip()  # after a heading, one line per weight
        raise ConfigError(
            f"model.weights: {state.where} does not fit {name}: {first} "
            "Choose the backbone that it belongs to"
        ) from error
    missing = [key for key in missing if not key.startswith(classifier)]
    if missing or unexpected:
        first = (missing or unexpected)[0]
        raise ConfigError(
            f"model.weights: {state.where} does not fit {name}: {len(missing)} weights are missing "
            f"and {len(unexpected)} are unknown, {first} for example; use torchvision's names"
        )

"""Initial weights of a backbone: published ones, or a state_dict from a file.

A file may be of another re-ID project: its trunk is found by the name of its first convolution,
whatever it is wrapped in, and the rest (necks, classifiers) is left out.
"""

import logging
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO
from urllib.error import URLError

from torch import Tensor, nn
from torchvision.models import WeightsEnum

from daam.documents import MalformedError
from daam.errors import ConfigError
from daam.model.tensors import is_finite, is_plain, read_tensors
from daam.storage.local import absolute_folder

log = logging.getLogger(__name__)

# What training scripts save the weights under: `state_dict` torchreid and Cluster-Contrast,
# `state_dict_1` OpenUnReID, `model` fast-reid, `network` daam.
WRAPPERS = ("state_dict", "state_dict_1", "model", "network")
# In OpenUnReID's pair of networks, the average of the other, which embeds.
MEAN_TEACHER = "mean_net."
# Trunks that are an nn.Sequential number their stages.
SEQUENCES = (
    # Cluster-Contrast, SpCL, daam
    ("conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3", "layer4"),
    # MMT, without the first ReLU
    ("conv1", "bn1", "maxpool", "layer1", "layer2", "layer3", "layer4"),
)
# Names in trunks that compute something else, though most of their weights would fit.
VARIANTS = (
    (r"layer\d\..*\.(IN|BN)\.", "instance-batch norms (IBN)"),
    (r"NL_\d\.", "non-local blocks"),
    (r"layer\d\..*\.se\.", "squeeze-and-excitation"),
    (r"(bn1|layer\d\..*)\.(dsbn|BN_S|BN_T)\.", "domain-specific batch norms"),
)
NUM_NAMED = 3  # in messages


@dataclass(frozen=True, slots=True, kw_only=True)
class StateDict:
    """Weights by torchvision's names."""

    tensors: Mapping[str, Tensor]
    where: str
    """Their origin, for messages."""


Weights = str | StateDict
"""`imagenet` (from torchvision, downloaded once), `none`, a file's path, or a read state_dict."""


def read_state_dict(file: Path | IO[bytes], *, where: str) -> StateDict:
    """Read a state_dict, also one inside a training script's checkpoint (see `WRAPPERS`).

    Args:
        file: a path, or a file open for reading and seeking, `io.BytesIO` for example.
        where: its path or address, for messages.

    Raises:
        ConfigError: there is no such file, it holds no state dict, or it can be read only by
            unpickling Python objects, which may run any code.
    """
    try:
        state = read_tensors(file)
    except FileNotFoundError as error:
        raise ConfigError(f"model.weights: there is no file {where}; check the path") from error
    except OSError as error:
        raise ConfigError(
            f"model.weights: {where} cannot be read: {error.strerror}; name a file "
            "that you may read"
        ) from error
    except MalformedError as error:
        needs = re.search(r"GLOBAL (\S+) was not an allowed", str(error.__cause__))
        if needs is not None:
            raise ConfigError(
                f"model.weights: {where} is not a PyTorch state dict: it needs {needs[1]}, and "
                "unpickling Python objects can run any code. If you trust its author, convert it "
                f"where its project can be imported: {conversion(where)}"
            ) from error
        raise ConfigError(
            f"model.weights: {where} is not a PyTorch state dict "
            f"({type(error.__cause__).__name__}); "
            "save one with torch.save(model.state_dict(), path)"
        ) from error
    while isinstance(state, dict):
        wrapped = [state[name] for name in WRAPPERS if isinstance(state.get(name), dict)]
        if not wrapped:
            break
        state = wrapped[0]
    if not isinstance(state, dict) or not all(
        isinstance(key, str) and is_plain(value) for key, value in state.items()
    ):
        raise ConfigError(
            f"model.weights: {where} holds a {type(state).__name__} and not a state dict; "
            "save one with torch.save(model.state_dict(), path)"
        )
    if all(key.startswith("module.") for key in state):
        state = {key.removeprefix("module."): value for key, value in state.items()}
    return StateDict(tensors=state, where=where)


def conversion(where: str) -> str:
    """Return a command that writes a pickled checkpoint's weights alone into `weights.pt`."""
    code = (
        f"import torch; x = torch.load({where!r}, 'cpu', weights_only=False); "
        "x = x if isinstance(x, dict) else x.state_dict(); "
        "torch.save(x.get('state_dict', x.get('model', x)), 'weights.pt')"
    )
    return f"python -c {shlex.quote(code)}"


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
    """Load the trunk of a state_dict, by the names of torchvision or of another project.

    Its classifier may be missing or of any size, and so may the norms' counts of batches.
    """
    expected = [key for key in network.state_dict() if not key.startswith(classifier)]
    prefix, names = trunk_names(state, first=expected[0], network=name)
    for pattern, what in VARIANTS:
        if found := [old for old, new in names.items() if re.match(pattern, new)]:
            raise ConfigError(
                f"model.weights: {state.where} is of a network with {what} ({found[0]}), which "
                f"{name} does not have; use weights of a plain {name}"
            )
    stages = {key.partition(".")[0] for key in expected}
    trunk = {new: old for old, new in names.items() if new.partition(".")[0] in stages}
    if infinite := [old for old in trunk.values() if not is_finite(state.tensors[old])]:
        raise ConfigError(
            f"model.weights: {state.where} holds numbers that are not finite in {infinite[0]}; "
            "choose another file"
        )
    try:
        missing, unexpected = network.load_state_dict(
            {new: state.tensors[old] for new, old in trunk.items()}, strict=False
        )
    except RuntimeError as error:
        first = str(error).splitlines()[1].strip()  # after a heading, one line per weight
        raise ConfigError(
            f"model.weights: {state.where} does not fit {name}: {first} "
            "Choose the backbone that it belongs to"
        ) from error
    missing = [
        key for key in missing if key in expected and not key.endswith(".num_batches_tracked")
    ]
    if missing or unexpected:
        wrong = [*missing, *unexpected]
        raise ConfigError(
            f"model.weights: {state.where} does not fit {name}: {len(missing)} weights are missing "
            f"and {len(unexpected)} are unknown: {', '.join(wrong[:NUM_NAMED])}"
            f"{', ...' if len(wrong) > NUM_NAMED else ''}; choose the backbone that it belongs to"
        )
    left_out = state.tensors.keys() - trunk.values()
    if others := {branch(key, of=prefix) for key in left_out} - {classifier}:
        log.warning(
            "model.weights: %s: loaded the trunk of %s (%d tensors), left out %s",
            state.where,
            name,
            len(trunk),
            ", ".join(sorted(others)),
        )


def trunk_names(state: StateDict, *, first: str, network: str) -> tuple[str, dict[str, str]]:
    """Find the trunk in a state_dict, by its first convolution.

    Args:
        state: of a whole network.
        first: torchvision's name of that convolution's weights.
        network: its name, for messages.

    Returns:
        The prefix of the trunk's names; each name in the state_dict that has this prefix, with the
        name that torchvision would give it.
    """
    stems: dict[str, str] = {}
    for key, value in state.tensors.items():
        stem = next((stem for stem in (first, "0.weight") if f".{key}".endswith(f".{stem}")), None)
        if stem is not None and value.dim() == 4 and value.shape[1] == 3:
            stems[key.removesuffix(stem)] = stem
    prefixes = [prefix for prefix in stems if MEAN_TEACHER in prefix] or list(stems)
    if len(prefixes) != 1:
        what = f"{len(prefixes)} trunks ({', '.join(prefixes)})" if prefixes else f"no {first}"
        raise ConfigError(
            f"model.weights: {state.where} does not fit {network}: it has {what}; save the state "
            "dict of one network, and choose the backbone that it belongs to"
        )
    (prefix,) = prefixes
    names = {key: key.removeprefix(prefix) for key in state.tensors if key.startswith(prefix)}
    if stems[prefix] == first:
        return prefix, names
    sequence = SEQUENCES["3.0.conv1.weight" in names.values()]
    return prefix, {key: numbered_to_named(name, sequence) for key, name in names.items()}


def numbered_to_named(name: str, sequence: tuple[str, ...]) -> str:
    """Replace the number that a name begins with by the stage in that place."""
    place, _, rest = name.partition(".")
    is_stage = place.isdecimal() and int(place) < len(sequence)
    return f"{sequence[int(place)]}.{rest}" if is_stage else name


def branch(key: str, *, of: str) -> str:
    """Return a name up to the part in which it differs from a prefix, for messages."""
    parts, prefix = key.split("."), of.split(".")
    num_shared = 0
    while num_shared < min(len(parts), len(prefix)) and parts[num_shared] == prefix[num_shared]:
        num_shared += 1
    end = num_shared + 1
    return ".".join(parts[:end]) + ("." if end < len(parts) else "")

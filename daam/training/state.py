"""Everything a run needs to go on as if nothing had happened."""

from typing import Any

from torch import Tensor

from daam.config.schema import RunConfig
from daam.errors import CheckpointError
from daam.model.network import DaamNetwork
from daam.training.objective import Memory
from daam.training.setup.assemble import Run, compute_of
from daam.training.setup.network import build_network

FORMAT = 3


def captured(run: Run) -> dict[str, Any]:
    """Return the run's state at the end of an epoch: plain tensors, numbers and text.

    Random draws are functions of (seed, epoch, step, row), groups and their centres are made anew
    at the start of an epoch, the schedule is a function of the step: none of them has a state.
    """
    return {
        "format": FORMAT,
        "config": run.config.model_dump(),
        "num_epochs_done": run.num_epochs_done,
        "source_digest": run.source.digest,
        "target_digest": run.target.digest,
        "windows": run.windows.counts,
        "num_identities": run.network.shared.classifier.out_features,
        "network": run.network.state_dict(),
        "teacher": None if run.teacher is None else run.teacher.state_dict(),
        "optimiser": run.optimiser.state_dict(),
        "nominal_centre": run.memory.nominal_centre,
        "nominal_spread": run.memory.nominal_spread,
        "source_centre": run.memory.source_centre,
        "exemplars": run.memory.exemplars_NC,
    }


def restore(run: Run, state: dict[str, Any], *, where: str) -> None:
    """Put a state from `captured` back.

    Raises:
        CheckpointError: it is of another format, or of a run with other settings or other data.
    """
    if state.get("format") != FORMAT:
        raise CheckpointError(
            f"{where} is of checkpoint format {state.get('format')}, this daam reads {FORMAT}; "
            "start the run anew under another name"
        )
    then, now = state["config"], run.config.model_dump()
    changed = sorted(
        path
        for path in {*flat(then), *flat(now)}
        if flat(then).get(path) != flat(now).get(path) and not is_replaceable(path)
    )
    if changed:
        raise CheckpointError(
            f"{where} is of a run with other settings: {', '.join(changed)}; "
            "go on with the same settings, or start a new run under another name"
        )
    for rows, digest in (
        (run.source, state["source_digest"]),
        (run.target, state["target_digest"]),
    ):
        if rows.digest != digest:
            domain = rows.manifest.domain
            raise CheckpointError(
                f"{where} was trained on another import of {domain} than the one in "
                f"{run.config.data.root}; import {domain} again as it was then, name a store that "
                "has it so with data.root, or start a new run under another name"
            )
    if tuple(state["windows"]) != run.windows.counts:
        raise CheckpointError(
            f"{where} drew batches from {said(state['windows'])}, and this run would from "
            f"{said(run.windows.counts)}; go on with data.cache_gb={then['data']['cache_gb']} and "
            f"a data.root like {then['data']['root']}, or start a new run under another name"
        )
    run.network.load_state_dict(state["network"])
    if run.teacher is not None:
        run.teacher.load_state_dict(state["teacher"])
    run.optimiser.load_state_dict(state["optimiser"])
    run.memory = Memory(
        nominal_centre=on_device(state["nominal_centre"], run),
        nominal_spread=on_device(state["nominal_spread"], run),
        source_centre=on_device(state["source_centre"], run),
        exemplars_NC=on_device(state["exemplars"], run),
    )
    run.num_epochs_done = state["num_epochs_done"]


def trained_network(config: RunConfig, state: dict[str, Any]) -> DaamNetwork:
    """Return what a state from `captured` embeds with, network or teacher, on its device."""
    network = build_network(config, num_identities=state["num_identities"])
    network.load_state_dict(state["teacher" if config.teacher.embeds else "network"])
    compute_of(config).place(network)
    return network


# Where a run computes and from where it reads may differ when it goes on; what it learns may not.
# A name that ends in a dot is a whole table. Another data.cache_gb may still mean other windows.
REPLACEABLE = ("compute.", "data.root", "data.cache", "data.cache_gb", "data.num_threads")


def is_replaceable(path: str) -> bool:
    """Whether a run that goes on may have another value of a setting."""
    return any(
        path.startswith(name) if name.endswith(".") else path == name for name in REPLACEABLE
    )


def said(windows: tuple[int, int]) -> str:
    """Put `Windows.counts` into words."""
    source, target = (f"{count} windows" if count else "all rows" for count in windows)
    return f"{source} of the source and {target} of the target"


def flat(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested tables as dotted paths."""
    result: dict[str, Any] = {}
    for name, value in tree.items():
        if isinstance(value, dict):
            result |= flat(value, f"{prefix}{name}.")
        else:
            result[f"{prefix}{name}"] = value
    return result


def on_device(tensor: Tensor | None, run: Run) -> Tensor | None:
    """Return a tensor of the state on the run's device."""
    return None if tensor is None else run.compute.move(tensor)

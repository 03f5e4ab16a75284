"""The state of a run at the end of an epoch: all it needs to resume as if never interrupted."""

from typing import Any

from torch import Tensor

from daam.config.load import flat, with_settings
from daam.config.schema import RunConfig
from daam.errors import CheckpointError
from daam.model.network import DaamNetwork
from daam.training.objective import Memory
from daam.training.setup.assemble import Run
from daam.training.setup.compute import compute_of
from daam.training.setup.network import build_network

FORMAT = 3


def state_dict(run: Run) -> dict[str, Any]:
    """Return the run's state at the end of an epoch: plain tensors, numbers and text.

    Three things have no state: random draws and the schedule are functions of seed, epoch, step and
    row, and groups and their centres are recomputed at the start of each epoch.
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


def load_state_dict(run: Run, state: dict[str, Any], *, where: str) -> None:
    """Put the run into a state from `state_dict`.

    Args:
        run: newly assembled; changed.
        state: of a run with the same settings and data.
        where: the state comes from, for messages.

    Raises:
        CheckpointError: it has another format, or is of a run with other settings or other data.
    """
    check_format(state, where=where)
    then, now = state["config"], run.config.model_dump()
    if changed := changed_settings(then, now):
        raise CheckpointError(
            f"{where} is of a run with other settings: {', '.join(changed)}; "
            "resume with the same settings, or start a new run under another name"
        )
    for domain, digest, digest_then in (
        (run.source.domain, run.source.digest, state["source_digest"]),
        (run.target.manifest.domain, run.target.digest, state["target_digest"]),
    ):
        if digest != digest_then:
            raise CheckpointError(
                f"{where} was trained on another import of {domain} than the one in "
                f"{run.config.data.root}; import {domain} again as it was then, point data.root to "
                "a store that still has it, or start a new run under another name"
            )
    if tuple(state["windows"]) != run.windows.counts:
        raise CheckpointError(
            f"{where} drew batches from {described(state['windows'])}, this run would draw them "
            f"from {described(run.windows.counts)}; resume with "
            f"data.cache_gb={then['data']['cache_gb']} and a data.root like "
            f"{then['data']['root']}, or start a new run under another name"
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
    """Return the network that embeds, or the teacher if that does, from a state, on its device."""
    # Not its initial weights: they would be overwritten, and their file may be gone.
    random = with_settings(config, {"model.weights": "none"})
    network = build_network(random, num_identities=state["num_identities"])
    network.load_state_dict(state["teacher" if config.teacher.embeds else "network"])
    compute_of(config).place(network)
    return network


# A resumed run may compute and read elsewhere, but must learn the same. A name that ends in a dot
# is a whole table. Another data.cache_gb may still mean other windows: those are checked apart.
REPLACEABLE = ("compute.", "data.root", "data.cache", "data.cache_gb", "data.num_threads")


def check_format(state: dict[str, Any], *, where: str) -> None:
    """Refuse a state that another version of daam wrote.

    Raises:
        CheckpointError: it has another format.
    """
    if state.get("format") != FORMAT:
        raise CheckpointError(
            f"{where} has checkpoint format {state.get('format')}, this daam reads {FORMAT}; "
            "start a new run under another name"
        )


def changed_settings(then: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """Return the paths of the settings that differ, but for those in `REPLACEABLE`.

    Args:
        then: nested tables, or values by dotted path.
        now: to compare with.
    """
    before, after = flat(then), flat(now)
    return sorted(
        path
        for path in {*before, *after}
        if before.get(path) != after.get(path) and not is_named(path, REPLACEABLE)
    )


def is_named(path: str, names: tuple[str, ...]) -> bool:
    """Whether a setting is among names, of which one that ends in a dot is a whole table."""
    return any(path.startswith(name) if name.endswith(".") else path == name for name in names)


def described(windows: tuple[int, int]) -> str:
    """Describe `Windows.counts` in words."""
    source, target = (f"{count} windows" if count else "all rows" for count in windows)
    return f"{source} of the source and {target} of the target"


def on_device(tensor: Tensor | None, run: Run) -> Tensor | None:
    """Move a tensor of the state to the run's device."""
    return None if tensor is None else run.compute.move(tensor)

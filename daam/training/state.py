"""The state of a run at the end of an epoch: all it needs to resume as if never interrupted."""

from typing import Annotated, Any, Self

import torch
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator
from torch import Tensor

from daam.config.load import flat, with_settings
from daam.config.schema import RunConfig
from daam.documents import Count, MalformedError, Sha256, check_values, first_problem
from daam.errors import CheckpointError
from daam.model.network import DaamNetwork
from daam.model.tensors import check_tensor, check_tensors, is_plain
from daam.training.objective import Memory
from daam.training.setup.assemble import Run
from daam.training.setup.compute import compute_of
from daam.training.setup.network import build_network

FORMAT = 3


def _plain(value: object) -> object:
    if not is_plain(value):
        raise ValueError("is not a plain tensor")
    return value


PlainTensor = Annotated[Tensor, BeforeValidator(_plain)]
Tensors = dict[str, PlainTensor]


class Strict(BaseModel):
    """A part of a state: no entry is missing, unknown or of another type."""

    model_config = ConfigDict(strict=True, extra="forbid", arbitrary_types_allowed=True)


class AdamState(Strict):
    """What Adam keeps of the weights; its own groups of them are never read back."""

    state: dict[Count, Tensors]
    param_groups: list[dict[str, Any]]


class State(Strict):
    """A state as `state_dict` returns it."""

    format: int
    config: dict[str, Any]
    num_epochs_done: Count
    source_digest: Sha256
    target_digest: Sha256
    windows: tuple[Count, Count]
    num_identities: Annotated[Count, Field(ge=1)]
    network: Tensors
    teacher: Tensors | None
    optimiser: AdamState
    nominal_centre: PlainTensor | None
    nominal_spread: PlainTensor | None
    source_centre: PlainTensor | None
    exemplars: PlainTensor | None

    @model_validator(mode="after")
    def _check_content(self) -> Self:
        check_values(self.config)
        # A network is built for as many: a false number would fill the memory.
        classifier = self.network.get("shared.classifier.weight")
        if classifier is None or classifier.shape[:1] != (self.num_identities,):
            raise ValueError(f"its classifier is not of {self.num_identities} identities")
        return self


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
        before = flat(then)
        raise CheckpointError(
            f"{where} drew batches from {described(state['windows'])}, this run would draw them "
            f"from {described(run.windows.counts)}; resume with "
            f"data.cache_gb={before.get('data.cache_gb')} and a data.root like "
            f"{before.get('data.root')}, or start a new run under another name"
        )
    try:
        check_fits(run, state)
    except MalformedError as error:
        raise CheckpointError(
            f"{where} does not fit the run that its settings describe: {error}; restore it from a "
            "backup, or start a new run under another name"
        ) from error
    run.network.load_state_dict(state["network"])
    if run.teacher is not None:
        run.teacher.load_state_dict(state["teacher"])
    own_groups = run.optimiser.state_dict()["param_groups"]
    run.optimiser.load_state_dict(
        {"state": state["optimiser"]["state"], "param_groups": own_groups}
    )
    run.memory = Memory(
        nominal_centre=on_device(state["nominal_centre"], run),
        nominal_spread=on_device(state["nominal_spread"], run),
        source_centre=on_device(state["source_centre"], run),
        exemplars_NC=on_device(state["exemplars"], run),
    )
    run.num_epochs_done = state["num_epochs_done"]


def check_fits(run: Run, state: dict[str, Any]) -> None:
    """Compare the tensors of a state with the parts of the run that are to take them.

    Raises:
        MalformedError: one is missing or unknown, or has another shape or type.
    """
    if state["num_epochs_done"] > run.config.num_epochs:
        raise MalformedError(
            f"it has {state['num_epochs_done']} epochs, not {run.config.num_epochs}"
        )
    check_tensors(state["network"], run.network.state_dict())
    if (state["teacher"] is None) != (run.teacher is None):
        raise MalformedError("it has a teacher and the run none, or the other way around")
    if run.teacher is not None:
        check_tensors(state["teacher"], run.teacher.state_dict())
    weights: list[Tensor] = [
        weight for group in run.optimiser.param_groups for weight in group["params"]
    ]
    for number, kept in state["optimiser"]["state"].items():
        if number >= len(weights):
            raise MalformedError(f"its optimiser has {number + 1} weights or more")
        weight = weights[number]
        expected = {"step": torch.zeros(()), "exp_avg": weight, "exp_avg_sq": weight}
        check_tensors(kept, expected)
    num_channels = run.network.shared.bottleneck.num_features
    shapes = {
        **dict.fromkeys(("nominal_centre", "nominal_spread", "source_centre"), (num_channels,)),
        "exemplars": (run.target.reader.num_rows, num_channels),
    }
    for name, shape in shapes.items():
        if state[name] is not None:
            check_tensor(name, state[name], shape=shape, dtype=None)


def trained_network(config: RunConfig, state: dict[str, Any], *, where: str) -> DaamNetwork:
    """Return the network that embeds, or the teacher if that does, from a state, on its device.

    Raises:
        CheckpointError: its weights are not those of such a network.
    """
    # Not its initial weights: they would be overwritten, and their file may be gone.
    random = with_settings(config, {"model.weights": "none"})
    weights = state["teacher" if config.teacher.embeds else "network"] or {}
    network = build_network(random, num_identities=state["num_identities"])
    try:
        check_tensors(weights, network.state_dict())
    except MalformedError as error:
        raise CheckpointError(
            f"the checkpoint of {where} does not fit its settings: {error}; restore both from a "
            "backup, or train that run again"
        ) from error
    network.load_state_dict(weights)
    compute_of(config).place(network)
    return network


# A resumed run may compute and read elsewhere, but must learn the same. A name that ends in a dot
# is a whole table. Another data.cache_gb may still mean other windows: those are checked apart.
REPLACEABLE = ("compute.", "data.root", "data.cache", "data.cache_gb", "data.num_threads")


def check_state(state: Any, *, where: str) -> None:
    """Check what was read as a checkpoint: every entry, but not whether it fits a run.

    Raises:
        CheckpointError: it is no state from `state_dict`, or one of another format.
    """
    if isinstance(state, dict) and isinstance(state.get("format"), int):
        check_format(state, where=where)
    try:
        State.model_validate(state)
    except ValidationError as error:
        raise CheckpointError(
            f"{where} is not a checkpoint of daam: {first_problem(error)}; restore it from a "
            "backup, or delete its folder to restart that run"
        ) from error


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

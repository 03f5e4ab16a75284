"""Checks of a search space against the settings of a run, before anything runs."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any

from optuna.distributions import CategoricalDistribution

from daam.config.load import setting, with_settings
from daam.config.schema import RunConfig
from daam.errors import ConfigError
from daam.storage import open_parent
from tune.proposals.space import Dimension, values_of

MAX_CHECKED_VALUES = 64
NOT_SEARCHABLE = (
    "transfer",
    "stage",
    "seed",
    "data.root",
    "data.oracle_labels",
    "data.cache",
    "compute.",
    "evaluation.hold_out",
    "optimiser.num_epochs",
    "optimiser.steps_per_epoch",
)


def check_paths(search: Mapping[str, Any], run: RunConfig) -> None:
    """Refuse what is no setting, or is part of the task; and addresses with credentials."""
    if not search:
        raise ConfigError(
            "the [search] table is empty: there is nothing to tune; add a line such as "
            '"loss.domain_similarity.weight" = {low = 0.5, high = 50.0, log = true}'
        )
    for path, spec in search.items():
        choices = spec.get("choices") if isinstance(spec, dict) else spec
        for choice in choices if isinstance(choices, list) else ():
            if isinstance(choice, str) and "://" in choice:
                open_parent(choice)  # refuses an address with credentials before it is repeated
        if path.startswith(NOT_SEARCHABLE):
            raise ConfigError(
                f"[search] {path}: that is part of the task or its budget, not a hyper-parameter; "
                "a search would choose what is easiest, not what is best"
            )
        setting(run, path)


def check_values(space: Sequence[Dimension], run: RunConfig) -> None:
    """Validate the values of every setting, and every pair of two settings' values.

    Of a range that has more than 64 values: both ends and the middle. In pairs: choices, and the
    ends of ranges.
    """
    by_path = {dimension.path: dimension for dimension in space}
    for dimension in space:
        for value in checked_values(dimension):
            try:
                with_settings(run, with_parents({dimension.path: value}, by_path, run))
            except ConfigError as error:
                raise ConfigError(f"[search] {dimension.path}, at {value!r}: {error}") from error
    for pair, values in pairs(space):
        settings = with_parents(values, by_path, run)
        if not all(dimension.is_active(settings) for dimension in pair):
            continue
        try:
            with_settings(run, settings)
        except ConfigError as error:
            words = " and ".join(f"{path} = {value!r}" for path, value in values.items())
            raise ConfigError(
                f"[search] {words} cannot go together: {error}; search one of them only `when` "
                "the other allows it"
            ) from error


def pairs(space: Sequence[Dimension]) -> Iterator[tuple[tuple[Dimension, ...], dict[str, Any]]]:
    """Yield two settings of a space at a time, with each pair of their outermost values."""
    for one, other in combinations(space, 2):
        for value in outermost_values(one):
            for beside in outermost_values(other):
                yield (one, other), {one.path: value, other.path: beside}


def with_parents(
    settings: Mapping[str, Any], by_path: Mapping[str, Dimension], run: RunConfig
) -> dict[str, Any]:
    """Add the values that other settings must have for these to be searched."""
    result = dict(settings)
    pending = list(settings)
    while pending:
        for parent, values in by_path[pending.pop()].when.items():
            if parent not in result:
                default = setting(run, parent)
                result[parent] = default if default in values else values[0]
                pending.append(parent)
    return result


def checked_values(dimension: Dimension) -> Sequence[Any]:
    """Return all values of a setting if they are few, else the ends and the middle."""
    values = values_of(dimension.distribution)
    if len(values) <= MAX_CHECKED_VALUES:
        return values
    return values[0], values[-1], values[len(values) // 2]


def outermost_values(dimension: Dimension) -> Sequence[Any]:
    """Return all choices of a setting, or the ends of its range."""
    values = values_of(dimension.distribution)
    is_choice = isinstance(dimension.distribution, CategoricalDistribution)
    return values if is_choice else (values[0], values[-1])

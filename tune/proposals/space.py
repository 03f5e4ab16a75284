"""The search space: which settings of a run are searched, over which values, and when.

In the table `[search]` of a study file a key is the dotted path of a setting, its value a range or
choices. With `when` a setting is searched only in trials in which another searched setting has one
of the given values; in all others it keeps the file's value.

    "loss.target.kind" = ["soft_label", "exemplar"]
    "loss.target.eps" = { low = 0.4, high = 0.7 }
    "loss.target.num_exemplars" = { low = 1, high = 12, when = { "loss.target.kind" = "exemplar" } }
    "teacher.labels" = { choices = [false, true], when = { "loss.target.kind" = "soft_label" } }
"""

import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from typing import Any

import numpy as np
import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from daam.config.load import setting
from daam.config.schema import RunConfig
from daam.errors import ConfigError

CHOICE_TYPES = (str, int, float, bool)
SIGNIFICANT_DIGITS = 3
VALUES_OF_A_FLOAT_RANGE = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Dimension:
    """A searched setting.

    Attributes:
        path: the setting.
        distribution: its values.
        when: values of other searched settings without which this one is not searched.
    """

    path: str
    distribution: BaseDistribution
    when: Mapping[str, tuple[Any, ...]]

    def is_active(self, parameters: Mapping[str, Any]) -> bool:
        """Whether the setting is searched beside these parameters."""
        return all(
            parent in parameters and parameters[parent] in values
            for parent, values in self.when.items()
        )


def search_space(
    search: Mapping[str, Any], run: RunConfig, *, fixed: Collection[str] = ()
) -> tuple[Dimension, ...]:
    """Parse the table `[search]`; what depends on another setting comes after it.

    Args:
        search: ranges and choices by dotted path.
        run: values of what is not searched.
        fixed: settings that are not searched because the command line sets them. A setting that
            cannot occur beside such a value is left out.

    Raises:
        ConfigError: a range, a list or a condition is wrong.
    """
    conditions = {path: conditions_of(path, spec) for path, spec in search.items()}
    try:
        order = tuple(TopologicalSorter(conditions).static_order())
    except CycleError as error:
        raise ConfigError(
            f"[search] conditions form a cycle: {' -> '.join(error.args[1])}; take one `when` out"
        ) from error
    left_out = set(fixed)
    space: dict[str, Dimension] = {}
    for path in (path for path in order if path in search):
        when = {}
        for parent, values in conditions[path].items():
            if parent in space:
                check_condition(path, space[parent], values)
                when[parent] = values
            elif (value := setting(run, parent)) in values and parent not in search:
                continue
            elif parent in left_out:
                left_out.add(path)
            else:
                raise ConfigError(
                    f"[search] {path} is searched only when {parent} = {one_of(values)}, but "
                    f"{parent} is {value!r} and not searched; search it too, or take out the line"
                )
        if path not in left_out:
            chosen = distribution(path, search[path])
            space[path] = Dimension(path=path, distribution=chosen, when=when)
    return tuple(space.values())


def conditions_of(path: str, spec: Any) -> dict[str, tuple[Any, ...]]:
    """Return the values that other settings must have, by path."""
    when = spec.get("when", {}) if isinstance(spec, dict) else {}
    lists = {
        parent: tuple(values) if isinstance(values, list) else (values,)
        for parent, values in (when.items() if isinstance(when, dict) else ())
    }
    values = [value for values in lists.values() for value in values]
    if not isinstance(when, dict) or not all(isinstance(value, CHOICE_TYPES) for value in values):
        raise ConfigError(
            f"[search] {path}: when = {when!r} is not of the form "
            '{"loss.target.kind" = ["soft_label", "exemplar"]}, with the path in quotes'
        )
    return lists


def check_condition(path: str, parent: Dimension, values: Sequence[Any]) -> None:
    """Refuse a condition that no trial can meet."""
    if not isinstance(parent.distribution, CategoricalDistribution):
        raise ConfigError(
            f"[search] {path}: `when` compares with choices, but {parent.path} is a range; "
            "list its values"
        )
    choices = parent.distribution.choices
    if not values or not set(values) <= set(choices):
        raise ConfigError(
            f"[search] {path} is searched only when {parent.path} = {one_of(values)}; that is not "
            f"among its choices, {one_of(choices)}"
        )


def one_of(values: Iterable[Any]) -> str:
    """Return values as words: 'soft_label' or 'exemplar'."""
    return " or ".join(map(repr, values)) or "nothing"


def distribution(path: str, spec: Any) -> BaseDistribution:
    """Convert a range or a list of choices to Optuna's distribution.

    Raises:
        ConfigError: it is neither, or contradicts itself.
    """
    where = f"[search] {path} = {spec!r}"
    if isinstance(spec, list):
        return choices_of(spec, where=where)
    keys = spec.keys() - {"when"} if isinstance(spec, dict) else set()
    if keys == {"choices"}:
        return choices_of(spec["choices"], where=where)
    if not {"low", "high"} <= keys <= {"low", "high", "log", "step"}:
        raise ConfigError(
            f"{where} is neither a list of choices nor a range such as "
            "{low = 0.5, high = 50.0, log = true}"
        )
    return range_of(
        spec["low"], spec["high"], log=spec.get("log", False), step=spec.get("step"), where=where
    )


def choices_of(values: Any, *, where: str) -> CategoricalDistribution:
    """Check a list of choices."""
    is_list = isinstance(values, list) and bool(values)
    if not is_list or not all(isinstance(value, CHOICE_TYPES) for value in values):
        raise ConfigError(
            f"{where}: a list of choices holds texts, numbers or booleans, at least one"
        )
    if repeated := [value for i, value in enumerate(values) if value in values[:i]]:
        raise ConfigError(f"{where} lists {repeated[0]!r} twice; take one out")
    return CategoricalDistribution(values)


def range_of(low: Any, high: Any, *, log: Any, step: Any, where: str) -> BaseDistribution:
    """Check a range: of integers if both ends are, else of floats."""
    for name, value in (("low", low), ("high", high), ("step", step)):
        is_number = type(value) in (int, float) and math.isfinite(value)
        if not is_number and not (name == "step" and value is None):
            raise ConfigError(f"{where}: {name} has to be a number")
    if not isinstance(log, bool):
        raise ConfigError(f"{where}: log is true or false")
    if low >= high:
        raise ConfigError(f"{where}: low has to be below high")
    if log and step is not None:
        raise ConfigError(f"{where} has both log and step; a range has one of them")
    if log and low <= 0:
        raise ConfigError(f"{where}: a range with log = true has to be above 0")
    is_integer = isinstance(low, int) and isinstance(high, int)
    if step is not None:
        if step <= 0 or (is_integer and not isinstance(step, int)):
            kind = "integer" if is_integer else "number"
            raise ConfigError(f"{where}: step has to be a positive {kind}")
        num_steps = (high - low) / step
        if abs(num_steps - round(num_steps)) > 1e-6:
            last = rounded(low + math.floor(num_steps) * step, digits=12)
            raise ConfigError(f"{where}: steps from low do not reach high; use high = {last}")
    if is_integer:
        return IntDistribution(low, high, log=log, step=step or 1)
    return FloatDistribution(float(low), float(high), log=log, step=step)


def with_float_bounds(run: RunConfig, path: str, spec: Any) -> Any:
    """Convert integer bounds such as `{low = 0, high = 1}` to floats for float settings."""
    if not isinstance(spec, dict) or not isinstance(setting(run, path), float):
        return spec
    return {key: float(value) if type(value) is int else value for key, value in spec.items()}


def contains(chosen: BaseDistribution, value: Any) -> bool:
    """Whether a value is among choices, or in a range and on its steps."""
    if isinstance(chosen, CategoricalDistribution):
        return value in chosen.choices
    if type(value) not in (int, float) or not isinstance(
        chosen, FloatDistribution | IntDistribution
    ):
        return False
    steps = (value - chosen.low) / chosen.step if chosen.step else 0
    return chosen.low <= value <= chosen.high and abs(steps - round(steps)) < 1e-6


def suggest(trial: optuna.Trial, space: Iterable[Dimension]) -> None:
    """Give a trial a value for every setting that is searched beside its other values."""
    for dimension in space:
        path, chosen = dimension.path, dimension.distribution
        if not dimension.is_active(trial.params):
            continue
        if isinstance(chosen, CategoricalDistribution):
            trial.suggest_categorical(path, chosen.choices)
        elif isinstance(chosen, IntDistribution):
            trial.suggest_int(path, chosen.low, chosen.high, step=chosen.step, log=chosen.log)
        elif isinstance(chosen, FloatDistribution):
            trial.suggest_float(path, chosen.low, chosen.high, step=chosen.step, log=chosen.log)


def combinations(
    space: Sequence[Dimension], parameters: Mapping[str, Any] | None = None
) -> Iterator[dict[str, Any]]:
    """Yield the combinations of a space one by one.

    A range of floats counts as 1,000 evenly spaced values at most.
    """
    parameters = dict(parameters or {})
    if not space:
        yield parameters
        return
    dimension, *others = space
    if not dimension.is_active(parameters):
        yield from combinations(others, parameters)
        return
    for value in values_of(dimension.distribution):
        yield from combinations(others, {**parameters, dimension.path: value})


def values_of(chosen: BaseDistribution) -> Sequence[Any]:
    """Return all values of a distribution, see `combinations`."""
    if isinstance(chosen, CategoricalDistribution):
        return chosen.choices
    if isinstance(chosen, IntDistribution):
        return range(chosen.low, chosen.high + 1, chosen.step)
    if not isinstance(chosen, FloatDistribution):
        raise TypeError(f"{chosen} is none of the distributions of a search")
    if chosen.step is None:
        spaced = np.linspace(chosen.low, chosen.high, VALUES_OF_A_FLOAT_RANGE).tolist()
        return list(dict.fromkeys(rounded_within(chosen, value) for value in spaced))
    num_steps = round((chosen.high - chosen.low) / chosen.step)
    spaced = np.linspace(0, num_steps, min(num_steps + 1, VALUES_OF_A_FLOAT_RANGE)).round()
    return [rounded(chosen.low + step * chosen.step, digits=12) for step in spaced.tolist()]


def rounded_within(chosen: BaseDistribution, value: Any) -> Any:
    """Round a float without steps to three significant digits, but not out of its range."""
    if not isinstance(chosen, FloatDistribution) or chosen.step is not None:
        return value
    return min(max(rounded(value), chosen.low), chosen.high)


def rounded(value: float, *, digits: int = SIGNIFICANT_DIGITS) -> float:
    """Round a float to significant digits; leave an integer as it is."""
    return value if isinstance(value, int) else float(f"{value:.{digits}g}")

"""The search space: which settings of a run are searched, over which values.

In the table `[search]` of a study file a key is the dotted path of a setting and its value a range,
`{low = 0.5, high = 50.0, log = true}`, or a list of choices.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from daam.config.load import setting, with_settings
from daam.config.schema import RunConfig
from daam.errors import ConfigError
from daam.storage import open_parent

CHOICE_TYPES = (str, int, float, bool)
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


def check_space(search: Mapping[str, Any], run: RunConfig, *, default_first: bool) -> None:
    """Validate both ends of every range, and every choice, as settings of a run."""
    if not search:
        raise ConfigError(
            "the [search] table is empty: there is nothing to tune; add a line such as "
            '"loss.domain_similarity.weight" = {low = 0.5, high = 50.0, log = true}'
        )
    for path, spec in search.items():
        for choice in spec if isinstance(spec, list) else ():
            if isinstance(choice, str) and "://" in choice:
                open_parent(choice)  # refuses an address with credentials before it is repeated
        if path.startswith(NOT_SEARCHABLE):
            raise ConfigError(
                f"[search] {path}: that is part of the task or its budget, not a hyper-parameter; "
                "a search would choose what is easiest, not what is best"
            )
        default = setting(run, path)
        is_fixed = default != "auto"  # what is automatic, the sampler chooses in the first trial
        if default_first and is_fixed and not contains(distribution(path, spec), default):
            raise ConfigError(
                f"[search] {path} = {spec!r} leaves out the default, {default!r}, which the first "
                "trial has; widen the range, set another default in the file, or set "
                "study.default_first = false"
            )
        for value in boundary_values(path, spec):
            try:
                with_settings(run, {path: value})
            except ConfigError as error:
                raise ConfigError(f"[search] {path}, at {value!r}: {error}") from error


def contains(chosen: BaseDistribution, value: Any) -> bool:
    """Return whether a value is in a range or among choices."""
    if isinstance(chosen, CategoricalDistribution):
        return value in chosen.choices
    if isinstance(chosen, FloatDistribution | IntDistribution):
        return chosen.low <= value <= chosen.high
    return False


def boundary_values(path: str, spec: Any) -> Iterator[Any]:
    """Yield the ends of a range, or all choices."""
    chosen = distribution(path, spec)
    if isinstance(chosen, CategoricalDistribution):
        yield from chosen.choices
    elif isinstance(chosen, FloatDistribution | IntDistribution):
        yield chosen.low
        yield chosen.high


def distribution(path: str, spec: Any) -> BaseDistribution:
    """Convert a range or a list of choices to Optuna's distribution.

    Raises:
        ConfigError: it is neither.
    """
    if isinstance(spec, list):
        if not spec or not all(isinstance(value, CHOICE_TYPES) for value in spec):
            raise ConfigError(
                f"[search] {path} = {spec!r}: a list of choices holds texts, numbers or booleans, "
                "at least one"
            )
        return CategoricalDistribution(spec)
    known = {"low", "high", "log", "step"}
    if not isinstance(spec, dict) or not {"low", "high"} <= spec.keys() or spec.keys() - known:
        raise ConfigError(
            f"[search] {path} = {spec!r} is neither a list of choices nor a range such as "
            "{low = 0.5, high = 50.0, log = true}"
        )
    low, high = spec["low"], spec["high"]
    log, step = spec.get("log", False), spec.get("step")
    try:
        if isinstance(low, int) and isinstance(high, int):
            return IntDistribution(low, high, log=log, step=step or 1)
        return FloatDistribution(float(low), float(high), log=log, step=step)
    except (ValueError, TypeError) as error:
        raise ConfigError(f"[search] {path} = {spec!r}: {error}") from error


def with_float_bounds(run: RunConfig, path: str, spec: Any) -> Any:
    """Convert integer bounds such as `{low = 0, high = 1}` to floats for float settings."""
    if not isinstance(spec, dict) or not isinstance(setting(run, path), float):
        return spec
    return {key: float(value) if type(value) is int else value for key, value in spec.items()}

"""The first trials of a study: the default settings, then the user's own starting points.

A table `[[study.start]]` of a study file gives values of searched settings by dotted path, a
`preset` whose values they are, or both:

    [[study.start]]
    preset = "strong"
    "loss.target.eps" = 0.5

A searched setting that it does not name has the file's value.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from daam.config.load import flat, read_preset, setting, with_settings
from daam.config.schema import RunConfig
from daam.errors import ConfigError
from tune.proposals.space import Dimension, contains


def default_start(run: RunConfig, space: Sequence[Dimension]) -> dict[str, Any]:
    """Return the default settings as parameters of a trial.

    Raises:
        ConfigError: a default is not in the space.
    """
    parameters, outside = parameters_of(run, space)
    for path, value in outside.items():
        raise ConfigError(
            f"[search] {path} leaves out the default, {value!r}, which the first trial has; widen "
            "the range, set another default in the file, or set study.default_first = false"
        )
    return parameters


def user_start(
    table: Mapping[str, Any],
    run: RunConfig,
    space: Sequence[Dimension],
    *,
    where: str,
    ignored: Collection[str],
) -> dict[str, Any]:
    """Return a user's starting point as parameters of a trial.

    Args:
        table: values by dotted path, and perhaps `preset`.
        run: the file's values.
        space: what is searched.
        where: the table's name, for error messages.
        ignored: paths whose values the command line has settled.

    Raises:
        ConfigError: a value is not in the space, or not searched.
    """
    preset = table.get("preset")
    values = flat(read_preset(preset)) if preset is not None else {}
    values |= {path: value for path, value in table.items() if path != "preset"}
    values = {path: value for path, value in values.items() if path not in ignored}
    if tables := [path for path, value in values.items() if isinstance(value, dict)]:
        raise ConfigError(f"{where}: write the path that begins with {tables[0]} in quotes")
    try:
        point = with_settings(run, values)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from error
    parameters, outside = parameters_of(point, space)
    for path, value in outside.items():
        raise ConfigError(
            f"{where}: [search] {path} leaves out {value!r}; widen the range, or start elsewhere"
        )
    for path in values:
        value = setting(point, path)
        if path not in parameters and value not in (setting(run, path), "auto"):
            raise ConfigError(
                f"{where}: {path} = {value!r} is not searched beside the other values; search it, "
                "set it for all trials in the file, or leave it out"
            )
    return parameters


def parameters_of(
    point: RunConfig, space: Sequence[Dimension]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return a run's values of what is searched, and those of them that lie outside the space.

    What is `auto` and not among the choices is in neither: the sampler chooses it.
    """
    parameters: dict[str, Any] = {}
    outside: dict[str, Any] = {}
    for dimension in space:
        value = setting(point, dimension.path)
        if not dimension.is_active(parameters):
            continue
        if contains(dimension.distribution, value):
            parameters[dimension.path] = value
        elif value != "auto":
            outside[dimension.path] = value
    return parameters, outside

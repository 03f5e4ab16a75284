"""Settings from files, the command line and a trial's sample: all of them are dotted paths.

`loss.domain_similarity.weight` names the same setting in a file, after `--set` and in a search.
"""

import difflib
import tomllib
from collections.abc import Iterable, Mapping
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar

import tomlkit
from pydantic import BaseModel, ValidationError

from daam.config.schema import RunConfig
from daam.documents import MAX_SHOWN, MalformedError, parse_toml, shortened
from daam.errors import ConfigError

Tree = dict[str, Any]
Model = TypeVar("Model", bound=BaseModel)


def load_config(
    settings: Mapping[str, Any] | None = None,
    *,
    preset: str | None = None,
    file: str | Path | None = None,
) -> RunConfig:
    """Build a run's settings from daam's defaults, a preset, a file and single settings, in order.

    Args:
        settings: values by dotted path, such as `{"optimiser.num_epochs": 20}`. The page Settings,
            or `daam config`, lists them all.
        preset: the name of a preset: `daam_v2`, `strong`, `source_only`, ...
        file: a TOML file.

    Raises:
        ConfigError: a setting does not exist (the nearest name is suggested), has the wrong type,
            is out of its range or contradicts another; or there is no such preset or file.
    """
    return run_config(
        read_preset(preset) if preset else {},
        read_toml(Path(file)) if file else {},
        nested(settings or {}),
    )


def run_config(*layers: Mapping[str, Any], where: str = "settings") -> RunConfig:
    """Build a run's settings from layers of nested tables; later ones override earlier ones.

    Raises:
        ConfigError: a setting does not exist (the nearest name is suggested), has the wrong type,
            is out of its range or contradicts another.
    """
    tree: Tree = {}
    for layer in layers:
        tree = merged(tree, layer)
    return validated(RunConfig, tree, where=where)


def with_settings(config: RunConfig, settings: Mapping[str, Any]) -> RunConfig:
    """Return the settings with some of them, named by dotted paths, replaced.

    Raises:
        ConfigError: as for `run_config`.
    """
    return run_config(config.model_dump(), nested(settings), where="changed settings")


def setting(config: BaseModel, path: str) -> Any:
    """Return the value at a dotted path.

    Raises:
        ConfigError: there is no such setting; the nearest name is suggested.
    """
    value: Any = config
    for name in path.split("."):
        if not isinstance(value, BaseModel) or name not in type(value).model_fields:
            raise ConfigError(unknown_setting(path, type(config)))
        value = getattr(value, name)
    return value


def read_toml(path: Path) -> Tree:
    """Read a TOML file.

    Raises:
        ConfigError: it is missing, cannot be read or is not TOML.
    """
    try:
        return parse_toml(path.read_bytes())
    except FileNotFoundError as error:
        raise ConfigError(f"there is no settings file {path}; check the path") from error
    except OSError as error:
        raise ConfigError(
            f"the settings file {path} cannot be read: {error.strerror}; name a file that you may "
            "read"
        ) from error
    except MalformedError as error:
        raise ConfigError(f"the settings file {path} cannot be read: {error}; fix it") from error
    except ValueError as error:
        raise ConfigError(f"the settings file {path!r} has a NUL in its name; fix it") from error


def read_preset(name: str) -> Tree:
    """Read a preset of run settings.

    Raises:
        ConfigError: there is no preset of that name.
    """
    return read_packaged_toml("daam.config", "presets", name)


def read_packaged_toml(package: str, folder: str, name: str) -> Tree:
    """Read `package/folder/name.toml`, or list the names there are."""
    directory = resources.files(package) / folder
    names = sorted(
        entry.name.removesuffix(".toml")
        for entry in directory.iterdir()
        if entry.name.endswith(".toml")
    )
    if name not in names:
        raise ConfigError(f"there is no preset {name!r}; there are: {', '.join(names)}")
    return tomllib.loads((directory / f"{name}.toml").read_text(encoding="utf-8"))


def parse_settings(assignments: Iterable[str]) -> Tree:
    """Turn `path=value` words of the command line into dotted paths and values.

    A value is read as TOML; what is not TOML is taken as text, so `model.backbone=tiny` needs no
    quotes.

    Raises:
        ConfigError: a word has no `=` or no name.
    """
    settings: Tree = {}
    for assignment in assignments:
        path, separator, text = assignment.partition("=")
        if not separator or not path.strip():
            raise ConfigError(
                f"--set {assignment!r} is not of the form path=value, "
                "for example loss.domain_similarity.weight=3"
            )
        try:
            value = tomllib.loads(f"value = {text.strip()}")["value"]
        except (ValueError, RecursionError):
            value = text.strip()
        settings[path.strip()] = value
    return settings


def nested(settings: Mapping[str, Any]) -> Tree:
    """Turn dotted paths into nested tables.

    Raises:
        ConfigError: one path is both a value and a table.
    """
    tree: Tree = {}
    for path, value in settings.items():
        *tables, name = path.split(".")
        table: Mapping[str, Any] = tree
        for word in tables:
            table = table.get(word, {})
            if not isinstance(table, Mapping):
                raise ConfigError(f"{path}: {word} is set to a value and cannot hold settings")
        if isinstance(table.get(name), Mapping) and not isinstance(value, Mapping):
            raise ConfigError(f"{path} = {value!r}: {name} holds settings and cannot be a value")
        branch: Tree = {name: value}
        for word in reversed(tables):
            branch = {word: branch}
        tree = merged(tree, branch)
    return tree


def flat(tree: Mapping[str, Any], prefix: str = "") -> Tree:
    """Turn nested tables into dotted paths."""
    settings: Tree = {}
    for name, value in tree.items():
        if isinstance(value, Mapping):
            settings |= flat(value, f"{prefix}{name}.")
        else:
            settings[prefix + name] = value
    return settings


def merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> Tree:
    """Merge nested tables; values of the second override. Neither argument is changed."""
    result = dict(base)
    for name, value in over.items():
        below = result.get(name)
        if isinstance(below, Mapping) and isinstance(value, Mapping):
            result[name] = merged(below, value)
        else:
            result[name] = value
    return result


def to_toml(config: BaseModel) -> str:
    """Format settings as TOML; `read_toml` and `run_config` give the same settings back."""
    return tomlkit.dumps(config.model_dump())


def validated(model: type[Model], tree: Tree, *, where: str) -> Model:
    """Validate nested tables; each message names the setting, its value and what is allowed."""
    try:
        return model.model_validate(tree)
    except ValidationError as error:
        raise ConfigError(f"{where}: {complaints(error, model)}") from error


def complaints(error: ValidationError, model: type[BaseModel]) -> str:
    """Format the errors of a validation as one line."""
    found = []
    # Of a setting of several types, the error of each type ends in that type's name.
    settings = set(setting_paths(model))
    several: dict[str, list[str]] = {}
    for detail in error.errors(include_url=False):
        path = ".".join(str(part) for part in detail["loc"])[:MAX_SHOWN]
        setting_path = path.rpartition(".")[0]
        if setting_path in settings:
            several.setdefault(f"{setting_path} = {shortened(detail['input'])}", []).append(
                detail["msg"].lower()
            )
        elif detail["type"] == "extra_forbidden":
            found.append(unknown_setting(path, model))
        elif detail["type"] == "missing":
            found.append(f"{path} is missing; give it a value")
        elif detail["type"] == "value_error":
            found.append(detail["msg"].removeprefix("Value error, "))
        else:
            found.append(f"{path} = {shortened(detail['input'])}: {detail['msg'].lower()}")
    found += [f"{what}: {', or '.join(problems)}" for what, problems in several.items()]
    return "; ".join(found)


def unknown_setting(path: str, model: type[BaseModel]) -> str:
    """Format the message for an unknown setting, with the one that was probably meant."""
    settings = setting_paths(model)
    tables = {name.rpartition(".")[0] for name in settings} - {""}
    near = difflib.get_close_matches(path, [*settings, *sorted(tables)], n=1, cutoff=0.5) or [
        name for name in settings if name.rsplit(".", 1)[-1] == path.rsplit(".", 1)[-1]
    ]
    hint = f"did you mean {near[0]}?" if near else "see: daam config"
    return f"there is no setting {path}; {hint}"


def setting_paths(model: type[BaseModel], prefix: str = "") -> list[str]:
    """Return the dotted path of every setting, in order."""
    paths = []
    for name, field in model.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            paths += setting_paths(inner, f"{prefix}{name}.")
        else:
            paths.append(f"{prefix}{name}")
    return paths

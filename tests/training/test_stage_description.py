"""Runs whose source stages have one description end them in one state, to the bit."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import pytest
import torch
import torchvision
from pydantic.fields import FieldInfo

from daam.config.load import setting, setting_paths, with_settings
from daam.config.schema import RunConfig
from daam.dataset.importing.import_domain import import_domain
from daam.dataset.importing.layouts import read_layout
from daam.errors import ConfigError, TrainingError
from daam.storage import open_store
from daam.training.loop import fit
from daam.training.setup.assemble import Run, assemble
from daam.training.source_stage import num_source_epochs, stage_description
from daam.training.state import state_dict
from tests.support.tiny_domains import write_market
from tests.support.tiny_runs import same, tiny_config

SETTINGS = {"optimiser.num_epochs": 5}
BASES: dict[str, tuple[str, dict[str, Any]]] = {
    "daam_v2": ("daam_v2", {}),
    # Every part that is there from the start: two sets of norms, a teacher, a learned head.
    "strong": (
        "strong",
        {
            "loss.warmup_epochs": 2,
            "loss.domain_similarity.kind": "gradient_reversal",
            "loss.domain_classification.weight": 0.1,
        },
    ),
    "source_only": ("source_only", {}),  # for the settings that have no other value elsewhere
}
# These entries of a state say which run it is of; a run that takes the stage over replaces them.
OF_THE_RUN = ("config", "target_digest", "windows")
# The schema does not know other values (they name data), or theirs would show in later steps only.
BY_HAND: dict[str, list[Any]] = {
    "transfer": ["plaza->station", "campus->plaza", "plaza+station->campus"],
    "model.weights": ["imagenet"],
    "teacher.momentum": [0.2],  # the first steps use less than larger ones
}
SLOW = {"model.backbone": ["resnet18"]}  # the others take seconds
# Data and cache elsewhere are tried below.
ELSEWHERE = ("data.root", "data.cache")


def field_of(path: str) -> FieldInfo:
    """The schema of a setting."""
    model: Any = RunConfig
    *tables, name = path.split(".")
    for table in tables:
        model = model.model_fields[table].annotation
    return model.model_fields[name]


def other_values(annotation: Any, value: Any) -> Iterator[Any]:
    """Values of a type, but for this one; some may be out of range."""
    if get_origin(annotation) is Literal:
        yield from (choice for choice in get_args(annotation) if choice != value)
    elif annotation is bool:
        yield not value
    elif annotation in (int, float):
        number = value if isinstance(value, int | float) else 1
        yield from (annotation(2 * number), annotation(number + 1), annotation(number / 2))
    else:  # a union, or a type with limits
        for part in get_args(annotation):
            if get_origin(part) is not None or isinstance(part, type):
                yield from other_values(part, value)


def perturbed(config: RunConfig, path: str) -> list[RunConfig]:
    """The settings with other values of one of them: all choices, or the first legal number."""
    annotation, value = field_of(path).annotation, setting(config, path)
    candidates = BY_HAND.get(path) or SLOW.get(path) or list(other_values(annotation, value))
    found = []
    for candidate in candidates:
        try:
            found.append(with_settings(config, {path: candidate}))
        except ConfigError:
            continue
        if not isinstance(candidate, str | bool):
            break
    return found


def at_the_end(run: Run) -> dict[str, Any]:
    """Train the source stage of a run; return the state, but for what says whose it is."""
    reports = fit(run)
    for _ in range(num_source_epochs(run.config)):
        next(reports)
    reports.close()
    state = state_dict(run)
    return {name: state[name] for name in state if name not in OF_THE_RUN}


@pytest.fixture(scope="module")
def compared(tiny_root: Path) -> dict[str, dict[str, list[tuple[Any, bool, bool]]]]:
    """By base and setting: another value, whether the description and the state stay the same."""
    found: dict[str, dict[str, list[tuple[Any, bool, bool]]]] = {}
    untried = set(setting_paths(RunConfig)) - set(ELSEWHERE)
    for base, (preset, changes) in BASES.items():
        config = tiny_config(tiny_root, SETTINGS | changes, preset=preset)
        run = assemble(config)
        description, state = stage_description(run), at_the_end(run)
        found[base] = {}
        for path in setting_paths(RunConfig):
            found[base][path] = []
            if base == "source_only" and path not in untried:
                continue
            for other in perturbed(config, path):
                try:
                    run = assemble(other)
                except TrainingError:  # there is no GPU
                    continue
                untried.discard(path)
                is_shared = stage_description(run) == description
                is_equal = same(at_the_end(run), state)
                found[base][path].append((setting(other, path), is_shared, is_equal))
    return found


@pytest.mark.slow
@pytest.mark.parametrize("base", BASES)
def test_where_descriptions_are_equal_so_is_every_bit_of_the_state(compared, base):
    needless = []
    for path, others in compared[base].items():
        for value, is_shared, is_equal in others:
            assert is_equal or not is_shared, f"{path} = {value!r} changes the state"
            if is_equal and not is_shared:
                needless.append(f"{path} = {value!r}")
    print(f"{base}: trained again, though the state is the same: {', '.join(needless)}")


@pytest.mark.slow
def test_every_setting_was_tried(compared):
    untried = [
        path
        for path in setting_paths(RunConfig)
        if path not in ELSEWHERE and not any(tables[path] for tables in compared.values())
    ]
    assert not untried, "no other value is legal: name one in BY_HAND"


@pytest.mark.slow
def test_the_adaptation_leaves_the_source_stage_as_it_is(compared):
    shared = {
        path
        for path, others in compared["daam_v2"].items()
        if any(is_shared for _, is_shared, _ in others)
    }
    assert shared >= {
        "transfer",
        "loss.domain_similarity.weight",
        "loss.target.kind",
        "loss.target.eps",
        "loss.target.num_neighbours",
        "loss.target.triplet_weight",
        "optimiser.adaptation_rate",
        "evaluation.hold_out",
    }
    assert not shared & {"seed", "model.pooling", "loss.triplet.weight", "optimiser.learning_rate"}


def test_another_place_of_the_same_data_is_the_same_source_stage(tiny_root: Path, tmp_path: Path):
    shutil.copytree(tiny_root, tmp_path / "copy")
    here = tiny_config(tiny_root, SETTINGS)
    there = with_settings(
        here, {"data.root": str(tmp_path / "copy"), "data.cache": str(tmp_path / "cache")}
    )
    assert stage_description(assemble(there)) == stage_description(assemble(here))


def test_other_images_of_the_source_are_another_source_stage(tiny_root: Path, tmp_path: Path):
    shutil.copytree(tiny_root / "campus", tmp_path / "campus")
    other = tmp_path / "raw" / "other"
    write_market(other, name="other")
    import_domain(read_layout("market1501", other), domain="plaza", to=open_store(str(tmp_path)))
    here = tiny_config(tiny_root, SETTINGS)
    there = with_settings(here, {"data.root": str(tmp_path)})
    first, second = (stage_description(assemble(config)) for config in (here, there))
    assert first["source"] != second["source"]
    assert first | {"source": second["source"]} == second


def test_other_initial_weights_under_the_same_path_are_another_source_stage(
    tiny_root: Path, tmp_path: Path
):
    path = tmp_path / "weights.pt"
    config = tiny_config(
        tiny_root, SETTINGS | {"model.backbone": "resnet18", "model.weights": str(path)}
    )
    found = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        torch.save(torchvision.models.resnet18().state_dict(), path)
        found.append(stage_description(assemble(config))["network"])
    assert found[0] != found[1]


def test_another_number_of_threads_is_another_source_stage(tiny_root: Path):
    run = assemble(tiny_config(tiny_root, SETTINGS))
    before = stage_description(run)
    num_threads = torch.get_num_threads()
    torch.set_num_threads(num_threads + 1)
    try:
        assert stage_description(run) != before
    finally:
        torch.set_num_threads(num_threads)

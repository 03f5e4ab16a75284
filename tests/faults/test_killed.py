"""Commands that are killed at any moment, and given again: they leave what an undisturbed one does.

Nothing that they wrote before is lost or half-written either. `make kills ARGS="--kills 40"` kills
each command more often, `tune` too, and puts the table into docs/guides/operations.md.
"""

import hashlib
import io
import json
import random
import shutil
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from daam.commit import source_commit
from daam.dataset.importing.import_domain import import_domain
from daam.dataset.importing.layouts import read_layout
from daam.runs.run_folder import REPEATS, read_reports, trained
from daam.storage import open_store
from daam.storage.atomic import TEMPORARY_SUFFIX
from daam.storage.scratch import PREFIX
from tests.support.commands import Finished, kill_session, ran, started
from tests.support.page_table import write_rows
from tests.support.tiny_domains import write_market
from tests.support.tiny_runs import same
from tune.folder.folder import open_study, read_folder
from tune.settings import study_config

NUM_KILLS = {"data import": 2, "data copy": 2}  # in `make test`; others take longer, and get one
SHARD_MIB = 0.00976562  # 10 kB: every split has several shards
STUDY = """
[study]
name = "small"
search_transfers = ["plaza->campus"]
holdout = "plaza->station"
num_trials = 2
concurrent_trials = 1
race_trials = 0
contender_seeds = 1

[search]
"loss.domain_similarity.weight" = { low = 0.5, high = 50.0, log = true }
"""
# Replaced as a command goes on; `contents` reads them, and raises if one is damaged.
REPLACED = ("reports.json", "latest.json", "report.html", "card.md")

NOTHING, PART, ALL, BAD = "nothing", "part", "all", "bad"
HEAD = ("Command", "Kills", "Nothing written", "Part", "All", "Bad", "Commit")

pytestmark = pytest.mark.slow


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """What commands read; none of it changes."""

    market: Path
    domains: Path
    settings: Path
    run: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A command.

    Attributes:
        prepare: fills an empty folder and returns the arguments of the command, which writes there.
        result: what must be in the folder in the end, by names.
    """

    prepare: Callable[[Inputs, Path], tuple[str, ...]]
    result: Callable[[Path], dict[str, Any]]


def contents(folder: Path) -> dict[str, Any]:
    """The files below a folder, without times, and without what is different for every process.

    A checkpoint is compared by its state: pickle writes equal strings once or twice, depending on
    where they came from.
    """
    found: dict[str, Any] = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_dir() or path.suffix == ".lock" or "attempts" in path.parts:
            continue
        if path.name == "reports.json":
            found[name] = [untimed(row) for row in read_reports(open_store(str(path.parent)))]
        elif path.name == "latest.json":
            found[name] = trained(str(path.parent.parent))[1]["num_epochs_done"]
        elif path.suffix == ".pt":
            data = path.read_bytes()
            assert hashlib.sha256(data).hexdigest()[:16] in name, f"{name} is half-written"
            found[name.rpartition("-")[0]] = torch.load(io.BytesIO(data), weights_only=True)
        elif path.name.endswith(("report.html", "card.md")):  # they tell when and how long
            found[name] = path.read_bytes().endswith((b"\n", b"</html>"))
        else:
            found[name] = path.read_bytes()
    return found


def untimed(row: dict[str, Any]) -> dict[str, Any]:
    """An epoch's metrics, without the seconds and how often it was repeated."""
    return {
        name: value
        for name, value in row.items()
        if not name.startswith("seconds") and name != REPEATS
    }


def to_import(inputs: Inputs, folder: Path) -> tuple[str, ...]:
    """An import of many small shards."""
    words = ("--layout", "market1501", "--root", str(inputs.market), "--domain", "plaza")
    return ("data", "import", *words, "--shard-mib", str(SHARD_MIB), "--to", str(folder / "to"))


def to_copy(inputs: Inputs, folder: Path) -> tuple[str, ...]:
    """A copy of such a domain."""
    source = inputs.market.parent / "imported"
    if not source.exists():
        index = read_layout("market1501", inputs.market)
        store = open_store(str(source))
        size_bytes = int(SHARD_MIB * 2**20)
        import_domain(index, domain="plaza", to=store, shard_size_bytes=size_bytes)
    words = ("--from", str(source), "--to", str(folder / "to"))
    return ("data", "copy", "--domain", "plaza", *words)


def to_train(inputs: Inputs, folder: Path) -> tuple[str, ...]:
    """A run of two epochs."""
    words = ("--config", str(inputs.settings), "--name", "first", "--or-resume")
    return ("train", *words, "--storage", str(folder / "runs"))


def to_evaluate(inputs: Inputs, folder: Path) -> tuple[str, ...]:
    """A test of a finished run, which the run's folder keeps."""
    shutil.copytree(inputs.run, folder / "run")
    words = ("--domain", "campus", "--to", str(folder / "scores"))
    return ("evaluate", "--checkpoint", str(folder / "run"), *words)


def to_export(inputs: Inputs, folder: Path) -> tuple[str, ...]:
    """An ONNX file of a finished run."""
    return ("export", "--checkpoint", str(inputs.run), "--to", str(folder / "to" / "model.onnx"))


def to_tune(inputs: Inputs, folder: Path) -> tuple[str, ...]:
    """A study of two trials, and three contenders on the holdout."""
    file = folder / "study.toml"
    file.write_text(inputs.settings.read_text() + STUDY)
    return ("tune", "--config", str(file), "--storage", str(folder / "runs"), "--or-resume")


def study_of(folder: Path) -> dict[str, Any]:
    """The trials of a study and what was found on its holdout."""
    study_folder = folder / "runs" / "small"
    found: dict[str, Any] = {}
    if (study_folder / "study.toml").exists():
        store, tree = read_folder(str(study_folder))
        scratch = folder / "read"
        scratch.mkdir(exist_ok=True)
        study, _ = open_study(store, study_config(tree, {}), scratch=scratch)
        shutil.rmtree(scratch)
        for trial in study.get_trials():
            if trial.state.is_finished():
                found[f"trial {trial.number}"] = (trial.state, trial.params, trial.value)
    for path in study_folder.rglob("scores.json"):
        found[path.relative_to(study_folder).as_posix()] = json.loads(path.read_bytes())
    for name in ("best.toml", "report.html"):
        found |= {name: True} if (study_folder / name).exists() else {}
    return found


CASES = {
    "data import": Case(prepare=to_import, result=contents),
    "data copy": Case(prepare=to_copy, result=contents),
    "train": Case(prepare=to_train, result=contents),
    "evaluate": Case(prepare=to_evaluate, result=contents),
    "export": Case(prepare=to_export, result=contents),
    "tune": Case(prepare=to_tune, result=study_of),
}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Kill `tune` only on demand: `make test` does so once, in tests/end_to_end/test_study.py."""
    on_demand = metafunc.config.getoption("kills") is not None
    ray = [pytest.mark.cluster, pytest.mark.timeout(0)]
    names = [
        pytest.param(name, marks=ray if name == "tune" else [], id=name.replace(" ", "-"))
        for name in CASES
        if name != "tune" or on_demand
    ]
    metafunc.parametrize("name", names)


@pytest.fixture(scope="module")
def inputs(
    tiny_root: Path, tiny_file: Path, tiny_run: str, tmp_path_factory: pytest.TempPathFactory
) -> Inputs:
    """Made once."""
    market = tmp_path_factory.mktemp("market") / "plaza"
    write_market(market, name="plaza", num_cameras=4)
    return Inputs(market=market, domains=tiny_root, settings=tiny_file, run=Path(tiny_run))


@pytest.fixture(scope="module")
def rows(request: pytest.FixtureRequest) -> Iterator[list[tuple[str, ...]]]:
    """Rows of the table, to which every test adds one; in the end they go into the page."""
    rows: list[tuple[str, ...]] = []
    yield rows
    page: str | None = request.config.getoption("kills_page")
    if page is not None:
        write_rows(Path(page), rows, head=HEAD, of="make kills")


def test_a_killed_command_that_is_given_again_leaves_what_an_undisturbed_one_leaves(
    name: str,
    inputs: Inputs,
    rows: list[tuple[str, ...]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    pytestconfig: pytest.Config,
) -> None:
    num_kills = pytestconfig.getoption("kills") or NUM_KILLS.get(name, 1)
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    case, folder = CASES[name], tmp_path / "work"

    def prepared() -> tuple[str, ...]:
        for path in (folder, tmp_path / "temporary"):
            shutil.rmtree(path, ignore_errors=True)
            path.mkdir()
        return case.prepare(inputs, folder)

    arguments = prepared()
    there = set(folder.rglob("*"))
    begin = time.monotonic()
    with started(*arguments, scratch=tmp_path / "shell") as command:
        command.until(lambda: set(folder.rglob("*")) != there)
        first_write_s = time.monotonic() - begin
        succeeded(command.finished())
    duration_s = time.monotonic() - begin
    expected = case.result(folder)

    outcomes: Counter[str] = Counter()
    faults: list[str] = []
    for number in range(num_kills):
        # A random moment in each of as many equal parts of the time that the command takes. Most
        # of it goes by before it writes, so every second kill comes after that.
        start_s = 0.0 if number % 2 else first_write_s
        share = (number + random.Random(f"{name} {number}").random()) / num_kills
        moment_s = start_s + share * (duration_s - start_s)
        arguments = prepared()
        before = case.result(folder)
        killed_after(moment_s, *arguments, scratch=tmp_path / "shell")
        try:
            left = case.result(folder)
            outcomes[check_left(left, before=before, expected=expected)] += 1
            succeeded(ran(*arguments, scratch=tmp_path / "shell"))
            check_same(case.result(folder), expected)
            assert not list((tmp_path / "temporary").glob(f"{PREFIX}*"))
        except Exception as error:  # counted, and told below
            outcomes[BAD] += 1
            faults.append(f"killed after {moment_s:.2f} of {duration_s:.2f} s: {error!r}")
    counts = (str(outcomes[outcome]) for outcome in (NOTHING, PART, ALL, BAD))
    rows.append((f"`{name}`", str(num_kills), *counts, str(source_commit())))
    assert not faults, "\n".join(faults)


def killed_after(moment_s: float, *arguments: str, scratch: Path) -> None:
    """Start a command and kill all its processes after some seconds, unless it ends before."""
    with started(*arguments, scratch=scratch) as command:
        try:
            command.finished(within_s=moment_s)
        except subprocess.TimeoutExpired:
            kill_session(command.process.pid)


def succeeded(finished: Finished) -> None:
    """Check that a command did what it was asked for."""
    assert finished.code == 0, finished.err


def check_left(left: dict[str, Any], *, before: dict[str, Any], expected: dict[str, Any]) -> str:
    """Check that what a killed command left is whole, and tell how much of it there is."""
    whole = {name: it for name, it in left.items() if not name.endswith(TEMPORARY_SUFFIX)}
    assert before.keys() <= whole.keys()
    for name, content in whole.items():
        assert name in expected, f"{name} is none of the files of the undisturbed command"
        if not name.endswith(REPLACED):
            is_whole = same(content, before.get(name)) or same(content, expected[name])
            assert is_whole, f"{name} is half-written"
    if same(whole, expected):
        return ALL
    return NOTHING if same(whole, before) else PART


def check_same(found: dict[str, Any], expected: dict[str, Any]) -> None:
    """Check two results for equality; the message names what differs."""
    names = found.keys() | expected.keys()
    differ = [name for name in names if not same(found.get(name), expected.get(name))]
    assert not differ, f"not as in the undisturbed command: {sorted(differ)}"

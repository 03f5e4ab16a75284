"""`launch.py data ...`, `train` and `evaluate`, one after another on a rendered domain."""

import json
import os
import re
import signal
import socket
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from daam.config.load import run_config
from daam.config.schema import RunConfig
from daam.errors import EvaluationError
from daam.inference.evaluation import evaluate
from daam.runs.run_folder import trained
from tests.support.commands import Launch, started

Run = Callable[..., str]

SMALL = [
    *("--train-identities", "12", "--test-identities", "4", "--cameras", "2"),
    *("--height", "64", "--width", "32"),
]


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which all commands of this file run."""
    return tmp_path_factory.mktemp("work")


@pytest.fixture
def run(command: Launch, work: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a command that must succeed; gives what it prints."""
    monkeypatch.chdir(work)

    def succeed(*arguments: str) -> str:
        code, out, err = command(*arguments)
        assert code == 0, err
        assert "\x1b" not in out
        return out

    return succeed


@pytest.fixture
def campus(run: Run, work: Path) -> Path:
    """A rendered and imported domain, made by the first test that wants it."""
    if not (work / "rendered").exists():
        out = run("data", "render", "--domain", "campus", "--to", "rendered", *SMALL)
        assert "images in rendered" in out
        layout = ("--layout", "market1501", "--root", "rendered")
        out = run("data", "import", *layout, "--domain", "campus", "--to", "domains")
        assert "campus in domains" in out
    return work / "domains"


@pytest.fixture
def checkpoint(run: Run, work: Path, tiny_root: Path, tiny_file: Path) -> str:
    """A run of one worker, made by the first test that wants it."""
    if not (work / "runs" / "first").exists():
        out = run("train", "--config", str(tiny_file), "--name", "first")
        assert re.findall(r"^epoch (\d)/2  [\d.]+ s  .*total [\d.]+  identity", out, re.M) == [
            "1",
            "2",
        ]
        assert "evaluate --checkpoint" in out
    return "runs/first"


def test_render_writes_market1501_that_can_be_imported(campus: Path, work: Path) -> None:
    assert {folder.name for folder in (work / "rendered").iterdir()} == {
        *("bounding_box_train", "query", "bounding_box_test")
    }
    with Image.open(next((work / "rendered" / "query").glob("*.jpg"))) as image:
        assert image.size == (32, 64)


def test_describe_counts_what_import_stored(campus: Path, run: Run, work: Path) -> None:
    out = run("data", "describe", "--domain", "campus", "--at", str(campus))
    rows = {cells[0]: cells[1:] for line in out.splitlines() if len(cells := line.split()) == 7}
    assert rows["query"][0] == str(len(list((work / "rendered" / "query").glob("*.jpg"))))
    assert rows["query"][1:3] == ["4", "2"]
    held_out = int(rows["validation_query"][1])
    assert int(rows["train"][1]) + held_out == 12
    assert held_out == 3
    assert rows["gallery"][3:5] == ["60", "30"]
    found = json.loads(run("data", "describe", "--domain", "campus", "--at", str(campus), "--json"))
    assert found["splits"]["train"]["num_identities"] == 12 - held_out
    assert found["splits"]["gallery"]["num_distractors"] == 60


def test_describe_draws_a_picture(campus: Path, run: Run, work: Path) -> None:
    out = run("data", "describe", "--domain", "campus", "--at", str(campus), "--to", "a/campus.png")
    assert out.splitlines()[-1] == "a/campus.png"
    with Image.open(work / "a" / "campus.png") as image:
        image.verify()


def test_verify_checks_every_file(campus: Path, run: Run) -> None:
    out = run("data", "verify", "--domain", "campus", "--at", str(campus))
    stored = list((campus / "campus").glob("*.arrow"))
    size = sum(path.stat().st_size for path in stored) / 1e6
    assert out == f"campus in {campus}: {len(stored)} files, {size:.1f} MB, all good\n"


def test_preview_writes_a_picture(campus: Path, run: Run, work: Path) -> None:
    to = ("--to", "sheets/campus.png", "--people", "3")
    run("data", "preview", "--domain", "campus", "--at", str(campus), *to)
    with Image.open(work / "sheets" / "campus.png") as image:
        image.verify()
        assert image.format == "PNG"


def test_evaluate_prints_scores_and_draws(
    checkpoint: str, run: Run, work: Path, tiny_root: Path
) -> None:
    asked = ("--to", "scores", "--false-match-rate", "0.05", "--rerank")
    out = run("evaluate", "--checkpoint", checkpoint, "--domain", "campus", *asked)
    scores = json.loads((work / "scores" / "scores.json").read_text())
    assert scores["domain"] == "campus"
    assert scores["transfer"] == "plaza->campus"
    assert scores["num_queries"] == 12
    assert f"{scores['mean_average_precision']:.3f}" in out
    assert f"{scores['cmc']['1']:.3f}" in out
    assert f"{scores['reranked']['mean_average_precision']:.3f}" in out
    assert scores["reranked"]["mean_average_precision"] != scores["mean_average_precision"]
    assert scores["calibration"]["false_match_rate"] == 0.05
    assert f"Below a cosine distance of {scores['calibration']['threshold']:.4f}" in out
    assert "Note: the threshold for a false-match rate of 0.05 rests on" in out
    for name in ("ranked-lists.png", "projection.png", "calibration.png", "attention.png"):
        with Image.open(work / "scores" / name) as image:
            image.verify()
        assert f"scores/{name}" in out


def test_evaluate_refuses_a_rate_below_what_its_pairs_can_estimate(
    checkpoint: str, work: Path, tiny_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(work)
    with pytest.raises(EvaluationError, match="cannot tell a false-match rate of 1e-06"):
        evaluate(checkpoint, domain="campus", to=work / "refused", false_match_rate=1e-6)
    assert not (work / "refused").exists()


def test_evaluate_finds_domains_that_have_moved(
    checkpoint: str, run: Run, work: Path, campus: Path
) -> None:
    where = ("--domain", "campus", "--at", str(campus))
    printed = json.loads(run("evaluate", "--checkpoint", checkpoint, *where, "--json"))
    scores = json.loads((work / "runs/evaluations/first-campus/scores.json").read_text())
    assert printed == scores | {"files": printed["files"]}
    assert "runs/evaluations/first-campus/scores.json" in printed["files"]
    assert scores["num_queries"] == len(list((work / "rendered" / "query").glob("*.jpg")))


def test_train_prints_a_line_of_json_for_each_epoch(run: Run, tiny_file: Path) -> None:
    out = run("train", "--config", str(tiny_file), "--name", "second", "--json")
    rows = [json.loads(line) for line in out.splitlines()]
    assert [row["epoch"] for row in rows] == [1, 2]
    assert all(row["loss/total"] > 0 for row in rows)


def test_a_finished_run_that_is_resumed_trains_nothing(
    checkpoint: str, run: Run, tiny_file: Path
) -> None:
    before = trained(checkpoint)[1]["num_epochs_done"]
    as_it_began = ("--config", str(tiny_file), "--name", "first", "--or-resume")
    for out in (run("train", "--resume", checkpoint), run("train", *as_it_began)):
        assert "epoch" not in out
        assert "Nothing was trained: the run had ended before." in out
    assert trained(checkpoint)[1]["num_epochs_done"] == before == 2


def test_a_source_run_is_adapted_to_a_target_with_its_settings(
    run: Run, tiny_file: Path, work: Path
) -> None:
    out = run("train", "--config", str(tiny_file), "--set", "stage=source")
    assert "train --transfer 'plaza->campus' --from " in out
    out = run("train", "--transfer", "plaza->station", "--from", "runs/plaza-source")
    assert re.findall(r"^epoch (\d)/2 ", out, re.M) == ["2"]
    config, state = trained("runs/plaza-station")
    assert (config.model.backbone, config.stage) == ("tiny", "all")
    assert state["num_epochs_done"] == 2


def test_runs_that_share_their_stages_train_one_and_say_so(
    run: Run, tiny_file: Path, work: Path
) -> None:
    for target in ("campus", "station"):
        out = run(
            *("train", "--config", str(tiny_file), "--transfer", f"plaza->{target}"),
            *("--stages", "stages", "--name", target),
        )
        assert re.findall(r"^epoch (\d)/2 ", out, re.M) == ["1", "2"]
    assert len(list((work / "stages").iterdir())) == 1
    page = (work / "runs/station/report.html").read_text()
    assert "epoch 1 from another run, which saved" in page


def test_config_prints_settings_that_can_be_read_back(run: Run) -> None:
    out = run("config", "--preset", "source_only", "--set", "optimiser.learning_rate=0.01")
    config = run_config(tomllib.loads(out))
    assert config.optimiser.learning_rate == 0.01
    assert config.model.attention.kind == "none"
    (line,) = (line for line in out.splitlines() if line.startswith("model.attention.kind "))
    assert (
        "factorised | channel | spatial | full | none: what the attention map A varies over" in line
    )


def test_config_prints_a_schema_with_every_setting_described(run: Run) -> None:
    schema = json.loads(run("config", "--schema"))
    assert schema == RunConfig.model_json_schema()
    for section in schema["$defs"].values():
        for name, setting in section["properties"].items():
            assert "description" in setting or "$ref" in setting, name


def test_serve_is_on_loopback_alone_and_ends_on_ctrl_c(tmp_path: Path) -> None:
    arguments = ("data", "serve", str(tmp_path / "buckets"), "--port", "0", "--bucket", "mine")
    with started(*arguments, scratch=tmp_path) as command:
        command.until(lambda: "Ctrl-C ends it" in command.out)
        found = re.search(r"S3 at http://127\.0\.0\.1:(\d+)", command.out)
        assert found is not None
        port = int(found[1])
        socket.create_connection(("127.0.0.1", port)).close()
        assert listening_addresses(port) == {"0100007F"}
        assert (tmp_path / "buckets" / "mine").is_dir()
        assert re.search(r"export AWS_SECRET_ACCESS_KEY=\S{24,}", command.out)
        os.killpg(command.process.pid, signal.SIGINT)
        finished = command.finished(within_s=20)
    assert "Traceback" not in finished.err
    assert finished.code == 0
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))


def test_sigterm_stops_a_run_within_seconds_and_it_can_be_resumed(
    tiny_file: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "runs" / "plaza-campus"
    arguments = ("--config", str(tiny_file), "--storage", str(tmp_path / "runs"))
    many = ("--set", "optimiser.num_epochs=500")
    with started("train", *arguments, *many, scratch=tmp_path / "out") as command:
        command.until((folder / "reports.json").exists)
        command.process.send_signal(signal.SIGTERM)
        finished = command.finished(within_s=10)
    assert finished.code == 143
    assert finished.err.splitlines()[-1] == (
        f"daam: the run was stopped; resume with: python launch.py train --resume {folder}"
    )


def listening_addresses(port: int) -> set[str]:
    """The addresses, in hexadecimal as Linux has them, on which somebody listens at a port."""
    found = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            _, local, _, state = line.split()[:4]
            address, its_port = local.split(":")
            if state == "0A" and int(its_port, 16) == port:
                found.add(address)
    return found

"""Bad input ends in exit code 2 and one line that says what is wrong; nothing is half written."""

import json
import shutil
import socket
from pathlib import Path

import pytest

from daam.dataset.format.manifest import manifest_key, read_manifest
from daam.domains import Split
from daam.runs.run_folder import start_run
from daam.storage import Store, open_store
from tests.conftest import BUCKET
from tests.support.commands import Finished, Launch
from tests.support.tiny_domains import add_domain, write_market
from tune.folder.folder import unused_folder, write_settings
from tune.settings import study_config

STUDY_TABLES = """
[study]
name = "small"
search_transfers = ["plaza->campus"]
holdout = "plaza->station"

[search]
"loss.target.weight" = { low = 0.5, high = 2.0 }
"""


@pytest.fixture
def command(command: Launch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Launch:
    """Runs a command in an empty folder of its own, `work`."""
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return command


def assert_refused(ended: Finished, *words: str) -> None:
    """Exit code 2 and one line, which has these words."""
    assert ended.code == 2, ended.err
    assert ended.err.startswith("daam: ")
    assert ended.err.count("\n") == 1
    assert ended.err.endswith("\n")
    for word in words:
        assert word in ended.err


def assert_nothing_written(folder: Path) -> None:
    left = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    assert left == []


@pytest.fixture
def train(command: Launch, tiny_file: Path) -> Launch:
    """`launch.py train` from plaza to campus on the tiny domains, with more arguments."""
    return lambda *more: command("train", "--config", str(tiny_file), *more)


@pytest.fixture
def study_file(tmp_path: Path, tiny_file: Path) -> Path:
    path = tmp_path / "study.toml"
    path.write_text(tiny_file.read_text() + STUDY_TABLES)
    return path


@pytest.fixture
def tune(command: Launch, study_file: Path) -> Launch:
    """`launch.py tune` with a small study, and more arguments."""
    return lambda *more: command("tune", "--config", str(study_file), *more)


@pytest.fixture
def market(tmp_path: Path) -> Path:
    """A data set's folder that may be spoilt."""
    write_market(tmp_path / "market", name="market")
    return tmp_path / "market"


@pytest.fixture
def import_market(command: Launch, market: Path) -> Launch:
    """`launch.py data import` of that folder into the folder `to`."""
    fixed = ("--layout", "market1501", "--root", str(market), "--domain", "market", "--to", "to")
    return lambda *more: command("data", "import", *fixed, *more)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--set", "loss.triplet.wieght=3"], ["did you mean loss.triplet.weight"]),
        (["--set", "optimiser.learning_rate=-1"], ["optimiser.learning_rate", "greater than 0"]),
        (["--set", "optimiser.num_epochs=many"], ["optimiser.num_epochs", "'many'"]),
        (["--set", "optimiser.num_epochs"], ["path=value"]),
        (["--set", "=3"], ["path=value"]),
        (["--set", "optimiser=3"], ["optimiser = 3"]),
        (["--set", "seed=1", "--set", "seed.x=1"], ["seed"]),
        (["--preset", "sauce_only"], ["'sauce_only'", "source_only"]),
        (["--workers", "3"], ["multiple"]),
        (["--transfer", "plaza->plaza"], ["same source and target"]),
        (["--transfer", "plaza-"], ["source->target", "quote it"]),
        (["--transfer", "Plaza->campus"], ["'Plaza'", "lower-case"]),
        (["--transfer", "plaza->moon"], ["no domain moon", "data import"]),
        (["--set", "data.root=nowhere"], ["nowhere", "no domain campus, plaza"]),
        (["--set", "model.backbone=resnet18", "--set", "model.weights=no.pt"], ["no.pt"]),
        (["--set", "compute.device=tpu"], ["compute.device", "'cuda'"]),
        (["--config", "no.toml"], ["no settings file no.toml"]),
        (["--storage", "ftp://host/runs"], ["ftp://"]),
        (["--resume", "runs/nothing"], ["alone"]),
        (["--storage", ""], ["the store's address is empty"]),
        (["--storage", "two\nlines"], ["control characters"]),
        (["--set", 'data.root="a\\u0000b"'], ["control characters"]),
        (["--set", 'data.cache="a\\u0000b"'], ["control characters"]),
        (
            ["--set", "model.backbone=resnet18", "--set", 'model.weights="a\\u0000b"'],
            ["control characters"],
        ),
    ],
)
def test_train_refuses(train: Launch, tmp_path: Path, words: list[str], says: list[str]) -> None:
    assert_refused(train(*words), *says)
    assert_nothing_written(tmp_path / "work")


NO_NAMES = ["", ".", "..", "../up", "/abs", "a/b", "a\\b", "a\nb", " a", "-a", "\u00e4", "x" * 201]


@pytest.mark.parametrize("name", NO_NAMES)
def test_train_refuses_what_is_no_name(train: Launch, tmp_path: Path, name: str) -> None:
    assert_refused(train(f"--name={name}"), "cannot be the name of a run", "a letter or digit")
    assert_nothing_written(tmp_path)


@pytest.mark.parametrize("name", NO_NAMES)
def test_tune_refuses_what_is_no_name(tune: Launch, tmp_path: Path, name: str) -> None:
    assert_refused(tune(f"--name={name}"), "cannot be the name of a study", "a letter or digit")
    assert_nothing_written(tmp_path / "work")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--set", "study.num_trails=3"], ["did you mean num_trials"]),
        (["--set", "loss.triplet.wieght=3"], ["did you mean loss.triplet.weight"]),
        (["--set", "search.loss.target.wieght=[1.0]"], ["did you mean loss.target.weight"]),
        (["--set", "search.loss.target.weight={low = -1.0, high = 2.0}"], ["at -1.0"]),
        (["--set", "search.loss.target.weight={low = 1.0, high = 2e6}"], ["at 2000000.0"]),
        (["--set", "search.loss.target.weight=3"], ["nor a range"]),
        (["--set", "loss.target.weight=1.0"], ["nothing to tune"]),
        (["--set", "study.holdout='campus->plaza'"], ["share the domain plaza"]),
        (["--set", "study.holdout='plaza->moon'"], ["no domain moon"]),
        (["--set", "study.search_transfers=['plaza->plaza']"], ["same source and target"]),
        (["--trials", "-1"], ["num_trials"]),
        (["--workers-per-trial", "3"], ["multiple"]),
        (["--name", "../up"], ["name"]),
        (["--resume", "runs/nothing"], ["there is no study in", "runs/nothing"]),
        (["--resume", "runs/nothing", "--name", "other"], ["--name", "for a new one"]),
        (["--budget", "soon"], ["study.budget = 'soon' is no time", "2h"]),
        (["--budget", "+2h"], ["--resume"]),
        (["--set", "study.num_trials=0"], ["study.budget"]),
        (["--config", "no.toml"], ["no settings file no.toml"]),
    ],
)
def test_tune_refuses_before_ray_starts(
    tune: Launch,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    words: list[str],
    says: list[str],
) -> None:
    monkeypatch.setattr("ray.init", lambda **_: pytest.fail("Ray was started"))
    assert_refused(tune(*words), *says)
    assert_nothing_written(tmp_path / "work")


def test_tune_refuses_an_unknown_preset_and_names_the_known_ones(command: Launch) -> None:
    assert_refused(command("tune", "--preset", "dmeo"), "'dmeo'", "demo")


@pytest.mark.parametrize("name", ["train", "tune"])
def test_there_must_be_something_to_resume(command: Launch, tmp_path: Path, name: str) -> None:
    assert_refused(command(name, "--resume", "runs/nothing"), "runs/nothing")
    assert_nothing_written(tmp_path / "work")


def test_a_study_that_never_began_leaves_its_name_free(
    tune: Launch, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(**_: object) -> None:
        raise KeyboardInterrupt

    def out_of_time(**_: object) -> None:
        raise Exception("The current node timed out during startup")  # noqa: TRY002  (Ray's own)

    monkeypatch.setattr("ray.init", interrupted)
    ended = tune()
    assert ended.code == 130
    assert ended.err == (
        "daam: the study was stopped; no trial had begun, so give the same command again\n"
    )
    monkeypatch.setattr("ray.init", out_of_time)
    assert_refused(tune(), "timed out during startup")
    assert_refused(tune(), "timed out during startup")  # and not that there is a study


def test_a_run_that_failed_before_its_first_epoch_can_be_started_again(train: Launch) -> None:
    assert_refused(train("--set", "data.identities_per_batch=400"), "400")
    assert train().code == 0


def test_a_run_that_exists_is_left_alone(train: Launch, tiny_config: object) -> None:
    from daam.config.schema import RunConfig

    folder = start_run("runs/plaza-campus", RunConfig(seed=77))
    before = contents(folder)
    assert_refused(train(), "there is a run in", "--resume", "--name")
    assert contents(folder) == before


def test_a_study_that_exists_is_left_alone(tune: Launch, study_file: Path) -> None:
    from daam.config.load import read_toml

    folder = unused_folder("runs/small")
    write_settings(folder, study_config(read_toml(study_file), {"seed": 77}))
    before = contents(folder)
    assert_refused(tune(), "there is a study in", "--resume", "--name")
    assert contents(folder) == before


def contents(folder: Store) -> dict[str, bytes]:
    return {key: folder.read(key) for key in folder.list()}


def test_import_of_a_missing_folder(command: Launch, tmp_path: Path) -> None:
    ended = command(
        *("data", "import", "--layout", "market1501", "--root", "gone", "--domain", "market")
    )
    assert_refused(ended, "gone")
    assert_nothing_written(tmp_path / "work")


def test_import_of_an_unknown_layout(command: Launch, market: Path) -> None:
    ended = command(
        *("data", "import", "--layout", "market", "--root", str(market), "--domain", "market")
    )
    assert_refused(ended, "market1501")


def test_import_of_a_folder_of_another_layout(
    command: Launch, market: Path, tmp_path: Path
) -> None:
    ended = command(
        *("data", "import", "--layout", "veri776", "--root", str(market), "--domain", "market")
    )
    assert_refused(ended, "image_train", "looks like --layout market1501")
    assert_nothing_written(tmp_path / "work")


def test_import_of_a_withdrawn_data_set_prints_the_notice(
    command: Launch, market: Path, tmp_path: Path
) -> None:
    ended = command(
        *("data", "import", "--layout", "dukemtmc", "--root", str(market), "--domain", "market")
    )
    assert_refused(ended, "withdrawn by its authors in 2019", "--acknowledge-withdrawal")
    assert_nothing_written(tmp_path / "work")


def test_without_val_is_refused_for_a_layout_without_a_validation_list(
    import_market: Launch, tmp_path: Path
) -> None:
    assert_refused(import_market("--without-val"), "msmt17, not market1501")
    assert_nothing_written(tmp_path / "work")


@pytest.mark.parametrize("folder", ["", "bounding_box_train", "query", "bounding_box_test"])
def test_import_of_an_empty_folder(
    import_market: Launch, market: Path, tmp_path: Path, folder: str
) -> None:
    shutil.rmtree(market / folder)
    (market / folder).mkdir()
    assert_refused(import_market(), str(market))
    assert_nothing_written(tmp_path / "work")


@pytest.mark.parametrize("name", ["portrait.jpg", "0001.jpg", "0001_x1.jpg"])
def test_import_of_a_file_with_an_unknown_name_pattern(
    import_market: Launch, market: Path, tmp_path: Path, name: str
) -> None:
    shutil.copy(next((market / "query").glob("*.jpg")), market / "query" / name)
    assert_refused(import_market(), name)
    assert_nothing_written(tmp_path / "work")


@pytest.mark.parametrize("damage", ["cut in half", "empty", "no image"])
def test_import_of_a_damaged_image(import_market: Launch, market: Path, damage: str) -> None:
    image = sorted((market / "bounding_box_train").glob("*.jpg"))[5]
    content = image.read_bytes()
    image.write_bytes(
        {"cut in half": content[: len(content) // 2], "empty": b"", "no image": b"hello"}[damage]
    )
    assert_refused(import_market(), image.name)
    assert not open_store("to").exists(manifest_key("market"))


def test_import_of_a_domain_with_one_camera(
    command: Launch, tmp_path: Path, import_market: Launch, market: Path
) -> None:
    shutil.rmtree(market)
    write_market(market, name="market", num_cameras=1)
    imported = import_market()
    assert imported.code == 0
    assert "note: nobody in train was seen by two cameras, so none are held out" in imported.out
    assert read_manifest(open_store("to"), "market").split(Split.TRAIN).num_cameras == 1


@pytest.mark.parametrize("name", ["Market", "a b", "../up", ""])
def test_import_under_an_invalid_name(import_market: Launch, name: str) -> None:
    assert_refused(import_market("--domain", name), repr(name))


@pytest.fixture
def own_root(tmp_path: Path) -> Path:
    """The domains plaza and campus in a folder that may be spoilt."""
    for name in ("plaza", "campus"):
        add_domain(open_store(str(tmp_path / "domains")), name, scratch=tmp_path / "raw")
    return tmp_path / "domains"


@pytest.fixture
def spoilt(own_root: Path) -> Path:
    """One image shard of plaza with one byte flipped."""
    manifest = json.loads((own_root / manifest_key("plaza")).read_text())
    key = manifest["splits"]["train"]["shards"][0]["key"]
    shard = own_root / key
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 0xFF
    shard.write_bytes(content)
    return shard


def test_training_on_a_damaged_shard(train: Launch, spoilt: Path, tmp_path: Path) -> None:
    root = spoilt
    while not (root / "plaza").is_dir():
        root = root.parent
    ended = train("--set", f"data.root={root}", "--set", f"data.cache={tmp_path / 'cache'}")
    assert_refused(ended, spoilt.name)
    assert list((tmp_path / "work").rglob("*.pt")) == []


def test_verifying_a_damaged_shard(command: Launch, spoilt: Path, own_root: Path) -> None:
    assert command("data", "verify", "--domain", "campus", "--at", str(own_root)).code == 0
    assert_refused(
        command("data", "verify", "--domain", "plaza", "--at", str(own_root)), spoilt.name
    )


@pytest.mark.parametrize("name", ["describe", "verify", "preview"])
def test_a_missing_domain(command: Launch, tiny_root: Path, name: str) -> None:
    to = ("--to", "sheet.png") if name == "preview" else ()
    ended = command("data", name, "--domain", "moon", "--at", str(tiny_root), *to)
    assert_refused(ended, "moon")
    assert not Path("sheet.png").exists()


def test_evaluating_a_folder_without_a_run(command: Launch, tmp_path: Path) -> None:
    assert_refused(command("evaluate", "--checkpoint", "gone", "--domain", "campus"), "gone")
    assert_nothing_written(tmp_path / "work")


def test_scores_can_only_be_written_to_a_local_folder(command: Launch, tmp_path: Path) -> None:
    for to in ("s3://bucket/scores", "gs://bucket/scores"):
        ended = command("evaluate", "--checkpoint", "run", "--domain", "campus", "--to", to)
        assert_refused(ended, "--to", "folder of this machine")
    assert_nothing_written(tmp_path / "work")


def test_evaluating_on_a_missing_domain(train: Launch, command: Launch) -> None:
    assert train().code == 0
    ended = command(
        *("evaluate", "--checkpoint", "runs/plaza-campus", "--domain", "moon", "--to", "scores")
    )
    assert_refused(ended, "moon")
    assert not Path("scores").exists()


def test_a_picture_that_cannot_be_written(command: Launch, tiny_root: Path) -> None:
    Path("taken").touch()
    to = ("--to", "taken/sheet.png")
    ended = command("data", "preview", "--domain", "plaza", "--at", str(tiny_root), *to)
    assert_refused(ended, "taken/sheet.png")


def test_rendering_into_an_existing_folder(command: Launch, tmp_path: Path) -> None:
    Path("here").mkdir()
    assert_refused(command("data", "render", "--domain", "plaza", "--to", "here"), "here exists")
    assert list(Path("here").iterdir()) == []


def test_an_s3_server_that_cannot_be_reached(
    train: Launch, s3_uri: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
    assert_refused(train("--storage", s3_uri), f"127.0.0.1:{port}")
    assert_refused(train("--set", f"data.root={s3_uri}"), f"127.0.0.1:{port}")
    assert_nothing_written(tmp_path / "work")


@pytest.mark.parametrize("name", ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"])
def test_an_s3_server_that_refuses(
    train: Launch, s3_uri: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
) -> None:
    monkeypatch.setenv(name, "wrong")
    ended = train("--storage", s3_uri)
    assert_refused(ended, s3_uri)
    assert "testsecret" not in ended.err
    assert_nothing_written(tmp_path / "work")


def test_a_bucket_that_does_not_exist(train: Launch, s3_uri: str) -> None:
    assert_refused(train("--storage", s3_uri.replace(BUCKET, "no-such-bucket")), "no-such-bucket")


def test_a_command_that_does_not_exist_is_refused(command: Launch) -> None:
    assert command("tuen").code == 2

"""A notebook's day: `import daam`, and nothing but what it names."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

import daam
from daam import api
from daam.dataset.format.manifest import read_manifest
from daam.domains import Split
from daam.storage import open_store
from tests.support.tiny_domains import write_market

ROOT = Path(__file__).parents[1]


def test_the_package_names_what_the_api_holds() -> None:
    assert daam.__all__ == api.__all__ == sorted(daam.__all__)
    for name in daam.__all__:
        assert getattr(daam, name) is getattr(api, name)
        assert getattr(daam, name).__doc__
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        daam.nonsense  # noqa: B018


def test_type_checkers_see_every_name() -> None:
    source = Path(daam.__file__).read_text()
    block = source.partition("from daam.api import (")[2].partition(")")[0]
    assert [name.strip(" ,") for name in block.split("\n") if name.strip()] == daam.__all__


def test_importing_it_imports_nothing_heavy_and_using_it_no_ray() -> None:
    program = """
import sys, daam
assert not {"torch", "numpy", "pydantic"} & sys.modules.keys()
daam.train
assert not {"ray", "typer", "optuna", "sklearn"} & sys.modules.keys()
"""
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True)


@pytest.fixture
def config(tiny_config: daam.Config) -> daam.Config:
    return tiny_config


def test_a_folder_of_crops_becomes_a_domain(tmp_path: Path) -> None:
    write_market(tmp_path / "raw", name="plaza")
    crops = tmp_path / "raw" / "bounding_box_train"
    to = tmp_path / "domains"
    pattern = r"(?P<person>\d+)_(?P<camera>c\d)"
    mine = daam.import_domain(
        crops, layout="folder", pattern=r"(?P<camera>c\d)", domain="mine", to=to
    )
    train = mine.splits[Split.TRAIN]
    assert list(mine.splits) == [Split.TRAIN]
    assert (train.num_images, train.num_identities, train.num_cameras) == (72, None, 2)
    assert "people of train are unknown, so none are held out for validation" in mine.notes
    assert read_manifest(open_store(str(to)), "mine").cameras == {1: "c1", 2: "c2"}
    known = daam.import_domain(
        crops, layout="folder", pattern=pattern, cut_test=0.3, domain="known", to=to
    )
    assert set(known.splits) == set(Split)


def test_a_day_with_two_data_sets(tmp_path: Path, tiny_file: Path) -> None:
    done: list[tuple[int, int]] = []
    for name in ("plaza", "campus"):
        write_market(tmp_path / name, name=name)
        domain = daam.import_domain(
            tmp_path / name,
            layout="market1501",
            domain=name,
            to=tmp_path / "domains",
            progress=lambda *given: done.append(given),
        )
    assert done[-1] == (108, 108)
    assert domain.splits[Split.QUERY].num_images == 12
    assert domain.splits[Split.TRAIN].num_identities == 9

    changes = {"transfer": "plaza->campus", "data.root": domain.root}
    config = daam.load_config(changes, file=tiny_file)
    epochs: list[dict[str, Any]] = []
    steps: list[daam.StepProgress] = []
    run = daam.train(
        config,
        to=tmp_path / "run",
        on_epoch=epochs.append,
        on_step=steps.append,
        track="tensorboard",
    )
    assert [(row["epoch"], row["num_epochs"]) for row in epochs] == [(1, 2), (2, 2)]
    assert [(step.epoch, step.step) for step in steps] == [
        (epoch, step) for epoch in (1, 2) for step in (0, 1, 2)
    ]
    assert {(step.num_epochs, step.num_steps) for step in steps} == {(2, 2)}
    batch = config.data.identities_per_batch * config.data.images_per_identity
    both = batch + config.data.target_batch_size
    assert [step.num_images for step in steps][3:] == [0, both, both]
    assert run.epochs == epochs
    assert "2 of 2 epochs" in (tmp_path / "run" / "report.html").read_text()
    assert len(list((tmp_path / "run" / "tensorboard").iterdir())) == 2

    found = daam.evaluate(run.folder)
    assert found.domain == "campus"
    assert found.scores is not None
    assert 0 < found.scores.mean_average_precision <= 1
    assert found.files == []

    images = tmp_path / "campus" / "query"
    embedded = daam.embed(run.folder, images=images)
    assert embedded.names == sorted(path.name for path in images.iterdir())
    assert embedded.embeddings.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(embedded.embeddings, axis=1), 1, rtol=1e-5)

    exported = daam.export(run.folder, to=tmp_path / "model.pt2", file_format="torch")
    assert exported.size_bytes == (tmp_path / "model.pt2").stat().st_size
    names = {path.name for path in tmp_path.iterdir()}
    assert names <= {"plaza", "campus", "domains", "run", "model.pt2", "model.card.md", "cache"}


def test_the_example_of_the_docstring_runs(
    tmp_path: Path, tiny_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = str(api.__doc__).splitlines()
    example = "\n".join(line[4:] for line in lines if line.startswith("    "))
    monkeypatch.chdir(tmp_path)
    for folder in ("Market-1501", "MSMT17_V1"):
        write_market(tmp_path / folder, name=folder)
    shutil.copytree(tmp_path / "MSMT17_V1" / "query", tmp_path / "photos")
    # Both folders are small ones in the layout of Market-1501, for a network as small.
    example = example.replace('layout="msmt17"', 'layout="market1501"')
    exec(example.replace('preset="daam_v2"', f"file={str(tiny_file)!r}"), {})  # noqa: S102
    assert (tmp_path / "runs" / "first" / "reports.json").exists()


def test_embeddings_are_the_table_that_the_command_writes(
    tiny_run: str, tiny_root: Path, tmp_path: Path
) -> None:
    from daam.inference.embedding import embed_to_file

    images = tiny_root.parent / "raw" / "campus" / "query"
    embed_to_file(tiny_run, images=images, to=tmp_path / "written.parquet")
    written = pq.read_table(tmp_path / "written.parquet")
    table = daam.embed(tiny_run, images=images).to_arrow()
    assert table.equals(written)
    assert table.schema.metadata == written.schema.metadata


def interrupt(_: dict[str, float]) -> None:
    raise KeyboardInterrupt


def test_a_run_interrupted_in_its_first_epoch_leaves_nothing_and_starts_again(
    config: daam.Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("daam.training.loop.train_epoch", stopped)
        with pytest.raises(KeyboardInterrupt):
            daam.train(config, to=tmp_path / "run")
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
    assert len(daam.train(config, to=tmp_path / "run").epochs) == 2


def test_a_run_interrupted_later_is_resumed_and_a_finished_one_is_returned(
    config: daam.Config, tmp_path: Path
) -> None:
    to = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        daam.train(config, to=to, on_epoch=interrupt)
    with pytest.raises(daam.DaamError, match="resume=True"):
        daam.train(config, to=to)
    done: list[float] = []
    for _ in range(2):
        run = daam.train(
            config, to=to, resume=True, on_epoch=lambda metrics: done.append(metrics["epoch"])
        )
        assert [row["epoch"] for row in run.epochs] == [1, 2]
    assert done == [2]


def test_a_tracker_that_cannot_be_used_leaves_no_run(config: daam.Config, tmp_path: Path) -> None:
    with pytest.raises(daam.DaamError, match="the trackers are tensorboard"):
        daam.train(config, to=tmp_path / "run", track="paper")
    assert not (tmp_path / "run" / "config.toml").exists()


def test_a_run_is_not_resumed_with_other_settings(config: daam.Config, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        daam.train(config, to=tmp_path / "run", on_epoch=interrupt)
    other = config.model_copy(update={"seed": 2})
    with pytest.raises(daam.DaamError, match="other settings: seed"):
        daam.train(other, to=tmp_path / "run", resume=True)


def test_errors_of_the_caller_are_daam_errors(config: daam.Config, tmp_path: Path) -> None:
    with pytest.raises(daam.DaamError, match=r"did you mean optimiser\.num_epochs"):
        daam.load_config({"optimiser.num_epoch": 3})
    with pytest.raises(daam.DaamError, match=r"cannot read .*bounding_box_train"):
        daam.import_domain(tmp_path, layout="market1501", domain="empty", to=tmp_path / "domains")
    moon = daam.load_config(file=None, settings={"transfer": "plaza->moon"})
    moon = moon.model_copy(update={"data": config.data})
    with pytest.raises(daam.DaamError, match="moon"):
        daam.train(moon, to=tmp_path / "run")
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
    with pytest.raises(daam.DaamError, match="holds no checkpoint"):
        daam.evaluate(tmp_path / "run")
    pickle: Any = "pickle"
    with pytest.raises(daam.DaamError, match="choose onnx or torch"):
        daam.export(tmp_path / "run", to=tmp_path / "model", file_format=pickle)


@pytest.mark.parametrize(
    "call",
    [
        lambda path: daam.load_config(file=path),
        lambda path: daam.render_domain("plaza", to=path),
        lambda path: daam.import_domain(path, layout="folder", domain="mine", to="to"),
        lambda path: daam.import_domain("folder", layout="folder", domain="mine", to=path),
        lambda path: daam.embed("run", images="images", data_root=path),
        lambda path: daam.evaluate("run", to=path),
        lambda path: daam.export(path, to="model.onnx"),
        lambda path: daam.search("run", gallery="images", queries=[path]),
    ],
)
def test_no_path_holds_a_nul(call: Callable[[str], object], tmp_path: Path) -> None:
    with pytest.raises(daam.DaamError, match=r"^[^\n]*$"):
        call(str(tmp_path / "a\0b"))
    assert list(tmp_path.iterdir()) == []


def test_rendered_people_are_a_folder_to_import(tmp_path: Path) -> None:
    num_images = daam.render_domain(
        "plaza",
        to=tmp_path / "plaza",
        num_train_identities=4,
        num_test_identities=2,
        num_cameras=2,
        height=32,
        width=16,
    )
    domain = daam.import_domain(
        tmp_path / "plaza", layout="market1501", domain="plaza", to=tmp_path / "domains"
    )
    assert sum(split.num_images for split in domain.splits.values()) == num_images

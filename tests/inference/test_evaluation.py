"""A run whose images a GPU decoded is tested and opened anywhere, on the pixels of a CPU."""

import json
import stat
from pathlib import Path

import pytest

from daam.config.load import with_settings
from daam.config.schema import RunConfig
from daam.dataset.importing.dataset_index import IndexBuilder
from daam.dataset.importing.import_domain import import_domain
from daam.domains import Split
from daam.inference.embedder import open_embedder
from daam.inference.evaluation import colour_histogram_scores, evaluate
from daam.runs.checkpoint import latest_checkpoint, load_checkpoint, save_checkpoint
from daam.storage import open_store
from tests.support.tiny_domains import write_market


@pytest.fixture
def gpu_run(tiny_run: str, tmp_path: Path) -> str:
    """The tiny run, as if it had been trained on a GPU that decoded its images."""
    checkpoints = open_store(tiny_run).child("checkpoints")
    entry = latest_checkpoint(checkpoints)
    assert entry is not None
    state = load_checkpoint(checkpoints, entry)
    state["config"]["compute"]["device"] = state["config"]["data"]["decode"] = "cuda"
    folder = str(tmp_path / "gpu-run")
    save_checkpoint(open_store(folder).child("checkpoints"), state)
    return folder


def test_it_is_evaluated_as_any_other(gpu_run: str, tiny_run: str, tmp_path: Path) -> None:
    found, other = (
        evaluate(run, domain="campus", to=tmp_path / name, false_match_rate=0.05)
        for name, run in (("gpu", gpu_run), ("cpu", tiny_run))
    )
    assert found.scores == other.scores
    assert all(path.exists() for path in found.files)
    assert stat.S_IMODE((tmp_path / "cpu").stat().st_mode) == 0o700  # pictures of people


def test_it_embeds_as_any_other(gpu_run: str) -> None:
    config = open_embedder(gpu_run, domain=None, data_root=None).config
    assert (config.compute.device, config.data.decode) == ("auto", "cpu")


def test_the_baseline_of_colours_is_the_same(tiny_config: RunConfig) -> None:
    on_gpu = with_settings(tiny_config, {"data.decode": "cuda"})
    assert colour_histogram_scores(on_gpu, domain="campus") == colour_histogram_scores(
        tiny_config, domain="campus"
    )


def test_a_test_without_cameras_is_scored_and_says_so(tiny_run: str, tmp_path: Path) -> None:
    root = tmp_path / "raw"
    write_market(root, name="campus")
    builder = IndexBuilder(layout="folder", root=root)
    for folder, split in (
        ("bounding_box_train", Split.TRAIN),
        ("query", Split.QUERY),
        ("bounding_box_test", Split.GALLERY),
    ):
        for file in sorted((root / folder).iterdir()):
            identity = None if split is Split.TRAIN else int(file.name[:4])
            name = f"{folder}/{file.name}"
            builder.add(name, split=split, identity=identity, camera=None)
    store = open_store(str(tmp_path / "store"))
    import_domain(builder.build(), domain="mine", to=store)
    found = evaluate(
        tiny_run,
        domain="mine",
        to=tmp_path / "scores",
        data_root=store.uri,
        false_match_rate=0.05,
    )
    assert found.scores is not None
    assert found.scores.num_left_out == 0
    assert "cameras of mine are unknown" in found.warnings[0]
    assert json.loads((tmp_path / "scores/scores.json").read_text())["same_camera_junk"] is False
    assert all(path.exists() for path in found.files)


def test_a_test_on_a_source_says_that_it_shows_no_other_cameras(
    tiny_run: str, tmp_path: Path
) -> None:
    found = evaluate(tiny_run, domain="plaza", to=tmp_path)
    assert "plaza is a source of this run" in found.warnings[0]
    assert "source" not in " ".join(evaluate(tiny_run, domain="campus").warnings)
    card = Path(tiny_run, "card.md").read_text()
    assert "(plaza is a source of this run, so this says nothing about other cameras.)" in card

"""A run is evaluated on a domain without labels, whatever that domain knows."""

import json
from pathlib import Path

import pytest
import simplejpeg

from daam.config.schema import RunConfig
from daam.dataset.importing.dataset_index import IndexBuilder
from daam.dataset.importing.import_domain import import_domain
from daam.domains import Split
from daam.errors import EvaluationError
from daam.inference.evaluation import evaluate
from daam.storage import open_store
from tests.support.commands import Launch
from tests.support.drawn_pixels import flat, pixels
from tests.support.unlabelled_crops import import_crops

PICTURES = {"neighbours.png", "groups.png", "projection.png", "attention.png"}


@pytest.fixture
def mine(tiny_root: Path, tmp_path: Path, request: pytest.FixtureRequest) -> str:
    """A store with the unlabelled domain `mine`, and nothing else."""
    root = str(tmp_path / "domains")
    import_crops(tmp_path / "raw", to=root, known=request.param)
    return root


@pytest.mark.parametrize("mine", ["nothing", "camera", "camera, track"], indirect=True)
def test_it_is_assessed_and_drawn(mine: str, tiny_run: str, tmp_path: Path) -> None:
    to = tmp_path / "found"
    found = evaluate(tiny_run, domain="mine", to=to, data_root=mine)
    assert found.scores is None
    assert found.assessment is not None
    assert found.assessment.num_images == 72
    wanted = PICTURES if found.assessment.num_groups > 0 else PICTURES - {"groups.png"}
    assert {path.name for path in found.files} == {"assessment.json"} | wanted
    assert all(pixels(to / name).std() > 0 for name in wanted)
    kept = Path(tiny_run) / "results"  # for the run's report
    assert all((kept / f"mine.{name}").read_bytes() == (to / name).read_bytes() for name in wanted)
    document = json.loads((to / "assessment.json").read_text())
    assert document["scores"] == found.assessment.scores
    assert document["domain"] == "mine"
    assert len(document["group_sizes"]) == found.assessment.num_groups


@pytest.mark.parametrize("mine", ["nothing"], indirect=True)
def test_what_needs_labels_is_refused(mine: str, tiny_run: str) -> None:
    with pytest.raises(EvaluationError, match=r"re-ranking needs labelled queries .* daam label"):
        evaluate(tiny_run, domain="mine", data_root=mine, rerank=True)


@pytest.mark.parametrize("mine", ["camera"], indirect=True)
def test_the_command_prints_what_is_known_and_what_labels_would_add(
    mine: str, tiny_run: str, tmp_path: Path, command: Launch
) -> None:
    options = ("--checkpoint", tiny_run, "--domain", "mine", "--at", mine)
    done = command("evaluate", *options, "--to", str(tmp_path / "found"), "--json")
    assert done.code == 0, done.err
    assert "mutual across cameras" in done.err
    assert "answer fifty questions" in done.err
    assert json.loads(done.out)["num_images"] == 72


def test_a_labelled_domain_can_be_assessed_without_its_labels(
    tiny_run: str, tiny_config: RunConfig, tmp_path: Path
) -> None:
    store = open_store(str(tmp_path / "domains"))
    for source in open_store(tiny_config.data.root).list("campus/"):
        store.write(source, open_store(tiny_config.data.root).read(source))
    for name in store.list("campus/"):
        if "labels" in name:
            store.delete(name)
    found = evaluate(tiny_run, domain="campus", data_root=store.uri, without_labels=True)
    assert found.scores is None
    assert found.assessment is not None


def test_too_few_images_are_refused(tiny_run: str, tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(simplejpeg.encode_jpeg(flat(90)))
    builder = IndexBuilder(layout="folder", root=tmp_path)
    builder.add("a.jpg", split=Split.TRAIN, identity=None, camera=1)
    root = str(tmp_path / "domains")
    import_domain(builder.build(), domain="mine", to=open_store(root))
    with pytest.raises(EvaluationError, match="mine has 1 train images, too few"):
        evaluate(tiny_run, domain="mine", data_root=root)

"""A target of which nothing is known but its images, or its tracks, is trained on."""

from pathlib import Path

import pytest
import torch

from daam.config.schema import RunConfig
from daam.dataset.importing.dataset_index import IndexBuilder
from daam.dataset.importing.import_domain import import_domain
from daam.dataset.importing.layouts import read_layout
from daam.domains import Split
from daam.errors import DataError, ShardError
from daam.storage import Store, open_store
from daam.training.batches import source_batches
from daam.training.loop import EpochReport, fit
from daam.training.relabel import EpochGroups, relabel
from daam.training.setup.assemble import assemble
from tests.support.known import known
from tests.support.tiny_domains import add_domain, write_market
from tests.support.tiny_runs import tiny_config


def add_crops(store: Store, name: str, *, scratch: Path, with_tracks: bool = False) -> None:
    """Import the train images of a tiny domain without their identities and cameras."""
    root = scratch / f"{name}-crops"
    write_market(root, name="campus")
    builder = IndexBuilder(layout="folder", root=root)
    for number, path in enumerate(sorted(root.glob("bounding_box_train/*.jpg"))):
        track = number // 3 if with_tracks else None  # one person under one camera
        builder.add(
            f"{path.relative_to(root)}", split=Split.TRAIN, identity=None, camera=None, track=track
        )
    import_domain(builder.build(), domain=name, to=store)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("unlabelled")
    store = open_store(str(folder / "store"))
    add_domain(store, "plaza", scratch=folder)
    add_crops(store, "mine", scratch=folder)
    add_crops(store, "tracked", scratch=folder, with_tracks=True)
    return folder / "store"


def config_of(store: Path, target: str, **settings: object) -> RunConfig:
    changes = {path.replace("__", "."): value for path, value in settings.items()}
    return tiny_config(store, {"transfer": f"plaza->{target}", **changes})


def trained(config: RunConfig) -> list[EpochReport]:
    return list(fit(assemble(config)))


@pytest.mark.parametrize("target", ["mine", "tracked"])
def test_it_is_trained_on_with_what_it_does_not_know_said(store: Path, target: str) -> None:
    reports = trained(
        config_of(store, target, loss__target__num_neighbours="auto", optimiser__num_epochs=2)
    )
    assert all(torch.tensor(list(report.losses.values())).isfinite().all() for report in reports)
    labelled = [report for report in reports if "num_groups" in report.diagnostics]
    assert labelled[0].notes[-1] == "cameras are not centred: they are unknown"
    assert "k1 is" in labelled[0].notes[0]
    assert all(report.notes == [] for report in reports if report is not labelled[0])


def test_tracks_are_groups_and_no_image_of_one_is_left_out(store: Path) -> None:
    run = assemble(config_of(store, "tracked"))
    labels = relabel(run, epoch=1)
    assert isinstance(labels, EpochGroups)
    tracks = known(run.target.tracks)
    for track in set(tracks.tolist()):
        assert len(set(labels.groups_N[tracks == track].tolist())) == 1
    assert labels.outlier_share == 0  # min_samples is 2, a track has 3 images


def test_an_epoch_without_groups_is_said_in_its_report(store: Path) -> None:
    *_, last = trained(
        config_of(store, "mine", loss__target__eps=0.01, loss__target__min_samples=50)
    )
    assert last.losses["target"] == 0
    (warning,) = last.as_metrics()["warnings"]
    assert "none of 72 target images is in a group" in warning


def test_cameras_that_are_unknown_cannot_be_centred(store: Path) -> None:
    with pytest.raises(DataError, match="needs the cameras of the target, which are unknown"):
        assemble(config_of(store, "mine", loss__target__centre_cameras=True))


def test_it_cannot_be_a_source(store: Path) -> None:
    with pytest.raises(ShardError, match=r"mine knows no identities .* labelled domain"):
        assemble(tiny_config(store, {"transfer": "mine->plaza"}))


def test_a_labelled_domain_without_validation_people_is_a_source(tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "store"))
    add_crops(store, "mine", scratch=tmp_path)
    write_market(tmp_path / "whole", name="plaza")
    index = read_layout("market1501", tmp_path / "whole")
    import_domain(index, domain="plaza", to=store, validation_share=0)
    run = assemble(config_of(tmp_path / "store", "mine"))
    assert (run.source.num_identities, len(run.source.identities)) == (12, 72)
    assert len(list(source_batches(run, epoch=0, steps=range(2)))) == 2

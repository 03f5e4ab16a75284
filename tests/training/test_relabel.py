"""Pseudo-labels of the target: cameras taken out, groups found, centres set."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from daam.dataset.pixels.normalise import normalise
from daam.pseudo_labels.grouping import pseudo_labels
from daam.training import relabel
from daam.training.loop import fit
from daam.training.relabel import regroup, without_cameras
from daam.training.scoring.extract import adapted_to, embed_rows
from daam.training.setup.assemble import Run, assemble
from daam.training.state import state_dict
from tests.support.known import known
from tests.support.tiny_runs import same, weights_of


def make_embeddings(num_images: int, *, width: int = 6) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return F.normalize(torch.randn(num_images, width, generator=generator), dim=1)


CAMERAS = np.array([3, 1, 3, 7, 1, 3, 7, 7, 3, 1, 3], dtype=np.int32)


def test_embeddings_without_their_camera_match_the_loop():
    embeddings = make_embeddings(len(CAMERAS))
    found = without_cameras(embeddings, CAMERAS)
    rows = embeddings.tolist()
    for image, camera in enumerate(CAMERAS):
        mates = [rows[i] for i in range(len(rows)) if CAMERAS[i] == camera]
        mean = [sum(column) / len(mates) for column in zip(*mates, strict=True)]
        centred = [value - m for value, m in zip(rows[image], mean, strict=True)]
        length = math.hypot(*centred)
        assert found[image].tolist() == pytest.approx([v / length for v in centred], abs=1e-6)


def test_before_they_are_scaled_back_the_mean_of_each_camera_is_zero():
    embeddings = make_embeddings(len(CAMERAS))
    found = without_cameras(embeddings, CAMERAS)
    for camera in (1, 3, 7):
        rows = torch.from_numpy(camera == CAMERAS)
        centred = embeddings[rows] - embeddings[rows].mean(dim=0)
        assert centred.mean(dim=0).abs().max() < 1e-6
        # What was found points where the centred ones do, and has length 1.
        along = (found[rows] * centred).sum(dim=1) / centred.norm(dim=1)
        torch.testing.assert_close(along, torch.ones(int(rows.sum())), rtol=0, atol=1e-5)


def test_a_shift_that_a_camera_adds_to_all_its_images_is_taken_out():
    plain = make_embeddings(60, width=32)
    cameras = np.arange(60) % 3
    shifted = plain + make_embeddings(3, width=32)[torch.from_numpy(cameras)]
    torch.testing.assert_close(
        without_cameras(shifted, cameras), without_cameras(plain, cameras), rtol=0, atol=1e-5
    )


def test_the_embeddings_given_are_not_changed():
    embeddings = make_embeddings(len(CAMERAS))
    before = embeddings.clone()
    without_cameras(embeddings, CAMERAS)
    assert torch.equal(embeddings, before)


def test_a_camera_with_a_single_image_leaves_it_finite():
    found = without_cameras(make_embeddings(3), np.array([1, 1, 2]))
    assert found.isfinite().all()
    assert found[2].eq(0).all()


def test_the_target_is_labelled_by_the_bottleneck_whatever_is_tested(config_of):
    plain, pooled = (
        regroup(assemble(config_of({"evaluation.embedding": which})))
        for which in ("bottleneck", "pooled")
    )
    assert plain.embeddings_NC.equal(pooled.embeddings_NC)


def embeddings_by_hand(run: Run) -> torch.Tensor:
    adapted = adapted_to(run.network, run.target.reader, batch_size=16, compute=run.compute)
    return embed_rows(
        adapted,
        run.target.reader,
        batch_size=16,
        flip=run.config.evaluation.flip,
        compute=run.compute,
        num_threads=1,
    )


@pytest.mark.parametrize("centre_cameras", [False, True, "auto"])
@pytest.mark.parametrize("flip", [False, True])
def test_groups_are_those_of_embeddings_with_the_targets_statistics(
    config_of, centre_cameras, flip
):
    run = assemble(
        config_of({"loss.target.centre_cameras": centre_cameras, "evaluation.flip": flip})
    )
    labels = regroup(run)
    embeddings = embeddings_by_hand(run)
    torch.testing.assert_close(labels.embeddings_NC, embeddings, rtol=0, atol=1e-6)
    expected = pseudo_labels(
        without_cameras(labels.embeddings_NC, known(run.target.cameras))
        if centre_cameras
        else labels.embeddings_NC,
        k1=4,
        k2=2,
        eps=0.7,
        min_samples=2,
    )
    assert labels.groups_N.tolist() == expected.groups.tolist()
    assert labels.num_groups == expected.num_groups > 1
    assert labels.outlier_share == expected.outlier_share


def test_centres_are_the_mean_directions_of_the_groups(config_of):
    run = assemble(config_of())
    labels = regroup(run)
    centres = run.memory.centres_KC
    assert centres is not None
    assert centres.shape == (labels.num_groups, 128)
    for group in range(labels.num_groups):
        mean = labels.embeddings_NC[torch.from_numpy(labels.groups_N == group)].mean(dim=0)
        torch.testing.assert_close(centres[group], mean / mean.norm(), rtol=0, atol=1e-6)


def test_labelling_leaves_the_network_and_the_nominal_domain_as_they_are(config_of):
    run = assemble(config_of())
    before = weights_of(run)
    regroup(run)
    assert same(weights_of(run), before)
    assert run.memory.nominal_centre is None


@pytest.mark.parametrize("flip", [False, True])
def test_mirrored_images_are_looked_for_in_the_whole_target(config_of, monkeypatch, flip):
    monkeypatch.setattr(relabel, "NUM_MIRRORED", 20)
    run = assemble(config_of({"evaluation.flip": flip}))
    labels = regroup(run)
    adapted = adapted_to(run.network, run.target.reader, batch_size=16, compute=run.compute).eval()
    rows = np.linspace(0, run.target.reader.num_rows - 1, 20).astype(int)
    found = []
    with torch.inference_mode():
        for row in rows:
            image = run.target.reader.read(np.array([row])).flip(2)
            embedding = adapted.embed(normalise(image), embedding="bottleneck")[0]
            found.append((labels.embeddings_NC @ embedding).argmax().item() == row)
    assert labels.self_retrieval == pytest.approx(np.mean(found))
    assert labels.as_label_free() == {"self_retrieval": labels.self_retrieval}


def test_the_score_without_labels_changes_no_bit_of_a_run(config_of, monkeypatch):
    with_it, without = (assemble(config_of()) for _ in range(2))
    scores = [report.label_free for report in fit(with_it)]
    monkeypatch.setattr(relabel, "mirrored_self_retrieval", lambda *_: -1.0)
    others = [report.label_free for report in fit(without)]
    assert scores[-1] != others[-1] == {"self_retrieval": -1.0}
    assert same(state_dict(with_it), state_dict(without))


def test_a_batch_gets_the_labels_of_its_rows(config_of):
    run = assemble(config_of())
    labels = regroup(run)
    rows = torch.tensor([5, 0, 71, 5])
    groups = labels.of_rows(rows, run)
    assert groups.of_images_T.tolist() == [int(labels.groups_N[row]) for row in rows]
    assert groups.of_images_T.dtype == torch.int64
    for at, row in enumerate(rows):
        assert torch.equal(groups.embeddings_TC[at], labels.embeddings_NC[row])

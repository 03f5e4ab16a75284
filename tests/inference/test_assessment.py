"""What is said about a run without labels: an estimate where it is honest, and warnings."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from daam.inference.assessment import (
    Fitted,
    assess,
    estimate_of,
    fits,
    label_free_scores,
    measured_choice,
    share_of,
    warnings_of,
)

NUM_PEOPLE, NUM_CAMERAS, NUM_IMAGES = 12, 3, 4


def embedded_people(*, camera_effect: float, noise: float = 0.15) -> dict[str, Tensor]:
    """Images of people, and the same ones changed; a camera moves its images to one side."""
    generator = torch.Generator().manual_seed(1)

    def drawn(*size: int) -> Tensor:
        return torch.randn(*size, 32, generator=generator) / math.sqrt(32)

    people_NC = drawn(NUM_PEOPLE).repeat_interleave(NUM_CAMERAS * NUM_IMAGES, dim=0)
    cameras_NC = drawn(NUM_CAMERAS).repeat_interleave(NUM_IMAGES, dim=0).repeat(NUM_PEOPLE, 1)
    plain_NC = people_NC + camera_effect * cameras_NC + noise * drawn(len(people_NC))
    changed_NC = plain_NC + 0.02 * drawn(len(plain_NC))
    return {"plain": F.normalize(plain_NC, dim=1), "mirrored": F.normalize(changed_NC, dim=1)}


CAMERAS = np.tile(np.repeat(np.arange(NUM_CAMERAS), NUM_IMAGES), NUM_PEOPLE)
TRACKS = np.arange(NUM_PEOPLE * NUM_CAMERAS).repeat(NUM_IMAGES)


def scores_at(fit: Fitted, shift: float = 0.0) -> dict[str, float]:
    """Scores that a fit has seen: its means, moved by some standard deviations."""
    return {
        name: mean + shift * std
        for name, mean, std in zip(fit.scores, fit.mean, fit.std, strict=True)
    }


@pytest.mark.parametrize("made_from", ["cameras", "cameras and tracks"])
def test_the_fit_of_the_package_estimates_runs_like_its_own(made_from: str) -> None:
    fit = fits()[made_from]
    estimate, reasons = estimate_of(scores_at(fit))
    assert estimate is not None
    assert reasons == []
    assert estimate.made_from == made_from
    assert estimate.mean_average_precision == pytest.approx(share_of(fit.intercept))
    assert 0 < estimate.low < estimate.mean_average_precision < estimate.high < 1


def test_an_embedding_with_less_of_the_camera_in_it_is_worth_more() -> None:
    fit = fits()["cameras"]
    scores = scores_at(fit)
    lower = scores | {"camera_share": scores["camera_share"] - 0.05}
    assert fit.logit(lower) > fit.logit(scores)


def test_scores_that_the_fit_has_not_seen_give_no_estimate() -> None:
    scores = scores_at(fits()["cameras"]) | {"neighbour_overlap": 2.0}
    estimate, reasons = estimate_of(scores)
    assert estimate is None
    assert "no run with such values of neighbour_overlap, so" in reasons[0]
    assert "daam label" in reasons[0]


def test_without_cameras_runs_are_ranked_and_nothing_is_estimated() -> None:
    found = label_free_scores(embedded_people(camera_effect=0))
    assessment = assess(found)
    assert assessment.estimate is None
    assert assessment.ranking_score == found.scores["self_retrieval"]
    assert "without two cameras there is no estimate" in assessment.warnings[0]
    assert not {"camera_share", "mutual_across_cameras", "track_agreement"} & found.scores.keys()


def test_one_camera_is_as_good_as_none() -> None:
    views = embedded_people(camera_effect=0)
    found = label_free_scores(views, cameras=np.ones(len(CAMERAS), int), tracks=TRACKS)
    assert assess(found).estimate is None


def test_people_are_groups_that_stay_together() -> None:
    found = label_free_scores(embedded_people(camera_effect=0), cameras=CAMERAS, tracks=TRACKS)
    assert found.groups.num_groups == NUM_PEOPLE
    assert found.scores["group_agreement"] > 0.9
    assert found.scores["one_camera_share"] == 0
    assert warnings_of(found.scores, num_groups=NUM_PEOPLE) == []


def test_groups_that_are_cameras_are_named() -> None:
    found = label_free_scores(embedded_people(camera_effect=9), cameras=CAMERAS, tracks=TRACKS)
    assert found.scores["one_camera_share"] == 1
    warnings = warnings_of(found.scores, num_groups=found.groups.num_groups)
    assert any("groups may be cameras, not people" in warning for warning in warnings)


def test_an_embedding_that_collapsed_is_named() -> None:
    one_NC = F.normalize(torch.ones(40, 4), dim=1)
    assessment = assess(label_free_scores({"plain": one_NC, "mirrored": one_NC}))
    assert any("does not tell people apart" in warning for warning in assessment.warnings)


@pytest.mark.parametrize("num_images", [1, 2, 3])
def test_very_few_images_are_assessed_too(num_images: int) -> None:
    views = {name: view[:num_images] for name, view in embedded_people(camera_effect=0).items()}
    cameras, tracks = CAMERAS[:num_images], TRACKS[:num_images]
    assessment = assess(label_free_scores(views, cameras=cameras, tracks=tracks))
    assert assessment.num_images == num_images
    assert assessment.estimate is None
    assert assessment.as_document()["num_groups"] == assessment.num_groups


@pytest.mark.parametrize(
    ("known", "gains"), [(["track_agreement"], True), ([], True), (None, False)]
)
def test_what_choosing_by_the_score_gave_is_said_for_what_the_domain_knows(
    known: list[str] | None, gains: bool
) -> None:
    names = ["self_retrieval", "neighbour_overlap"]
    if known is not None:
        names += ["camera_share", *known]
    choice = measured_choice(dict.fromkeys(names, 0.5))
    assert choice.chosen < choice.best
    assert (choice.chosen > choice.defaults) == gains  # without cameras the defaults are better
    assert f"mean mAP of {choice.chosen:.3f}, the defaults {choice.defaults:.3f}" in choice.summary

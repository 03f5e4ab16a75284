"""The verdict says what was measured, and how sure that is."""

from typing import Any

import pytest

from daam.config.schema import RunConfig
from tune.contenders.final import DEFAULT, SOURCE_ONLY, TUNED, Contender
from tune.report.comparison import COLOUR_HISTOGRAM, Comparison, compare
from tune.settings import StudyConfig, study_config


def measured(mean_average_precision: float) -> dict[str, Any]:
    """A `scores.json` of a run on a labelled target."""
    return {
        "mean_average_precision": mean_average_precision,
        "mean_inp": mean_average_precision / 2,
        "cmc": {"1": mean_average_precision + 0.1, "5": mean_average_precision + 0.2},
        "num_queries": 240,
        "num_left_out": 3,
    }


def assessed(ranking_score: float, *, cameras: bool = True) -> dict[str, Any]:
    """A `scores.json` of a run on a target without labels."""
    estimate = {"mean_average_precision": ranking_score, "low": 0.1, "high": 0.9}
    return {
        "ranking_score": ranking_score,
        "estimate": estimate if cameras else None,
        "choice": "What was measured.",
    }


def sides(
    scores: dict[str, list[dict[str, Any]]], *, same_as: str | None = None
) -> list[Contender]:
    return [
        Contender(
            name=name,
            config=RunConfig(transfer="plaza->station"),
            scores=dict(enumerate(rows, start=1)),
            same_as=same_as if name == TUNED else None,
        )
        for name, rows in scores.items()
    ]


def a_study(**settings: Any) -> StudyConfig:
    study = {"search_transfers": ["plaza->campus", "campus->plaza"], **settings}
    return study_config({"study": study, "search": {"loss.target.weight": [0.5, 1.0]}}, {})


MEASURED = a_study(holdout="plaza->station")
ASSESSED = a_study(score="label_free")


def result_of(
    contenders: list[Contender],
    *,
    config: StudyConfig = MEASURED,
    baseline: dict[str, Any] | None = None,
) -> Comparison:
    found = compare(config, contenders, baseline=baseline)
    assert found is not None
    return found


def compared(*, default: list[float], tuned: list[float]) -> Comparison:
    """A measured comparison; source-only is far below."""
    scores = {SOURCE_ONLY: [0.3] * len(tuned), DEFAULT: default, TUNED: tuned}
    return result_of(
        sides({name: [measured(value) for value in row] for name, row in scores.items()})
    )


@pytest.mark.parametrize(
    ("tuned", "words"),
    [
        (0.584, "5.7 points of mAP more than the default settings (52.7\u202f%)"),
        (0.584, "Adaptation helped, and so did the search."),
        (0.527, "as much as the default settings (52.7\u202f%)"),
        (0.527, "Adaptation helped, but the search did not"),
        (0.500, "2.7 points of mAP less than the default settings"),
        (0.290, "Adaptation did not help here"),
        (0.584, "Each contender was trained once, so a point or two can be chance."),
    ],
)
def test_one_seed_is_compared_without_an_interval(tuned: float, words: str) -> None:
    assert words in compared(default=[0.527], tuned=[tuned]).verdict


@pytest.mark.parametrize(
    ("tuned", "words"),
    [
        ([0.61, 0.58, 0.60], "They beat the default settings (50.0\u202f%) with each of 3 seeds, "),
        ([0.61, 0.58, 0.60], "by 9.7 points of mAP on average (8.2 to 11.1)."),
        ([0.61, 0.58, 0.60], "Adaptation helped, and so did the search."),
        ([0.54, 0.49, 0.52], "they gain 1.7 points of mAP on average (-2.1 to 5.5)"),
        ([0.54, 0.49, 0.52], "better with 2 of 3 seeds: that cannot be told from chance."),
        ([0.54, 0.49, 0.52], "Adaptation helped; that the search did is not shown."),
        (
            [0.41, 0.40, 0.40],
            "They lose to the default settings (50.0\u202f%) with each of 3 seeds",
        ),
        ([0.41, 0.40, 0.40], "Adaptation helped, but the search did not"),
    ],
)
def test_several_seeds_are_compared_in_pairs_and_chance_is_named(
    tuned: list[float], words: str
) -> None:
    found = compared(default=[0.51, 0.49, 0.50], tuned=tuned)
    assert words in found.verdict
    assert "trained once" not in found.verdict


def test_the_seeds_of_a_pair_share_what_varies_between_seeds() -> None:
    found = compared(default=[0.40, 0.50, 0.60], tuned=[0.45, 0.555, 0.65])
    gain = found.gains[DEFAULT]
    assert gain.is_above
    tuned = found.entrants[-1]
    assert tuned.spread is not None
    assert gain.mean < tuned.spread


def test_default_settings_that_won_are_not_compared_with_themselves() -> None:
    scores = {SOURCE_ONLY: [0.3, 0.3], DEFAULT: [0.5, 0.52], TUNED: [0.5, 0.52]}
    rows = {name: [measured(value) for value in row] for name, row in scores.items()}
    found = result_of(sides(rows, same_as=DEFAULT))
    assert "They are the default settings, which no trial beat" in found.verdict
    assert "the search found nothing better" in found.verdict
    assert "chance of training" in found.verdict


def test_a_row_is_the_mean_over_the_seeds_with_their_spread() -> None:
    found = compared(default=[0.50, 0.52, 0.54], tuned=[0.6, 0.6, 0.6])
    row = found.entrants[1]
    assert (row.name, row.score, row.spread) == (DEFAULT, pytest.approx(0.52), pytest.approx(0.02))
    assert row.by_seed == {1: 0.50, 2: 0.52, 3: 0.54}
    assert row.retrieval is not None
    assert row.retrieval.rank_1 == pytest.approx(0.62)


def test_the_colours_of_clothes_are_the_first_row() -> None:
    rows = {name: [measured(0.5)] for name in (SOURCE_ONLY, DEFAULT, TUNED)}
    found = result_of(sides(rows), baseline=measured(0.25))
    assert [row.name for row in found.entrants] == [COLOUR_HISTOGRAM, SOURCE_ONLY, DEFAULT, TUNED]
    assert found.entrants[0].spread is None
    assert "The colours of the clothes alone give 25.0\u202f% mAP." in found.verdict


def test_ranks_may_be_numbers_or_texts() -> None:
    rows = {name: [measured(0.5)] for name in (SOURCE_ONLY, DEFAULT, TUNED)}
    texts = measured(0.2)
    numbers = {**texts, "cmc": {int(rank): share for rank, share in texts["cmc"].items()}}
    assert result_of(sides(rows), baseline=numbers) == result_of(sides(rows), baseline=texts)


def test_an_assessed_comparison_says_that_nothing_was_measured() -> None:
    scores = {SOURCE_ONLY: [0.30, 0.31], DEFAULT: [0.50, 0.50], TUNED: [0.60, 0.61]}
    rows = {name: [assessed(value) for value in row] for name, row in scores.items()}
    found = result_of(sides(rows), config=ASSESSED)
    assert (found.measure, found.heading) == ("assessed mAP", "assessed mAP (not measured)")
    assert all(row.retrieval is None for row in found.entrants)
    for words in (
        "reach an assessed mAP of 60.5\u202f%, the mean of 2 seeds",
        "Whether that is a gain in mAP only labels can tell",
        "The assessed mAP is not measured: it needs no labels. What was measured.",
        "The study has no holdout",
        "is not proven",
    ):
        assert words in found.verdict
    assert "no trial has seen" not in found.verdict
    assert "Adaptation helped" not in found.verdict


def test_without_cameras_there_is_only_a_ranking_score() -> None:
    scores = {SOURCE_ONLY: [0.30, 0.31], DEFAULT: [0.50, 0.50], TUNED: [0.60, 0.61]}
    rows = {name: [assessed(value, cameras=False) for value in row] for name, row in scores.items()}
    found = result_of(sides(rows), config=ASSESSED)
    assert found.measure == "ranking score"
    assert "reach a ranking score of 0.605" in found.verdict
    assert "by 0.105 on average" in found.verdict
    assert "The ranking score is not measured" in found.verdict


def test_a_target_whose_images_were_searched_on_is_not_called_unseen() -> None:
    config = a_study(score="label_free", search_transfers=["a->mine"], holdout="a->mine")
    rows = {name: [measured(0.5)] for name in (SOURCE_ONLY, DEFAULT, TUNED)}
    assert "whose labels no trial has seen" in result_of(sides(rows), config=config).verdict
    assert "whose target no trial has seen" in result_of(sides(rows)).verdict


def test_a_study_without_a_final_transfer_is_not_compared() -> None:
    assert compare(a_study(), [], baseline=None) is None

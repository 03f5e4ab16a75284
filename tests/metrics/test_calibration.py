"""Thresholds against loops over pairs, on data whose answer is known, and where there is none."""

import math

import numpy as np
import pytest

from daam.errors import EvaluationError
from daam.metrics.calibration import (
    Calibration,
    Pairs,
    calibrate,
    check_supported,
    choose_pairs,
    trade_off,
)
from daam.metrics.labels import Labels


def pairs_of(distances, people=None):
    distances = np.array(distances, np.float32)
    people = np.arange(len(distances)) % 20 if people is None else np.array(people)
    return Pairs(distances_N=distances, people_N=people)


def random_pairs(*, num_same=300, num_other=4000, seed=0, decimals=None):
    generator = np.random.default_rng(seed)
    same, other = generator.normal(0.4, 0.15, num_same), generator.normal(1.0, 0.2, num_other)
    if decimals is not None:
        same, other = same.round(decimals), other.round(decimals)
    return pairs_of(same), pairs_of(other)


def calibrated(same, other, *, false_match_rate, seed=0) -> Calibration:
    return calibrate(same, other, false_match_rate=false_match_rate, seed=seed)


# choose_pairs


def test_pairs_are_those_of_a_loop_over_two_cameras_without_junk_and_distractors():
    generator = np.random.default_rng(0)
    people, cameras = generator.integers(-1, 5, 20), generator.integers(1, 4, 20)
    shown_people, their_cameras = generator.integers(-1, 5, 50), generator.integers(1, 4, 50)
    distances = generator.random((20, 50)).astype(np.float32)
    choice = choose_pairs(
        query_labels=Labels(identities=people, cameras=cameras),
        gallery_labels=Labels(identities=shown_people, cameras=their_cameras),
    )
    same, other = choice.pairs(distances[choice.rows_R])

    expected = {True: [], False: []}
    for q, person in enumerate(people.tolist()):
        for g, shown in enumerate(shown_people.tolist()):
            two_cameras = cameras[q] != their_cameras[g]
            if person > 0 and shown > 0 and two_cameras:
                expected[person == shown].append((float(distances[q, g]), person))
    for found, wanted in ((same, expected[True]), (other, expected[False])):
        assert list(zip(found.distances_N.tolist(), found.people_N, strict=True)) == wanted


def test_without_cameras_all_pairs_of_people_count():
    identities = np.array([1, 1, 2, 0, -1])
    labels = Labels(identities=identities, cameras=None)
    choice = choose_pairs(query_labels=labels, gallery_labels=labels)
    assert choice.rows_R.tolist() == [0, 1, 2]
    assert choice.same_RG.sum() == 2 * 2 + 1
    assert choice.other_RG.sum() == 2 * 1 + 1 * 2


def test_of_too_many_queries_some_are_compared_spread_over_all():
    choice = choose_pairs(
        query_labels=Labels(identities=np.arange(100), cameras=np.ones(100, int)),
        gallery_labels=Labels(identities=np.arange(1, 51), cameras=np.full(50, 2)),
        max_pairs=200,
    )
    assert choice.rows_R.tolist() == [1, 33, 66, 99]  # query 0 shows a distractor
    assert choice.other_RG.shape == (4, 50)


def test_without_people_in_the_query_there_are_no_pairs():
    nobody = np.array([-1, 0])
    choice = choose_pairs(
        query_labels=Labels(identities=nobody, cameras=nobody),
        gallery_labels=Labels(identities=np.array([1]), cameras=np.array([1])),
    )
    same, other = choice.pairs(np.empty((0, 1), np.float32))
    assert len(same) == len(other) == 0


# calibrate


@pytest.mark.parametrize("rate", [0.001, 0.01, 0.1, 0.5])
@pytest.mark.parametrize("decimals", [None, 2, 1])  # the fewer, the more ties
def test_the_threshold_is_the_largest_that_a_loop_over_all_finds(rate, decimals):
    same, other = random_pairs(num_other=1200, decimals=decimals)
    found = calibrated(same, other, false_match_rate=rate)

    def share_below(pairs, threshold):
        distances = pairs.distances_N.tolist()
        return sum(distance < threshold for distance in distances) / len(distances)

    allowed = [t for t in set(other.distances_N.tolist()) if share_below(other, t) <= rate]
    assert found.threshold == max(allowed)
    assert found.false_match.value == pytest.approx(share_below(other, found.threshold))
    assert found.false_match.value <= rate
    assert found.true_match.value == pytest.approx(share_below(same, found.threshold))
    assert found.num_false == round(found.false_match.value * len(other))
    assert (found.num_same, found.num_other, found.num_people) == (300, 1200, 20)


def test_a_rate_that_rounding_puts_just_below_a_whole_number_of_pairs_gets_them():
    same, other = pairs_of([0.1]), pairs_of(np.arange(3000) / 3000)
    assert calibrated(same, other, false_match_rate=0.001).num_false == 3
    assert calibrated(same, other, false_match_rate=0.007).num_false == 21


def test_a_threshold_holds_on_new_pairs_of_the_same_kind():
    same, other = random_pairs(num_other=20_000)
    found = calibrated(same, other, false_match_rate=0.01)
    _, unseen = random_pairs(num_other=20_000, seed=1)
    rate = np.mean(unseen.distances_N < found.threshold)
    assert rate == pytest.approx(0.01, abs=0.003)


def bootstrap_by_hand(pairs, threshold, *, seed):
    """Rates when whole people are drawn with replacement, one person after the other."""
    generator = np.random.default_rng(seed)
    people = sorted(set(pairs.people_N.tolist()))
    below = {p: pairs.distances_N[pairs.people_N == p] < threshold for p in people}
    rates = []
    for _ in range(1000):
        drawn = np.concatenate([below[p] for p in generator.choice(people, len(people))])
        rates.append(drawn.mean())
    return np.quantile(rates, (0.025, 0.975))


def test_intervals_are_those_of_a_bootstrap_over_people():
    generator = np.random.default_rng(0)
    people = generator.integers(0, 25, 2000)
    hard = generator.normal(0, 0.15, 25)[people]  # some people are hard to tell apart
    other = pairs_of(generator.normal(1, 0.2, 2000) + hard, people)
    same = pairs_of(generator.normal(0.6, 0.2, 2000) + hard, people)
    found = calibrated(same, other, false_match_rate=0.05)
    for rate, pairs in ((found.false_match, other), (found.true_match, same)):
        low, high = bootstrap_by_hand(pairs, found.threshold, seed=1)
        assert rate.low == pytest.approx(low, rel=0.12)
        assert rate.high == pytest.approx(high, rel=0.12)
        assert rate.low < rate.value < rate.high
        # Pairs that share a person are alike: each taken for itself, the interval is too narrow.
        binomial = 2 * 1.96 * math.sqrt(rate.value * (1 - rate.value) / len(pairs))
        assert rate.high - rate.low > 1.5 * binomial


def test_the_same_seed_gives_the_same_intervals():
    same, other = random_pairs()
    one, again, another = (
        calibrated(same, other, false_match_rate=0.01, seed=seed) for seed in (1, 1, 2)
    )
    assert one == again != another
    assert one.threshold == another.threshold


def test_a_perfect_rate_is_not_taken_for_certain():
    same, other = pairs_of(np.full(100, 0.1)), pairs_of(np.linspace(1, 2, 1000))
    found = calibrated(same, other, false_match_rate=0.01)
    assert found.true_match.value == found.true_match.high == 1
    assert found.true_match.low == pytest.approx(1 - 3 / 20)


def test_equal_distances_all_match_or_none():
    found = calibrated(
        pairs_of(np.full(50, 0.2)), pairs_of(np.full(500, 0.2)), false_match_rate=0.1
    )
    assert found.false_match.value == found.true_match.value == 0
    assert found.false_match.high == pytest.approx(3 / 20)


def test_one_person_says_nothing_about_others():
    same, other = pairs_of([0.1, 0.9], [7, 7]), pairs_of(np.linspace(0, 1, 100), [7] * 100)
    found = calibrated(same, other, false_match_rate=0.1)
    assert (found.true_match.low, found.true_match.high) == (0, 1)


@pytest.mark.parametrize(("num_other", "warned"), [(29_999, True), (30_000, False)])
def test_fewer_than_thirty_false_matches_are_warned_of(num_other, warned):
    other = pairs_of(np.linspace(0, 1, num_other))
    found = calibrated(pairs_of([0.1]), other, false_match_rate=0.001)
    assert (found.warning is not None) == warned
    assert found.as_document()["warning"] == found.warning
    if warned:
        assert "rests on 29 of 29,999 pairs" in str(found.warning)


@pytest.mark.parametrize(
    ("rate", "num_same", "num_other", "says"),
    [
        (0.001, 5, 999, r"999 pairs .* takes 1,000 at the very least and 30,000 to rely on"),
        (0.001, 0, 10_000, "no person of the query is in the gallery"),
        (0.5, 1, 0, "0 pairs of different people"),
        (0.0, 5, 10, "between 0 and 1"),
        (1.0, 5, 10, "between 0 and 1"),
        (math.nan, 5, 10, "between 0 and 1"),
    ],
)
def test_a_rate_that_pairs_cannot_tell_is_refused(rate, num_same, num_other, says):
    with pytest.raises(EvaluationError, match=says):
        check_supported(rate, num_same=num_same, num_other=num_other)


@pytest.mark.parametrize("broken", [math.nan, math.inf])
def test_distances_that_are_not_finite_are_refused(broken):
    with pytest.raises(EvaluationError, match="NaN or infinite"):
        calibrated(pairs_of([0.1, broken]), pairs_of([0.5] * 10), false_match_rate=0.5)


# trade_off


def test_the_trade_off_goes_through_every_calibration():
    same, other = random_pairs(num_other=300, decimals=2)
    false_rates, true_rates = trade_off(same, other, num_points=100_000)
    assert (np.diff(false_rates) >= 0).all()
    assert (np.diff(true_rates) >= 0).all()
    assert (false_rates[-1], true_rates[-1]) == (1, 1)
    known = set(zip(false_rates.tolist(), true_rates.tolist(), strict=True))
    for rate in (0.01, 0.1, 0.5):
        found = calibrated(same, other, false_match_rate=rate)
        assert (found.false_match.value, found.true_match.value) in known

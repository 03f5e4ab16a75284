"""The race: the best trials of a search are repeated with other seeds until one is ahead.

One run per transfer ranks settings by luck as much as by merit, and the best of many such scores is
the luckiest. So the top trials meet again, seed after seed, and what is clearly worse than the
leader drops out (racing: Maron and Moore 1994; F-race: Birattari et al. 2002).

The instances of a race are transfer x seed. After each seed a trial drops out if the 90 % interval
of its paired differences to the leader is below zero: a paired t-test at 10 %. F-race's tests of
ranks cannot reject anything here: of four instances, two transfers with two seeds, Wilcoxon's
signed-rank test has no p-value below 12.5 %. The t-test assumes normal differences instead, and a
transfer that a setting suits better widens its interval, as it should: the next target is another.

Its power is small, too. Where the noise of one run is two thirds of the spread between settings,
three trials with up to three seeds on two transfers find the best of the three in 79 % of the races
(one run: 64 %), and drop it in 2 %.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from daam.documents import Count, Share
from tune.contenders.paired import PairedDifference, paired_difference

CONFIDENCE = 0.9

BySeed = Mapping[int, Mapping[str, float]]
"""A trial's scores: by seed, then by transfer."""

Repeat = Callable[[int, Sequence[int]], Mapping[int, Mapping[str, float] | str]]
"""Trains trials with a seed; returns each one's scores by transfer, or why it failed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dropout:
    """A trial that left the race.

    Attributes:
        trial: its number.
        seed: after which it left.
        leader: that it was compared with.
        behind: how far the leader was ahead; None if the trial failed.
        failure: why it failed; empty if it did not.
    """

    trial: Count
    seed: Count
    leader: Count | None
    behind: PairedDifference | None
    failure: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Race:
    """A race that is over.

    Attributes:
        winner: number of the trial with the best mean of those that did not drop out.
        is_decided: whether all others dropped out; else the seeds were spent.
        scores: of each trial, by seed and transfer; the first seed is the search's.
        means: of each trial over all of its instances.
        dropouts: in their order.
    """

    winner: Count
    is_decided: bool
    scores: dict[Count, dict[Count, dict[str, Share]]]
    means: dict[Count, Share]
    dropouts: list[Dropout]


def run_race(
    first: Mapping[int, Mapping[str, float]], seeds: Sequence[int], *, repeat: Repeat, how: str
) -> Race:
    """Repeat trials with one seed after another until one is left or the seeds are spent.

    The scores of the search count as well. They are where the trials were chosen by, but for all of
    them: with as many instances each, the order of the means is the order of merit that is most
    likely.

    Args:
        first: the scores of each trial in the search, by transfer; the best trial first.
        seeds: the search's, then those to repeat with.
        repeat: trains the trials that are left.
        how: a seed's scores are combined, as `study.aggregate`: every transfer is an instance for
            `mean`; only the worst is one for `worst`.
    """
    scores: dict[int, dict[int, dict[str, float]]] = {
        trial: {seeds[0]: dict(by_transfer)} for trial, by_transfer in first.items()
    }
    left, dropouts = list(scores), []
    for seed in seeds[1:]:
        if len(left) < 2:
            break
        results = repeat(seed, left)
        for trial, result in results.items():
            if isinstance(result, str):
                dropouts.append(
                    Dropout(trial=trial, seed=seed, leader=None, behind=None, failure=result)
                )
            else:
                scores[trial][seed] = dict(result)
        failed = {dropout.trial for dropout in dropouts}
        left = [trial for trial in left if trial not in failed] or left[:1]
        behind = compared(scores, left, how=how)
        leader = leader_of(scores, left, how=how)
        dropouts += [
            Dropout(trial=trial, seed=seed, leader=leader, behind=difference)
            for trial, difference in behind.items()
            if difference.is_above
        ]
        left = [trial for trial in left if trial == leader or not behind[trial].is_above]
    return Race(
        winner=leader_of(scores, left, how=how),
        is_decided=len(left) == 1,
        scores=scores,
        means={trial: fmean(instances(by_seed, how=how)) for trial, by_seed in scores.items()},
        dropouts=dropouts,
    )


def leader_of(scores: Mapping[int, BySeed], left: Sequence[int], *, how: str) -> int:
    """Return the trial with the best mean over its instances; the first one of equals."""
    return max(left, key=lambda trial: fmean(instances(scores[trial], how=how)))


def compared(
    scores: Mapping[int, BySeed], left: Sequence[int], *, how: str
) -> dict[int, PairedDifference]:
    """Return how far the leader is ahead of each other trial, paired by instance."""
    leader = leader_of(scores, left, how=how)
    return {
        trial: paired_difference(
            instances(scores[leader], how=how),
            instances(scores[trial], how=how),
            confidence=CONFIDENCE,
        )
        for trial in left
        if trial != leader
    }


def instances(by_seed: BySeed, *, how: str) -> list[float]:
    """Return a trial's scores in the order of seeds and transfers."""
    if how == "worst":
        return [min(by_transfer.values()) for by_transfer in by_seed.values()]
    return [score for by_transfer in by_seed.values() for score in by_transfer.values()]

"""The tables and the picture of `study_cost.py`; studies by kind, then in the order of seeds."""

import os
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib.pyplot as plt

from benchmarks.naive_study import ALL_NAIVE, OURS
from benchmarks.study_cost_accounts import Study, Units
from daam.plots.palette import CYCLE

RANDOM, DAAM, NO_START, PLAIN, NAIVE = ARMS = ("random", "daam", "no start", "Ray Tune", "naive")
SEARCH = "search: sampler, start, transfers in turn, pruning"
STAGES = "shared source stages"
PARTS = "loader, Jaccard, evaluation, diagnostics"

Studies = Mapping[str, Sequence[Study]]


def units_in(arm: str, units_by_side: Mapping[str, Units]) -> Units:
    """What an epoch of a kind of study costs."""
    return units_by_side[ALL_NAIVE if arm == NAIVE else OURS]


def cost_table(
    studies: Studies, units_by_side: Mapping[str, Units], choices: Mapping[str, Sequence[float]]
) -> str:
    """Each kind of study: its cost, its best score, and its cost at random search's best score.

    Args:
        studies: by kind.
        units_by_side: what an epoch costs.
        choices: by kind, the mean score of each study's choice, trained with other seeds.
    """
    lines = [
        "| study | cost, s | best score | its choice, other seeds "
        "| share of random's cost at its best score | mean | no trial ran | cores not training |",
        "|---|---|---|---|---|---|---|---|",
    ]
    limits = [study.curve(units_by_side[OURS])[-1] for study in studies[RANDOM]]
    for arm, own in studies.items():
        units = units_in(arm, units_by_side)
        ends = [study.curve(units)[-1] for study in own]
        shares = shares_at(own, limits, units)
        reached = [share for share in shares if share is not None]
        mean = f"{statistics.fmean(reached):.0%}" if len(reached) == len(shares) else "-"
        cells = (
            arm,
            spread([cost for cost, _ in ends], digits=0),
            spread([score for _, score in ends], digits=3),
            spread(choices[arm], digits=3),
            listed(shares),
            mean,
            listed([idle_share(study) for study in own]),
            listed([unused_share(study) for study in own]),
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def shares_at(
    studies: Sequence[Study], limits: Sequence[tuple[float, float]], units: Units
) -> list[float | None]:
    """Each study's cost at a score, as a share of a cost; None: it did not reach the score.

    Args:
        studies: by seed.
        limits: cost and score of the study to compare with, by seed; there may be more.
        units: of the studies.
    """
    costs = [
        (study.cost_of(score, units), whole)
        for study, (whole, score) in zip(studies, limits, strict=False)
    ]
    return [None if cost is None else cost / whole for cost, whole in costs]


def idle_share(study: Study) -> float | None:
    """The share of a study's time in which no trial ran."""
    if study.idle_s is None or study.wall_s is None:
        return None
    return study.idle_s / study.wall_s


def unused_share(study: Study) -> float | None:
    """The share of the time of all cores in which none trained or scored, one trial on each."""
    if study.wall_s is None:
        return None
    used_s = sum(epoch.seconds for epoch in study.trained)
    return 1 - used_s / (study.wall_s * (os.cpu_count() or 1))


def factor_table(studies: Studies, units_by_side: Mapping[str, Units]) -> str:
    """How much less than the naive study ours costs until it has the best score of random search.

    The factors of a seed multiply to the first row. The naive study is that of Ray Tune at the
    seconds of naive epochs: its parts change what an epoch costs, and not what a trial scores. One
    that ended before it had the score counts with what it cost, as a lower bound. Seeds in which
    ours did not reach it are left out.
    """
    ours = units_by_side[OURS]
    rows: dict[str, list[float]] = {}
    is_bound = False
    for random, daam, plain in zip(studies[RANDOM], studies[DAAM], studies[PLAIN], strict=True):
        _, score = random.curve(ours)[-1]
        own = daam.cost_of(score, ours)
        unshared = daam.without_sharing().cost_of(score, ours)
        if own is None or unshared is None:
            continue
        is_bound |= plain.cost_of(score, ours) is None
        by_side = {
            side: plain.cost_of(score, units) or plain.curve(units)[-1][0]
            for side, units in units_by_side.items()
        }
        naive, other = by_side[ALL_NAIVE], by_side[OURS]
        factors = {
            "all": naive / own,
            SEARCH: other / unshared,
            STAGES: unshared / own,
            PARTS: naive / other,
        }
        factors |= {
            f"{side}, alone": cost / other
            for side, cost in by_side.items()
            if side not in (OURS, ALL_NAIVE)
        }
        for name, factor in factors.items():
            rows.setdefault(name, []).append(factor)
    lines = ["| what brings it | factor | by seed |", "|---|---|---|"]
    for name, factors in rows.items():
        at_least = "at least " if is_bound and name in ("all", SEARCH) else ""
        mean = statistics.geometric_mean(factors)
        lines.append(
            f"| {name} | {at_least}{mean:.2f} | {', '.join(f'{f:.2f}' for f in factors)} |"
        )
    return "\n".join(lines)


def listed(shares: Sequence[float | None]) -> str:
    """Shares in per cent, a dash for none."""
    return ", ".join("-" if share is None else f"{share:.0%}" for share in shares)


def spread(values: Sequence[float], *, digits: int) -> str:
    """Mean and sample standard deviation."""
    deviation = statistics.stdev(values) if len(values) > 1 else 0.0
    return f"{statistics.fmean(values):.{digits}f} ± {deviation:.{digits}f}"


def draw(studies: Studies, units_by_side: Mapping[str, Units], to: Path) -> None:
    """Draw the best score so far over the cost, a line a study."""
    figure, axes = plt.subplots(figsize=(8, 4.5), layout="constrained")
    for (arm, own), colour in zip(studies.items(), CYCLE, strict=False):
        for number, study in enumerate(own):
            costs, scores = zip(*study.curve(units_in(arm, units_by_side)), strict=True)
            label = None if number else arm
            axes.step(costs, scores, where="post", color=colour, linewidth=1.2, label=label)
    axes.set_xlabel("cost: seconds of training and scoring on one core")
    axes.set_ylabel("best mean mAP of two transfers so far")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="lower right")
    figure.savefig(to, dpi=110)

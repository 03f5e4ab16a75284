"""The final comparison as rows of a table, and its verdict in plain words."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from daam.plots.page import percent
from tune.holdout import DEFAULT, SOURCE_ONLY, TUNED, Contender

COLOUR_HISTOGRAM = "colour histogram"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entrant:
    """A row of the comparison; scores from 0 to 1, on the holdout's query and gallery."""

    name: str
    mean_average_precision: float
    mean_inp: float
    rank_1: float
    rank_5: float
    num_queries: int
    num_left_out: int


def entrants(
    contenders: Sequence[Contender], *, baseline: Mapping[str, Any] | None
) -> list[Entrant]:
    """Return the rows of the comparison, the simplest method first.

    Args:
        contenders: contenders of the study.
        baseline: scores of the colour histogram on the same images, as in a contender's `scores`.
    """
    rows = [] if baseline is None else [_entrant(COLOUR_HISTOGRAM, baseline)]
    return rows + [_entrant(contender.name, contender.scores) for contender in contenders]


def verdict(rows: Sequence[Entrant], *, holdout: str) -> str:
    """Return in a few sentences what the comparison shows.

    Args:
        rows: the three contenders among them.
        holdout: the transfer they were tested on.
    """
    by_name = {row.name: row for row in rows}
    tuned, default, source_only = (by_name[name] for name in (TUNED, DEFAULT, SOURCE_ONLY))
    sentences = [
        f"On {holdout}, whose target no trial has seen, the tuned settings reach "
        f"{percent(tuned.mean_average_precision)} mAP and {percent(tuned.rank_1)} rank-1: "
        f"{_against(tuned, source_only, 'source-only training')}, "
        f"and {_against(tuned, default, 'the default settings')}.",
        _conclusion(tuned, default=default, source_only=source_only),
    ]
    if COLOUR_HISTOGRAM in by_name:
        colour = by_name[COLOUR_HISTOGRAM].mean_average_precision
        sentences.append(f"The colours of the clothes alone give {percent(colour)} mAP.")
    sentences.append("Each contender was trained once, so a point or two can be chance.")
    return " ".join(sentences)


def _entrant(name: str, scores: Mapping[str, Any]) -> Entrant:
    # Ranks are whole numbers in memory and texts in JSON.
    cmc = {int(rank): share for rank, share in scores["cmc"].items()}
    return Entrant(
        name=name,
        mean_average_precision=scores["mean_average_precision"],
        mean_inp=scores["mean_inp"],
        rank_1=cmc[1],
        rank_5=cmc[5],
        num_queries=scores["num_queries"],
        num_left_out=scores["num_left_out"],
    )


def _points(gain: float) -> float:
    """Return a gain in percentage points, rounded as printed."""
    return round(100 * gain, 1)


def _against(tuned: Entrant, other: Entrant, words: str) -> str:
    points = _points(tuned.mean_average_precision - other.mean_average_precision)
    if points == 0:
        return f"as much mAP as {words}"
    return (
        f"{abs(points):.1f} points of mAP {'more' if points > 0 else 'less'} than {words} "
        f"({percent(other.mean_average_precision)})"
    )


def _conclusion(tuned: Entrant, *, default: Entrant, source_only: Entrant) -> str:
    if _points(tuned.mean_average_precision - source_only.mean_average_precision) <= 0:
        return "Adaptation did not help here: source-only training is at least as good."
    if _points(tuned.mean_average_precision - default.mean_average_precision) <= 0:
        return (
            "Adaptation helped, but the search did not: what it found is no better on a new target "
            "than the default settings."
        )
    return "Adaptation helped, and so did the search."

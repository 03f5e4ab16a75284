"""The final comparison as rows of a table, and its verdict in plain words."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any, Literal

from daam.domains import Transfer
from daam.plots.page import percent
from tune.contenders.final import DEFAULT, SOURCE_ONLY, TUNED, Contender
from tune.contenders.paired import PairedDifference, paired_difference
from tune.settings import StudyConfig

COLOUR_HISTOGRAM = "colour histogram"
CONFIDENCE = 0.95

Measure = Literal["mAP", "assessed mAP", "ranking score"]
"""What contenders are compared by: measured on labels, estimated without, or only ordered."""

NOT_PROVEN = (
    "The study has no holdout: that these settings are better on labels that the search has not "
    "seen is not proven."
)
NOTHING_BETTER = "They are the default settings, which no trial beat: both are the same runs."


@dataclass(frozen=True, slots=True, kw_only=True)
class Entrant:
    """A row of the comparison; scores from 0 to 1, means over the seeds.

    Attributes:
        name: of a contender, or `colour histogram`.
        score: what the comparison is by, see `Measure`.
        by_seed: the score with each seed; empty for the colour histogram, which is not trained.
        retrieval: the other scores on query and gallery; None where there are no labels.
        same_as: the contender whose runs these are, if this one's settings are the same.
    """

    name: str
    score: float
    by_seed: dict[int, float]
    retrieval: "Retrieval | None"
    same_as: str | None = None

    @property
    def spread(self) -> float | None:
        """Sample standard deviation over the seeds; None with less than two."""
        return stdev(self.by_seed.values()) if len(self.by_seed) > 1 else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Retrieval:
    """Scores on the query and the gallery of a target, beside the mAP; means over the seeds."""

    mean_inp: float
    rank_1: float
    rank_5: float
    num_queries: int
    num_left_out: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """The final comparison.

    Attributes:
        transfer: on which the contenders were trained.
        measure: what `Entrant.score` is.
        entrants: the simplest method first.
        gains: of the tuned settings over `source-only` and over `default`, paired by seed.
        verdict: what that shows, in a few sentences.
    """

    transfer: str
    measure: Measure
    entrants: list[Entrant]
    gains: dict[str, PairedDifference]
    verdict: str

    @property
    def heading(self) -> str:
        """The heading of the scores in a table."""
        return self.measure if self.measure == "mAP" else f"{self.measure} (not measured)"


def compare(
    config: StudyConfig, contenders: Sequence[Contender], *, baseline: Mapping[str, Any] | None
) -> Comparison | None:
    """Compare the contenders of a study; None if it has none.

    Args:
        config: of the study.
        contenders: `source-only`, `default` and `tuned`.
        baseline: scores of the colour histogram on the same images, as in `scores.json`.
    """
    if not contenders:
        return None
    documents = [document for side in contenders for document in side.scores.values()]
    measure = measure_of(documents)
    rows = [] if baseline is None else [_entrant(COLOUR_HISTOGRAM, {}, [baseline], measure)]
    rows += [
        _entrant(side.name, side.scores, list(side.scores.values()), measure, same_as=side.same_as)
        for side in contenders
    ]
    by_name = {row.name: row for row in rows}
    gains = {
        name: paired_difference(
            list(by_name[TUNED].by_seed.values()),
            list(by_name[name].by_seed.values()),
            confidence=CONFIDENCE,
        )
        for name in (SOURCE_ONLY, DEFAULT)
    }
    return Comparison(
        transfer=config.final_transfer,
        measure=measure,
        entrants=rows,
        gains=gains,
        verdict=" ".join(
            [
                _result(config, by_name[TUNED], measure),
                _against(by_name[SOURCE_ONLY], "source-only training", gains[SOURCE_ONLY], measure),
                NOTHING_BETTER
                if by_name[TUNED].same_as == DEFAULT
                else _against(by_name[DEFAULT], "the default settings", gains[DEFAULT], measure),
                _conclusion(gains, measure, same=by_name[TUNED].same_as == DEFAULT),
                *_limits(config, rows, measure, documents),
            ]
        ),
    )


def measure_of(documents: Sequence[Mapping[str, Any]]) -> Measure:
    """Return what all these results, as in `scores.json`, can be compared by."""
    if all("mean_average_precision" in document for document in documents):
        return "mAP"
    if all(document["estimate"] is not None for document in documents):
        return "assessed mAP"
    return "ranking score"


def _entrant(
    name: str,
    by_seed: Mapping[int, Mapping[str, Any]],
    documents: Sequence[Mapping[str, Any]],
    measure: Measure,
    *,
    same_as: str | None = None,
) -> Entrant:
    return Entrant(
        name=name,
        score=fmean(_score(document, measure) for document in documents),
        by_seed={seed: _score(document, measure) for seed, document in by_seed.items()},
        retrieval=_retrieval(documents) if measure == "mAP" else None,
        same_as=same_as,
    )


def _score(document: Mapping[str, Any], measure: Measure) -> float:
    if measure == "mAP":
        return document["mean_average_precision"]
    if measure == "assessed mAP":
        return document["estimate"]["mean_average_precision"]
    return document["ranking_score"]


def _retrieval(documents: Sequence[Mapping[str, Any]]) -> Retrieval:
    # Ranks are whole numbers in memory and texts in JSON.
    cmcs = [{int(rank): share for rank, share in document["cmc"].items()} for document in documents]
    return Retrieval(
        mean_inp=fmean(document["mean_inp"] for document in documents),
        rank_1=fmean(cmc[1] for cmc in cmcs),
        rank_5=fmean(cmc[5] for cmc in cmcs),
        num_queries=documents[0]["num_queries"],
        num_left_out=documents[0]["num_left_out"],
    )


def _result(config: StudyConfig, tuned: Entrant, measure: Measure) -> str:
    transfer = Transfer.parse(config.final_transfer)
    searched = {domain for search in config.transfers() for domain in search.domains()}
    unseen = "whose labels" if transfer.target in searched else "whose target"
    where = (
        f"On {transfer}, {unseen} no trial has seen," if config.is_measured else f"On {transfer}"
    )
    rank = "" if tuned.retrieval is None else f" and {percent(tuned.retrieval.rank_1)} rank-1"
    over = f", the mean of {len(tuned.by_seed)} seeds" if len(tuned.by_seed) > 1 else ""
    score = f"{_shown(tuned.score, measure)} mAP"
    if measure != "mAP":
        score = f"{'an' if measure[0] == 'a' else 'a'} {measure} of {_shown(tuned.score, measure)}"
    return f"{where} the tuned settings reach {score}{rank}{over}."


def _against(other: Entrant, words: str, gain: PairedDifference, measure: Measure) -> str:
    against = f"{words} ({_shown(other.score, measure)})"
    by = _gap(abs(gain.mean), measure)
    sign = _sign(gain)
    if gain.low is None or gain.high is None:
        return (
            f"That is {by} {'less' if sign < 0 else 'more'} than {against}."
            if sign
            else f"That is as much as {against}."
        )
    if sign == 0:
        return (
            f"Against {against} they {'lose' if gain.mean < 0 else 'gain'} {by} on average "
            f"({_range(gain.low, gain.high, measure)}), better with "
            f"{_of_seeds(gain.num_above, gain)}: that cannot be told from chance."
        )
    if sign < 0:
        return (
            f"They lose to {against} with {_of_seeds(gain.num_pairs - gain.num_above, gain)}, "
            f"by {by} on average ({_range(-gain.high, -gain.low, measure)})."
        )
    return (
        f"They beat {against} with {_of_seeds(gain.num_above, gain)}, "
        f"by {by} on average ({_range(gain.low, gain.high, measure)})."
    )


def _conclusion(gains: Mapping[str, PairedDifference], measure: Measure, *, same: bool) -> str:
    if measure != "mAP":
        return f"Whether that is a gain in mAP only labels can tell; the {measure} orders runs."
    adaptation, search = _sign(gains[SOURCE_ONLY]), _sign(gains[DEFAULT])
    told_from_chance = gains[DEFAULT].low is not None
    if adaptation < 0 or (adaptation == 0 and not told_from_chance):
        return "Adaptation did not help here: source-only training is at least as good."
    if adaptation == 0:
        return "That adaptation helped here is not shown."
    if same:
        return "Adaptation helped, but the search found nothing better than the default settings."
    if search > 0:
        return "Adaptation helped, and so did the search."
    if search == 0 and told_from_chance:
        return "Adaptation helped; that the search did is not shown."
    return (
        "Adaptation helped, but the search did not: what it found is no better on a new target "
        "than the default settings."
    )


def _limits(
    config: StudyConfig,
    rows: Sequence[Entrant],
    measure: Measure,
    documents: Sequence[Mapping[str, Any]],
) -> Iterator[str]:
    num_seeds = len(rows[-1].by_seed)
    if rows[0].name == COLOUR_HISTOGRAM:
        yield f"The colours of the clothes alone give {_shown(rows[0].score, measure)} mAP."
    if num_seeds == 1:
        yield "Each contender was trained once, so a point or two can be chance."
    else:
        yield (
            f"The ranges are {100 * CONFIDENCE:.0f}\u202f% intervals of paired t-tests over "
            f"{num_seeds} seeds; they cover the chance of training, not other targets."
        )
    if measure != "mAP":
        yield f"The {measure} is not measured: it needs no labels. {documents[0]['choice']}"
    if not config.is_measured:
        yield NOT_PROVEN


def _sign(gain: PairedDifference) -> int:
    """1 for better, -1 for worse, 0 for neither: equal as printed, or not told from chance."""
    if gain.low is None:
        points = round(100 * gain.mean, 1)
        return (points > 0) - (points < 0)
    return gain.is_above - gain.is_below


def _of_seeds(count: int, gain: PairedDifference) -> str:
    number = "each" if count == gain.num_pairs else str(count or "none")
    return f"{number} of {gain.num_pairs} seeds"


def _shown(score: float, measure: Measure) -> str:
    return f"{score:.3f}" if measure == "ranking score" else percent(score)


def _gap(difference: float, measure: Measure) -> str:
    if measure == "ranking score":
        return f"{difference:.3f}"
    return f"{100 * difference:.1f} points of {measure}"


def _range(low: float, high: float, measure: Measure) -> str:
    if measure == "ranking score":
        return f"{low:.3f} to {high:.3f}"
    return f"{100 * low:.1f} to {100 * high:.1f}"

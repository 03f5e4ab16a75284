"""How well can a run be judged without labels? Fits the estimate of `daam evaluate` and checks it.

Trains the runs of `assessment_runs.py` (resumable: about 15 s of CPU each), computes their scores
without labels and compares them with the mAP on the target's query and gallery. Each transfer is
judged by a fit to others that share no domain with it. Writes the fit to the whole into the
package and prints Markdown tables.

    python benchmarks/assessment.py --to runs/assessment

Choosing by a score is compared with the defaults and with the best of the runs that read no label
of the target. The scores were chosen with all transfers in sight; what was fitted was not.
"""

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import torch
from assessment_runs import (
    CEILING,
    DEFAULTS,
    FRESH_TRANSFERS,
    STRONG,
    TRANSFERS,
    read_runs,
    train_missing,
)
from numpy.typing import NDArray
from scipy.stats import rankdata
from torch.nn.functional import normalize

from daam.inference.assessment import (
    CONFIDENCE,
    ESTIMATED_FROM,
    FIT,
    NO_CAMERAS,
    RANKED_BY,
    Fitted,
    MeasuredChoice,
    fits,
    grouped,
    label_free_scores,
    share_of,
)
from daam.inference.views import VIEWS
from daam.metrics.diagnostics import mean_pairwise_distance
from daam.metrics.label_free import group_agreement, neighbour_overlap, self_retrieval
from daam.spread import spread_evenly
from daam.training.relabel import NUM_MIRRORED

RIDGE = 0.1  # penalty on the squared weights beside the mean squared error
SCORES_NAME = "scores.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """A run with its scores without labels, and what it really is worth."""

    variant: str
    transfer: str
    scores: dict[str, float]
    mean_average_precision: float

    @property
    def logit(self) -> float:
        return float(np.log(self.mean_average_precision / (1 - self.mean_average_precision)))


def main() -> None:
    parser = argparse.ArgumentParser(description="How well can a run be judged without labels?")
    parser.add_argument("--to", type=Path, default=Path("runs/assessment"))
    parser.add_argument("--without-training", action="store_true", help="use the runs there are")
    parser.add_argument(
        "--fresh", action="store_true", help="check the package's fit on two more domains, no fit"
    )
    arguments = parser.parse_args()
    if arguments.fresh:
        check_fresh(arguments.to / "fresh", train=not arguments.without_training)
        return
    arguments.to.mkdir(parents=True, exist_ok=True)
    if not arguments.without_training:
        train_missing(arguments.to)
    torch.set_num_threads(1)
    runs = judged_runs(arguments.to)
    print(f"{len(runs)} runs on {len({run.transfer for run in runs})} transfers\n")
    print(score_table(runs) + "\n")
    document: dict[str, object] = {
        "made_by": "python benchmarks/assessment.py",
        "num_runs": len(runs),
        "num_transfers": len({run.transfer for run in runs}),
        "confidence": CONFIDENCE,
    }
    fitted_to_all = {}
    choices = {}
    for made_from, names in ESTIMATED_FROM.items():
        left_out = out_of_fit(runs, names)
        table, choices[made_from] = estimate_table(runs, left_out)
        print(f"### From {made_from}\n\n{table}\n")
        expected = {id(run): logit for run, logit in zip(runs, left_out, strict=True)}
        found = num_found(runs, lambda run, expected=expected: expected[id(run)])
        print(f"The best of all runs is found on {found} of {len(TRANSFERS)} transfers.\n")
        fitted_to_all[made_from] = asdict(
            fitted(runs, names, half_width=half_width(runs, left_out, fraction=CONFIDENCE))
        )
    table, choices[NO_CAMERAS] = ranking_table(runs)
    print(f"### Without cameras, ranked by {RANKED_BY}\n\n{table}\n")
    found = num_found(runs, lambda run: run.scores[RANKED_BY])
    print(f"The best of all runs is found on {found} of {len(TRANSFERS)} transfers.")
    document["fits"] = fitted_to_all
    document["choices"] = {name: asdict(choice) for name, choice in choices.items()}
    package = Path(__file__).resolve().parent.parent / "daam/inference" / FIT
    package.write_text(json.dumps(document, indent=1) + "\n")


def check_fresh(folder: Path, *, train: bool) -> None:
    """Judge runs on domains that neither the fit nor the choice of scores has seen."""
    folder.mkdir(parents=True, exist_ok=True)
    if train:
        train_missing(folder, transfers=FRESH_TRANSFERS)
    runs = judged_runs(folder)
    print("| transfer | setting | mAP | from cameras | and tracks |\n|---|---|---|---|---|")
    for run in sorted(runs, key=lambda run: (run.transfer, -run.mean_average_precision)):
        estimates = [
            f"{share_of(fit.logit(run.scores)):.2f} ({share_of(fit.logit(run.scores) - width):.2f} "
            f"to {share_of(fit.logit(run.scores) + width):.2f})"
            for fit in (fits()["cameras"], fits()["cameras and tracks"])
            for width in (fit.half_width,)
        ]
        print(
            f"| {run.transfer} | {run.variant} | {run.mean_average_precision:.2f} | "
            + " | ".join(estimates)
            + " |"
        )
    for made_from, fit in fits().items():
        errors = [abs(share_of(fit.logit(run.scores)) - run.mean_average_precision) for run in runs]
        inside = [abs(fit.logit(run.scores) - run.logit) <= fit.half_width for run in runs]
        within = [
            correlation(mine, [fit.logit(run.scores) for run in mine])
            for transfer in FRESH_TRANSFERS
            if (mine := [run for run in runs if run.transfer == transfer])
        ]
        print(
            f"{made_from}: mean error {np.mean(errors):.3f}, {np.mean(inside):.0%} of {len(runs)} "
            f"runs in the interval, rank correlation {np.mean(within):.2f}"
        )


def judged_runs(folder: Path) -> list[Judged]:
    """The runs with their scores, which are computed once per file of embeddings."""
    path = folder / SCORES_NAME
    known = json.loads(path.read_text()) if path.exists() else {}
    runs = read_runs(folder)
    for run in runs:
        if run["embeddings"] not in known:
            known[run["embeddings"]] = scores_of(folder / run["embeddings"])
            path.write_text(json.dumps(known))
    return [
        Judged(
            variant=run["variant"],
            transfer=run["transfer"],
            scores=known[run["embeddings"]] | {"domain_probe": run["domain_probe"]},
            mean_average_precision=run["mAP"],
        )
        for run in runs
    ]


def scores_of(path: Path) -> dict[str, float]:
    """Every score of a run; the tracks are what one camera saw of one person."""
    stored = np.load(path)
    embeddings = {
        name: normalize(torch.from_numpy(stored[name].astype(np.float32)), dim=1)
        for name in (*VIEWS, "earlier", "student")
        if name in stored
    }
    cameras = stored["cameras"]
    tracks = stored["identities"] * (cameras.max() + 1) + cameras
    views = {name: embeddings[name] for name in VIEWS}
    found = label_free_scores(views, cameras=cameras, tracks=tracks)
    scores = found.scores | {"mean_distance": mean_pairwise_distance(views["plain"])}
    scores["num_groups"] = float(found.groups.num_groups)
    rows = torch.from_numpy(spread_evenly(len(cameras), count=NUM_MIRRORED))
    scores["self_retrieval_of_an_epoch"] = self_retrieval(
        views["plain"], views["mirrored"][rows], rows=rows
    )
    for other in ("earlier", "student"):
        if other in embeddings:
            theirs = grouped(embeddings[other]).groups
            scores[f"group_agreement_{other}"] = group_agreement(found.groups.groups, theirs)
            overlap = neighbour_overlap(views["plain"], embeddings[other], k=10)
            scores[f"neighbour_overlap_{other}"] = 0.0 if overlap is None else overlap
    return scores


def fitted(runs: list[Judged], names: tuple[str, ...], *, half_width: float = 0.0) -> Fitted:
    """A ridge regression of logit(mAP) on standardised scores."""
    scores_RS = np.array([[run.scores[name] for name in names] for run in runs])
    logits_R = np.array([run.logit for run in runs])
    mean_S, std_S = scores_RS.mean(axis=0), scores_RS.std(axis=0)
    standard_RS = (scores_RS - mean_S) / std_S
    gram_SS = standard_RS.T @ standard_RS / len(runs) + RIDGE * np.eye(len(names))
    weights_S = np.linalg.solve(gram_SS, standard_RS.T @ (logits_R - logits_R.mean()) / len(runs))
    return Fitted(
        scores=names,
        mean=tuple(mean_S.tolist()),
        std=tuple(std_S.tolist()),
        low=tuple(scores_RS.min(axis=0).tolist()),
        high=tuple(scores_RS.max(axis=0).tolist()),
        weights=tuple(weights_S.tolist()),
        intercept=float(logits_R.mean()),
        half_width=half_width,
    )


def out_of_fit(runs: list[Judged], names: tuple[str, ...]) -> NDArray[np.float64]:
    """(R,) the logit(mAP) that a fit to transfers without a domain of the run's expects of it."""
    return np.array(
        [fitted(apart_from(runs, run.transfer), names).logit(run.scores) for run in runs]
    )


def apart_from(runs: list[Judged], transfer: str) -> list[Judged]:
    """The runs whose transfers share no domain with this one."""
    domains = set(transfer.split("->"))
    return [run for run in runs if domains.isdisjoint(run.transfer.split("->"))]


def half_width(runs: list[Judged], logits_R: NDArray[np.float64], *, fraction: float) -> float:
    """The error in logit(mAP) that this fraction of the runs stays within."""
    errors_R = np.abs(logits_R - np.array([run.logit for run in runs]))
    return float(np.quantile(errors_R, fraction))


def score_table(runs: list[Judged]) -> str:
    """Rank correlation of each score with mAP."""
    names = sorted({name for run in runs for name in run.scores})
    rows = []
    for name in names:
        known = [run for run in runs if name in run.scores]
        within = mean_within(known, lambda run, name=name: run.scores[name])
        pooled = correlation(known, [run.scores[name] for run in known])
        rows.append((abs(within), f"| `{name}` | {within:+.2f} | {pooled:+.2f} | {len(known)} |"))
    lines = ["| score | within a transfer | over all | runs |", "|---|---|---|---|"]
    return "\n".join([*lines, *(line for _, line in sorted(rows, reverse=True))])


def mean_within(runs: list[Judged], value: Callable[[Judged], float]) -> float:
    """Mean over the transfers of the rank correlation with mAP."""
    found = []
    for transfer in TRANSFERS:
        of_transfer = [run for run in runs if run.transfer == transfer]
        if len(of_transfer) > 2:
            found.append(correlation(of_transfer, [value(run) for run in of_transfer]))
    return float(np.mean(found)) if found else 0.0


def correlation(runs: list[Judged], values: list[float]) -> float:
    """Spearman's rank correlation with mAP; 0 where all values are equal."""
    truth = [run.mean_average_precision for run in runs]
    if len(set(values)) == 1 or len(set(truth)) == 1:
        return 0.0
    return float(np.corrcoef(rankdata(values), rankdata(truth))[0, 1])


def ranking_table(runs: list[Judged]) -> tuple[str, MeasuredChoice]:
    """Per transfer: rank correlation of the ranking score, and what choosing by it gives."""
    lines = ["| transfer | rank correlation | chosen | defaults | best |", "|---|---|---|---|---|"]
    rows = []
    for transfer in TRANSFERS:
        mine = [run for run in runs if run.transfer == transfer]
        scores = [run.scores[RANKED_BY] for run in mine]
        choice = chosen(mine, scores)
        rows.append((correlation(mine, scores), *choice))
        lines.append(f"| {transfer} | " + " | ".join(f"{n:.2f}" for n in rows[-1]) + " |")
    means = np.mean(rows, axis=0)
    lines.append("| mean | " + " | ".join(f"{mean:.3f}" for mean in means) + " |")
    return "\n".join(lines), choice_of(means[0], means[-3:], num_settings=num_chosen_from(runs))


def num_chosen_from(runs: list[Judged]) -> int:
    """The number of settings that `chosen` chooses from."""
    return len({run.variant for run in runs} - {CEILING, STRONG})


def choice_of(
    rank_correlation: float, means: NDArray[np.float64], *, num_settings: int
) -> MeasuredChoice:
    """The means over the transfers of what choosing by a score gives, rounded as printed."""
    chosen, defaults, best = (round(float(mean), 3) for mean in means)
    return MeasuredChoice(
        rank_correlation=round(float(rank_correlation), 3),
        num_settings=num_settings,
        num_transfers=len(TRANSFERS),
        chosen=chosen,
        defaults=defaults,
        best=best,
    )


def chosen(runs: list[Judged], values: list[float]) -> tuple[float, float, float]:
    """The mAP of the run with the largest value, of the defaults, and of the best run.

    The ceiling reads labels of the target, so it cannot be chosen. The preset `strong` is left out,
    too: it is the best on every transfer here, so a score need only find it to look perfect.
    """
    known = [
        (value, run.mean_average_precision)
        for value, run in zip(values, runs, strict=True)
        if run.variant not in (CEILING, STRONG)
    ]
    (default,) = (run.mean_average_precision for run in runs if run.variant == DEFAULTS)
    return max(known)[1], default, max(truth for _, truth in known)


def num_found(runs: list[Judged], values: Callable[[Judged], float]) -> int:
    """On how many transfers the best run without the target's labels has the largest value."""
    found = 0
    for transfer in TRANSFERS:
        mine = [run for run in runs if run.transfer == transfer and run.variant != CEILING]
        best = max(mine, key=lambda run: run.mean_average_precision)
        found += max(mine, key=values) is best
    return found


def estimate_table(runs: list[Judged], logits_R: NDArray[np.float64]) -> tuple[str, MeasuredChoice]:
    """Per transfer: rank correlation, error, coverage, and what choosing by the estimate gives.

    The interval that is checked on a transfer is as wide as the errors on the others require.
    """
    lines = [
        "| transfer | mAP of the runs | rank correlation | mean error | in the interval "
        "| chosen | defaults | best |",
        "|---|---|---|---|---|---|---|---|",
    ]
    rows = []
    estimates_R = np.array([share_of(logit) for logit in logits_R])
    transfer_of = np.array([run.transfer for run in runs])
    for transfer in TRANSFERS:
        mine = np.flatnonzero(transfer_of == transfer)
        others = np.flatnonzero(transfer_of != transfer)
        truth = np.array([runs[row].mean_average_precision for row in mine])
        width = half_width([runs[row] for row in others], logits_R[others], fraction=CONFIDENCE)
        inside = np.abs(logits_R[mine] - [runs[row].logit for row in mine]) <= width
        numbers = (
            correlation([runs[row] for row in mine], estimates_R[mine].tolist()),
            float(np.abs(estimates_R[mine] - truth).mean()),
            float(inside.mean()),
            *chosen([runs[row] for row in mine], estimates_R[mine].tolist()),
        )
        rows.append(numbers)
        lines.append(
            f"| {transfer} | {truth.min():.2f} to {truth.max():.2f} "
            + "".join(f"| {number:.2f} " for number in numbers)
            + "|"
        )
    means = np.mean(rows, axis=0)
    lines.append("| mean | " + "".join(f"| {number:.3f} " for number in means) + "|")
    return "\n".join(lines), choice_of(means[0], means[-3:], num_settings=num_chosen_from(runs))


if __name__ == "__main__":
    main()

"""Charts of single settings: how much they mattered, and the scores over their values."""

from collections.abc import Iterable, Sequence
from typing import Any, cast

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import FrozenTrial

from daam.plots.chart import Axis, Chart, category_axis, linear_axis, log_axis
from daam.plots.page import percent
from tune.report.cells import as_text
from tune.report.charts.shares import share, share_axis
from tune.report.importances import Importance
from tune.report.trials import final_score, short_names

SLICE_WIDTH = 260
MAX_LETTERS = 30  # of all names below a chart of that width


def importance_chart(importances: Sequence[Importance], *, left_out: Sequence[str]) -> str:
    """Return how much of the scores' variance each setting explains, with intervals.

    Args:
        importances: of the settings that all complete trials have.
        left_out: the other settings.
    """
    names = short_names([importance.path for importance in importances])
    ranked = sorted(importances, key=lambda importance: importance.mean)
    chart = Chart(
        x=linear_axis([importance.high for importance in ranked], limits=(0, None), text=share),
        y=category_axis([names[importance.path] for importance in ranked]),
        height=56 + 24 * len(ranked),
    )
    for number, found in enumerate(ranked):
        words = f"{found.path}: {found.mean:.0%}, {found.low:.0%} to {found.high:.0%}"
        chart.bar(0, found.mean, number, colour="var(--series-1)", text=words)
        chart.span(found.low, found.high, number)
    rest = f" Not every trial has {', '.join(left_out)}." if left_out else ""
    return chart.as_html(
        title="Which settings mattered",
        note="Share of the variance of the scores that a setting explains (fANOVA), and where 80 % "
        "of the values lie if the trials are drawn again (bootstrap). Overlapping intervals are "
        f"not a ranking.{rest}",
    )


def slice_chart(
    path: str,
    trials: Iterable[FrozenTrial],
    *,
    name: str,
    values: BaseDistribution,
    best: int | None,
    default: Any,
) -> str:
    """Return the scores of complete trials over one setting; empty if none has it.

    Args:
        path: of the setting.
        trials: of the study.
        name: short name of the setting.
        values: those that were searched.
        best: number of the best trial.
        default: value of the setting without the search.
    """
    found = [
        (trial, score)
        for trial in trials
        if path in trial.params and (score := final_score(trial)) is not None
    ]
    if not found:
        return ""
    chart = Chart(
        x=setting_axis(values),
        y=share_axis([score for _, score in found]),
        width=SLICE_WIDTH,
        height=170,
    )
    if (place := place_on_axis(default, values)) is not None:
        chart.rule(place, text="default")
    for trial, score in sorted(found, key=lambda each: each[0].number == best):
        value, is_best = trial.params[path], trial.number == best
        if (place := place_on_axis(value, values)) is None:  # of a range that was changed since
            continue
        chart.dot(
            place,
            score,
            colour="var(--series-2)" if is_best else "var(--series-1)",
            text=f"trial {trial.number}: {name} = {as_text(value)}, {percent(score)}",
            kind="dot" if is_best else "dot faded",
            r=5 if is_best else 4,
        )
    return chart.as_html(title=name)


def setting_axis(values: BaseDistribution) -> Axis:
    """Return the axis of a setting."""
    if isinstance(values, CategoricalDistribution):
        most = MAX_LETTERS // len(values.choices)  # more would run into the next name
        names = [as_text(choice) for choice in values.choices]
        return category_axis(
            [name if len(name) <= most else f"{name[: most - 1]}…" for name in names]
        )
    between = cast("FloatDistribution | IntDistribution", values)
    if between.log:
        return log_axis(between.low, between.high)
    return linear_axis([between.low, between.high])


def place_on_axis(value: Any, values: BaseDistribution) -> float | None:
    """Return where a value of a setting lies on its axis; None if it was not searched."""
    if isinstance(values, CategoricalDistribution):
        return float(values.choices.index(value)) if value in values.choices else None
    between = cast("FloatDistribution | IntDistribution", values)
    is_number = isinstance(value, int | float)
    return value if is_number and between.low <= value <= between.high else None

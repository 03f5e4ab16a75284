"""Charts of the trials: scores, learning curves, when they ran."""

from collections.abc import Iterable, Sequence
from datetime import datetime

from optuna.trial import FrozenTrial

from daam.plots.chart import (
    Axis,
    Chart,
    cross_sample,
    dot_sample,
    line_sample,
    linear_axis,
    whole_axis,
)
from daam.plots.page import arrow, duration, percent
from tune.report.charts.shares import share_axis
from tune.report.trials import (
    STATE_COLOURS,
    STATE_WORDS,
    final_score,
    front_of,
    last_score,
    training_seconds,
)

MAX_LANE_HEIGHT, MIN_LANE_HEIGHT = 26, 12


def history_chart(trials: Sequence[FrozenTrial], *, score: str) -> str:
    """Return the score of each trial and the best so far; empty before the first score."""
    scores = {trial.number: last_score(trial) for trial in trials}
    known = [score for score in scores.values() if score is not None]
    if not known:
        return ""
    chart = Chart(
        x=whole_axis((trial.number for trial in trials), title="trial", margin=0.5),
        y=share_axis(known, title=score),
    )
    best, steps = None, []
    for trial in trials:
        value = final_score(trial)
        if value is not None and (best is None or value > best):
            steps += [] if best is None else [(trial.number, best)]
            steps.append((trial.number, value))
            best = value
    if best is not None:
        chart.line([*steps, (trials[-1].number + 0.5, best)], colour=STATE_COLOURS["COMPLETE"])
    shown = set()
    for trial in trials:
        state, value = trial.state.name, scores[trial.number]
        words = f"trial {trial.number}, {STATE_WORDS[state]}"
        if value is not None:
            mark = chart.dot if state in ("COMPLETE", "RUNNING") else chart.cross
            mark(
                trial.number, value, colour=STATE_COLOURS[state], text=f"{words}: {percent(value)}"
            )
        elif state == "FAIL":
            chart.cross(trial.number, chart.y.low, colour=STATE_COLOURS[state], text=words)
        shown.add(state)
    legend = {"best so far": line_sample(STATE_COLOURS["COMPLETE"])} if best is not None else {}
    return chart.as_html(
        title="Score of each trial",
        note="Pruned trials are shown with the score they were stopped at.",
        legend=legend | state_legend(shown),
    )


def learning_chart(
    trials: Sequence[FrozenTrial],
    *,
    best: int | None,
    score: str,
    num_epochs: int,
    transfers: Sequence[str],
) -> str:
    """Return the score of each trial after each epoch; empty before the first.

    Args:
        trials: to draw; the best stands out, pruned ones are dashed.
        best: number of the best trial.
        score: what a score is.
        num_epochs: of each transfer, which follow each other.
        transfers: in their order.
    """
    curves = [(trial, sorted(trial.intermediate_values.items())) for trial in trials]
    points = [point for _, curve in curves for point in curve]
    if not points:
        return ""
    chart = Chart(
        x=whole_axis((step for step, _ in points), title="epoch"),
        y=share_axis((value for _, value in points), title=score),
    )
    if max(step for step, _ in points) > num_epochs:
        for number, transfer in enumerate(transfers):
            chart.rule(number * num_epochs or chart.x.low, text=arrow(transfer))
    for trial, curve in sorted(curves, key=lambda pair: pair[0].number == best):
        if not curve:
            continue
        state = trial.state.name
        kind = "series strong" if trial.number == best else "series faded"
        dash = "3 3" if state == "PRUNED" else ""
        chart.line(curve, colour=STATE_COLOURS[state], dash=dash, kind=kind)
        for step, value in curve:
            words = f"trial {trial.number}, {STATE_WORDS[state]}, epoch {step}"
            chart.spot(step, value, text=f"{words}: {percent(value)}")
        if state == "PRUNED":
            chart.cross(*curve[-1], colour=STATE_COLOURS[state])
    blue = STATE_COLOURS["COMPLETE"]
    legend = (
        {} if best is None else {f"best: trial {best}": line_sample(blue, kind="series strong")}
    )
    for state in sorted({trial.state.name for trial, curve in curves if curve}):
        dash = "3 3" if state == "PRUNED" else ""
        legend[STATE_WORDS[state]] = line_sample(STATE_COLOURS[state], dash=dash)
    return chart.as_html(title="Learning curves", legend=legend)


def timeline_chart(trials: Sequence[FrozenTrial], *, now: datetime | None) -> str:
    """Return when each trial ran, in as many lanes as ran at once; empty if none did.

    Args:
        trials: of the study.
        now: up to when running trials are drawn; None: these are left out.
    """
    spans = [
        (trial.datetime_start, end, trial)
        for trial in trials
        if trial.datetime_start is not None and (end := trial.datetime_complete or now) is not None
    ]
    if not spans:
        return ""
    begin = min(start for start, _, _ in spans)
    length = (max(end for _, end, _ in spans) - begin).total_seconds() or 1.0
    unit, name = (60.0, "min") if length >= 180 else (1.0, "s")
    unit, name = (3600.0, "h") if length >= 3 * 3600 else (unit, name)
    free_at: list[datetime] = []  # by lane
    bars = []
    for start, end, trial in sorted(spans, key=lambda span: span[0]):
        free = (lane for lane, time in enumerate(free_at) if time <= start)
        lane = next(free, len(free_at))
        free_at[lane : lane + 1] = [end]
        bars.append((lane, start, end, trial))
    lane_height = max(MIN_LANE_HEIGHT, min(MAX_LANE_HEIGHT, 400 / len(free_at)))
    ticks = linear_axis([0, length / unit]).ticks
    chart = Chart(
        x=Axis(
            ticks={tick: text for tick, text in ticks.items() if tick <= length / unit},
            low=0,
            high=length / unit,
            title=name,
        ),
        y=Axis(ticks={}, low=-0.5, high=len(free_at) - 0.5),
        height=round(44 + lane_height * len(free_at)),
    )
    for lane, start, end, trial in bars:
        words = duration((end - start).total_seconds())
        chart.bar(
            (start - begin).total_seconds() / unit,
            (end - begin).total_seconds() / unit,
            len(free_at) - 1 - lane,
            colour=STATE_COLOURS[trial.state.name],
            text=f"trial {trial.number}, {STATE_WORDS[trial.state.name]}: {words}",
            size=lane_height - 4,
        )
    return chart.as_html(
        title="When the trials ran",
        note="A row for each trial that ran at the same time as others.",
        legend=state_legend({trial.state.name for _, _, trial in spans}),
    )


def front_chart(trials: Sequence[FrozenTrial], *, score: str) -> str:
    """Return score over training time, with a line through the trials that no other beats in both.

    Empty for a study that does not count training time.
    """
    points = {
        trial.number: (seconds, trial.values[0])
        for trial in trials
        if (seconds := training_seconds(trial)) is not None
    }
    if not points:
        return ""
    chart = Chart(
        x=linear_axis((seconds for seconds, _ in points.values()), limits=(0, None), title="s"),
        y=share_axis((value for _, value in points.values()), title=score),
    )
    line: list[tuple[float, float]] = []
    for trial in front_of(trials):
        seconds, value = points[trial.number]
        line += [(seconds, line[-1][1])] if line else []
        line.append((seconds, value))
    chart.line([*line, (chart.x.high, line[-1][1])], colour="var(--series-2)")
    for number, (seconds, value) in points.items():
        text = f"trial {number}: {percent(value)} in {duration(seconds)}"
        chart.dot(seconds, value, colour=STATE_COLOURS["COMPLETE"], text=text)
    legend = {"no other trial is better in both": line_sample("var(--series-2)")}
    return chart.as_html(title="Score over training time", legend=legend)


def state_legend(states: Iterable[str]) -> dict[str, str]:
    """Return the marks of some states by their names."""
    return {
        STATE_WORDS[state]: (
            dot_sample(colour)
            if state in ("COMPLETE", "RUNNING", "WAITING")
            else cross_sample(colour)
        )
        for state, colour in STATE_COLOURS.items()
        if state in states
    }

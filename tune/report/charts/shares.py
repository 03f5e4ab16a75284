"""Axes of scores, which are shares."""

from collections.abc import Iterable

from daam.plots.chart import Axis, linear_axis


def share_axis(values: Iterable[float], *, title: str = "") -> Axis:
    """Return an axis of shares, in percent; it ends at 100 % where the values do."""
    values = list(values)
    margin = 0.0 if max(values) > min(values) else 0.05
    low, high = min(values) - margin, max(values) + margin
    axis = linear_axis([low, high], title=title, text=share)
    if max(values) > 1 or axis.high <= 1:
        return axis
    return linear_axis([low], limits=(None, 1.0), title=title, text=share)


def share(value: float) -> str:
    """Return a tick of an axis of shares."""
    return f"{100 * value:.4g} %"

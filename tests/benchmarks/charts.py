"""Draw what was measured: bars for the race, curves for growth, bars against a line for the targets."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from samcli.bench.comparison import Comparison
from samcli.bench.rotation import Spread
from samcli.bench.setup import TASKS
from samcli.plots import save_figure

if TYPE_CHECKING:
    from growth import Curve
    from matplotlib.axes import Axes
    from targets import Target, Targets


def draw_comparison(result: Comparison, target: Path) -> None:
    """For each task milliseconds an image by model and tool, with the span from least to most; and memory."""
    from matplotlib.figure import Figure

    tasks = [task for task in TASKS if any(task in tool.tasks for one in result.models for tool in one.contenders)]
    rows = [(one, tool) for one in result.models for tool in one.contenders if not tool.missing]
    figure = Figure(figsize=(4 * (len(tasks) + 1), 1.5 + 0.4 * len(rows)), layout="constrained")
    axes = figure.subplots(1, len(tasks) + 1, sharey=True, squeeze=False)[0]
    labels = [f"{one.model.name}, {tool.tool}" for one, tool in rows]
    for axis, task in zip(axes, tasks, strict=False):
        times = [tool.tasks[task].seconds if task in tool.tasks else [] for _, tool in rows]
        _bars(axis, labels, [Spread.of([1000 * value for value in each]) if each else None for each in times])
        axis.set(xlabel="ms an image", title=task)
    _bars(axes[-1], labels, [Spread.of([tool.peak_mb]) if tool.peak_mb else None for _, tool in rows])
    axes[-1].set(xlabel="MB", title="peak memory")
    axes[0].invert_yaxis()
    save_figure(figure, target)


def _bars(axis: Axes, labels: Sequence[str], spreads: Sequence[Spread | None]) -> None:
    """Medians, and whiskers from least to most; what has no figure keeps its place."""
    shown = [spread or Spread(0, 0, 0) for spread in spreads]
    whiskers = [[one.median - one.min for one in shown], [one.max - one.median for one in shown]]
    axis.barh(range(len(labels)), [one.median for one in shown], xerr=whiskers, capsize=2)
    axis.set_yticks(range(len(labels)), labels)


def draw_growth(curves: Sequence[Curve], target: Path) -> None:
    """Seconds above (by logarithms: linear is a slope of one) and peak memory below, over size."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4 * len(curves), 7), layout="constrained")
    axes = figure.subplots(2, len(curves), squeeze=False)
    for column, curve in enumerate(curves):
        sizes = [point.size for point in curve.points]
        above, below = axes[0][column], axes[1][column]
        above.loglog(sizes, [point.seconds for point in curve.points], marker="o")
        above.set(xlabel=curve.unit, ylabel="seconds", title=f"{curve.name}: {curve.what}")
        below.semilogx(sizes, [point.peak_mb for point in curve.points], marker="o")
        below.set(xlabel=curve.unit, ylabel="peak MB", ylim=(0, None))
    save_figure(figure, target)


def draw_targets(result: Targets, target: Path) -> None:
    """For each row that was measured what is reached as a share of its target; beyond the line is met."""
    from matplotlib.figure import Figure

    rows = [row for row in result.rows if row.spread is not None]
    figure = Figure(figsize=(9, 1.5 + 0.4 * len(rows)), layout="constrained")
    axis = figure.subplots()
    shares = [_shares(row.spread, row.target) for row in rows if row.spread is not None]
    _bars(axis, [row.target.name for row in rows], shares)
    axis.axvline(1, color="black", linewidth=1)
    axis.set(xlabel="share of the target")
    axis.invert_yaxis()
    save_figure(figure, target)


def _shares(spread: Spread, target: Target) -> Spread:
    """How far its figures go towards a target."""
    values = (spread.min, spread.median, spread.max)
    return Spread.of([_share(value, target.limit, most=target.most) for value in values])


def _share(value: float, limit: float, *, most: bool) -> float:
    """How far a value goes towards its limit; one that is at most zero is as good as one can be: twice."""
    if not most:
        return value / limit
    return min(2.0, limit / value) if value > 0 else 2.0

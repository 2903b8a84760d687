"""The trade-off of selection as a picture: gap and latency over the adapters' parameters."""

from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from graphadapt.report.picture import PLAIN, figure_class, save_figure
from graphadapt.report.trade_off import TradeOff

__all__ = ["draw_trade_off"]

_MOST_TASKS = 200
"""Tasks above which no line is drawn for each."""

_SIDES = ({"xytext": (3, 4), "va": "bottom"}, {"xytext": (-3, -4), "va": "top", "ha": "right"})
"""Where names stand, by turns, so that those of neighbours do not meet."""


def draw_trade_off(path: Path, found: Sequence[TradeOff], title: str) -> None:
    """Write one panel a metric, and one of latency where it was measured.

    A thick line is the mean over tasks, thin ones are the tasks.

    Args:
        path: ends in ``.png``, ``.svg`` or ``.pdf``; it appears once it is complete.
        found: at least one rule.
        title: of the whole.

    Raises:
        ConfigError: if the path has another ending.
        DependencyError: if matplotlib is missing.
    """
    figure_of = figure_class(path)
    ranked = sorted(found, key=_numbers)
    metrics, sizes = list(ranked[0].gap.soft), list(ranked[0].latency)
    panels = len(metrics) + bool(sizes)
    figure = figure_of(figsize=(4.2 * panels, 3.6), layout="constrained")
    axes = figure.subplots(1, panels, squeeze=False)[0]
    for axis, metric in zip(axes, metrics, strict=False):
        _draw_gap(axis, ranked, metric)
    if sizes:
        _draw_latency(axes[-1], ranked)
    figure.suptitle(title, fontsize=11, **PLAIN)
    save_figure(figure, path)


def _numbers(each: TradeOff) -> int:
    return each.parameters + each.readout_parameters


def _draw_gap(axis: Any, ranked: Sequence[TradeOff], metric: str) -> None:
    numbers = list(map(_numbers, ranked))
    tasks = [name for name, gaps in ranked[0].gap.tasks.items() if metric in gaps]
    for name in tasks if len(tasks) <= _MOST_TASKS else ():
        gaps = [each.gap.tasks[name].get(metric) for each in ranked]
        axis.plot(numbers, gaps, color="tab:orange", linewidth=0.6, alpha=0.5)
    means = [each.gap.gap[metric] for each in ranked]
    axis.plot(numbers, means, color="tab:blue", linewidth=2, marker="o", markersize=3)
    for place, (name, point) in enumerate(_named_points(ranked, means)):
        side = _SIDES[place % len(_SIDES)]
        axis.annotate(name, point, textcoords="offset points", fontsize=6, **side, **PLAIN)
    axis.axhline(0.0, color="grey", linewidth=0.5)
    axis.margins(x=0.12, y=0.12)
    _label_numbers(axis)
    axis.set_title(f"{metric}: composed minus frozen", fontsize=9, **PLAIN)


def _named_points(
    ranked: Sequence[TradeOff], means: Sequence[float]
) -> Iterator[tuple[str, tuple[int, float]]]:
    """Names and places of the points; rules that keep the same share one."""
    points = zip(ranked, means, strict=True)
    for point, some in groupby(points, key=lambda pair: (_numbers(pair[0]), pair[1])):
        yield ", ".join(each.rule for each, _ in some), point


def _label_numbers(axis: Any) -> None:
    """Few and short marks below, such as 300 k."""
    from matplotlib.ticker import EngFormatter, MaxNLocator

    axis.xaxis.set_major_locator(MaxNLocator(5))
    axis.xaxis.set_major_formatter(EngFormatter())
    axis.tick_params(which="both", labelsize=7)
    axis.set_xlabel("numbers in the kept adapters", fontsize=8)


def _draw_latency(axis: Any, ranked: Sequence[TradeOff]) -> None:
    from matplotlib.ticker import StrMethodFormatter

    numbers = list(map(_numbers, ranked))
    for size in ranked[0].latency:
        times = [each.latency[size] for each in ranked]
        axis.plot(numbers, times, marker="o", markersize=3, label=f"batch {size}")
    axis.set_yscale("log")
    for written in (axis.yaxis.set_major_formatter, axis.yaxis.set_minor_formatter):
        written(StrMethodFormatter("{x:g}"))
    _label_numbers(axis)
    axis.set_title("milliseconds a run, adapters form", fontsize=9)
    axis.legend(fontsize=7)

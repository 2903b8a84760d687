"""The trade-off of selection as a picture: gap and latency over the adapters' parameters."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from graphadapt.report.picture import PLAIN, figure_class, save_figure
from graphadapt.report.trade_off import TradeOff

__all__ = ["draw_trade_off"]

_MOST_TASKS = 200
"""Tasks above which no line is drawn for each."""


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
    for each, mean in zip(ranked, means, strict=True):
        axis.annotate(each.rule, (_numbers(each), mean), fontsize=6, **PLAIN)
    axis.axhline(0.0, color="grey", linewidth=0.5)
    axis.set_xlabel("numbers in the kept adapters", fontsize=8)
    axis.set_title(f"{metric}: composed minus frozen", fontsize=9, **PLAIN)


def _draw_latency(axis: Any, ranked: Sequence[TradeOff]) -> None:
    numbers = list(map(_numbers, ranked))
    for size in ranked[0].latency:
        times = [each.latency[size] for each in ranked]
        axis.plot(numbers, times, marker="o", markersize=3, label=f"batch {size}")
    axis.set_yscale("log")
    axis.set_xlabel("numbers in the kept adapters", fontsize=8)
    axis.set_title("milliseconds a run, adapters form", fontsize=9)
    axis.legend(fontsize=7)

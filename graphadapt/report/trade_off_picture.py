"""The trade-off of selection as a picture: gap and latency by rule, from least kept to all."""

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

    Rules stand side by side, from the one that keeps least to all, with how many numbers the kept
    adapters hold. A thick line is the mean over tasks, thin ones are the tasks.

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
    figure = figure_of(figsize=(4.6 * panels, 4.0), layout="constrained")
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
    places = range(len(ranked))
    tasks = [name for name, gaps in ranked[0].gap.tasks.items() if metric in gaps]
    thin = {"color": "tab:orange", "linewidth": 0.6, "alpha": 0.5}
    for name in tasks if len(tasks) <= _MOST_TASKS else ():
        axis.plot(places, [each.gap.tasks[name].get(metric) for each in ranked], **thin)
    if len(tasks) <= _MOST_TASKS:
        axis.plot([], [], **thin, label="each task")
    means = [each.gap.gap[metric] for each in ranked]
    thick = {"color": "tab:blue", "linewidth": 2, "marker": "o", "markersize": 3}
    axis.plot(places, means, **thick, label="mean over tasks")
    axis.axhline(0.0, color="grey", linewidth=0.5)
    axis.set_ylabel(f"{metric}, composed minus frozen", fontsize=8, **PLAIN)
    axis.legend(fontsize=7)
    _name_rules(axis, ranked)


def _name_rules(axis: Any, ranked: Sequence[TradeOff]) -> None:
    """Every rule below the axis, with the numbers that it keeps, such as 300 k."""
    from matplotlib.ticker import EngFormatter

    short = EngFormatter(places=0)
    names = [f"{each.rule}: {short(_numbers(each))}" for each in ranked]
    axis.set_xticks(range(len(ranked)), names, rotation=60, ha="right", rotation_mode="anchor")
    axis.tick_params(which="both", labelsize=7)
    axis.set_xlabel("rule: numbers in the adapters that it keeps", fontsize=8)


def _draw_latency(axis: Any, ranked: Sequence[TradeOff]) -> None:
    from matplotlib.ticker import StrMethodFormatter

    for size in ranked[0].latency:
        times = [each.latency[size] for each in ranked]
        axis.plot(range(len(ranked)), times, marker="o", markersize=3, label=f"batch {size}")
    axis.set_yscale("log")
    axis.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    least, most = axis.get_ylim()
    axis.yaxis.set_minor_formatter(StrMethodFormatter("{x:g}") if most < 10 * least else "")
    axis.set_ylabel("milliseconds a run, adapters form", fontsize=8)
    axis.legend(fontsize=7)
    _name_rules(axis, ranked)

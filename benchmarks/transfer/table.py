"""The rows of a comparison of starts, in Markdown; what differs in settings is never averaged."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from evidence.tables import markdown_table

__all__ = ["figure", "metric_of", "settings_text", "table"]

Row = Mapping[str, Any]


def table(rows: Sequence[Row]) -> str:
    """Mean and deviation over seeds of each set's own metric."""
    sets = list(dict.fromkeys(row["set"] for row in rows))
    titles = {name: f"{name} {metric_of([r for r in rows if r['set'] == name])}" for name in sets}
    lines = []
    for line in dict.fromkeys(map(_line, rows)):
        own = [row for row in rows if _line(row) == line]
        cells = {titles[name]: _cell([r for r in own if r["set"] == name]) for name in sets}
        lines.append({**dict(zip(("way", "start", "settings"), line, strict=True)), **cells})
    return markdown_table(lines)


def metric_of(rows: Sequence[Row]) -> str:
    """The metric by which a set's rows are compared."""
    if any("rmse" in row["test"] for row in rows):
        return "rmse"
    return "ap" if any("muv" in row["set"] for row in rows) else "rocauc"


def settings_text(row: Row) -> str:
    """The settings of a row in a few words, without the epochs, which may differ by set."""
    found = {name: value for name, value in _settings(row).items() if name != "epochs"}
    return ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in found.items())


def _settings(row: Row) -> Mapping[str, Any]:
    return row.get("settings", {})


def _line(row: Row) -> tuple[str, str, str]:
    return row["way"], row["start"], settings_text(row)


def _cell(rows: Sequence[Row]) -> str:
    """A figure for every number of epochs; probes have none."""
    lengths = dict.fromkeys(_settings(row).get("epochs") for row in rows)
    figures = [
        _figure([row for row in rows if _settings(row).get("epochs") == epochs], epochs)
        for epochs in lengths
    ]
    return "; ".join(figures) or "-"


def _figure(rows: Sequence[Row], epochs: int | None) -> str:
    """Mean, deviation, number of seeds, epochs."""
    metric = metric_of(rows)
    values = [row["test"][metric] for row in rows if metric in row["test"]]
    if not values:
        return "-"
    return figure(values, "" if epochs is None else f", {epochs} epochs")


def figure(values: Sequence[float], note: str = "") -> str:
    """Mean, deviation, number of values, and what there is to say of them."""
    spread = f" ± {statistics.stdev(values):.4f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.4f}{spread} ({len(values)}{note})"

"""Figures held against what was asked of them: reached, missed or not yet measured.

``results_page.py`` prints what the ``checks`` of each folder return. A figure that is not there, or
rests on fewer seeds than were asked for, is not yet measured; it is never taken as reached or
missed.
"""

import json
import statistics
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

__all__ = [
    "SEEDS",
    "UNMEASURED",
    "Check",
    "Results",
    "below",
    "by_key",
    "every_row",
    "means",
    "spread",
]

SEEDS = 3
UNMEASURED = "not yet measured"


class Results(NamedTuple):
    """One file of results."""

    name: str
    rows: list[dict[str, Any]]
    document: Mapping[str, Any]

    @classmethod
    def read(cls, path: Path) -> "Results":
        """Read what ``save_results`` wrote, or the bare figures of one row."""
        document = json.loads(path.read_text(encoding="utf-8"))
        return cls(path.stem, document.get("rows", [document]), document)


class Check(NamedTuple):
    """One figure that was asked for."""

    asked: str
    found: str = "-"
    reached: bool | None = None
    """None before it is measured."""

    @property
    def verdict(self) -> str:
        return {None: UNMEASURED, True: "reached", False: "missed"}[self.reached]

    @property
    def row(self) -> dict[str, str]:
        """Columns of the table that opens the page."""
        return {"asked": self.asked, "found": self.found, "verdict": self.verdict}

    @property
    def sentence(self) -> str:
        found = "" if self.found == "-" else f", found {self.found}"
        return f"Asked: {self.asked}{found}. **{self.verdict.capitalize()}.**"


def spread(row: Mapping[str, Any], name: str) -> str:
    """A ratio with its quartiles over blocks."""
    return f"{row[name]:.2f} ({row[f'{name}_low']:.2f} to {row[f'{name}_high']:.2f})"


def means(row: Mapping[str, Any]) -> Mapping[str, float]:
    """Mean test scores of a row, with or without those of every task beside them."""
    return row["test"].get("mean", row["test"])


def below(asked: str, values: Sequence[float], limit: float) -> Check:
    """Whether a mean over seeds lies below a limit."""
    if not values:
        return Check(asked)
    mean = statistics.mean(values)
    seeds = f" (mean of {len(values)} seeds)" if len(values) > 1 else ""
    return Check(asked, f"{mean:.4f}{seeds}", mean < limit)


def every_row(results: Iterable[Results]) -> list[dict[str, Any]]:
    return [row for result in results for row in result.rows]


def by_key(
    rows: Iterable[Mapping[str, Any]], key: str, value: Callable[[Mapping[str, Any]], Any]
) -> dict[str, list[Any]]:
    """Values of all rows with the same key; an empty list where there is none."""
    found: dict[str, list[Any]] = defaultdict(list)
    for row in rows:
        found[row[key]].append(value(row))
    return found

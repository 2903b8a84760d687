"""Rows as an aligned table, for a terminal or in Markdown."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

__all__ = ["Cell", "format_cell", "format_table"]

Cell = str | int | float | np.integer[Any] | np.floating[Any] | None
"""What a table holds; ``None`` and NaN show as a dash."""

MISSING = "-"


def format_table(
    header: Sequence[str],
    rows: Sequence[Sequence[Cell]],
    *,
    digits: int = 3,
    markdown: bool = False,
) -> str:
    """Align columns: numbers and their heads to the right, text to the left.

    Args:
        header: one name a column.
        rows: as many cells in each.
        digits: decimals of a ``float``.
        markdown: pipes and a rule, with pipes inside cells escaped.

    Returns:
        Lines without trailing blanks, and no newline at the end.

    Raises:
        ValueError: if a row has more or fewer cells than there are columns.

    Example:
        >>> print(format_table(["task", "rmse"], [["a", 0.51234], ["all", None]]))
        task   rmse
        a     0.512
        all       -
    """
    for row in rows:
        if len(row) != len(header):
            raise ValueError(f"a row of {len(row)} cells does not fit {len(header)} columns: {row}")
    to_right = [_is_numeric([row[column] for row in rows]) for column in range(len(header))]
    lines = [list(header), *([format_cell(cell, digits) for cell in row] for row in rows)]
    if not markdown:
        return "\n".join("  ".join(line).rstrip() for line in _aligned(lines, to_right))
    lines = [[text.replace("|", "\\|") for text in line] for line in lines]
    head, *body = _aligned(lines, to_right, narrowest=2)
    rule = [
        "-" * (len(text) - 1) + (":" if right else "-")
        for text, right in zip(head, to_right, strict=True)
    ]
    return "\n".join(f"| {' | '.join(line)} |" for line in [head, rule, *body])


def format_cell(cell: Cell, digits: int = 3) -> str:
    """One value as text: counts with thousands apart, floats with fixed decimals."""
    if cell is None:
        return MISSING
    if isinstance(cell, float | np.floating):
        return MISSING if math.isnan(cell) else f"{cell:.{digits}f}"
    return cell if isinstance(cell, str) else f"{int(cell):,}"


def _is_numeric(cells: Sequence[Cell]) -> bool:
    return bool(cells) and not any(isinstance(cell, str) for cell in cells)


def _aligned(
    lines: Sequence[Sequence[str]], to_right: Sequence[bool], narrowest: int = 0
) -> list[list[str]]:
    widths = [max(narrowest, *map(len, column)) for column in zip(*lines, strict=True)]
    return [
        [
            text.rjust(width) if right else text.ljust(width)
            for text, width, right in zip(line, widths, to_right, strict=True)
        ]
        for line in lines
    ]

"""Tables of the export's figures for the page of results."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from evidence.checks import Results, spread
from evidence.tables import markdown_table

__all__ = ["composed_tables", "engine_tables", "parity_tables", "precision_tables", "rows_with"]

Row = Mapping[str, Any]

PLACE = ("model", "batch", "from", "bulk")
"""Columns that say what was timed."""


def engine_tables(result: Results) -> list[str]:
    """Each engine's better setting, and the proof that their answers are equal."""
    proof = [
        {
            "model": row["model"],
            "largest error against float64": f"{row['largest_error']:.1e}",
            "PyTorch float32": f"{row['float32_error_of_pytorch']:.1e}",
            "runs at each batch size": row["repeats"],
            "threads": ", ".join(map(str, row["threads"])),
        }
        for row in result.rows
        if "largest_error" in row
    ]
    return [markdown_table(found) for found in (list(engine_lines(result.rows)), proof) if found]


def engine_lines(rows: Sequence[Row]) -> Iterator[dict[str, Any]]:
    """A line for everything that was timed: milliseconds of every engine, then the ratios."""
    timed = [row for row in rows if "ms" in row and row.get("best")]
    for place in dict.fromkeys(place_of(row) for row in rows if "times" in row):
        line = {name: value for name, value in zip(PLACE, place, strict=True) if value is not None}
        for row in timed:
            if place_of(row) == place:
                line[f"{row['engine']}, ms"] = f"{row['ms']:.3g} ({row['setting']})"
        for row in rows:
            if "times" in row and place_of(row) == place:
                pair = f"{row.get('own', 'bundle')} beside {row.get('peer', 'PyTorch')}"
                line[f"{pair}, times as fast"] = spread(row, "times")
        yield line


def place_of(row: Row) -> tuple[Any, ...]:
    return tuple(row.get(name) for name in PLACE)


def composed_tables(result: Results) -> list[str]:
    """Sizes, times, then what switching costs."""
    return [
        *rows_with("count_times_rank")(result),
        *engine_tables(result),
        *rows_with("extra_p95_ms")(result),
    ]


def precision_tables(result: Results) -> list[str]:
    """What is lost, then times."""
    return [*rows_with("loss")(result), *engine_tables(result)]


def parity_tables(result: Results) -> list[str]:
    """Calls of every file; the error is a share of what is allowed."""
    lines = [
        {
            "network": f"{row['network']}, {row['size']}",
            "form": row["form"],
            "precision": row["precision"],
            "calls": row["calls"],
            "wrong": row["wrong"],
            "allowed": row.get("allowed", ""),
            "largest error, of that": row.get("largest_share", row.get("refused", "")),
        }
        for row in result.rows
    ]
    return [markdown_table(lines, digits=2)] if lines else []


def rows_with(column: str) -> Callable[[Results], list[str]]:
    """The rows that have a column, as they were saved."""

    def tables(result: Results) -> list[str]:
        found = [row for row in result.rows if column in row]
        return [markdown_table(found)] if found else []

    return tables

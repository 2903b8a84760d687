"""A relation matrix of the user's own, as a CSV file.

The file has a header of task names and one row a task. Each row may begin with its task's name;
the header then begins with one cell more, best left empty. Axes: T tasks.
"""

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from graphadapt.data.names import require_name
from graphadapt.errors import DataError
from graphadapt.relation.matrix import Relation

__all__ = ["read_relation", "write_relation"]

SYMMETRY = 1e-6  # what six written decimals may differ by


def read_relation(path: Path, task_names: Sequence[str]) -> Relation:
    """Read the relation of ``task_names`` from a CSV file.

    Rows and columns are found by name, so the file may order them freely and may hold further
    tasks, which are left out. The diagonal is ignored. No edge is pruned: what the file says holds.

    Raises:
        DataError: if the file cannot be read, misses a task, or its numbers are not a symmetric
            matrix in [0, 1].
    """
    names, cells = _split_names(_read_rows(path), path)
    for name in task_names:
        require_name(name, names, f"task in relation file {path}")
    weights = _numbers(cells, names, path)
    np.fill_diagonal(weights, 0.0)
    _check_weights(weights, names, path)
    order_T = [names.index(name) for name in task_names]
    weights_TT = weights[np.ix_(order_T, order_T)]
    symmetric_TT = ((weights_TT + weights_TT.T) / 2).astype(np.float32)
    return Relation.from_weights(symmetric_TT, "file", task_names)


def write_relation(relation: Relation, path: Path) -> None:
    """Write the weights as a CSV file that :func:`read_relation` reads back, to edit by hand."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["", *relation.task_names])
        for name, row in zip(relation.task_names, relation.weights, strict=True):
            writer.writerow([name, *(repr(float(weight)) for weight in row)])


def _read_rows(path: Path) -> list[list[str]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = [[cell.strip() for cell in row] for row in csv.reader(file) if any(row)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"relation file {path} cannot be read: {error}") from error
    if not rows:
        raise DataError(f"relation file {path} is empty; it needs a header and one row a task")
    return rows


def _split_names(rows: list[list[str]], path: Path) -> tuple[list[str], list[list[str]]]:
    """Column names and the cells below them, in the columns' order."""
    header, body = rows[0], rows[1:]
    named = header[0] == "" or len(body) == len(header) - 1
    names = header[1:] if named else header
    for line, row in enumerate(body, start=1):
        if len(row) != len(header):
            raise DataError(
                f"relation file {path}: row {line} has {len(row)} cells, the header {len(header)}"
            )
    if len(body) != len(names):
        raise DataError(f"relation file {path} has {len(names)} columns but {len(body)} rows")
    if len(set(names)) != len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise DataError(f"relation file {path} names {twice!r} twice; every task has one column")
    if not named:
        return names, body
    by_name = {row[0]: row[1:] for row in body}
    if sorted(by_name) != sorted(names):
        odd = next((row[0] for row in body if row[0] not in names), body[0][0])
        raise DataError(f"relation file {path}: row {odd!r} has no column of its own, or two rows")
    return names, [by_name[name] for name in names]


def _numbers(cells: list[list[str]], names: Sequence[str], path: Path) -> NDArray[np.float64]:
    matrix = np.empty((len(names), len(names)))
    for row, line in enumerate(cells):
        for column, text in enumerate(line):
            try:
                # an empty cell on the ignored diagonal is a common way to write it
                matrix[row, column] = float(text or (0 if row == column else text))
            except ValueError:
                raise DataError(
                    f"relation file {path}: {text!r} between {names[row]!r} and {names[column]!r} "
                    "is not a number"
                ) from None
    return matrix


def _check_weights(weights: NDArray[np.float64], names: Sequence[str], path: Path) -> None:
    outside = np.argwhere(~((weights >= 0) & (weights <= 1)))
    if len(outside):
        row, column = outside[0]
        raise DataError(
            f"relation file {path}: {weights[row, column]:g} between {names[row]!r} and "
            f"{names[column]!r} is outside [0, 1]; write 0 for unrelated or opposed tasks"
        )
    uneven = np.argwhere(np.abs(weights - weights.T) > SYMMETRY)
    if len(uneven):
        row, column = uneven[0]
        raise DataError(
            f"relation file {path} is not symmetric: {names[row]!r} to {names[column]!r} is "
            f"{weights[row, column]:g}, but back is {weights[column, row]:g}"
        )

"""Tables of molecules from CSV, Parquet and .smi files, or from standard input.

A row is a molecule. Numbers are kept as float32 columns and only texts that are no number as text,
so a large sparse label table costs four bytes a cell. Rows count from 1 below the header.
"""

import sys
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import TextIO

import numpy as np
from numpy.typing import NDArray

from graphadapt.data.names import listed_names, require_name
from graphadapt.data.numbers import CellReader
from graphadapt.data.table_rows import TableRows, open_table
from graphadapt.errors import DataError

__all__ = ["SMILES_NAMES", "Table", "read_table", "table_parts"]

SMILES_NAMES = ("smiles", "canonical_smiles", "isomeric_smiles", "smi", "smile", "structure")
"""Column names, in any capitals, that are taken for the SMILES when none is given."""

_CHUNK = 4096


@dataclass(frozen=True, kw_only=True)
class Table:
    """Rows of molecules and what stands beside them."""

    name: str
    """File name, for messages."""

    smiles: list[str]
    """One text a row, blanks around removed, possibly empty."""

    columns: dict[str, NDArray[np.float32]] = field(default_factory=dict)
    """Other columns as numbers, NaN where the cell is blank or is no number."""

    texts: dict[str, dict[int, str]] = field(default_factory=dict)
    """By column, what is written in each row whose cell is no number."""

    row_numbers: NDArray[np.int64]
    """Number of each row in the file, from 1 below the header."""

    problems: dict[int, str] = field(default_factory=dict)
    """Positions of rows that do not fit the header, and what is wrong with each."""

    def __len__(self) -> int:
        return len(self.smiles)

    def numbers(self, name: str) -> NDArray[np.float32]:
        """One column as numbers; an unknown name is an error that lists the columns."""
        require_name(name, self.columns, f"column in {self.name}")
        return self.columns[name]

    def words(self, name: str) -> list[str]:
        """One column as text; cells that are numbers are written in their shortest form."""
        numbers = self.numbers(name)
        texts = self.texts[name]
        return [
            texts[row] if row in texts else "" if np.isnan(number) else f"{number:g}"
            for row, number in enumerate(numbers)
        ]

    def is_numeric(self, name: str) -> bool:
        """Whether more of the column's cells are numbers than are other text."""
        return int(np.count_nonzero(~np.isnan(self.numbers(name)))) > len(self.texts[name])


def read_table(
    source: str | Path | TextIO,
    *,
    smiles_column: str | None = None,
    columns: Sequence[str] | None = None,
) -> Table:
    """Read a table of molecules.

    Args:
        source: a ``.csv``, ``.tsv``, ``.smi`` (each also ``.gz``) or ``.parquet`` file, ``-`` for
            standard input, or an open text stream. Streams may be CSV with a SMILES column in the
            header, or plain SMILES, one a line.
        smiles_column: name of the SMILES column; otherwise the one column named like
            :data:`SMILES_NAMES`.
        columns: names of the other columns to keep; otherwise all.

    Raises:
        DataError: if the file cannot be read, or a column is missing (the text names what exists).
        DependencyError: for Parquet without pyarrow.
    """
    with _opened(source, smiles_column) as rows:
        position = _smiles_position(rows, smiles_column)
        return _collect(rows, position, _wanted_columns(rows, position, columns))


def table_parts(
    source: str | Path | TextIO,
    *,
    smiles_column: str | None = None,
    columns: Sequence[str] | None = None,
    size: int = _CHUNK,
) -> Iterator[Table]:
    """Read a table as :func:`read_table` does, so many rows at a time and no more in memory.

    Positions within each part count from 0, row numbers go on.

    Args:
        source: as :func:`read_table`.
        smiles_column: likewise.
        columns: likewise.
        size: most rows of a part.

    Raises:
        DataError: as :func:`read_table`, for a part as it is read.
        DependencyError: for Parquet without pyarrow.
    """
    with _opened(source, smiles_column) as rows:
        position = _smiles_position(rows, smiles_column)
        wanted = _wanted_columns(rows, position, columns)
        for chunk in _chunks(rows, size):
            yield _collect(replace(rows, rows=chunk), position, wanted)


def _opened(
    source: str | Path | TextIO, smiles_column: str | None
) -> AbstractContextManager[TableRows]:
    stream = sys.stdin if str(source) == "-" else source
    return open_table(stream, known_smiles=_known_smiles(smiles_column))


def _known_smiles(smiles_column: str | None) -> tuple[str, ...]:
    return SMILES_NAMES if smiles_column is None else (smiles_column.lower(), *SMILES_NAMES)


def _smiles_position(rows: TableRows, smiles_column: str | None) -> int:
    if smiles_column is not None:
        require_name(smiles_column, rows.header, f"SMILES column in {rows.name}")
        return rows.header.index(smiles_column)
    found = [
        index for index, name in enumerate(rows.header) if name.strip().lower() in SMILES_NAMES
    ]
    if len(found) == 1:
        return found[0]
    if not found:
        raise DataError(
            f"no SMILES column in {rows.name}; its columns are {listed_names(rows.header)}: "
            "name one with --smiles"
        )
    raise DataError(
        f"{rows.name} has several columns that may be the SMILES: "
        f"{listed_names([rows.header[index] for index in found])}; name one with --smiles"
    )


def _wanted_columns(
    rows: TableRows, smiles_position: int, columns: Sequence[str] | None
) -> dict[str, int]:
    others = {name: index for index, name in enumerate(rows.header) if index != smiles_position}
    if len(others) < len(rows.header) - 1:
        twice = next(name for name in rows.header if rows.header.count(name) > 1)
        raise DataError(f"column {twice!r} stands twice in {rows.name}; rename one of them")
    if columns is None:
        return others
    for name in columns:
        require_name(name, others, f"column in {rows.name}")
    return {name: others[name] for name in columns}


def _collect(rows: TableRows, smiles_position: int, wanted: dict[str, int]) -> Table:
    """Read chunk by chunk; a chunk's cells become numbers before the next is read."""
    smiles: list[str] = []
    row_numbers: list[NDArray[np.int64]] = [np.zeros(0, np.int64)]
    problems: dict[int, str] = {}
    pieces: dict[str, list[NDArray[np.float32]]] = {name: [] for name in wanted}
    texts: dict[str, dict[int, str]] = {name: {} for name in wanted}
    reader = CellReader()
    for chunk in _chunks(rows):
        first = len(smiles)
        fitted = [_fitted(cells, len(rows.header), smiles_position) for _, cells in chunk]
        problems.update(
            (first + index, problem) for index, (_, problem) in enumerate(fitted) if problem
        )
        by_column = list(zip(*(cells for cells, _ in fitted), strict=True))
        smiles.extend(text.strip() for text in by_column[smiles_position])
        row_numbers.append(np.array([number for number, _ in chunk], np.int64))
        for name, index in wanted.items():
            values, unread = reader.read(by_column[index])
            pieces[name].append(values)
            texts[name].update((first + row, by_column[index][row].strip()) for row in unread)
    return Table(
        name=rows.name,
        smiles=smiles,
        columns={name: _joined(pieces.pop(name)) for name in wanted},
        texts=texts,
        row_numbers=np.concatenate(row_numbers),
        problems=problems,
    )


def _chunks(rows: TableRows, size: int = _CHUNK) -> Iterator[list[tuple[int, Sequence[str]]]]:
    stream = iter(rows.rows)
    while chunk := list(islice(stream, size)):
        yield chunk


def _fitted(cells: Sequence[str], width: int, smiles_position: int) -> tuple[Sequence[str], str]:
    """The row at the header's width; of a row that does not fit, the SMILES and what is wrong."""
    if len(cells) == width or (len(cells) > width and not any(cells[width:])):
        return cells[:width], ""
    kept = [""] * width
    kept[smiles_position] = cells[smiles_position] if smiles_position < len(cells) else ""
    return kept, f"{len(cells)} cells, the header has {width}"


def _joined(pieces: list[NDArray[np.float32]]) -> NDArray[np.float32]:
    return np.concatenate([np.zeros(0, np.float32), *pieces])

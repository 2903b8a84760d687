"""The rows of a table file as texts, whatever its format.

``.csv`` and ``.tsv`` (comma, semicolon or tab, whichever the header has most of), ``.smi``
(SMILES, then a name), each also as ``.gz``; ``.parquet``; text streams.
"""

import csv
import gzip
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, TextIO

from graphadapt.errors import DataError, DependencyError

__all__ = ["TABLE_SUFFIXES", "TableRows", "open_table"]

TABLE_SUFFIXES = (".csv", ".tsv", ".smi", ".smiles", ".parquet", ".pq")
"""File name endings that can be read; all but Parquet also with ``.gz`` behind."""


@dataclass(frozen=True, slots=True)
class TableRows:
    """A header and the rows below it, to be read once."""

    name: str
    header: list[str]
    rows: Iterable[tuple[int, Sequence[str]]]
    """Row number, from 1 and counting blank rows, and the cells as texts."""


@contextmanager
def open_table(
    source: str | Path | TextIO, *, known_smiles: Sequence[str] = ("smiles",)
) -> Iterator[TableRows]:
    """Open a file or a text stream and read its header.

    Args:
        source: path, or a stream that holds CSV or plain SMILES.
        known_smiles: lower-case header names that tell CSV from plain SMILES.

    Raises:
        DataError: if it cannot be read, also while the rows are read inside the ``with`` block.
    """
    name = str(source) if isinstance(source, str | Path) else "standard input"
    try:
        with ExitStack() as stack:
            yield _open(source, name, known_smiles, stack)
    except UnicodeDecodeError as error:
        raise DataError(f"{name} is not UTF-8 text: {error}; save it as UTF-8") from error
    except (csv.Error, EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{name} cannot be read to its end: {error}") from error


def _open(
    source: str | Path | TextIO, name: str, known_smiles: Sequence[str], stack: ExitStack
) -> TableRows:
    if not isinstance(source, str | Path):
        return _stream_rows(source, name, known_smiles)
    path = Path(source)
    suffix = Path(path.name.removesuffix(".gz")).suffix.lower()
    if not path.exists():
        raise DataError(f"{name} does not exist; give a table that ends in .csv, .smi or .parquet")
    if not path.is_file():
        raise DataError(f"{name} is not a file; give one table")
    if suffix not in TABLE_SUFFIXES:
        raise DataError(f"{name} ends in {suffix!r}; tables end in {', '.join(TABLE_SUFFIXES)}")
    if suffix in (".parquet", ".pq"):
        return _parquet_rows(path, stack)
    opener: Callable[..., TextIO] = gzip.open if path.suffix == ".gz" else open
    lines = stack.enter_context(opener(path, "rt", encoding="utf-8-sig", newline=""))
    return _smi_rows(lines, name) if suffix in (".smi", ".smiles") else _csv_rows(lines, name)


def _stream_rows(stream: TextIO, name: str, known_smiles: Sequence[str]) -> TableRows:
    """CSV if the first line has a cell that names the SMILES, else one SMILES a line."""
    first = stream.readline()
    lines = chain([first] if first else [], stream)
    cells = next(csv.reader([first], delimiter=_delimiter(first)), [])
    is_csv = any(cell.strip().lower() in known_smiles for cell in cells)
    return _csv_rows(lines, name) if is_csv else _smi_rows(lines, name)


def _delimiter(line: str) -> str:
    return max(",;\t", key=line.count)


def _csv_rows(lines: Iterable[str], name: str) -> TableRows:
    stream = iter(lines)
    first = next(stream, "")
    if not first.strip():
        raise DataError(f"{name} has no header row; its first row names the columns")
    rows = csv.reader(chain([first], stream), delimiter=_delimiter(first))
    header = [cell.strip() for cell in next(rows)]
    return TableRows(name, header, _numbered(rows))


def _smi_rows(lines: Iterable[str], name: str) -> TableRows:
    """SMILES and a name, or the columns of a first line that begins with ``smiles``.

    Columns are parted by tabs if that first line has any, otherwise by blanks; the last column
    takes the rest of the line. Lines that begin with # are comments.
    """
    stream = iter(lines)
    first = next(stream, "")
    header = first.split("\t") if "\t" in first else first.split()
    if not header or header[0].strip().lower() != "smiles":
        lines = chain([first], stream)
        return TableRows(name, ["smiles", "name"], _numbered(_smi_cells(lines, None, 2)))
    names = [cell.strip() for cell in header]
    parting = "\t" if "\t" in first else None
    return TableRows(name, names, _numbered(_smi_cells(stream, parting, len(names))))


def _smi_cells(lines: Iterable[str], parting: str | None, width: int) -> Iterator[list[str]]:
    for line in lines:
        is_row = line.strip() and not line.startswith("#")
        cells = line.strip("\r\n").split(parting, maxsplit=width - 1) if is_row else []
        # A molecule without a name is whole, one without a labelled column is not.
        yield [*cells, ""] if len(cells) == 1 and width == 2 else cells


def _numbered(rows: Iterable[list[str]]) -> Iterator[tuple[int, list[str]]]:
    return ((number, cells) for number, cells in enumerate(rows, start=1) if cells)


def _parquet_rows(path: Path, stack: ExitStack) -> TableRows:
    try:
        from pyarrow import ArrowException
        from pyarrow.parquet import ParquetFile
    except ImportError as error:
        raise DependencyError(
            f"{path} needs pyarrow, which is not installed; run: pip install pyarrow"
        ) from error
    try:
        file = stack.enter_context(ParquetFile(path))
    except (ArrowException, OSError) as error:
        raise DataError(f"{path} is not a Parquet file: {error}") from error
    cells = _parquet_cells(file, path, (ArrowException, OSError))
    return TableRows(str(path), list(file.schema_arrow.names), _numbered(cells))


def _parquet_cells(
    file: Any, path: Path, damage: tuple[type[Exception], ...]
) -> Iterator[list[str]]:
    row = 0
    try:
        for batch in file.iter_batches(batch_size=4096):
            columns = (map(_text, column.to_pylist()) for column in batch.columns)
            for cells in zip(*columns, strict=True):
                yield list(cells)
                row += 1
    except damage as error:
        reason = " ".join(str(error).split()).rstrip(".")
        raise DataError(
            f"{path} is damaged: it cannot be read beyond row {row:,}: {reason}; write it again"
        ) from error


def _text(value: object) -> str:
    return "" if value is None else str(value)

"""Answers as rows of a CSV, Parquet or JSON-lines file, written batch by batch.

Columns are the row of the source, the SMILES, one a task, the applicability where the bundle gives
it, and the error of a row without answers.
"""

import csv
import gzip
import io
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TextIO

import numpy as np
from numpy.typing import NDArray

from graphadapt.errors import DataError, DependencyError
from graphadapt.serve.part import Predictions

__all__ = ["AnswerTable", "answer_table", "write_answers"]

SUFFIXES = (".csv", ".csv.gz", ".parquet", ".jsonl")


@dataclass(frozen=True, slots=True)
class _Rows:
    """One batch of answers beside what was asked."""

    numbers: Sequence[int]
    smiles: Sequence[str]
    predictions: Predictions

    def __iter__(self) -> Iterator[tuple[int, str, list[float], str]]:
        """Row number, SMILES, values in seven digits and error of each molecule."""
        table = _table(self.predictions).tolist()
        values = [[float(f"{value:.7g}") for value in row] for row in table]
        for place, (number, text) in enumerate(zip(self.numbers, self.smiles, strict=True)):
            yield number, _written(text), values[place], self.predictions.failures.get(place, "")


class AnswerTable(Protocol):
    """Takes batches of answers in order."""

    def write(
        self, numbers: Sequence[int], smiles: Sequence[str], predictions: Predictions
    ) -> None:
        """Append one batch."""


class _CsvTable:
    def __init__(self, stream: TextIO, columns: Sequence[str]) -> None:
        self._writer = csv.writer(stream, lineterminator="\n")
        self._writer.writerow(["row", "smiles", *columns, "error"])

    def write(
        self, numbers: Sequence[int], smiles: Sequence[str], predictions: Predictions
    ) -> None:
        for number, text, values, error in _Rows(numbers, smiles, predictions):
            cells: Sequence[object] = [""] * len(values) if error else values
            self._writer.writerow([number, text, *cells, error])


class _JsonTable:
    def __init__(self, stream: TextIO, tasks: Sequence[str]) -> None:
        self._stream = stream
        self._tasks = tasks

    def write(
        self, numbers: Sequence[int], smiles: Sequence[str], predictions: Predictions
    ) -> None:
        for number, text, values, error in _Rows(numbers, smiles, predictions):
            answers = None if error else dict(zip(self._tasks, values, strict=False))
            line = {"row": number, "smiles": text, "answers": answers}
            if predictions.applicability is not None:
                line["applicability"] = None if error else values[-1]
            line["error"] = error or None
            self._stream.write(json.dumps(line, ensure_ascii=False) + "\n")


class _ParquetTable:
    def __init__(self, path: Path, columns: Sequence[str]) -> None:
        self._arrow, parquet = _arrow()
        float32, text = self._arrow.float32(), self._arrow.string()
        self._schema = self._arrow.schema(
            [("row", self._arrow.int64()), ("smiles", text)]
            + [(name, float32) for name in columns]
            + [("error", text)]
        )
        self._writer = parquet.ParquetWriter(path, self._schema)

    def write(
        self, numbers: Sequence[int], smiles: Sequence[str], predictions: Predictions
    ) -> None:
        failures = predictions.failures
        columns = [
            list(numbers),
            [_written(text) for text in smiles],
            *self._answers(predictions),
            [failures.get(place) for place in range(len(smiles))],
        ]
        arrays = [
            self._arrow.array(column, item.type)
            for column, item in zip(columns, self._schema, strict=True)
        ]
        self._writer.write_table(self._arrow.Table.from_arrays(arrays, schema=self._schema))

    def _answers(self, predictions: Predictions) -> list[list[float | None]]:
        """One list a column, with nothing where a molecule failed."""
        return [
            [None if place in predictions.failures else value for place, value in enumerate(column)]
            for column in _table(predictions).T.tolist()
        ]

    def close(self) -> None:
        self._writer.close()


@contextmanager
def answer_table(
    path: Path, tasks: Sequence[str], *, applicability: bool = False
) -> Iterator[AnswerTable]:
    """Open a file for answers; it appears under its name once all are written.

    Args:
        path: ends in ``.csv``, ``.csv.gz``, ``.jsonl`` or ``.parquet``.
        tasks: names of the answers' columns.
        applicability: whether the answers come with it.

    Raises:
        DataError: for another ending, or a folder that does not exist.
        DependencyError: for Parquet without pyarrow.
    """
    if not path.name.endswith(SUFFIXES):
        raise DataError(f"{path} cannot be written; answers go to {', '.join(SUFFIXES)} files")
    if not path.parent.is_dir():
        raise DataError(f"{path} cannot be written; there is no folder {path.parent}")
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        if path.suffix == ".parquet":
            columns = _columns(tasks, applicability=applicability)
            with closing(_ParquetTable(beside, columns)) as parquet:
                yield parquet
        else:
            with beside.open("wb") as file, _text(file, compressed=path.suffix == ".gz") as stream:
                as_json = path.suffix == ".jsonl"
                yield write_answers(stream, tasks, as_json=as_json, applicability=applicability)
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def write_answers(
    stream: TextIO, tasks: Sequence[str], *, as_json: bool, applicability: bool = False
) -> AnswerTable:
    """Answers as text on an open stream: CSV with a header, or one JSON object a line."""
    if as_json:
        return _JsonTable(stream, tasks)
    return _CsvTable(stream, _columns(tasks, applicability=applicability))


def _columns(tasks: Sequence[str], *, applicability: bool) -> list[str]:
    """Names of the columns that hold numbers.

    Raises:
        DataError: if a task has the name of a column beside the tasks.
    """
    more = ["applicability"] if applicability else []
    taken = [name for name in ("row", "smiles", "error", *more) if name in tasks]
    if taken:
        raise DataError(
            f"a task is named {taken[0]!r}, as a column beside the tasks is; write JSON lines"
        )
    return [*tasks, *more]


def _table(predictions: Predictions) -> NDArray[np.float32]:
    """Values and applicability side by side."""
    if predictions.applicability is None:
        return predictions.values
    return np.column_stack([predictions.values, predictions.applicability])


def _written(text: str) -> str:
    r"""A text as UTF-8 can hold it: bytes that were no UTF-8 in the source show as ``\udcff``."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


@contextmanager
def _text(file: Any, *, compressed: bool) -> Iterator[TextIO]:
    raw = gzip.GzipFile(fileobj=file, mode="wb", mtime=0, filename="") if compressed else file
    stream = io.TextIOWrapper(raw, encoding="utf-8", newline="")
    try:
        yield stream
    finally:
        stream.detach()
        if compressed:
            raw.close()


def _arrow() -> tuple[Any, Any]:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise DependencyError("Parquet needs pyarrow; run: pip install pyarrow") from error
    return pyarrow, parquet

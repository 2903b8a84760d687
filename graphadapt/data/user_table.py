"""A user's own table as a source of molecules: which columns are tasks, and of what kind.

Shapes: G molecules, T tasks.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from graphadapt.data.names import listed_names, require_name
from graphadapt.data.source import MoleculeSource, Rejected, detect_kind
from graphadapt.data.split import column_split, molecule_split_to_cells
from graphadapt.data.store import TaskInfo, TaskKind
from graphadapt.data.tables import Table, read_table
from graphadapt.errors import DataError

__all__ = ["table_source"]

_IDENTIFIER = re.compile(r"|unnamed: ?\d+|index|idx|id|.*[_ -](id|idx|index)", re.IGNORECASE)


def table_source(
    path: str | Path,
    *,
    smiles_column: str | None = None,
    tasks: Sequence[str] = (),
    kinds: Mapping[str, TaskKind] | None = None,
    units: Mapping[str, str] | None = None,
    columns: Sequence[str] = (),
    split_column: str | None = None,
) -> MoleculeSource:
    """Read a CSV, Parquet or .smi file of molecules with or without labels.

    A task is binary if all its labels are 0 or 1, otherwise a regression, unless ``kinds`` says
    so. Cells that are no number, and cells of a binary task that are neither 0 nor 1, are listed
    as rejected and count as missing; so do rows of another width than the header, which are left
    out, and rows whose own feature columns are blank.

    Args:
        path: the file; ``-`` is standard input.
        smiles_column: its SMILES column; found by name when not given.
        tasks: label columns; otherwise every column of numbers that is not a feature, the split
            or an identifier by its name (``id``, ``index``, ``mol_id`` ...).
        kinds: ``binary`` or ``regression`` by task, overriding what the labels look like.
        units: units of the labels by task.
        columns: molecule-level feature columns.
        split_column: a column of ``train``, ``valid``, ``test``.

    Raises:
        DataError: if a column is missing or nothing in the table can be a label.
    """
    table = read_table(path, smiles_column=smiles_column)
    names = _task_columns(table, tasks, columns, split_column)
    labels_GT = _matrix(table, names)
    infos = _task_infos(names, labels_GT, kinds or {}, units or {}, table.name)
    rejected = _unread_labels(table, names) + _unfit_binary(table, infos, labels_GT)
    source = MoleculeSource(
        name=table.name,
        smiles=table.smiles,
        labels=labels_GT,
        tasks=infos,
        row_numbers=table.row_numbers,
        split=_split(table, split_column, labels_GT),
        split_name=f"column:{split_column}" if split_column else "official",
        columns={name: table.numbers(name) for name in columns},
        rejected=tuple(rejected),
        warnings=_unused_columns(table, {*names, *columns, split_column}),
    )
    return _without_unusable_rows(source, table)


def _task_columns(
    table: Table, tasks: Sequence[str], columns: Sequence[str], split_column: str | None
) -> list[str]:
    for name in (*tasks, *columns, *([split_column] if split_column else [])):
        require_name(name, table.columns, f"column in {table.name}")
    if tasks:
        return list(dict.fromkeys(tasks))
    taken = {*columns, split_column}
    free = [name for name in table.columns if name not in taken]
    found = [
        name for name in free if not _IDENTIFIER.fullmatch(name.strip()) and table.is_numeric(name)
    ]
    if not table.smiles:
        raise DataError(f"{table.name} has a header but no rows; give one row a molecule")
    if not found and free and free != ["name"]:
        raise DataError(
            f"{table.name} has no column of numeric labels beside its SMILES; "
            f"it has {listed_names(table.columns)}: write labels as numbers, or 0 and 1"
        )
    return found


def _matrix(table: Table, names: Sequence[str]) -> NDArray[np.float32]:
    """Labels of the named columns, ``(G, T)``."""
    labels_GT = np.empty((len(table), len(names)), np.float32)
    for index, name in enumerate(names):
        labels_GT[:, index] = table.columns[name]
    return labels_GT


def _task_infos(
    names: Sequence[str],
    labels_GT: NDArray[np.float32],
    kinds: Mapping[str, TaskKind],
    units: Mapping[str, str],
    where: str,
) -> tuple[TaskInfo, ...]:
    for name in (*kinds, *units):
        require_name(name, names, f"task of {where}")
    return tuple(
        TaskInfo(name, kinds.get(name) or detect_kind(labels_G), units.get(name, ""))
        for name, labels_G in zip(names, labels_GT.T, strict=True)
    )


def _unread_labels(table: Table, names: Sequence[str]) -> list[Rejected]:
    return [
        Rejected(
            int(table.row_numbers[row]), table.smiles[row], "label is not a number", name, text
        )
        for name in names
        for row, text in table.texts[name].items()
    ]


def _unfit_binary(
    table: Table, infos: Sequence[TaskInfo], labels_GT: NDArray[np.float32]
) -> list[Rejected]:
    """Take labels other than 0 and 1 out of binary tasks, in place, and list them."""
    rejected = []
    for info, labels_G in zip(infos, labels_GT.T, strict=True):
        if info.kind != "binary":
            continue
        unfit = np.flatnonzero(~np.isnan(labels_G) & (labels_G != 0) & (labels_G != 1))
        for row in unfit.tolist():
            detail = f"{labels_G[row]:g}"
            number = int(table.row_numbers[row])
            rejected.append(
                Rejected(number, table.smiles[row], "label is not 0 or 1", info.name, detail)
            )
        labels_G[unfit] = np.nan
    return rejected


def _split(
    table: Table, split_column: str | None, labels_GT: NDArray[np.float32]
) -> NDArray[np.uint8] | None:
    if split_column is None:
        return None
    codes_G = column_split(table.words(split_column), split_column)
    return molecule_split_to_cells(codes_G, ~np.isnan(labels_GT))


def _unused_columns(table: Table, used: set[str | None]) -> tuple[str, ...]:
    unused = [name for name in table.columns if name not in used]
    if not unused or unused == ["name"]:
        return ()
    return (f"columns of {table.name} that are not used: {listed_names(unused)}",)


def _without_unusable_rows(source: MoleculeSource, table: Table) -> MoleculeSource:
    """Leave out rows of a wrong width, without SMILES, or without their own features."""
    reasons = {row: ("malformed row", problem) for row, problem in table.problems.items()}
    for row, smiles in enumerate(source.smiles):
        if not smiles:
            reasons.setdefault(row, ("no SMILES", ""))
    for name, column_G in source.columns.items():
        for row in np.flatnonzero(np.isnan(column_G)).tolist():
            reasons.setdefault(row, ("feature is not a number", name))
    if not reasons:
        return source
    rejected = [
        Rejected(int(source.row_numbers[row]), source.smiles[row], reason, detail=detail)
        for row, (reason, detail) in sorted(reasons.items())
    ]
    keep = np.setdiff1d(np.arange(len(source)), list(reasons))
    return replace(source.take(keep), rejected=(*source.rejected, *rejected))

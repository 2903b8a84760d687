"""One molecule that stands in several rows becomes one row.

Shapes: G rows, D rows that share their molecule with another, U molecules among those, T tasks.

Two rows are the same molecule if RDKit writes the same canonical isomeric SMILES for both. Their
labels are merged cell by cell: labels that agree are averaged, labels that contradict each other
leave the cell empty, because nothing in the table says which of them is right. Binary labels agree
if they are equal; measured values agree if they lie within half of the task's standard deviation.
"""

from dataclasses import replace
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from graphadapt.data.source import MoleculeSource, Rejected

__all__ = ["AGREEMENT", "merge_duplicates"]

AGREEMENT: Final = 0.5
"""Widest range of measured values that agree, in standard deviations of the task's labels."""


class _Groups(NamedTuple):
    """Rows that share a molecule, sorted so that each molecule's rows are neighbours."""

    rows: NDArray[np.int64]
    """``(D,)``."""

    starts: NDArray[np.int64]
    """``(U,)`` position in ``rows`` of each molecule's first row."""


def merge_duplicates(
    source: MoleculeSource, molecule_G: NDArray[np.int64]
) -> tuple[MoleculeSource, NDArray[np.int64]]:
    """Merge rows of one molecule into the first of them, listing every row that went.

    The first row gives SMILES, row number and feature columns. A merged cell keeps the split of
    the first row that has a label for it, and a flag if any row has it.

    Args:
        source: rows as read.
        molecule_G: the same number for rows of the same molecule, counted from 0.

    Returns:
        The merged source, and which rows stayed.
    """
    groups = _groups(molecule_G)
    if not len(groups.starts):
        return source, np.arange(len(source))
    labels_DT = source.labels[groups.rows]
    merged_UT, contradicts_UT = _merged_labels(source, labels_DT, groups.starts)
    first_U = groups.rows[groups.starts]
    labels_GT = source.labels.copy()
    labels_GT[first_U] = merged_UT
    flags = {name: flag_GT.copy() for name, flag_GT in source.flags.items()}
    for flag_GT in flags.values():
        flag_GT[first_U] = np.logical_or.reduceat(flag_GT[groups.rows], groups.starts)
    keep_G = np.ones(len(source), np.bool_)
    keep_G[np.delete(groups.rows, groups.starts)] = False
    rejected = (
        *source.rejected,
        *_contradictions(source, groups, labels_DT, contradicts_UT),
        *_merged_rows(source, groups),
    )
    split_GT = _merged_split(source.split, groups, labels_DT)
    merged = replace(source, labels=labels_GT, flags=flags, split=split_GT, rejected=rejected)
    rows = np.flatnonzero(keep_G)
    return merged.take(rows), rows


def _groups(molecule_G: NDArray[np.int64]) -> _Groups:
    rows_D = np.flatnonzero(np.bincount(molecule_G)[molecule_G] > 1)
    rows_D = rows_D[np.argsort(molecule_G[rows_D], kind="stable")]
    starts_U = np.flatnonzero(np.diff(molecule_G[rows_D], prepend=-1))
    return _Groups(rows_D, starts_U)


def _merged_labels(
    source: MoleculeSource, labels_DT: NDArray[np.float32], starts_U: NDArray[np.int64]
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Mean of each molecule's labels and which cells contradict themselves, ``(U, T)`` both."""
    labelled_DT = ~np.isnan(labels_DT)
    count_UT = np.add.reduceat(labelled_DT, starts_U, dtype=np.int64)
    total_UT = np.add.reduceat(np.where(labelled_DT, labels_DT, 0), starts_U, dtype=np.float64)
    spread_UT = np.fmax.reduceat(labels_DT, starts_U) - np.fmin.reduceat(labels_DT, starts_U)
    contradicts_UT = spread_UT > _tolerance(source)
    empty_UT = contradicts_UT | (count_UT == 0)
    merged_UT = np.where(empty_UT, np.nan, total_UT / np.maximum(count_UT, 1))
    return merged_UT.astype(np.float32), contradicts_UT


def _tolerance(source: MoleculeSource) -> NDArray[np.float64]:
    """Widest range of agreeing labels for every task, ``(T,)``."""
    tolerances = np.zeros(len(source.tasks))
    for index, task in enumerate(source.tasks):
        labels_G = source.labels[:, index]
        measured = labels_G[~np.isnan(labels_G)]
        if task.kind == "regression" and len(measured):
            tolerances[index] = AGREEMENT * measured.std(dtype=np.float64)
    return tolerances


def _merged_split(
    split_GT: NDArray[np.uint8] | None, groups: _Groups, labels_DT: NDArray[np.float32]
) -> NDArray[np.uint8] | None:
    """Give each merged cell the code of the first row that has a label for it."""
    if split_GT is None:
        return None
    place_DT = np.where(np.isnan(labels_DT), len(labels_DT), np.arange(len(labels_DT))[:, None])
    first_UT = np.minimum.reduceat(place_DT, groups.starts)
    first_UT = np.where(first_UT == len(labels_DT), groups.starts[:, None], first_UT)
    merged_GT = split_GT.copy()
    merged_GT[groups.rows[groups.starts]] = np.take_along_axis(
        split_GT[groups.rows], first_UT, axis=0
    )
    return merged_GT


def _contradictions(
    source: MoleculeSource,
    groups: _Groups,
    labels_DT: NDArray[np.float32],
    contradicts_UT: NDArray[np.bool_],
) -> list[Rejected]:
    """Every label of a contradicted cell, with the row it stands in."""
    ends_U = np.append(groups.starts[1:], len(groups.rows))
    rejected = []
    for molecule, task in np.argwhere(contradicts_UT).tolist():
        places = np.arange(groups.starts[molecule], ends_U[molecule])
        places = places[~np.isnan(labels_DT[places, task])]
        labels = labels_DT[places, task]
        span = f"labels of this molecule go from {labels.min():g} to {labels.max():g}"
        for row, label in zip(groups.rows[places].tolist(), labels.tolist(), strict=True):
            detail = f"{label:g}, {span}"
            rejected.append(_rejected(source, row, "contradicting duplicates", detail, task))
    return rejected


def _merged_rows(source: MoleculeSource, groups: _Groups) -> list[Rejected]:
    owner_D = np.repeat(groups.rows[groups.starts], np.diff(groups.starts, append=len(groups.rows)))
    return [
        _rejected(source, row, "duplicate, merged", f"into row {source.row_numbers[owner]}")
        for row, owner in zip(groups.rows, owner_D, strict=True)
        if row != owner
    ]


def _rejected(
    source: MoleculeSource, row: int, reason: str, detail: str, task: int | None = None
) -> Rejected:
    return Rejected(
        row=int(source.row_numbers[row]),
        smiles=source.smiles[row],
        reason=reason,
        task="" if task is None else source.tasks[task].name,
        detail=detail,
    )

"""Which rows of a source are used, with a reason for every row, label and task that is not.

Shapes: G molecules, T tasks. Unparsable rows go from every source; of a table that is not a
published set, duplicates are merged, then tasks and rows without any label go.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from graphadapt.data.duplicates import merge_duplicates
from graphadapt.data.source import UNPARSABLE, MoleculeSource, Rejected
from graphadapt.errors import DataError

__all__ = ["UsedRows", "used_rows"]


class UsedRows(NamedTuple):
    """What is left of a source."""

    source: MoleculeSource
    """The rows that are used; its ``rejected`` lists the others."""

    positions: NDArray[np.int64]
    """Where they stand in the source as it was read, ascending, ``(G,)``."""

    def without(self, reason: str, details: Mapping[int, str]) -> "UsedRows":
        """Without the rows at these places, which are listed as rejected."""
        if not details:
            return self
        source = self.source
        rejected = [
            Rejected(int(source.row_numbers[row]), source.smiles[row], reason, detail=detail)
            for row, detail in details.items()
        ]
        kept = np.delete(np.arange(len(source)), list(details))
        source = replace(source.take(kept), rejected=(*source.rejected, *rejected))
        return UsedRows(source, self.positions[kept])


def used_rows(
    source: MoleculeSource, errors: Mapping[int, str], molecule_P: NDArray[np.int64] | None
) -> UsedRows:
    """Leave out what cannot be used.

    Args:
        source: as it was read.
        errors: why a row is no molecule, by its position.
        molecule_P: for the rows without error, the same number for the same molecule; a published
            set, whose rows stay as they are, needs none.

    Raises:
        DataError: if nothing is left.
    """
    rows = UsedRows(source, np.arange(len(source))).without(UNPARSABLE, errors)
    if not source.curated and molecule_P is not None:
        merged, kept = merge_duplicates(rows.source, molecule_P)
        rows = UsedRows(_with_labelled_tasks(merged), rows.positions[kept])
        rows = rows.without("no label", dict.fromkeys(_unlabelled(rows.source), ""))
    if not len(rows.source):
        raise _nothing_left(rows.source)
    return rows


def _unlabelled(source: MoleculeSource) -> list[int]:
    """Rows without any label; none where there is no task at all."""
    if not source.tasks:
        return []
    rows: list[int] = np.flatnonzero(np.isnan(source.labels).all(axis=1)).tolist()
    return rows


def _with_labelled_tasks(source: MoleculeSource) -> MoleculeSource:
    """Without tasks that have no label, about which there is a warning."""
    empty = [
        name
        for name, labels_G in zip(source.task_names, source.labels.T, strict=True)
        if np.isnan(labels_G).all()
    ]
    if not len(source) or not empty:
        return source
    reasons = ", ".join(f"{name!r} ({_label_reasons(source, name)})" for name in empty)
    kept = [name for name in source.task_names if name not in empty]
    if not kept:
        raise DataError(
            f"no task of {source.name} has a label that can be used: {reasons}; "
            "write labels as numbers, or 0 and 1"
        )
    warning = (
        f"{len(empty)} of {len(source.tasks)} tasks are left out, because no label of theirs can "
        f"be used: {reasons}"
    )
    return replace(source.choose_tasks(kept), warnings=(*source.warnings, warning))


def _label_reasons(source: MoleculeSource, task: str) -> str:
    reasons = _counted(each.reason for each in source.rejected if each.task == task)
    return reasons or "none written"


def _counted(reasons: Iterable[str]) -> str:
    return ", ".join(f"{number} {reason}" for reason, number in Counter(reasons).most_common())


def _nothing_left(source: MoleculeSource) -> DataError:
    """The error that no molecule can be used, with the reasons and the first case."""
    rows = sorted((each for each in source.rejected if not each.task), key=lambda each: each.row)
    if not rows:
        return DataError(f"{source.name} has no molecules")
    first = rows[0]
    return DataError(
        f"no molecule of {source.name} can be used: {_counted(each.reason for each in rows)}; "
        f"the first is row {first.row}, {first.smiles!r}"
    )

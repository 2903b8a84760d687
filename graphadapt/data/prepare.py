"""From a source of molecules to a graph store, with every row that is left out accounted for.

Shapes: G molecules, T tasks. The steps, in order: featurise, each molecule parsed once; leave out
what cannot be used; split; write. What is featurised stays on disk until the store is complete, so
that a preparation that was interrupted or killed goes on where it stopped.

In memory are, for each molecule, the source's own row (its SMILES, four bytes a label, one a split
code and one a flag) and 16 bytes to tell molecules apart, 16 to tell scaffolds apart, where that is
asked for; a table from which rows must go is there twice for a moment. All else is a few chunks for
each process.
"""

from collections.abc import Sequence
from dataclasses import astuple
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from graphadapt.data.cleaning import UsedRows, used_rows
from graphadapt.data.featurised import Featuriser, Findings
from graphadapt.data.identity import canonical_key, groups_of, scaffold_key
from graphadapt.data.names import listed_names, require_name
from graphadapt.data.prepare_report import PrepareReport, report_on
from graphadapt.data.scaffold import scaffold_split
from graphadapt.data.source import MoleculeSource
from graphadapt.data.split import DEFAULT_FRACTIONS, molecule_split_to_cells, random_split
from graphadapt.data.store import GraphStore
from graphadapt.data.store_writer import StoreWriter, check_replaceable
from graphadapt.data.unfinished import unfinished_work
from graphadapt.errors import DataError
from graphadapt.molecules.chunk import MoleculeKey
from graphadapt.molecules.features import FeatureBlock
from graphadapt.progress import Progress

__all__ = ["REJECTED_FILE", "prepare"]

REJECTED_FILE: Final = "rejected.csv"
"""List inside the store of rows and labels that were left out, with the reason."""

_MOLECULE: Final = "molecule"
_SCAFFOLD: Final = "scaffold"


def prepare(
    source: MoleculeSource,
    folder: str | Path,
    blocks: Sequence[FeatureBlock] = (),
    *,
    split: str | None = None,
    fractions: Sequence[float] = DEFAULT_FRACTIONS,
    seed: int = 0,
    processes: int | None = None,
    overwrite: bool = False,
    shown: bool = True,
) -> PrepareReport:
    """Check, split and featurise a source, and write it as a store.

    Args:
        source: what a reader returned.
        folder: the store to make; it appears when it is complete. Until then, and after an
            interruption, work lies in ``.FOLDER.unfinished`` beside it; a call with the same
            molecules and features goes on from there.
        blocks: molecule-level features to compute, at most one of a kind.
        split: the source's own split by its name (``official`` or ``column:NAME``), ``scaffold``
            or ``random``; by default its own, else scaffold, else ``none`` if it has no task.
        fractions: shares of train, valid and test for scaffold and random.
        seed: of the random split.
        processes: how many parse and featurise; by default one for each core.
        overwrite: whether a store in this place may be replaced.
        shown: whether progress goes to standard error.

    Returns:
        Counts of what was kept and what was left out; the latter is in ``rejected.csv``.

    Raises:
        DataError: if the place is taken, a split or column does not exist, or nothing is left.
    """
    folder = Path(folder)
    check_replaceable(folder, overwrite=overwrite)
    _check_blocks(source, blocks)
    split = _chosen_split(source, split)
    work = Featuriser(source=source, blocks=tuple(blocks), keys=_keys(source, split))
    with unfinished_work(folder, work.settings, overwrite=overwrite, shown=shown) as workplace:
        findings = work.run(workplace, processes=processes, shown=shown)
        rows = used_rows(source, findings.errors, _groups(findings, _MOLECULE))
        split_GT, notes = _split_cells(rows, split, findings, fractions, seed)
        rejected = sorted(rows.source.rejected, key=lambda each: each.row)
        with StoreWriter(
            folder,
            tasks=rows.source.tasks,
            feature_blocks=blocks,
            flags=tuple(source.flags),
            source=source.name,
            metric=source.metric,
            split=split,
            workplace=workplace / "store",
            overwrite=overwrite,
        ) as writer:
            _write(rows, split_GT, work, workplace, writer, shown=shown)
            header = ("row", "smiles", "reason", "task", "detail")
            writer.write_table(REJECTED_FILE, header, map(astuple, rejected))
    return report_on(GraphStore(folder), rejected, (*rows.source.warnings, *notes))


def _check_blocks(source: MoleculeSource, blocks: Sequence[FeatureBlock]) -> None:
    kinds = [block.kind for block in blocks]
    for block in blocks:
        if kinds.count(block.kind) > 1:
            raise DataError(f"{block.kind!r} features are asked for twice; name them once")
        if block.kind == "columns":
            for name in block.names:
                require_name(name, source.columns, f"feature column of {source.name}")


def _chosen_split(source: MoleculeSource, split: str | None) -> str:
    own = None if source.split is None else source.split_name
    if split is None:
        return own or ("scaffold" if source.tasks else "none")
    known = ["scaffold", "random", *([own] if own else [])]
    if split not in known:
        raise DataError(
            f"{source.name} has no {split!r} split; use {', '.join(known)}"
            + ("" if own else ", or column:NAME where a table has such a column")
        )
    return split


def _keys(source: MoleculeSource, split: str) -> dict[str, MoleculeKey]:
    """What tells molecules and scaffolds apart, where that is asked for."""
    keys: dict[str, MoleculeKey] = {}
    if not source.curated:
        keys[_MOLECULE] = canonical_key
    if split == "scaffold":
        keys[_SCAFFOLD] = scaffold_key
    return keys


def _groups(findings: Findings, name: str) -> NDArray[np.int64] | None:
    return groups_of(findings.keys[name]) if name in findings.keys else None


def _split_cells(
    rows: UsedRows, split: str, findings: Findings, fractions: Sequence[float], seed: int
) -> tuple[NDArray[np.uint8], list[str]]:
    """Codes of the chosen split, and what is to be said about it."""
    source = rows.source
    if source.split is not None and split == source.split_name:
        return source.split, []
    notes = []
    if split == "scaffold":
        parsed = np.searchsorted(findings.positions, rows.positions)
        scaffold_G = groups_of(findings.keys[_SCAFFOLD][parsed])
        codes_G = scaffold_split(scaffold_G, fractions)
        notes = _uncut(source.row_numbers[scaffold_G < 0])
    else:
        codes_G = random_split(len(source), fractions, seed)
    return molecule_split_to_cells(codes_G, ~np.isnan(source.labels)), notes


def _uncut(row_numbers: NDArray[np.int64]) -> list[str]:
    if not len(row_numbers):
        return []
    return [
        f"{len(row_numbers)} molecules have no scaffold that RDKit can cut; each counts as its "
        f"own: rows {listed_names(map(str, row_numbers))}"
    ]


def _write(
    rows: UsedRows,
    split_GT: NDArray[np.uint8],
    work: Featuriser,
    workplace: Path,
    writer: StoreWriter,
    *,
    shown: bool,
) -> None:
    """Append the used rows to the store, a chunk at a time."""
    source = rows.source
    row_of = np.full(len(work.source), -1)
    row_of[rows.positions] = np.arange(len(source))
    with Progress(len(source), "writing", shown=shown) as progress:
        for found in work.chunks(workplace):
            chunk = found.only(row_of[found.positions] >= 0)
            at = row_of[chunk.positions]
            writer.extend(
                chunk.graphs,
                smiles=[source.smiles[row] for row in at.tolist()],
                labels_GT=source.labels[at],
                split_GT=split_GT[at],
                row_numbers=source.row_numbers[at],
                flags={name: flag_GT[at] for name, flag_GT in source.flags.items()},
                features=chunk.features,
            )
            progress.update(len(at))

"""From a source of molecules to a graph store, with every row that is left out accounted for.

Shapes: G molecules, T tasks. The steps, in order: unparsable rows out, duplicates merged, rows
without a label out (published sets skip these), split, featurise and write in chunks.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import astuple, replace
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from graphadapt.data.duplicates import merge_duplicates
from graphadapt.data.featurised import featurised_chunks
from graphadapt.data.identity import Identity, identify_many
from graphadapt.data.names import listed_names, require_name
from graphadapt.data.prepare_report import PrepareReport, report_on
from graphadapt.data.scaffold import scaffold_split
from graphadapt.data.source import UNPARSABLE, MoleculeSource, Rejected
from graphadapt.data.split import DEFAULT_FRACTIONS, molecule_split_to_cells, random_split
from graphadapt.data.store import GraphStore
from graphadapt.data.store_writer import StoreWriter, check_replaceable
from graphadapt.errors import DataError
from graphadapt.molecules.features import FeatureBlock

__all__ = ["REJECTED_FILE", "prepare"]

REJECTED_FILE: Final = "rejected.csv"
"""List inside the store of rows and labels that were left out, with the reason."""


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
        folder: the store to make; it appears when it is complete.
        blocks: molecule-level features to compute, at most one of a kind.
        split: the source's own split by its name (``official`` or ``column:NAME``), ``scaffold``
            or ``random``; by default its own, and scaffold where it has none.
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
    check_replaceable(Path(folder), overwrite=overwrite)
    _check_blocks(source, blocks)
    split = _chosen_split(source, split)
    identities = _identities(source, split, processes, shown)
    source = source if source.curated else _cleaned(source, identities)
    split_GT, notes = _split_cells(source, split, identities, fractions, seed)
    with StoreWriter(
        folder,
        tasks=source.tasks,
        feature_blocks=blocks,
        flags=tuple(source.flags),
        source=source.name,
        metric=source.metric,
        split=split,
        overwrite=overwrite,
    ) as writer:
        rejected = [*source.rejected, *_write(source, split_GT, blocks, writer, processes, shown)]
        if not len(writer):
            raise _nothing_left(source.name, rejected)
        rejected.sort(key=lambda each: each.row)
        header = ("row", "smiles", "reason", "task", "detail")
        writer.write_table(REJECTED_FILE, header, map(astuple, rejected))
    return report_on(GraphStore(folder), rejected, (*source.warnings, *notes))


def _nothing_left(name: str, rejected: Sequence[Rejected]) -> DataError:
    """The error that no molecule can be used, with the reasons and the first case."""
    rows = [each for each in rejected if not each.task]
    if not rows:
        return DataError(f"{name} has no molecules")
    counts = Counter(each.reason for each in rows).most_common()
    reasons = ", ".join(f"{number} {reason}" for reason, number in counts)
    first = rows[0]
    return DataError(
        f"no molecule of {name} can be used: {reasons}; "
        f"the first is row {first.row}, {first.smiles!r}"
    )


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
        return own or "scaffold"
    known = ["scaffold", "random", *([own] if own else [])]
    if split not in known:
        raise DataError(
            f"{source.name} has no {split!r} split; use {', '.join(known)}"
            + ("" if own else ", or column:NAME where a table has such a column")
        )
    return split


def _identities(
    source: MoleculeSource, split: str, processes: int | None, shown: bool
) -> dict[int, Identity | DataError]:
    """Who each row is, by row number; empty where nobody asks."""
    if source.curated and split != "scaffold":
        return {}
    named = identify_many(
        source.smiles, scaffold=split == "scaffold", processes=processes, shown=shown
    )
    return dict(zip(source.row_numbers.tolist(), named, strict=True))


def _cleaned(
    source: MoleculeSource, identities: Mapping[int, Identity | DataError]
) -> MoleculeSource:
    """Without unparsable rows, duplicates and rows that have no label."""
    names = [identities[row] for row in source.row_numbers.tolist()]
    errors = {row: str(name) for row, name in enumerate(names) if isinstance(name, DataError)}
    canonical = [name.canonical for name in names if not isinstance(name, DataError)]
    source = merge_duplicates(_leave_out(source, UNPARSABLE, errors), canonical)
    if not source.tasks:
        return source
    empty = np.flatnonzero(np.isnan(source.labels).all(axis=1)).tolist()
    return _leave_out(source, "no label", dict.fromkeys(empty, ""))


def _leave_out(source: MoleculeSource, reason: str, details: Mapping[int, str]) -> MoleculeSource:
    """Without the rows at these positions, which are listed as rejected."""
    if not details:
        return source
    rejected = [
        Rejected(int(source.row_numbers[row]), source.smiles[row], reason, detail=detail)
        for row, detail in details.items()
    ]
    kept = np.delete(np.arange(len(source)), list(details))
    return replace(source.take(kept), rejected=(*source.rejected, *rejected))


def _split_cells(
    source: MoleculeSource,
    split: str,
    identities: Mapping[int, Identity | DataError],
    fractions: Sequence[float],
    seed: int,
) -> tuple[NDArray[np.uint8], list[str]]:
    """Codes of the chosen split, and what is to be said about it."""
    labelled_GT = ~np.isnan(source.labels)
    if source.split is not None and split == source.split_name:
        return source.split, []
    if split == "random":
        codes_G = random_split(len(source), fractions, seed)
        return molecule_split_to_cells(codes_G, labelled_GT), []
    scaffolds = [_scaffold(identities[row]) for row in source.row_numbers.tolist()]
    codes_G = scaffold_split(scaffolds, fractions)
    uncut = [
        str(row) for row, cut in zip(source.row_numbers, scaffolds, strict=True) if cut is None
    ]
    note = (
        f"{len(uncut)} molecules have no scaffold that RDKit can cut; each counts as its own: "
        f"rows {listed_names(uncut)}"
    )
    return molecule_split_to_cells(codes_G, labelled_GT), [note] if uncut else []


def _scaffold(identity: Identity | DataError) -> str | None:
    return None if isinstance(identity, DataError) else identity.scaffold


def _write(
    source: MoleculeSource,
    split_GT: NDArray[np.uint8],
    blocks: Sequence[FeatureBlock],
    writer: StoreWriter,
    processes: int | None,
    shown: bool,
) -> Iterator[Rejected]:
    """Append every chunk to the store; yields what could not be featurised."""
    for chunk in featurised_chunks(source, blocks, processes=processes, shown=shown):
        writer.extend(
            chunk.graphs,
            smiles=[source.smiles[row] for row in chunk.rows.tolist()],
            labels_GT=source.labels[chunk.rows],
            split_GT=split_GT[chunk.rows],
            row_numbers=source.row_numbers[chunk.rows],
            flags={name: flag_GT[chunk.rows] for name, flag_GT in source.flags.items()},
            features=chunk.features,
        )
        yield from chunk.rejected

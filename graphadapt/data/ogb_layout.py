"""Read a molecule set in OGB's on-disk layout, graph for graph, without unpickling anything.

Shapes: G molecules, N atoms, B bonds, T tasks.

::

    ogbg_molbbbp/mapping/mol.csv.gz          labels, smiles (and mol_id) of every molecule
    ogbg_molbbbp/split/scaffold/*.csv.gz     row indices of train, valid and test
    ogbg_molbbbp/raw/*.csv.gz                graphs; where they are absent, SMILES make them
    master.csv                               metric and kind of every set; else ogb's own copy
"""

import warnings
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from graphadapt.data.names import listed_names
from graphadapt.data.ogb_master import OgbFacts, ogb_facts
from graphadapt.data.ragged import GraphColumns, offsets_of
from graphadapt.data.source import MoleculeSource, detect_kind
from graphadapt.data.split import SPLIT_CODES, UNUSED, molecule_split_to_cells
from graphadapt.data.store import TaskInfo
from graphadapt.data.tables import Table, read_table
from graphadapt.errors import DataError

__all__ = ["is_ogb_folder", "ogb_source"]

_NOT_TASKS = ("smiles", "mol_id")


def is_ogb_folder(folder: Path) -> bool:
    """Whether the folder has OGB's table of molecules."""
    return (folder / "mapping" / "mol.csv.gz").is_file()


def ogb_source(folder: str | Path) -> MoleculeSource:
    """Read labels, official split and graphs of one set.

    Args:
        folder: such as ``dataset/ogbg_molbbbp``.

    Raises:
        DataError: if files are missing, disagree with each other, or are no molecules.
    """
    place = Path(folder)
    if not is_ogb_folder(place):
        raise DataError(f"{place} is not a molecule set of OGB: it has no mapping/mol.csv.gz")
    name = place.resolve().name.replace("_", "-")
    facts = ogb_facts(name, place)
    table = read_table(place / "mapping" / "mol.csv.gz", smiles_column="smiles")
    names = [column for column in table.columns if column not in _NOT_TASKS]
    labels_GT = _labels(table, names)
    codes_G = _official_split(place, facts, len(table))
    return MoleculeSource(
        name=name,
        smiles=table.smiles,
        labels=labels_GT,
        tasks=_tasks(names, labels_GT, facts),
        row_numbers=table.row_numbers,
        split=None if codes_G is None else molecule_split_to_cells(codes_G, ~np.isnan(labels_GT)),
        metric=facts.metric if facts else None,
        graphs=_raw_graphs(place / "raw", len(table)),
        curated=True,
    )


def _labels(table: Table, names: list[str]) -> NDArray[np.float32]:
    if table.problems:
        row, problem = next(iter(table.problems.items()))
        raise DataError(f"{table.name} is damaged: row {table.row_numbers[row]} has {problem}")
    labels_GT = np.empty((len(table), len(names)), np.float32)
    for index, name in enumerate(names):
        if table.texts[name]:
            row, text = next(iter(table.texts[name].items()))
            raise DataError(
                f"{table.name} is damaged: row {table.row_numbers[row]} of {name!r} "
                f"holds {text!r}, not a label"
            )
        labels_GT[:, index] = table.columns.pop(name)  # labels are in memory once
    return labels_GT


def _tasks(
    names: list[str], labels_GT: NDArray[np.float32], facts: OgbFacts | None
) -> tuple[TaskInfo, ...]:
    return tuple(
        TaskInfo(name, facts.kind if facts else detect_kind(labels_G))
        for name, labels_G in zip(names, labels_GT.T, strict=True)
    )


def _official_split(folder: Path, facts: OgbFacts | None, count: int) -> NDArray[np.uint8] | None:
    """Code of every molecule, UNUSED where no part names it; None without a split folder."""
    kinds = sorted(path.name for path in (folder / "split").glob("*") if path.is_dir())
    if not kinds:
        return None
    kind = facts.split if facts else kinds[0]
    if kind not in kinds or (not facts and len(kinds) > 1):
        raise DataError(f"{folder}/split has {listed_names(kinds)}; the official one is unclear")
    codes_G = np.full(count, UNUSED, np.uint8)
    for part, code in SPLIT_CODES.items():
        path = folder / "split" / kind / f"{part}.csv.gz"
        rows = _integers(path, 1)[:, 0]
        if len(rows) and (rows.min() < 0 or rows.max() >= count):
            raise DataError(f"{path} names row {rows.max()} of {count} molecules")
        if (codes_G[rows] != UNUSED).any():
            raise DataError(f"{path} names molecules that another part of the split has too")
        codes_G[rows] = code
    return codes_G


def _raw_graphs(raw: Path, count: int) -> GraphColumns | None:
    """Graphs as OGB made them, or None where there are none."""
    if not (raw / "edge.csv.gz").is_file():
        return None
    atom_offsets = offsets_of(_integers(raw / "num-node-list.csv.gz", 1)[:, 0])
    bond_offsets = offsets_of(_integers(raw / "num-edge-list.csv.gz", 1)[:, 0])
    graphs = GraphColumns(
        _integers(raw / "node-feat.csv.gz", 9, np.uint8),
        _integers(raw / "edge.csv.gz", 2, np.int16),
        _integers(raw / "edge-feat.csv.gz", 3, np.uint8),
        atom_offsets,
        bond_offsets,
    )
    found = [len(column) for column in graphs]
    atoms, bonds = int(atom_offsets[-1]), int(bond_offsets[-1])
    if found != [atoms, bonds, bonds, count + 1, count + 1]:
        raise DataError(
            f"{raw} is damaged: {found[3] - 1} and {found[4] - 1} graphs for {count} molecules, "
            f"{found[0]} of {atoms} atoms, {found[1]} and {found[2]} of {bonds} bonds"
        )
    return graphs


def _integers(path: Path, width: int, dtype: DTypeLike = np.int64) -> NDArray[Any]:
    """A csv.gz file without header as ``(rows, width)`` integers."""
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "loadtxt: input contained no data", UserWarning)
            values = np.loadtxt(path, dtype, delimiter=",", ndmin=2)
    except FileNotFoundError:
        raise DataError(f"{path} is missing; the set is not complete") from None
    except (ValueError, OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} is damaged: {error}") from error
    if values.size and values.shape[1] != width:
        raise DataError(f"{path} has {values.shape[1]} columns, not {width}")
    return values.reshape(-1, width)

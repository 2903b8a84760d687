"""What a graph store holds: molecules, tasks, parts of the split, features and rejects."""

import csv
from pathlib import Path

from graphadapt.data.prepare import REJECTED_FILE
from graphadapt.data.prepare_report import report_on
from graphadapt.data.source import Rejected
from graphadapt.data.store import GraphStore
from graphadapt.report.summary import Summary, counted_kinds

__all__ = ["inspect_store"]


def inspect_store(folder: Path) -> Summary:
    """Counts of a store, as ``prepare`` gave them, and what its molecules are like.

    Raises:
        DataError: if the folder is no store, or damaged.
    """
    store = GraphStore(folder)
    report = report_on(store, _rejected(folder), ())
    atoms, bonds = int(store.atom_offsets[-1]), int(store.bond_offsets[-1])
    facts = report.to_dict() | {
        "folder": str(folder),
        "atoms": atoms,
        "bonds": bonds,
        "metric": store.metric,
        "flags": list(store.flag_names),
        "bytes": sum(path.stat().st_size for path in folder.iterdir() if path.is_file()),
    }
    lines = [
        counted_kinds([task.kind for task in store.tasks]) if store.tasks else "no tasks",
        f"{atoms / max(1, len(store)):.1f} atoms and {bonds / max(1, len(store)):.1f} bonds a "
        f"molecule, {facts['bytes'] / 1e6:.3g} MB",
    ]
    if store.flag_names:
        lines.append(f"marked cells: {', '.join(store.flag_names)}")
    return Summary(
        "store", facts, ((str(folder), "\n".join(lines)), ("contents", report.to_text()))
    )


def _rejected(folder: Path) -> list[Rejected]:
    path = folder / REJECTED_FILE
    if not path.exists():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        return [
            Rejected(int(row["row"]), row["smiles"], row["reason"], row["task"], row["detail"])
            for row in csv.DictReader(file)
        ]

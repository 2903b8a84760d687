"""Molecules that training is timed on: a sample of real ones, and as many as are asked for.

Shapes: G molecules of the sample, P molecules wanted, T tasks.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from graphadapt.data.load import load_source
from graphadapt.data.prepare import prepare
from graphadapt.data.source import MoleculeSource
from graphadapt.data.split import (
    DEFAULT_FRACTIONS,
    TRAIN,
    UNUSED,
    molecule_split_to_cells,
    random_split,
)
from graphadapt.data.store import GraphStore, TaskInfo
from graphadapt.data.store_writer import StoreWriter

__all__ = ["molpcba_sizes", "nearest_in_size", "sample_store", "write_resampled"]

SETS = ("ogbg_moltox21", "ogbg_molmuv")
TASKS = 128
"""Of resampled molecules, as ogbg-molpcba has."""

LABELLED, POSITIVE = 0.5, 0.02
CHUNK = 20_000


def sample_store(data: Path | None, folder: Path, count: int, seed: int) -> GraphStore:
    """Prepare a sample of tox21 and muv, or of MoleculeACE where there is no data folder."""
    if data is None:
        source = load_source("moleculeace")
    else:
        source = joined([load_source(data / "ogb" / name) for name in SETS])
    rows = np.random.default_rng(seed).permutation(len(source))[:count]
    prepare(_with_training_labels(source.take(np.sort(rows))), folder, shown=False)
    return GraphStore(folder)


def joined(sources: Sequence[MoleculeSource]) -> MoleculeSource:
    """All molecules with all tasks; none has a label of another source's tasks."""
    shape = (sum(map(len, sources)), sum(len(source.tasks) for source in sources))
    labels_GT = np.full(shape, np.nan, np.float32)
    split_GT = np.full(shape, UNUSED, np.uint8)
    row = column = 0
    for source in sources:
        place = slice(row, row + len(source)), slice(column, column + len(source.tasks))
        labels_GT[place], split_GT[place] = source.labels, source.split
        row, column = place[0].stop, place[1].stop
    return MoleculeSource(
        name=" and ".join(source.name for source in sources),
        smiles=[text for source in sources for text in source.smiles],
        labels=labels_GT,
        tasks=tuple(task for source in sources for task in source.tasks),
        row_numbers=np.arange(1, shape[0] + 1),
        split=split_GT,
        curated=True,
    )


def _with_training_labels(source: MoleculeSource) -> MoleculeSource:
    """Without the tasks that have none, which a run would refuse."""
    trained_T = (source.split == TRAIN).any(axis=0)
    return source.choose_tasks([source.task_names[task] for task in np.flatnonzero(trained_T)])


def molpcba_sizes(data: Path | None) -> NDArray[np.int64] | None:
    """Atoms of each of ogbg-molpcba's 437,929 molecules; None where the list is not there."""
    if data is None:
        return None
    path = data / "ogb" / "ogbg_molpcba_sizes" / "num-node-list.csv.gz"
    return np.loadtxt(path, np.int64) if path.is_file() else None


def nearest_in_size(
    atoms_G: NDArray[np.integer], wanted_P: NDArray[np.integer], random: np.random.Generator
) -> NDArray[np.int64]:
    """For every wanted number of atoms, a random molecule of those that come nearest to it.

    Args:
        atoms_G: atoms of each molecule there is.
        wanted_P: atoms of each molecule wanted.
        random: draws among molecules of one size.

    Returns:
        ``(P,)`` rows in ``[0, G)``.
    """
    sizes, counts = np.unique(atoms_G, return_counts=True)
    above_P = np.searchsorted(sizes, wanted_P).clip(max=len(sizes) - 1)
    below_P = (above_P - 1).clip(min=0)
    is_below_P = np.abs(sizes[below_P] - wanted_P) < np.abs(sizes[above_P] - wanted_P)
    size_P = np.where(is_below_P, below_P, above_P)
    first_P = (np.cumsum(counts) - counts)[size_P]
    place_P = first_P + random.integers(0, counts[size_P])
    return np.argsort(atoms_G, kind="stable")[place_P].astype(np.int64)


def write_resampled(
    pool: GraphStore, folder: Path, count: int, wanted: NDArray[np.int64] | None, seed: int
) -> None:
    """Write a store of real molecules, repeated as often as it takes, with labels out of the air.

    Half of the cells of 128 binary tasks are labelled, one in fifty of them positive; 80 % of the
    molecules train.

    Args:
        pool: real molecules.
        folder: the store to make.
        count: P.
        wanted: sizes to follow, any number of them; None keeps the pool's.
        seed: of everything that is drawn.
    """
    random = np.random.default_rng(seed)
    atoms_G = np.diff(pool.atom_offsets)
    if wanted is None:
        rows_P = random.integers(0, len(pool), count)
    else:
        wanted_P = random.choice(wanted, count, replace=count > len(wanted))
        rows_P = nearest_in_size(atoms_G, wanted_P, random)
    codes_P = random_split(count, DEFAULT_FRACTIONS, seed)
    tasks = tuple(TaskInfo(f"task {number}", "binary") for number in range(TASKS))
    with StoreWriter(folder, tasks=tasks, source="resampled", split="random") as writer:
        for start in range(0, count, CHUNK):
            chunk = slice(start, min(start + CHUNK, count))
            _write_chunk(writer, pool, rows_P[chunk], codes_P[chunk], start, random)


def _write_chunk(
    writer: StoreWriter,
    pool: GraphStore,
    rows_P: NDArray[np.int64],
    codes_P: NDArray[np.uint8],
    start: int,
    random: np.random.Generator,
) -> None:
    chance_PT = random.random((len(rows_P), TASKS), np.float32)
    labels_PT = (chance_PT < LABELLED * POSITIVE).astype(np.float32)
    labels_PT[chance_PT >= LABELLED] = np.nan
    writer.extend(
        pool.columns.take(rows_P),
        smiles=[pool.smiles(row) for row in rows_P.tolist()],
        labels_GT=labels_PT,
        split_GT=molecule_split_to_cells(codes_P, ~np.isnan(labels_PT)),
        row_numbers=np.arange(start, start + len(rows_P)),
    )

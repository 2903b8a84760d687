"""Everything that the GPU benchmark needs, in one small file: the machine with the GPU may lack
RDKit, DGL, ogb and a network.

Shapes: G molecules of the pool, P molecules of the training set, T tasks.
"""

import io
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gpu.carried import CarriedBundle, bundles_from, columns_from, pack_bundle, pack_columns
from graphadapt.data.ragged import GraphColumns
from graphadapt.data.split import DEFAULT_FRACTIONS, molecule_split_to_cells, random_split
from graphadapt.data.store import TaskInfo
from graphadapt.data.store_writer import StoreWriter

__all__ = ["MOLPCBA", "Arrays", "write_arrays", "write_store"]

MOLPCBA = "ogbg-molpcba"

FACTORS = 16
"""Hidden properties that the tasks follow in turn, so that some of them are related."""

LABELLED, POSITIVE, WRONG = 0.5, 0.02, 0.01
CHUNK = 20_000


@dataclass(frozen=True)
class Arrays:
    """A pool of real molecules, which of them make the training set, and exported bundles."""

    columns: GraphColumns
    rows: NDArray[np.int64]
    """(P,) rows of the pool, in [0, G)."""

    source: str
    sizes: str
    """Set whose molecules' sizes the training set has."""

    bundles: tuple[CarriedBundle, ...] = ()

    @classmethod
    def read(cls, path: Path) -> "Arrays":
        with np.load(path) as held:
            arrays = {name: held[name] for name in held.files}
        rows = arrays["rows"].astype(np.int64)
        source, sizes = str(arrays["source"]), str(arrays["sizes"])
        return cls(columns_from(arrays), rows, source, sizes, bundles_from(arrays))


def write_arrays(
    path: Path,
    data: Path | None,
    molecules: int,
    pool: int,
    seed: int,
    bundles: Sequence[Path] = (),
) -> None:
    """Featurise a pool and draw a training set of ogbg-molpcba's sizes from it.

    Args:
        path: file to write.
        data: folder with ``ogb/``; None takes MoleculeACE and its own sizes.
        molecules: P, with those that validate and test.
        pool: G.
        seed: of what is drawn.
        bundles: folders of exported bundles to carry along.
    """
    from training_speed.molecules import molpcba_sizes, nearest_in_size, sample_store

    random = np.random.default_rng(seed)
    with tempfile.TemporaryDirectory() as folder:
        store = sample_store(data, Path(folder) / "store", pool, seed)
        columns = GraphColumns(*(np.array(column) for column in store.columns))
        source = store.source
    wanted = molpcba_sizes(data)
    if wanted is None:
        rows_P = random.integers(0, columns.molecules, molecules)
    else:
        wanted_P = random.choice(wanted, molecules, replace=molecules > len(wanted))
        rows_P = nearest_in_size(np.diff(columns.atom_offsets), wanted_P, random)
    written = {
        **pack_columns(columns),
        "rows": rows_P.astype(np.int32),
        "source": np.array(source),
        "sizes": np.array(source if wanted is None else MOLPCBA),
    }
    for number, bundle in enumerate(bundles):
        written |= pack_bundle(bundle, number)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **written)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(buffer.getvalue())


def write_store(
    arrays: Arrays, folder: Path, tasks: int, seed: int, count: int | None = None
) -> None:
    """Write the training set or its first molecules as a store, with labels out of the air.

    80 % of it trains. Half of the cells are labelled, about one in fifty of them positive, and
    tasks of one hidden factor agree.
    """
    random, rows_P = np.random.default_rng(seed), arrays.rows[:count]
    codes_P = random_split(len(rows_P), DEFAULT_FRACTIONS, seed)
    infos = tuple(TaskInfo(f"task {number}", "binary") for number in range(tasks))
    with StoreWriter(folder, tasks=infos, source="resampled", split="random") as writer:
        for start in range(0, len(rows_P), CHUNK):
            chunk = slice(start, min(start + CHUNK, len(rows_P)))
            labels_PT = drawn_labels(len(rows_P[chunk]), tasks, random)
            writer.extend(
                arrays.columns.take(rows_P[chunk]),
                smiles=[""] * len(labels_PT),
                labels_GT=labels_PT,
                split_GT=molecule_split_to_cells(codes_P[chunk], ~np.isnan(labels_PT)),
                row_numbers=np.arange(chunk.start, chunk.stop),
            )


def drawn_labels(count: int, tasks: int, random: np.random.Generator) -> NDArray[np.float32]:
    """Yes or no for half of the cells ``(count, tasks)``, NaN for the others."""
    factor_PF = random.random((count, FACTORS), np.float32) < POSITIVE
    answer_PT = factor_PF[:, np.arange(tasks) % FACTORS]
    answer_PT = answer_PT ^ (random.random((count, tasks), np.float32) < WRONG)
    labels_PT = answer_PT.astype(np.float32)
    labels_PT[random.random((count, tasks), np.float32) >= LABELLED] = np.nan
    return labels_PT

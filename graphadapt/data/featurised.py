"""A source's molecules as chunks of columns, ready to be appended to a store.

Shapes: G molecules of one chunk, T tasks, M molecule features. A molecule that cannot be featurised
is left out of its chunk and reported.
"""

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any, Final, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from graphadapt.data.ragged import GraphColumns
from graphadapt.data.source import UNPARSABLE, MoleculeSource, Rejected
from graphadapt.errors import DataError
from graphadapt.molecules.features import FeatureBlock
from graphadapt.molecules.featurise import MoleculeArrays
from graphadapt.molecules.outcome import Outcome
from graphadapt.molecules.parallel import featurise_many
from graphadapt.progress import Progress

__all__ = ["FeaturisedChunk", "featurised_chunks"]

_CHUNK: Final = 1024


class FeaturisedChunk(NamedTuple):
    """Some molecules of a source, in its order."""

    rows: NDArray[np.int64]
    """Their positions in the source, ``(G,)``."""

    graphs: GraphColumns
    features: dict[str, NDArray[Any]]
    """``(G, M)`` by kind."""

    rejected: list[Rejected]
    """Molecules of the same stretch that could not be featurised."""


def featurised_chunks(
    source: MoleculeSource,
    blocks: Sequence[FeatureBlock] = (),
    *,
    processes: int | None = None,
    shown: bool = True,
) -> Iterator[FeaturisedChunk]:
    """Featurise a source chunk by chunk; its ready-made graphs are taken as they are.

    Args:
        source: molecules.
        blocks: molecule-level features; ``columns`` blocks take the source's columns.
        processes: how many featurise; by default the featuriser's own choice.
        shown: whether progress goes to standard error.
    """
    ready = source.graphs is not None and not blocks
    with Progress(len(source), "featurising", shown=shown) as progress:
        outcomes = iter(()) if ready else _outcomes(source, blocks, processes)
        for start in range(0, len(source), _CHUNK):
            rows = np.arange(start, min(start + _CHUNK, len(source)))
            if ready:
                yield FeaturisedChunk(rows, _graphs(source, rows, ()), {}, [])
            else:
                yield _chunk(source, blocks, rows, list(islice(outcomes, len(rows))))
            progress.update(len(rows))


def _outcomes(
    source: MoleculeSource, blocks: Sequence[FeatureBlock], processes: int | None
) -> Iterator[Outcome]:
    columns = {
        name: cast("Sequence[float]", source.columns[name])
        for block in blocks
        for name in block.columns
    }
    return featurise_many(source.smiles, blocks, columns=columns, processes=processes)


def _chunk(
    source: MoleculeSource,
    blocks: Sequence[FeatureBlock],
    rows: NDArray[np.int64],
    outcomes: Sequence[Outcome],
) -> FeaturisedChunk:
    made = [outcome for outcome in outcomes if not isinstance(outcome, DataError)]
    kept = [not isinstance(outcome, DataError) for outcome in outcomes]
    features: dict[str, NDArray[Any]] = {
        block.kind: np.array([molecule.features[place] for molecule in made], block.dtype).reshape(
            len(made), block.width
        )
        for place, block in enumerate(blocks)
    }
    rejected = [
        Rejected(int(source.row_numbers[row]), source.smiles[row], UNPARSABLE, detail=str(outcome))
        for row, outcome in zip(rows.tolist(), outcomes, strict=True)
        if isinstance(outcome, DataError)
    ]
    rows = rows[kept]
    graphs = _graphs(source, rows, [molecule.arrays for molecule in made])
    return FeaturisedChunk(rows, graphs, features, rejected)


def _graphs(
    source: MoleculeSource, rows: NDArray[np.int64], arrays: Sequence[MoleculeArrays]
) -> GraphColumns:
    """The source's own graphs where it has them, else those of the SMILES."""
    if source.graphs is not None:
        return source.graphs.take(rows)
    return GraphColumns.from_molecules(arrays)

"""Featurise many molecules in order, over processes where that pays.

Axes: M features of a block. Only a few chunks are in flight at any time, so memory does not grow
with the number of molecules.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Final

from graphadapt.errors import ConfigError, DataError
from graphadapt.molecules.chunk import Chunk, featurise_chunk
from graphadapt.molecules.features import FeatureBlock
from graphadapt.molecules.outcome import Outcome, PackedOutcomes
from graphadapt.molecules.process_map import available_cores, process_map

__all__ = ["featurise_chunks", "featurise_many", "worthwhile_processes"]

_CHUNK: Final = 256
_FEWEST_FOR_PROCESSES: Final = 2000
"""Starting processes takes about as long as featurising this many molecules."""


def worthwhile_processes(molecules: int) -> int:
    """All cores for more than 2000 molecules, else one process."""
    return available_cores() if molecules > _FEWEST_FOR_PROCESSES else 1


def featurise_many(
    smiles: Sequence[str],
    blocks: Sequence[FeatureBlock] = (),
    *,
    columns: Mapping[str, Sequence[float]] | None = None,
    processes: int | None = None,
    progress: Callable[[int], object] | None = None,
) -> Iterator[Outcome]:
    """Yield one outcome per SMILES text, in order: a molecule, or the error that it raised.

    RDKit's own log is silent meanwhile. Worker processes are started afresh (``spawn``), so a
    script that calls this with several needs its ``if __name__ == "__main__":`` guard.

    Args:
        smiles: the molecules; read a chunk at a time.
        blocks: feature blocks to compute for each molecule.
        columns: the user's columns, each as long as ``smiles``.
        processes: how many; by default :func:`worthwhile_processes`. One works in the calling
            process.
        progress: called with the number of molecules each time some more are done.

    Raises:
        ConfigError: if ``processes`` is below 1 or a worker process dies.
        DataError: if a column is not as long as ``smiles``.

    Example:
        >>> [type(outcome).__name__ for outcome in featurise_many(["CCO", "C1CC"])]
        ['FeaturisedMolecule', 'DataError']
    """
    if processes is None:
        processes = worthwhile_processes(len(smiles))
    if processes < 1:
        raise ConfigError(f"processes={processes} cannot work; use 1 or more")
    for name, values in (columns or {}).items():
        if len(values) != len(smiles):
            raise DataError(
                f"feature column {name!r} has {len(values)} values for {len(smiles)} molecules"
            )
    chunks = Chunk(smiles, tuple(blocks), columns or {}).parts(_CHUNK)
    processes = max(1, min(processes, -(-len(smiles) // _CHUNK)))
    packed = process_map(featurise_chunk, chunks, processes)
    return _reported((each.unpack() for each in packed), progress)


def featurise_chunks(
    chunks: Iterable[Chunk], *, processes: int | None = None
) -> Iterator[PackedOutcomes]:
    """Featurise a stream of unknown length, chunk by chunk and in order.

    Args:
        chunks: taken as they are needed, a few ahead of the results.
        processes: how many; by default one, or all cores once the stream has more molecules than
            are worth it, for which so many are read ahead.

    Raises:
        ConfigError: if ``processes`` is below 1 or a worker process dies.
    """
    stream, ahead = iter(chunks), list[Chunk]()
    if processes is None:
        molecules = 0
        most = _FEWEST_FOR_PROCESSES if available_cores() > 1 else 0
        for chunk in stream:
            ahead.append(chunk)
            molecules += len(chunk.texts)
            if molecules > most:
                break
        processes = worthwhile_processes(molecules)
    return process_map(featurise_chunk, chain(ahead, stream), processes)


def _reported(
    chunks: Iterator[list[Outcome]], progress: Callable[[int], object] | None
) -> Iterator[Outcome]:
    for chunk in chunks:
        yield from chunk
        if progress is not None:
            progress(len(chunk))

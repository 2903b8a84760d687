"""Featurise many molecules in order, over processes where that pays.

Axes: N atoms and B bonds of all molecules of a chunk, M features of a block. Only a few chunks are
in flight at any time, so memory does not grow with the number of molecules.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from rdkit import rdBase

from graphadapt.errors import ConfigError, DataError
from graphadapt.molecules.features import FeatureBlock
from graphadapt.molecules.outcome import Outcome, PackedOutcomes, featurise_one
from graphadapt.molecules.process_map import available_cores, process_map

__all__ = ["featurise_many"]

_CHUNK: Final = 256
_FEWEST_FOR_PROCESSES: Final = 2000
"""Starting processes takes about as long as featurising this many molecules."""


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
        processes: how many; by default all cores for more than 2000 molecules, else one. One works
            in the calling process.
        progress: called with the number of molecules each time some more are done.

    Raises:
        ConfigError: if ``processes`` is below 1 or a worker process dies.
        DataError: if a column is not as long as ``smiles``.

    Example:
        >>> [type(outcome).__name__ for outcome in featurise_many(["CCO", "C1CC"])]
        ['FeaturisedMolecule', 'DataError']
    """
    if processes is None:
        processes = available_cores() if len(smiles) > _FEWEST_FOR_PROCESSES else 1
    if processes < 1:
        raise ConfigError(f"processes={processes} cannot work; use 1 or more")
    for name, values in (columns or {}).items():
        if len(values) != len(smiles):
            raise DataError(
                f"feature column {name!r} has {len(values)} values for {len(smiles)} molecules"
            )
    jobs = _jobs(smiles, tuple(blocks), columns or {})
    processes = min(processes, -(-len(smiles) // _CHUNK))
    if processes <= 1:
        return _reported(map(_featurise_chunk, jobs), progress)
    packed = process_map(_pack_chunk, jobs, processes)
    return _reported(map(PackedOutcomes.unpack, packed), progress)


class _Job(NamedTuple):
    smiles: Sequence[str]
    blocks: tuple[FeatureBlock, ...]
    columns: Mapping[str, Sequence[float]]


def _jobs(
    smiles: Sequence[str], blocks: tuple[FeatureBlock, ...], columns: Mapping[str, Sequence[float]]
) -> Iterator[_Job]:
    for start in range(0, len(smiles), _CHUNK):
        rows = slice(start, start + _CHUNK)
        yield _Job(smiles[rows], blocks, {name: values[rows] for name, values in columns.items()})


def _featurise_chunk(job: _Job) -> list[Outcome]:
    with rdBase.BlockLogs():
        return [_outcome(job, row) for row in range(len(job.smiles))]


def _outcome(job: _Job, row: int) -> Outcome:
    columns = {name: values[row] for name, values in job.columns.items()}
    try:
        return featurise_one(job.smiles[row], job.blocks, columns)
    except DataError as error:
        return DataError(str(error))


def _reported(
    chunks: Iterator[list[Outcome]], progress: Callable[[int], object] | None
) -> Iterator[Outcome]:
    for chunk in chunks:
        yield from chunk
        if progress is not None:
            progress(len(chunk))


def _pack_chunk(job: _Job) -> PackedOutcomes:
    return PackedOutcomes.of(_featurise_chunk(job), job.blocks)

"""A source's molecules as columns, in one file a chunk, ready to be appended to a store.

Shapes: G molecules of one chunk, P molecules of the source that could be read, M features.

The files are made in any order over processes, each under its name only when it is complete.
Whoever was interrupted makes those that are missing. Nothing here grows with the number of
molecules but the keys, 16 bytes a molecule each.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import blake2b
from itertools import compress
from pathlib import Path
from time import monotonic
from typing import Any, Final, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray
from rdkit import rdBase

from graphadapt.data.chunk_file import is_chunk_file, read_chunk, read_keys, write_chunk
from graphadapt.data.ragged import GraphColumns, offsets_of
from graphadapt.data.source import MoleculeSource
from graphadapt.molecules.arrays import MoleculeBatch
from graphadapt.molecules.chunk import KEY_BYTES, Chunk, MoleculeKey, featurise_chunk
from graphadapt.molecules.features import FeatureBlock
from graphadapt.molecules.parallel import worthwhile_processes
from graphadapt.molecules.process_map import process_map
from graphadapt.molecules.vocabulary import FEATURISATION_VERSION
from graphadapt.progress import Progress, note

__all__ = ["CHUNK", "FeaturisedChunk", "Featuriser", "Findings"]

CHUNK: Final = 1024
"""Molecules in a file: what an interruption loses of each process at most."""


class FeaturisedChunk(NamedTuple):
    """Some molecules of a source, in its order."""

    positions: NDArray[np.int64]
    """Where they stand in the source, from 0, ``(G,)``."""

    graphs: GraphColumns
    features: dict[str, NDArray[Any]]
    """``(G, M)`` by kind."""

    def only(self, keep_G: NDArray[np.bool_]) -> "FeaturisedChunk":
        """The marked molecules."""
        if keep_G.all():
            return self
        features = {kind: block[keep_G] for kind, block in self.features.items()}
        graphs = self.graphs.take(np.flatnonzero(keep_G))
        return FeaturisedChunk(self.positions[keep_G], graphs, features)


class Findings(NamedTuple):
    """What is known of every molecule when all are featurised."""

    positions: NDArray[np.int64]
    """Of those that could be read, in the source, ``(P,)``."""

    keys: dict[str, NDArray[np.uint8]]
    """``(P, 16)`` by name."""

    errors: dict[int, str]
    """Why a molecule could not be read, by its position."""


@dataclass(frozen=True, kw_only=True)
class Featuriser:
    """What is to be computed of which molecules; nothing where ready-made graphs are enough."""

    source: MoleculeSource
    blocks: tuple[FeatureBlock, ...] = ()
    """Molecule-level features; ``columns`` blocks take the source's columns."""

    keys: Mapping[str, MoleculeKey] = field(default_factory=dict)
    """What tells molecules apart, by name."""

    @property
    def settings(self) -> dict[str, str]:
        """Everything that the files depend on, by a word for the user."""
        smiles, columns = self.source.smiles, self._own_columns()
        texts = (json.dumps(smiles[start : start + CHUNK]) for start in self._starts)
        numbers = (json.dumps([name, *map(float, values)]) for name, values in columns.items())
        return {
            "molecules": _digest(texts),
            "features": json.dumps([block.to_dict() for block in self.blocks]),
            "feature columns": _digest(numbers),
            "split": ", ".join(self.keys),
            "versions": f"RDKit {rdBase.rdkitVersion}, featurisation {FEATURISATION_VERSION}, "
            f"{CHUNK} molecules a file",
        }

    def run(self, folder: Path, *, processes: int | None = None, shown: bool = True) -> Findings:
        """Make the files that are not there yet, and gather what all of them say.

        Args:
            folder: where they lie; it holds no files of other settings.
            processes: how many; by default all cores for more than 2000 molecules.
            shown: whether progress goes to standard error.
        """
        if self._nothing_to_do:
            return Findings(np.arange(len(self.source)), {}, {})
        paths = self._paths(folder)
        missing = [not is_chunk_file(path) for path in paths]
        jobs = compress(zip(paths, self._parts(), strict=True), missing)
        left = sum(compress(self._sizes, missing))
        if processes is None:
            processes = worthwhile_processes(left)
        processes = min(processes, max(1, sum(missing)))
        with _shown_work(len(self.source), left, shown=shown) as done:
            for count in process_map(_make_file, jobs, processes):
                done(count)
        return self._findings(paths)

    def chunks(self, folder: Path) -> Iterator[FeaturisedChunk]:
        """All molecules that could be read, in order, when all files are there."""
        ready = self.source.graphs
        for start, size, path in zip(self._starts, self._sizes, self._paths(folder), strict=True):
            if ready is not None and self._nothing_to_do:
                positions = np.arange(start, start + size)
                yield FeaturisedChunk(positions, ready.take(positions), {})
                continue
            outcomes = read_chunk(path)
            positions = _positions(start, size, outcomes.errors)
            graphs = _columns(outcomes.molecules) if ready is None else ready.take(positions)
            yield FeaturisedChunk(positions, graphs, self._by_kind(outcomes.features))

    @property
    def _nothing_to_do(self) -> bool:
        return self.source.graphs is not None and not self.blocks and not self.keys

    def _by_kind(self, features: Sequence[NDArray[Any]]) -> dict[str, NDArray[Any]]:
        return dict(zip((block.kind for block in self.blocks), features, strict=True))

    @property
    def _starts(self) -> range:
        return range(0, len(self.source), CHUNK)

    @property
    def _sizes(self) -> list[int]:
        return [min(CHUNK, len(self.source) - start) for start in self._starts]

    def _paths(self, folder: Path) -> list[Path]:
        return [folder / f"molecules-{start}.npz" for start in self._starts]

    def _parts(self) -> Iterator[Chunk]:
        whole = Chunk(
            self.source.smiles, self.blocks, self._own_columns(), tuple(self.keys.values())
        )
        return whole.parts(CHUNK) if self.source.smiles else iter(())

    def _own_columns(self) -> dict[str, Sequence[float]]:
        return {
            name: cast("Sequence[float]", self.source.columns[name])
            for block in self.blocks
            for name in block.columns
        }

    def _findings(self, paths: Sequence[Path]) -> Findings:
        positions: list[NDArray[np.int64]] = []
        errors: dict[int, str] = {}
        keys: list[list[NDArray[np.uint8]]] = [[] for _ in self.keys]
        for start, size, path in zip(self._starts, self._sizes, paths, strict=True):
            found, failed = read_keys(path)
            errors.update((start + place, text) for place, text in failed.items())
            positions.append(_positions(start, size, failed))
            for pieces, piece in zip(keys, found, strict=True):
                pieces.append(piece)
        return Findings(
            np.concatenate([np.zeros(0, np.int64), *positions]),
            dict(zip(self.keys, map(_stacked, keys), strict=True)),
            errors,
        )


def _make_file(job: tuple[Path, Chunk]) -> int:
    path, part = job
    write_chunk(path, featurise_chunk(part))
    return len(part.texts)


@contextmanager
def _shown_work(total: int, left: int, *, shown: bool) -> Iterator[Callable[[int], None]]:
    """Show what is there already, what is done since and its rate, and what is there if it stops.

    Args:
        total: molecules in all.
        left: molecules that are still to be featurised.
        shown: whether anything goes to standard error.
    """
    if left < total:
        note(f"{total - left:,} of {total:,} molecules are featurised already", shown=shown)
    begin = monotonic()
    with Progress(total, "featurising", shown=shown) as progress:
        progress.update(total - left)

        def done(count: int) -> None:
            new = progress.done - (total - left) + count
            progress.update(count, f"{new / (monotonic() - begin):,.0f} molecules/s")

        try:
            yield done
        finally:
            if progress.done < total:
                note(
                    f"stopped with {progress.done:,} of {total:,} molecules featurised; "
                    "the same command goes on from there",
                    shown=shown,
                )


def _columns(molecules: MoleculeBatch) -> GraphColumns:
    atoms, bonds, bond_features, *counts = molecules
    return GraphColumns(atoms, bonds, bond_features, *map(offsets_of, counts))


def _positions(start: int, count: int, errors: Mapping[int, str]) -> NDArray[np.int64]:
    """Where the molecules of a chunk stand in the source, those with an error left out."""
    return np.delete(np.arange(start, start + count), list(errors))


def _stacked(pieces: Sequence[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    return np.concatenate([np.zeros((0, KEY_BYTES), np.uint8), *pieces])


def _digest(documents: Iterable[str]) -> str:
    digest = blake2b(digest_size=16)
    for document in documents:
        digest.update(document.encode())
    return digest.hexdigest()

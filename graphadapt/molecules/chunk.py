"""A stretch of SMILES texts to packed arrays: what one process does at a time.

Axes: G molecules, M features of a block. A text that is no molecule fails alone.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from rdkit.Chem import Mol
from rdkit.rdBase import BlockLogs

from graphadapt.errors import DataError
from graphadapt.molecules.features import FeatureArray, FeatureBlock
from graphadapt.molecules.featurise import featurise_together
from graphadapt.molecules.outcome import FeaturisedMolecule, PackedOutcomes
from graphadapt.molecules.parse import Marks, parse_marked

__all__ = ["KEY_BYTES", "Chunk", "MoleculeKey", "featurise_chunk", "featurise_one"]

KEY_BYTES: Final = 16

MoleculeKey = Callable[[Mol], bytes]
"""From a molecule to 16 bytes that tell it apart, such as a digest of its canonical SMILES."""

_TOGETHER: Final = 32
"""Molecules held at a time: more share a fixed cost, and fewer stay in the processor's cache."""


class Chunk(NamedTuple):
    """Texts and what is asked of each."""

    texts: Sequence[str]
    blocks: tuple[FeatureBlock, ...]
    columns: Mapping[str, Sequence[float]]
    """The user's columns, each as long as ``texts``."""

    keys: tuple[MoleculeKey, ...] = ()
    """Asked of every molecule; from the top level of modules, because processes import them."""

    def parts(self, size: int) -> Iterator["Chunk"]:
        """The same in parts of at most ``size`` texts; an empty chunk is one part."""
        if len(self.texts) <= size:
            yield self
            return
        for start in range(0, len(self.texts), size):
            rows = slice(start, start + size)
            columns = {name: values[rows] for name, values in self.columns.items()}
            yield self._replace(texts=self.texts[rows], columns=columns)


class _Read(NamedTuple):
    mol: Mol
    marks: Marks
    features: tuple[FeatureArray, ...]
    keys: tuple[bytes, ...]


def featurise_one(
    text: str, blocks: Sequence[FeatureBlock] = (), columns: Mapping[str, float] | None = None
) -> FeaturisedMolecule:
    """Arrays and feature blocks of one SMILES text.

    Args:
        text: SMILES.
        blocks: feature blocks to compute.
        columns: this molecule's value of each of the user's columns.

    Raises:
        DataError: as :func:`~graphadapt.molecules.parse.parse_smiles` and
            :meth:`FeatureBlock.compute`, or if RDKit fails.

    Example:
        >>> featurise_one("CCO", [FeatureBlock(kind="counts")]).features[0].shape
        (2048,)
    """
    values = {name: [value] for name, value in (columns or {}).items()}
    (outcome,) = featurise_chunk(Chunk([text], tuple(blocks), values)).unpack()
    if isinstance(outcome, DataError):
        raise outcome
    return outcome


def featurise_chunk(chunk: Chunk) -> PackedOutcomes:
    """Outcomes of all texts; RDKit's own log is silent meanwhile."""
    with BlockLogs():
        return _joined(chunk, _TOGETHER)


def _joined(chunk: Chunk, size: int) -> PackedOutcomes:
    return PackedOutcomes.joined([_featurised(part) for part in chunk.parts(size)])


def _featurised(chunk: Chunk) -> PackedOutcomes:
    try:
        return _together(chunk)
    except RuntimeError as error:  # what RDKit's failed invariants become
        if len(chunk.texts) > 1:
            return _joined(chunk, 1)
        problem = f"RDKit fails on {chunk.texts[0]!r}: {' '.join(str(error).split())}"
        return _packed(chunk, [], {0: problem})


def _together(chunk: Chunk) -> PackedOutcomes:
    read, errors = [], {}
    for row in range(len(chunk.texts)):
        try:
            read.append(_read(chunk, row))
        except DataError as error:
            errors[row] = str(error)
    return _packed(chunk, read, errors)


def _read(chunk: Chunk, row: int) -> _Read:
    mol, marks = parse_marked(chunk.texts[row])
    columns = {name: values[row] for name, values in chunk.columns.items()}
    return _Read(
        mol,
        marks,
        tuple([block.compute(mol, columns) for block in chunk.blocks]),
        tuple([key(mol) for key in chunk.keys]),
    )


def _packed(chunk: Chunk, read: Sequence[_Read], errors: dict[int, str]) -> PackedOutcomes:
    return PackedOutcomes(
        featurise_together([each.mol for each in read], [each.marks for each in read]),
        tuple(_features(read, place, block) for place, block in enumerate(chunk.blocks)),
        tuple(_keys(read, place) for place in range(len(chunk.keys))),
        errors,
    )


def _features(
    read: Sequence[_Read], place: int, block: FeatureBlock
) -> NDArray[np.uint8] | NDArray[np.float32]:
    rows = [each.features[place] for each in read]
    return np.array(rows, block.dtype).reshape(len(read), block.width)


def _keys(read: Sequence[_Read], place: int) -> NDArray[np.uint8]:
    text = b"".join([each.keys[place] for each in read])
    return np.frombuffer(text, np.uint8).reshape(len(read), KEY_BYTES)

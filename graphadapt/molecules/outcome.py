"""What becomes of one SMILES text, and many such outcomes as few arrays.

Axes: N atoms and B bonds of all packed molecules, G molecules, M features of a block.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from graphadapt.errors import DataError
from graphadapt.molecules.features import FeatureArray, FeatureBlock
from graphadapt.molecules.featurise import Marks, MoleculeArrays, featurise, parse_smiles

__all__ = ["FeaturisedMolecule", "Outcome", "PackedOutcomes", "featurise_one"]


class FeaturisedMolecule(NamedTuple):
    """What a model reads of one molecule."""

    arrays: MoleculeArrays
    """Atoms and bonds."""

    features: tuple[FeatureArray, ...]
    """One ``(M,)`` array per block, in the order of the blocks."""


Outcome = FeaturisedMolecule | DataError
"""A molecule, or why there is none."""


def featurise_one(
    text: str, blocks: Sequence[FeatureBlock] = (), columns: Mapping[str, float] | None = None
) -> FeaturisedMolecule:
    """Arrays and feature blocks of one SMILES text.

    Args:
        text: SMILES.
        blocks: feature blocks to compute.
        columns: this molecule's value of each of the user's columns.

    Raises:
        DataError: as :func:`parse_smiles` and :meth:`FeatureBlock.compute`, or if RDKit fails.

    Example:
        >>> featurise_one("CCO", [FeatureBlock(kind="counts")]).features[0].shape
        (2048,)
    """
    try:
        mol = parse_smiles(text)
        arrays = featurise(mol, Marks.of_text(text))
        return FeaturisedMolecule(arrays, tuple(block.compute(mol, columns) for block in blocks))
    except RuntimeError as error:  # what RDKit's failed invariants become
        raise DataError(f"RDKit fails on {text!r}: {' '.join(str(error).split())}") from error


class PackedOutcomes(NamedTuple):
    """Outcomes as a few large arrays, which travel between processes at a fraction of the cost."""

    atoms: NDArray[np.uint8]
    """Of all molecules, ``(N, 9)``."""

    bonds: NDArray[np.int16]
    """Of all molecules, ``(B, 2)``, each counted within its own."""

    bond_features: NDArray[np.uint8]
    """Of all molecules, ``(B, 3)``."""

    atom_offsets: NDArray[np.int64]
    """First atom of each molecule, then N, ``(G + 1,)``."""

    bond_offsets: NDArray[np.int64]
    """First bond of each molecule, then B, ``(G + 1,)``."""

    features: tuple[NDArray[Any], ...]
    """One ``(G, M)`` array per block."""

    errors: dict[int, str]
    """Place among the outcomes and text of each error."""

    @classmethod
    def of(cls, outcomes: Sequence[Outcome], blocks: Sequence[FeatureBlock]) -> "PackedOutcomes":
        """Pack outcomes that were computed with ``blocks``."""
        molecules = [item for item in outcomes if isinstance(item, FeaturisedMolecule)]
        arrays = [molecule.arrays for molecule in molecules]
        return cls(
            np.concatenate([np.empty((0, 9), np.uint8), *(item.atoms for item in arrays)]),
            np.concatenate([np.empty((0, 2), np.int16), *(item.bonds for item in arrays)]),
            np.concatenate([np.empty((0, 3), np.uint8), *(item.bond_features for item in arrays)]),
            _offsets([len(item.atoms) for item in arrays]),
            _offsets([len(item.bonds) for item in arrays]),
            tuple(
                np.array([item.features[place] for item in molecules], dtype=block.dtype)
                for place, block in enumerate(blocks)
            ),
            {row: str(item) for row, item in enumerate(outcomes) if isinstance(item, DataError)},
        )

    def unpack(self) -> list[Outcome]:
        """The outcomes in their order; the arrays of molecules are views of the packed ones."""
        molecules = self._molecules()
        count = len(molecules) + len(self.errors)
        following = iter(molecules)
        return [
            DataError(self.errors[row]) if row in self.errors else next(following)
            for row in range(count)
        ]

    def _molecules(self) -> list[FeaturisedMolecule]:
        atom_spans = pairwise(self.atom_offsets.tolist())
        bond_spans = pairwise(self.bond_offsets.tolist())
        return [
            FeaturisedMolecule(
                MoleculeArrays(self.atoms[a:b], self.bonds[c:d], self.bond_features[c:d]),
                tuple(block[place] for block in self.features),
            )
            for place, ((a, b), (c, d)) in enumerate(zip(atom_spans, bond_spans, strict=True))
        ]


def _offsets(counts: list[int]) -> NDArray[np.int64]:
    return np.cumsum([0, *counts], dtype=np.int64)

"""What becomes of one SMILES text, and of many as a few large arrays.

Axes: N atoms and B bonds of one molecule, G molecules, M features of a block.
"""

from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from graphadapt.errors import DataError
from graphadapt.molecules.arrays import MoleculeArrays, MoleculeBatch
from graphadapt.molecules.features import FeatureArray

__all__ = ["FeaturisedMolecule", "Outcome", "PackedOutcomes", "feature_table"]


class FeaturisedMolecule(NamedTuple):
    """What a model reads of one molecule."""

    arrays: MoleculeArrays
    """Atoms and bonds."""

    features: tuple[FeatureArray, ...]
    """One ``(M,)`` array per block, in the order of the blocks."""


Outcome = FeaturisedMolecule | DataError
"""A molecule, or why there is none."""


def feature_table(molecules: Sequence[FeaturisedMolecule]) -> NDArray[np.float32] | None:
    """Features of molecules as a model reads them: all blocks side by side, ``(G, M)``.

    None where there are no molecules, or no blocks.
    """
    if not molecules or not molecules[0].features:
        return None
    blocks = zip(*(each.features for each in molecules), strict=True)
    return np.concatenate([np.array(block, np.float32) for block in blocks], axis=1)


class PackedOutcomes(NamedTuple):
    """Outcomes as a few large arrays, which are cheap to write and to send between processes."""

    molecules: MoleculeBatch
    """Atoms and bonds of those that are molecules, in order."""

    features: tuple[NDArray[Any], ...]
    """One ``(G, M)`` array per block."""

    keys: tuple[NDArray[np.uint8], ...]
    """One ``(G, 16)`` array per key."""

    errors: dict[int, str]
    """Place among the outcomes and text of each error."""

    def __len__(self) -> int:
        return len(self.molecules.atom_counts) + len(self.errors)

    @classmethod
    def joined(cls, parts: Sequence["PackedOutcomes"]) -> "PackedOutcomes":
        """Outcomes of at least one part, behind each other."""
        if len(parts) == 1:
            return parts[0]
        starts = accumulate(map(len, parts), initial=0)
        return cls(
            MoleculeBatch(*_concatenated([part.molecules for part in parts])),
            _concatenated([part.features for part in parts]),
            _concatenated([part.keys for part in parts]),
            {
                start + place: text
                for start, part in zip(starts, parts, strict=False)
                for place, text in part.errors.items()
            },
        )

    def unpack(self) -> list[Outcome]:
        """The outcomes in their order; the arrays of molecules are views of the packed ones."""
        following = self._molecules()
        return [
            DataError(self.errors[place]) if place in self.errors else next(following)
            for place in range(len(self))
        ]

    def _molecules(self) -> Iterator[FeaturisedMolecule]:
        atoms, bonds, bond_features, *counts = self.molecules
        atom = bond = 0
        for place, (atom_count, bond_count) in enumerate(
            zip(*(each.tolist() for each in counts), strict=True)
        ):
            span, bond_span = slice(atom, atom + atom_count), slice(bond, bond + bond_count)
            atom, bond = span.stop, bond_span.stop
            yield FeaturisedMolecule(
                MoleculeArrays(atoms[span], bonds[bond_span], bond_features[bond_span]),
                tuple([block[place] for block in self.features]),
            )


def _concatenated(parts: Sequence[tuple[NDArray[Any], ...]]) -> tuple[NDArray[Any], ...]:
    return tuple(np.concatenate(arrays) for arrays in zip(*parts, strict=True))

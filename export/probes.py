"""Molecules that an exported model is tried on: from one atom to two hundred. No torch.

Shapes: A atoms and B bonds of one molecule, M molecule features.
"""

from collections.abc import Mapping, Sequence
from itertools import product

import numpy as np
from numpy.typing import NDArray

from graphadapt.errors import BundleError
from graphadapt.molecules.arrays import MoleculeArrays
from graphadapt.molecules.features import FeatureBlock
from graphadapt.molecules.outcome import FeaturisedMolecule, Outcome, feature_table
from graphadapt.molecules.parallel import featurise_many

__all__ = ["PROBES", "Probes"]

_ENDS = ("C", "O", "N", "F", "Cl", "C(=O)O", "C#N", "C(F)(F)F", "S(=O)(=O)N", "OC", "[N+](=O)[O-]")
_MIDDLES = ("c1ccc({})cc1", "c1cnc({})s1", "C1CCN({})CC1", "C/C=C/{}", "[C@@H](N)C{}")

_UNUSUAL = (
    "[He]",
    "C",
    "[Na+].[Cl-]",
    "[2H]O[2H]",
    "FS(F)(F)(F)(F)F",
    "[Fe]",
    "O=[Os](=O)(=O)=O",
    "F/C=C/F",
    "F/C=C\\F",
    "C[C@H](O)[C@@H](C)O",
    "[O-][n+]1ccccc1",
    "B1OCCO1",
    "c1ccc2c(c1)ccc1c2ccc2ccccc21",
    "C1CC2CCC1C2",
    "C12C3C4C1C5C2C3C45",
    "CC(C)(C)c1cc(O)cc(C(C)(C)C)c1",
    "OC1C(O)C(O)C(O)C(O)C1O",
    "CCCCCCCCCCCCCCCC(=O)OCC(O)COP(=O)([O-])OCC[N+](C)(C)C",
    "NCC(=O)" + "NCC(=O)" * 20 + "O",
    "C" * 200,
    "C1" + "CO" * 60 + "C1",
    "C(C(C(C(C(F)(F)F)(F)F)(F)F)(F)F)" * 12,
)

PROBES: tuple[str, ...] = (
    *_UNUSUAL,
    *(
        end + middle.format(other)
        for middle, (end, other) in product(_MIDDLES, product(_ENDS[:2], _ENDS))
    ),
)
"""Single atoms, ions, rings, stereo, high degrees, chains and symmetric molecules."""


class Probes:
    """The probe molecules as arrays, with features where the model reads them.

    Args:
        blocks: feature blocks of the model.
        smiles: the molecules.
        columns: the user's own columns, as long as ``smiles``; filled by chance where not given.

    Raises:
        BundleError: if RDKit cannot read one of the molecules.
    """

    def __init__(
        self,
        blocks: Sequence[FeatureBlock] = (),
        smiles: Sequence[str] = PROBES,
        columns: Mapping[str, Sequence[float]] | None = None,
    ) -> None:
        random = np.random.default_rng(0)
        names = [name for block in blocks if block.kind == "columns" for name in block.columns]
        self.smiles = tuple(smiles)
        self.columns = columns or {
            name: random.normal(size=len(self.smiles)).tolist() for name in names
        }
        found = [
            _molecule(text, outcome)
            for text, outcome in zip(
                self.smiles,
                featurise_many(self.smiles, blocks, columns=self.columns, processes=1),
                strict=True,
            )
        ]
        self.molecules = [each.arrays for each in found]
        self.features = feature_table(found)

    def take(
        self, rows: NDArray[np.integer]
    ) -> tuple[list[MoleculeArrays], NDArray[np.float32] | None]:
        """Some of the molecules, and their features."""
        chosen = [self.molecules[row] for row in rows]
        return chosen, None if self.features is None else self.features[rows]

    def renumbered(self, random: np.random.Generator) -> list[MoleculeArrays]:
        """The same molecules with their atoms and bonds in another order."""
        return [_shuffled(molecule, random) for molecule in self.molecules]


def _molecule(text: str, outcome: Outcome) -> FeaturisedMolecule:
    if isinstance(outcome, FeaturisedMolecule):
        return outcome
    raise BundleError(f"the probe molecule {text} cannot be read here: {outcome}")


def _shuffled(molecule: MoleculeArrays, random: np.random.Generator) -> MoleculeArrays:
    place_A = random.permutation(len(molecule.atoms))
    order_B = random.permutation(len(molecule.bonds))
    bonds_B2 = place_A[molecule.bonds[order_B]].astype(molecule.bonds.dtype)
    return MoleculeArrays(
        molecule.atoms[np.argsort(place_A)], bonds_B2, molecule.bond_features[order_B]
    )

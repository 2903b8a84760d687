"""A fixed, named list of whole-molecule numbers that RDKit computes without 3D structure.

Axes: M descriptors. Only what runs inside RDKit's C++ is listed, about two ``smiles2graph`` in all,
and nothing that depends on stereo perception.
"""

from functools import lru_cache
from itertools import chain
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from rdkit.Chem import Mol, rdMolDescriptors

__all__ = ["DESCRIPTOR_NAMES", "DESCRIPTOR_VERSION", "descriptors"]

DESCRIPTOR_VERSION: Final = 1
"""Rises whenever a name is added, dropped or moved."""

_PROPERTIES: Final = (
    "exactmw",
    "amw",
    "lipinskiHBA",
    "lipinskiHBD",
    "NumRotatableBonds",
    "NumHBD",
    "NumHeavyAtoms",
    "NumAtoms",
    "NumHeteroatoms",
    "NumAmideBonds",
    "FractionCSP3",
    "NumRings",
    "NumAromaticRings",
    "NumAliphaticRings",
    "NumSaturatedRings",
    "NumHeterocycles",
    "NumAromaticHeterocycles",
    "NumSaturatedHeterocycles",
    "NumAliphaticHeterocycles",
    "NumSpiroAtoms",
    "NumBridgeheadAtoms",
    "labuteASA",
    "tpsa",
    "chi0v",
    "chi1v",
    "chi0n",
    "chi1n",
    "hallKierAlpha",
    "kappa1",
)

_SERIES: Final = (("MQN", 42), ("SlogP_VSA", 12), ("SMR_VSA", 10), ("PEOE_VSA", 14))

DESCRIPTOR_NAMES: Final[tuple[str, ...]] = (
    *_PROPERTIES,
    "CrippenClogP",
    "CrippenMR",
    *(f"{name}{number}" for name, count in _SERIES for number in range(1, count + 1)),
)
"""Names in column order, as RDKit gives them; a series is numbered from 1."""


def descriptors(mol: "Mol") -> NDArray[np.float32]:
    """Compute all of :data:`DESCRIPTOR_NAMES`, in units of RDKit's own (daltons, Å², counts).

    A value that is not finite (partial charges of elements without parameters) becomes 0.

    Args:
        mol: a sanitised molecule. RDKit notes partial charges on its atoms.

    Returns:
        Finite values, ``(M,)``.

    Example:
        >>> from rdkit.Chem import MolFromSmiles
        >>> values = dict(zip(DESCRIPTOR_NAMES, descriptors(MolFromSmiles("CCO")), strict=True))
        >>> float(values["NumHeavyAtoms"]), float(values["NumHBD"])
        (3.0, 1.0)
    """
    from rdkit.Chem import rdMolDescriptors

    values = np.fromiter(
        chain(
            _properties().ComputeProperties(mol),
            rdMolDescriptors.CalcCrippenDescriptors(mol),
            rdMolDescriptors.MQNs_(mol),
            rdMolDescriptors.SlogP_VSA_(mol),
            rdMolDescriptors.SMR_VSA_(mol),
            rdMolDescriptors.PEOE_VSA_(mol),
        ),
        dtype=np.float32,
        count=len(DESCRIPTOR_NAMES),
    )
    return np.nan_to_num(values, copy=False, nan=0.0, posinf=0.0, neginf=0.0)


@lru_cache(maxsize=1)
def _properties() -> "rdMolDescriptors.Properties":
    from rdkit.Chem import rdMolDescriptors

    return rdMolDescriptors.Properties(list(_PROPERTIES))

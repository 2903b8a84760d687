"""Which values every atom and bond feature can take, and the codes that stand for them.

Axes: B bonds, C bond codes (60). A feature is stored as the index of its value in the tuples below,
which are those of OGB 1.3.6 (``ogb.utils.features``), value for value; ``"misc"`` stands for every
value not listed.
"""

from collections.abc import Mapping
from itertools import accumulate
from types import MappingProxyType
from typing import Final

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "ATOM_FEATURES",
    "ATOM_FEATURE_OFFSETS",
    "ATOM_FEATURE_SIZES",
    "BOND_CODES",
    "BOND_FEATURES",
    "BOND_FEATURE_SIZES",
    "FEATURISATION_VERSION",
    "FeatureValues",
    "bond_code",
]

FeatureValues = tuple[int | str | bool, ...]
"""The values of one feature, in the order of their indices."""

FEATURISATION_VERSION: Final = 1
"""Rises whenever the same molecule would give other arrays; stores and bundles carry it."""

ATOM_FEATURES: Final[Mapping[str, FeatureValues]] = MappingProxyType(
    {
        "atomic_number": (*range(1, 119), "misc"),
        "chirality": (
            "CHI_UNSPECIFIED",
            "CHI_TETRAHEDRAL_CW",
            "CHI_TETRAHEDRAL_CCW",
            "CHI_OTHER",
            "misc",
        ),
        "total_degree": (*range(11), "misc"),
        "formal_charge": (*range(-5, 6), "misc"),
        "hydrogens": (*range(9), "misc"),
        "radical_electrons": (*range(5), "misc"),
        "hybridisation": ("SP", "SP2", "SP3", "SP3D", "SP3D2", "misc"),
        "aromatic": (False, True),
        "in_ring": (False, True),
    }
)
"""Atom features in column order; enumerated values carry RDKit's names."""

BOND_FEATURES: Final[Mapping[str, FeatureValues]] = MappingProxyType(
    {
        "bond_type": ("SINGLE", "DOUBLE", "TRIPLE", "AROMATIC", "misc"),
        "stereo": (
            "STEREONONE",
            "STEREOZ",
            "STEREOE",
            "STEREOCIS",
            "STEREOTRANS",
            "STEREOANY",
        ),
        "conjugated": (False, True),
    }
)
"""Bond features in column order; enumerated values carry RDKit's names."""

ATOM_FEATURE_SIZES: Final = tuple(len(values) for values in ATOM_FEATURES.values())
"""Number of values of each atom feature."""

ATOM_FEATURE_OFFSETS: Final = tuple(accumulate(ATOM_FEATURE_SIZES[:-1], initial=0))
"""First row of each atom feature in one table of all their values stacked."""

BOND_FEATURE_SIZES: Final = tuple(len(values) for values in BOND_FEATURES.values())
"""Number of values of each bond feature."""

BOND_CODES: Final = BOND_FEATURE_SIZES[0] * BOND_FEATURE_SIZES[1] * BOND_FEATURE_SIZES[2]
"""C, the number of different bonds."""


def bond_code(features_B3: NDArray[np.integer]) -> NDArray[np.uint8]:
    r"""Give each combination of bond features its own number.

    .. math:: c = 12 \cdot \mathrm{type} + 2 \cdot \mathrm{stereo} + \mathrm{conjugated}

    Args:
        features_B3: feature indices, ``(..., 3)``, each below its entry of
            :data:`BOND_FEATURE_SIZES`.

    Returns:
        Codes in ``[0, 60)``, ``(...)``.

    Example:
        >>> bond_code(np.array([[0, 0, 0], [1, 2, 0], [4, 5, 1]], dtype=np.uint8)).tolist()
        [0, 16, 59]
    """
    _, stereos, conjugations = BOND_FEATURE_SIZES
    weights = np.array([stereos * conjugations, conjugations, 1], dtype=np.uint8)
    return (features_B3.astype(np.uint8) * weights).sum(axis=-1, dtype=np.uint8)

"""Molecules that an exported model is tried on: from one atom to two hundred."""

from itertools import product

__all__ = ["PROBES"]

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

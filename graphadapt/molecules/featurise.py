"""Molecules to node and bond arrays: the one featuriser of training and serving.

Axes: N atoms, B bonds, G molecules. The arrays hold what ``ogb.utils.smiles2graph`` computes, each
bond once. Every property is read for all atoms at hand by one ``map`` over RDKit's own method,
because a step of Python for each atom would cost more than RDKit's parser does.
"""

from array import array
from collections.abc import Callable, Iterator, Sequence
from itertools import chain, repeat
from operator import sub
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from rdkit import Chem
from rdkit.Chem import Atom, Bond, Mol, rdqueries

from graphadapt.molecules.arrays import MoleculeArrays, MoleculeBatch
from graphadapt.molecules.parse import Marks, check_size, parse_marked
from graphadapt.molecules.vocabulary import ATOM_FEATURES, BOND_FEATURES, FeatureValues

__all__ = ["featurise", "featurise_smiles", "featurise_together"]


_ANY_MARK: Final = Marks()


def featurise_smiles(text: str) -> MoleculeArrays:
    """Arrays of the molecule that ``text`` spells.

    Raises:
        DataError: as :func:`~graphadapt.molecules.parse.parse_smiles`.

    Example:
        >>> featurise_smiles("C#N").bond_features.tolist()
        [[2, 0, 0]]
    """
    return featurise(*parse_marked(text))


def featurise(mol: Mol, marks: Marks = _ANY_MARK) -> MoleculeArrays:
    """Arrays of a sanitised molecule.

    A bond whose stereo the vocabulary cannot express (an atropisomer's) counts as one without;
    OGB raises there.

    Args:
        mol: from :func:`~graphadapt.molecules.parse.parse_smiles` or any other source.
        marks: what has to be read; by default everything.

    Raises:
        DataError: if the molecule has more atoms than int16 can number.
    """
    check_size(mol)
    batch = featurise_together([mol], [marks])
    return MoleculeArrays(batch.atoms, batch.bonds, batch.bond_features)


def featurise_together(mols: Sequence[Mol], marks: Sequence[Marks]) -> MoleculeBatch:
    """Arrays of several molecules, at a lower price than one at a time.

    Args:
        mols: sanitised molecules, none of more atoms than int16 can number.
        marks: what has to be read of each.
    """
    handles = list(map(_handles, mols))
    atoms_G, bonds_G = [atoms for atoms, _ in handles], [bonds for _, bonds in handles]
    return MoleculeBatch(
        _side_by_side(_atom_columns(atoms_G, marks)),
        _bond_ends(_joined(bonds_G)),
        _side_by_side(_bond_columns(bonds_G, marks)),
        _lengths(atoms_G),
        _lengths(bonds_G),
    )


_Atoms = Sequence[Atom]
_Bonds = Sequence[Bond]


def _handles(mol: Mol) -> tuple[_Atoms, _Bonds]:
    """All atoms and all bonds of a molecule; they are valid as long as it is.

    A stereo group is the one thing in RDKit that gives them away in one call, at a third of the
    cost of asking for each; the one made here is not added to the molecule.
    """
    atoms, bonds = range(mol.GetNumAtoms()), range(mol.GetNumBonds())
    if not _GROUPS_HOLD_BONDS:
        group = Chem.CreateStereoGroup(_ANY_GROUP, mol, atoms)
        return group.GetAtoms(), list(map(mol.GetBondWithIdx, bonds))
    group = Chem.CreateStereoGroup(_ANY_GROUP, mol, atoms, bonds)
    return group.GetAtoms(), group.GetBonds()


_ANY_GROUP: Final = Chem.StereoGroupType.STEREO_AND
_GROUPS_HOLD_BONDS: Final = "bondIds" in (Chem.CreateStereoGroup.__doc__ or "")
"""In RDKit 2025.03 they hold atoms only."""


def _integer_table(values: FeatureValues) -> bytes:
    """From a number modulo 256 to its feature index; what is not listed becomes the last."""
    table = bytearray([len(values) - 1]) * 256
    for index, value in enumerate(values[:-1]):
        table[int(value) % 256] = index
    return bytes(table)


def _enum_table(values: FeatureValues, kind: Any, otherwise: int) -> bytes:
    """From the number of an RDKit enum value to its feature index."""
    table = bytearray([otherwise]) * 256
    for index, name in enumerate(values):
        if name != "misc":
            table[int(getattr(kind, str(name)))] = index
    return bytes(table)


_ATOMIC_NUMBER: Final = _integer_table(ATOM_FEATURES["atomic_number"])
_CHIRALITY: Final = _enum_table(ATOM_FEATURES["chirality"], Chem.ChiralType, 4)
_DEGREE: Final = _integer_table(ATOM_FEATURES["total_degree"])
_CHARGE: Final = _integer_table(ATOM_FEATURES["formal_charge"])
_HYDROGENS: Final = _integer_table(ATOM_FEATURES["hydrogens"])
_RADICALS: Final = _integer_table(ATOM_FEATURES["radical_electrons"])
_HYBRIDISATION: Final = _enum_table(ATOM_FEATURES["hybridisation"], Chem.HybridizationType, 5)
_BOND_TYPE: Final = _enum_table(BOND_FEATURES["bond_type"], Chem.BondType, 4)
_BOND_STEREO: Final = _enum_table(BOND_FEATURES["stereo"], Chem.BondStereo, 0)

_BOND_SYMBOLS: Final = {"-": 0, "=": 1, "#": 2, ":": 3}

_UNKNOWN: Final = 255
"""Stands for a code that is still to be found."""

# An RDKit enum costs four times as much to receive as the answer to a query, and few atoms are
# chiral or of another hybridisation than these two.
_IS_CHIRAL: Final = rdqueries.HasChiralTagQueryAtom().Match
_IS_SP2: Final = rdqueries.HybridizationEqualsQueryAtom(Chem.HybridizationType.SP2).Match
_IS_SP3: Final = rdqueries.HybridizationEqualsQueryAtom(Chem.HybridizationType.SP3).Match
_IF_CHIRAL: Final = bytes([0, _UNKNOWN]).ljust(256)
_IF_SP2: Final = bytes([_UNKNOWN, ATOM_FEATURES["hybridisation"].index("SP2")]).ljust(256)
_IF_SP3: Final = bytes([_UNKNOWN, ATOM_FEATURES["hybridisation"].index("SP3")]).ljust(256)


def _atom_columns(atoms_G: Sequence[_Atoms], marks: Sequence[Marks]) -> tuple[bytes, ...]:
    atoms = _joined(atoms_G)
    totals, hydrogens = _totals_and_hydrogens(atoms)
    return (
        bytes(map(Atom.GetAtomicNum, atoms)).translate(_ATOMIC_NUMBER),
        _where(_chirality, atoms_G, [mark.chirality for mark in marks]),
        totals.translate(_DEGREE),
        array("b", map(Atom.GetFormalCharge, atoms)).tobytes().translate(_CHARGE),
        hydrogens.translate(_HYDROGENS),
        _where(_radicals, atoms_G, [mark.brackets for mark in marks]),
        _hybridisations(atoms),
        bytes(map(Atom.GetIsAromatic, atoms)),
        bytes(map(Atom.IsInRing, atoms)),
    )


def _bond_columns(bonds_G: Sequence[_Bonds], marks: Sequence[Marks]) -> tuple[bytes, ...]:
    bonds = _joined(bonds_G)
    return (
        _bond_types(bonds),
        _where(_bond_stereo, bonds_G, [mark.bond_stereo for mark in marks]),
        bytes(map(Bond.GetIsConjugated, bonds)),
    )


def _totals_and_hydrogens(atoms: _Atoms) -> tuple[bytes, bytes]:
    """Neighbours and hydrogens of each atom together, and hydrogens alone, at most 255."""
    try:
        totals = bytes(map(Atom.GetTotalDegree, atoms))
    except ValueError:  # one above 255, so rare that only then each is looked at
        methods = Atom.GetTotalDegree, Atom.GetTotalNumHs
        totals, hydrogens = (bytes(min(of(atom), 255) for atom in atoms) for of in methods)
        return totals, hydrogens
    # To ask RDKit for the hydrogens costs more than for the neighbours and to subtract.
    return totals, bytes(map(sub, totals, map(Atom.GetDegree, atoms)))


def _chirality(atoms: _Atoms) -> bytes:
    codes = bytearray(map(_IS_CHIRAL, atoms)).translate(_IF_CHIRAL)
    for place in _unknown(codes):
        codes[place] = _CHIRALITY[atoms[place].GetChiralTag()]
    return bytes(codes)


def _radicals(atoms: _Atoms) -> bytes:
    return bytes(map(Atom.GetNumRadicalElectrons, atoms)).translate(_RADICALS)


def _bond_stereo(bonds: _Bonds) -> bytes:
    return bytes(map(Bond.GetStereo, bonds)).translate(_BOND_STEREO)


def _hybridisations(atoms: _Atoms) -> bytes:
    codes = bytes(map(_IS_SP2, atoms)).translate(_IF_SP2)
    rest = [atom for atom, code in zip(atoms, codes, strict=True) if code == _UNKNOWN]
    rest_codes = bytearray(map(_IS_SP3, rest)).translate(_IF_SP3)
    for place in _unknown(rest_codes):
        rest_codes[place] = _HYBRIDISATION[rest[place].GetHybridization()]
    following = iter(rest_codes)
    return bytes([next(following) if code == _UNKNOWN else code for code in codes])


def _bond_types(bonds: _Bonds) -> bytes:
    # A text is cheaper to receive than an RDKit enum too, and these four spell all but a few.
    symbols = map(Bond.GetSmarts, bonds, repeat(True))
    codes = bytearray(map(_BOND_SYMBOLS.get, symbols, repeat(_UNKNOWN)))
    for place in _unknown(codes):
        codes[place] = _BOND_TYPE[bonds[place].GetBondType()]
    return bytes(codes)


def _unknown(codes: bytes | bytearray) -> Iterator[int]:
    place = codes.find(_UNKNOWN)
    while place >= 0:
        yield place
        place = codes.find(_UNKNOWN, place + 1)


def _bond_ends(bonds: _Bonds) -> NDArray[np.int16]:
    ends = array("h", map(Bond.GetBeginAtomIdx, bonds))
    ends.extend(map(Bond.GetEndAtomIdx, bonds))
    return np.frombuffer(ends, np.int16).reshape(2, len(bonds)).T.copy()


def _where(
    read: Callable[[Any], bytes], items_G: Sequence[Sequence[Any]], asked_G: Sequence[bool]
) -> bytes:
    """One byte an item: what ``read`` says of the molecules that were asked, else zero."""
    if not any(asked_G):
        return bytes(sum(map(len, items_G)))
    return b"".join(
        read(items) if asked else bytes(len(items))
        for items, asked in zip(items_G, asked_G, strict=True)
    )


def _joined(items_G: Sequence[Sequence[Any]]) -> list[Any]:
    return list(chain.from_iterable(items_G))


def _lengths(items_G: Sequence[Sequence[Any]]) -> NDArray[np.int64]:
    return np.fromiter(map(len, items_G), np.int64, len(items_G))


def _side_by_side(columns: tuple[bytes, ...]) -> NDArray[np.uint8]:
    shape = (len(columns), len(columns[0]))
    return np.frombuffer(b"".join(columns), dtype=np.uint8).reshape(shape).T.copy()

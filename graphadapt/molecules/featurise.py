"""SMILES to node and bond arrays: the one featuriser of training and serving.

Axes: N atoms, B bonds. The arrays hold what ``ogb.utils.smiles2graph`` computes, each bond once.
"""

import re
from array import array
from collections.abc import Callable
from itertools import repeat
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from rdkit import Chem
from rdkit.Chem import Atom, Bond, Mol

from graphadapt.errors import DataError
from graphadapt.molecules.vocabulary import ATOM_FEATURES, BOND_FEATURES, FeatureValues

__all__ = ["Marks", "MoleculeArrays", "featurise", "featurise_smiles", "parse_smiles"]


class MoleculeArrays(NamedTuple):
    """One molecule as three columns.

    OGB's directed edges follow as ``(i, j), (j, i)`` for each bond ``(i, j)`` in turn.
    """

    atoms: NDArray[np.uint8]
    """Feature indices of each atom, ``(N, 9)``, columns as in ``ATOM_FEATURES``."""

    bonds: NDArray[np.int16]
    """Begin and end atom of each bond in RDKit's order, ``(B, 2)``, in ``[0, N)``."""

    bond_features: NDArray[np.uint8]
    """Feature indices of each bond, ``(B, 3)``, columns as in ``BOND_FEATURES``."""


class Marks(NamedTuple):
    """Which rare things a molecule may hold; False promises their absence and saves reading them.

    In SMILES each of them shows in the text, and CXSMILES (text with a ``|``) may add any.
    """

    chirality: bool = True
    """A chiral atom: ``@``."""

    bond_stereo: bool = True
    """A bond with stereo: a slash either way."""

    brackets: bool = True
    """An atom in brackets, as one with unpaired electrons has to be."""

    @classmethod
    def of_text(cls, text: str) -> "Marks":
        """What the SMILES ``text`` leaves possible."""
        if "|" in text:
            return cls()
        return cls("@" in text, "/" in text or "\\" in text, "[" in text)


_ANY_MARK: Final = Marks()


def parse_smiles(text: str) -> Mol:
    """Read a molecule as ``Chem.MolFromSmiles`` does, but keep unusual valences.

    Steps that the text cannot need are left out: stereo perception without a stereo mark, the
    merging of hydrogens where none is written as an atom. Where RDKit refuses the molecule, it is
    read again without the check of properties (valences), so that no such row is lost; bond stereo
    that only a CXSMILES extension states is lost then.

    Raises:
        DataError: if the text is not SMILES, holds no atom or cannot be sanitised.

    Example:
        >>> parse_smiles("CCO").GetNumAtoms()
        3
    """
    if not isinstance(text, str) or not text.strip():
        raise DataError(f"{text!r} holds no molecule; give a SMILES text such as 'CCO'")
    try:
        mol = _parse(text, Marks.of_text(text))
    except UnicodeEncodeError as error:
        raise DataError(f"{text!r} is not SMILES; it holds characters outside Unicode") from error
    if not mol.GetNumAtoms():
        raise DataError(f"{text!r} holds no atom; give a SMILES text such as 'CCO'")
    return mol


def featurise_smiles(text: str) -> MoleculeArrays:
    """Arrays of the molecule that ``text`` spells.

    Raises:
        DataError: as :func:`parse_smiles` and :func:`featurise`.

    Example:
        >>> featurise_smiles("C#N").bond_features.tolist()
        [[2, 0, 0]]
    """
    return featurise(parse_smiles(text), Marks.of_text(text))


def featurise(mol: Mol, marks: Marks = _ANY_MARK) -> MoleculeArrays:
    """Arrays of a sanitised molecule.

    A bond whose stereo the vocabulary cannot express (an atropisomer's) counts as one without;
    OGB raises there.

    Args:
        mol: from :func:`parse_smiles` or any other source.
        marks: what has to be read; by default everything.

    Raises:
        DataError: if the molecule has more atoms than int16 can number.
    """
    count = mol.GetNumAtoms()
    if count > _MOST_ATOMS:
        raise DataError(f"a molecule of {count} atoms does not fit; the most is {_MOST_ATOMS}")
    atoms = list(map(mol.GetAtomWithIdx, range(count)))
    bonds = list(map(mol.GetBondWithIdx, range(mol.GetNumBonds())))
    return MoleculeArrays(
        _side_by_side(_atom_columns(atoms, marks)),
        _bond_ends(bonds, count),
        _side_by_side(_bond_columns(bonds, marks)),
    )


_MOST_ATOMS: Final = int(np.iinfo(np.int16).max)

# Hydrogens written as atoms, and atoms written by number, which may be hydrogens.
_written_hydrogen = re.compile(r"\[\d*[H#]").search


def _parse(text: str, marks: Marks) -> Mol:
    if "|" in text or (marks.brackets and _written_hydrogen(text)):
        mol = Chem.MolFromSmiles(text)
        return _parse_without_properties(text) if mol is None else mol
    mol = _parse_unsanitised(text)
    try:
        Chem.SanitizeMol(mol)
    except Chem.MolSanitizeException:
        return _parse_without_properties(text)
    if marks.chirality or marks.bond_stereo:
        Chem.AssignStereochemistry(mol, cleanIt=True)
    return mol


def _parse_without_properties(text: str) -> Mol:
    mol = _parse_unsanitised(text)
    mol = Chem.RemoveHs(mol, updateExplicitCount=True, sanitize=False)
    try:
        Chem.SanitizeMol(mol, Chem.SANITIZE_ALL ^ Chem.SANITIZE_PROPERTIES)
    except Chem.MolSanitizeException as error:
        raise DataError(
            f"{_shown(text)} is not a molecule RDKit can use: {error}; check its aromatic atoms"
        ) from error
    Chem.AssignStereochemistry(mol, cleanIt=True, force=True)
    return mol


def _parse_unsanitised(text: str) -> Mol:
    mol = Chem.MolFromSmiles(text, sanitize=False)
    if mol is None:
        raise DataError(
            f"{_shown(text)} is not SMILES; check its characters, brackets and ring closures"
        )
    return mol


def _shown(text: str, most: int = 100) -> str:
    return repr(text if len(text) <= most else text[:most] + "…")


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
_OTHER_SYMBOL: Final = 255


def _atom_columns(atoms: list[Atom], marks: Marks) -> tuple[bytes, ...]:
    absent = bytes(len(atoms))
    return (
        bytes(map(Atom.GetAtomicNum, atoms)).translate(_ATOMIC_NUMBER),
        bytes(map(Atom.GetChiralTag, atoms)).translate(_CHIRALITY) if marks.chirality else absent,
        _small(Atom.GetTotalDegree, atoms).translate(_DEGREE),
        array("b", map(Atom.GetFormalCharge, atoms)).tobytes().translate(_CHARGE),
        _small(Atom.GetTotalNumHs, atoms).translate(_HYDROGENS),
        bytes(map(Atom.GetNumRadicalElectrons, atoms)).translate(_RADICALS)
        if marks.brackets
        else absent,
        bytes(map(Atom.GetHybridization, atoms)).translate(_HYBRIDISATION),
        bytes(map(Atom.GetIsAromatic, atoms)),
        bytes(map(Atom.IsInRing, atoms)),
    )


def _bond_columns(bonds: list[Bond], marks: Marks) -> tuple[bytes, ...]:
    absent = bytes(len(bonds))
    return (
        _bond_types(bonds),
        bytes(map(Bond.GetStereo, bonds)).translate(_BOND_STEREO) if marks.bond_stereo else absent,
        bytes(map(Bond.GetIsConjugated, bonds)),
    )


def _bond_types(bonds: list[Bond]) -> bytes:
    # An RDKit enum costs twice as much to receive as a text, and these four spell all but a few.
    symbols = map(Bond.GetSmarts, bonds, repeat(True))
    types = bytes(map(_BOND_SYMBOLS.get, symbols, repeat(_OTHER_SYMBOL)))
    if _OTHER_SYMBOL in types:
        types = bytes(map(Bond.GetBondType, bonds)).translate(_BOND_TYPE)
    return types


def _small(method: Callable[[Any], int], atoms: list[Atom]) -> bytes:
    """One byte an atom, at most 255, where numbers above are rare enough to be tried last."""
    try:
        return bytes(map(method, atoms))
    except ValueError:
        return bytes(min(method(atom), 255) for atom in atoms)


def _bond_ends(bonds: list[Bond], atom_count: int) -> NDArray[np.int16]:
    begins = map(Bond.GetBeginAtomIdx, bonds)
    ends = map(Bond.GetEndAtomIdx, bonds)
    if atom_count <= 256:
        columns = np.frombuffer(bytes(begins) + bytes(ends), dtype=np.uint8)
    else:
        columns = np.array([*begins, *ends], dtype=np.int16)
    return columns.reshape(2, len(bonds)).T.astype(np.int16, order="C")


def _side_by_side(columns: tuple[bytes, ...]) -> NDArray[np.uint8]:
    shape = (len(columns), len(columns[0]))
    return np.frombuffer(b"".join(columns), dtype=np.uint8).reshape(shape).T.copy()

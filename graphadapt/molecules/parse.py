"""SMILES text to a molecule, as RDKit reads it, without the steps that the text cannot need."""

import re
from typing import Final, NamedTuple

from rdkit import Chem
from rdkit.Chem import Mol

from graphadapt.errors import DataError

__all__ = ["MOST_ATOMS", "Marks", "check_size", "parse_marked", "parse_smiles"]

MOST_ATOMS: Final = 2**15 - 1
"""What int16 can number."""


class Marks(NamedTuple):
    """Which rare things a molecule may hold; False promises their absence and saves reading them.

    In SMILES each of them shows in the text, and CXSMILES (text with a ``|``) may add any.
    """

    chirality: bool = True
    """A chiral atom: ``@``."""

    bond_stereo: bool = True
    """A bond with stereo: a slash either way."""

    brackets: bool = True
    """An atom in brackets, as a metal or one with unpaired electrons has to be."""

    @classmethod
    def of_text(cls, text: str) -> "Marks":
        """What the SMILES ``text`` leaves possible."""
        if "|" in text:
            return cls()
        return cls("@" in text, "/" in text or "\\" in text, "[" in text)


def parse_smiles(text: str) -> Mol:
    """Read a molecule as ``Chem.MolFromSmiles`` does, but keep unusual valences.

    Steps that the text cannot need are left out: stereo perception without a stereo mark, the
    merging of hydrogens where none is written as an atom, and what is done to metals where nothing
    stands in brackets. Where RDKit refuses the molecule, it is read again without the check of
    properties (valences), so that no such row is lost; bond stereo that only a CXSMILES extension
    states is lost then.

    Raises:
        DataError: if the text is not SMILES, holds no atom or too many, or cannot be sanitised.

    Example:
        >>> parse_smiles("CCO").GetNumAtoms()
        3
    """
    return parse_marked(text)[0]


def parse_marked(text: str) -> tuple[Mol, Marks]:
    """The molecule of :func:`parse_smiles`, and what it may hold."""
    if not isinstance(text, str) or not text.strip():
        raise DataError(f"{text!r} holds no molecule; give a SMILES text such as 'CCO'")
    marks = Marks.of_text(text)
    try:
        mol = _parse(text, marks)
    except UnicodeEncodeError as error:
        raise DataError(f"{text!r} is not SMILES; it holds characters outside Unicode") from error
    if not mol.GetNumAtoms():
        raise DataError(f"{text!r} holds no atom; give a SMILES text such as 'CCO'")
    check_size(mol)
    return mol, marks


def check_size(mol: Mol) -> None:
    """Refuse a molecule of more atoms than int16 can number."""
    count = mol.GetNumAtoms()
    if count > MOST_ATOMS:
        raise DataError(f"a molecule of {count} atoms does not fit; the most is {MOST_ATOMS}")


# Hydrogens written as atoms, and atoms written by number, which may be hydrogens.
_written_hydrogen = re.compile(r"\[\d*[H#]").search

_ALL: Final = Chem.SANITIZE_ALL
_WITHOUT_METALS: Final = Chem.SANITIZE_ALL ^ Chem.SANITIZE_CLEANUP_ORGANOMETALLICS
_WITHOUT_PROPERTIES: Final = Chem.SANITIZE_ALL ^ Chem.SANITIZE_PROPERTIES


def _parse(text: str, marks: Marks) -> Mol:
    if "|" in text or (marks.brackets and _written_hydrogen(text)):
        mol = Chem.MolFromSmiles(text)
        return _parse_without_properties(text) if mol is None else mol
    mol = _parse_unsanitised(text)
    try:
        Chem.SanitizeMol(mol, _ALL if marks.brackets else _WITHOUT_METALS)
    except Chem.MolSanitizeException:
        return _parse_without_properties(text)
    if marks.chirality or marks.bond_stereo:
        Chem.AssignStereochemistry(mol, cleanIt=True)
    return mol


def _parse_without_properties(text: str) -> Mol:
    mol = _parse_unsanitised(text)
    mol = Chem.RemoveHs(mol, updateExplicitCount=True, sanitize=False)
    try:
        Chem.SanitizeMol(mol, _WITHOUT_PROPERTIES)
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

"""What tells molecules apart: short digests of canonical SMILES and of scaffolds.

Shapes: G molecules. A digest takes 16 bytes where its text takes a hundred, and of two billion
different texts, two share one with a probability of about 1 in 10^20.
"""

from hashlib import blake2b
from typing import Final

import numpy as np
from numpy.typing import NDArray
from rdkit.Chem import Mol, MolToSmiles

from graphadapt.data.scaffold import murcko_scaffold
from graphadapt.molecules.chunk import KEY_BYTES

__all__ = ["canonical_key", "groups_of", "scaffold_key"]

_NONE: Final = bytes(KEY_BYTES)


def canonical_key(mol: Mol) -> bytes:
    """Digest of RDKit's canonical isomeric SMILES: the same for every spelling of a molecule."""
    return _digest(MolToSmiles(mol))


def scaffold_key(mol: Mol) -> bytes:
    """Digest of the Murcko scaffold; zeros where RDKit cannot cut the molecule."""
    scaffold = murcko_scaffold(mol)
    return _NONE if scaffold is None else _digest(scaffold)


def groups_of(keys_G: NDArray[np.uint8]) -> NDArray[np.int64]:
    """The same number for the same key, counted from 0; -1 for a key of zeros.

    Args:
        keys_G: digests, ``(G, 16)``.

    Example:
        >>> groups_of(np.repeat(np.array([7, 5, 0, 7], np.uint8)[:, None], 16, axis=1)).tolist()
        [2, 1, -1, 2]
    """
    words_G = np.ascontiguousarray(keys_G).view(f"S{KEY_BYTES}").ravel()
    _, group_G = np.unique(words_G, return_inverse=True)
    return np.where(keys_G.any(axis=1), group_G, -1)


def _digest(text: str) -> bytes:
    return blake2b(text.encode(), digest_size=KEY_BYTES).digest()

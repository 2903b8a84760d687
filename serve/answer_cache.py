"""Answers that were given lately, by the text that was asked and by the molecule it spells.

Shapes: W numbers of one answer.

Two keys lead to one answer. The given text is compared first, because that costs nothing. A text
that is new is read, and its molecule may still be known from another spelling. Two spellings count
as one molecule only if all that the model reads of them is the same up to the order of the atoms:
canonical SMILES alone would not do, as the arrays say how a chiral centre winds *in the order of
its neighbours in the text*, which another spelling may turn round. So a cached answer is what the
model would say, up to the rounding that any other order of the atoms, or company in a batch, brings
(the bundle's parity tolerance).
"""

import threading
from collections import OrderedDict
from collections.abc import Hashable, Sequence
from hashlib import blake2b
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray
from rdkit.Chem import Mol, MolToSmiles

from graphadapt.errors import ConfigError
from graphadapt.molecules.chunk import KEY_BYTES
from graphadapt.molecules.outcome import FeaturisedMolecule

__all__ = ["AnswerCache", "CacheCounts", "molecule_key", "structure_key"]

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")

Answer = NDArray[np.float32]
"""One molecule's, ``(W,)``; read-only."""


class CacheCounts(NamedTuple):
    """What became of the molecules that were asked for."""

    by_text: int
    """Answered without being read."""

    by_structure: int
    """Read, then answered without a run."""

    misses: int
    """Answered by a run."""


class AnswerCache:
    """The answers asked for last; safe for any number of threads.

    Args:
        size: most texts, and most molecules, that are remembered. A molecule takes about half a
            kilobyte and four bytes a task.

    Raises:
        ConfigError: if ``size`` is below 1.
    """

    def __init__(self, size: int) -> None:
        if size < 1:
            raise ConfigError(f"a cache of {size} answers cannot work; use 1 or more, or none")
        self.size = size
        self._structures: OrderedDict[Hashable, bytes] = OrderedDict()
        self._answers: OrderedDict[bytes, Answer] = OrderedDict()
        self._lock = threading.Lock()
        self._by_text = self._by_structure = self._misses = 0

    def __len__(self) -> int:
        return len(self._answers)

    @property
    def counts(self) -> CacheCounts:
        """Since the cache was made."""
        with self._lock:
            return CacheCounts(self._by_text, self._by_structure, self._misses)

    def by_text(self, texts: Sequence[Hashable]) -> list[Answer | None]:
        """The answer to each text that is known."""
        with self._lock:
            found = [self._known(self._recent(self._structures, text)) for text in texts]
            self._by_text += sum(answer is not None for answer in found)
        return found

    def by_structure(
        self, texts: Sequence[Hashable], structures: Sequence[bytes]
    ) -> list[Answer | None]:
        """The answer to each molecule that is known; its text is remembered from now on."""
        with self._lock:
            found = [self._known(structure) for structure in structures]
            for text, structure, answer in zip(texts, structures, found, strict=True):
                if answer is not None:
                    self._keep(self._structures, text, structure)
            hits = sum(answer is not None for answer in found)
            self._by_structure += hits
            self._misses += len(found) - hits
        return found

    def remember(
        self,
        texts: Sequence[Hashable],
        structures: Sequence[bytes],
        answers_GW: NDArray[np.float32],
    ) -> None:
        """Keep the answers to molecules; the least recently asked for make room."""
        kept = [row.copy() for row in answers_GW]  # a view would hold the whole table in memory
        for row in kept:
            row.setflags(write=False)
        with self._lock:
            for text, structure, answer in zip(texts, structures, kept, strict=True):
                self._keep(self._structures, text, structure)
                self._keep(self._answers, structure, answer)

    def _known(self, structure: bytes | None) -> Answer | None:
        return None if structure is None else self._recent(self._answers, structure)

    @staticmethod
    def _recent(table: "OrderedDict[Key, Value]", key: Key) -> Value | None:
        value = table.get(key)
        if value is not None:
            table.move_to_end(key)
        return value

    def _keep(self, table: "OrderedDict[Key, Value]", key: Key, value: Value) -> None:
        table[key] = value
        table.move_to_end(key)
        if len(table) > self.size:
            table.popitem(last=False)


def structure_key(mol: Mol) -> bytes:
    """Digest of canonical SMILES and of how its chiral centres wind in the given text's order.

    Example:
        >>> from rdkit.Chem import MolFromSmiles
        >>> ethanol, again, ether = map(MolFromSmiles, ("CCO", "OCC", "COC"))
        >>> structure_key(ethanol) == structure_key(again) != structure_key(ether)
        True
    """
    text = MolToSmiles(mol)
    if "@" in text:
        order = mol.GetPropsAsDict(includePrivate=True, includeComputed=True)
        winding = [
            int(mol.GetAtomWithIdx(atom).GetChiralTag()) for atom in order["_smilesAtomOutputOrder"]
        ]
        text += f" {winding}"
    return blake2b(text.encode(), digest_size=KEY_BYTES).digest()


def molecule_key(structure: bytes, molecule: FeaturisedMolecule) -> bytes:
    """Digest of a structure and of all the model reads of it, whatever the order of its atoms.

    Args:
        structure: from :func:`structure_key`.
        molecule: as it was featurised, with the feature blocks of the model.
    """
    digest = blake2b(structure, digest_size=KEY_BYTES)
    arrays = molecule.arrays
    for table in (arrays.atoms, arrays.bond_features):
        rows = np.ascontiguousarray(table).view(f"V{table.shape[1]}").reshape(-1)
        digest.update(b"".join(sorted(rows.tolist())))
        digest.update(b"|")
    for block in molecule.features:
        digest.update(np.ascontiguousarray(block).tobytes())
    return digest.digest()

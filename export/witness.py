"""What a bundle's probe molecules answer in float64, kept beside the model. No torch.

The witness is the frozen network itself, in PyTorch and float64, before it became a file: answers
kept from then need no torch to hold a file to, and they hold the whole way from a SMILES to the
answer, so that another RDKit which reads a molecule differently is noticed too. An evaluation of
the file in float64 would share every mistake of the export.

Shapes: P probe molecules, T columns of answers.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from graphadapt.errors import BundleError
from graphadapt.export.contract import PROBES_FILE
from graphadapt.export.probes import Probes

__all__ = ["ALONE", "Witness"]

ALONE = ""
"""The name of the one composition of a merged or padded bundle."""

_DIGITS = 10


@dataclass(frozen=True, slots=True)
class Witness:
    """Molecules and right answers."""

    smiles: tuple[str, ...]
    columns: Mapping[str, list[float]]
    """The user's own feature columns, where the model reads them."""

    answers: Mapping[str, NDArray[np.float64]]
    """(P, T) by composition."""

    @classmethod
    def of(cls, probes: Probes, answers: Mapping[str, NDArray[np.float64]]) -> "Witness":
        """What the probes were answered with."""
        columns = {name: list(map(float, column)) for name, column in probes.columns.items()}
        return cls(probes.smiles, columns, answers)

    def to_bytes(self) -> bytes:
        """The content of ``probes.json``."""
        answers = {
            name: [[float(f"{value:.{_DIGITS}g}") for value in row] for row in table.tolist()]
            for name, table in self.answers.items()
        }
        table = {"smiles": self.smiles, "columns": self.columns, "answers": answers}
        return json.dumps(table, ensure_ascii=False).encode()

    @classmethod
    def from_bytes(cls, content: bytes) -> "Witness":
        """Read what :meth:`to_bytes` wrote.

        Raises:
            BundleError: if it is something else.
        """
        try:
            table = json.loads(content)
            answers = {name: np.array(rows, np.float64) for name, rows in table["answers"].items()}
            witness = cls(tuple(table["smiles"]), table["columns"], answers)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise BundleError(f"{PROBES_FILE} cannot be read: {error!r}; export again") from error
        if not isinstance(witness.columns, dict) or not all(
            isinstance(text, str) for text in witness.smiles
        ):
            raise BundleError(f"{PROBES_FILE} holds no SMILES, or no table of columns")
        shapes = {each.shape[:1] for each in answers.values() if each.ndim == 2}
        if shapes != {(len(witness.smiles),)}:
            raise BundleError(f"{PROBES_FILE} has other numbers of answers than of molecules")
        return witness

"""Which rows of the atom and bond tables a run has trained, and which it never met.

A row that no molecule has used still holds the random numbers it began with. They would move the
answers for molecules that use it, so they are set to zero: such a value then counts as nothing.
"""

from collections.abc import Iterable, Mapping
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from graphadapt.backbone.encoders import AtomEncoder, BondEncoder
from graphadapt.data.ragged import ragged_positions
from graphadapt.data.store import GraphStore
from graphadapt.molecules.vocabulary import ATOM_FEATURES, BOND_FEATURES, FeatureValues
from graphadapt.pretraining.masking import MASKED_ATOM, MASKED_BOND

__all__ = ["TrainedRows"]

_CHUNK = 100_000


class TrainedRows:
    """Values of every feature that occurred in training.

    Args:
        parts: stores with the rows that were trained on.
        hides: whether parts were hidden, which trains the mask's values.
    """

    def __init__(
        self, parts: Iterable[tuple[GraphStore, NDArray[np.int64]]], *, hides: bool
    ) -> None:
        self.atoms = [np.zeros(len(values), np.bool_) for values in ATOM_FEATURES.values()]
        self.bonds = [np.zeros(len(values), np.bool_) for values in BOND_FEATURES.values()]
        for store, rows in parts:
            for start in range(0, len(rows), _CHUNK):
                self._see(store, rows[start : start + _CHUNK])
        self.in_data = {"atom": _copies(self.atoms), "bond": _copies(self.bonds)}
        if hides:
            for seen, masked in ((self.atoms, MASKED_ATOM), (self.bonds, MASKED_BOND)):
                for seen_V, value in zip(seen, masked, strict=True):
                    seen_V[value] = True

    def to_dict(self) -> dict[str, Any]:
        """Values by feature: never trained, whose rows are zero, and trained as the mask only."""
        return {
            "never_trained": {
                "atom": _listed(ATOM_FEATURES, [~seen for seen in self.atoms]),
                "bond": _listed(BOND_FEATURES, [~seen for seen in self.bonds]),
            },
            "trained_as_mask_only": {
                "atom": _listed(ATOM_FEATURES, _differences(self.atoms, self.in_data["atom"])),
                "bond": _listed(BOND_FEATURES, _differences(self.bonds, self.in_data["bond"])),
            },
        }

    @torch.no_grad()
    def zero_others(self, backbone: nn.Module) -> int:
        """Set the rows of all other values to zero in every table; returns how many those are."""
        zeroed = 0
        for module in backbone.modules():
            if isinstance(module, AtomEncoder | BondEncoder):
                seen = self.atoms if isinstance(module, AtomEncoder) else self.bonds
                for table, seen_V in zip(module.tables, seen, strict=True):
                    weight = cast("nn.Embedding", table).weight
                    weight[torch.from_numpy(~seen_V).to(weight.device)] = 0
                    zeroed += int((~seen_V).sum())
        return zeroed

    def _see(self, store: GraphStore, rows: NDArray[np.int64]) -> None:
        atoms, _ = ragged_positions(store.atom_offsets, rows)
        bonds, _ = ragged_positions(store.bond_offsets, rows)
        for found, seen in (
            (store.atoms[atoms], self.atoms),
            (store.bond_features[bonds], self.bonds),
        ):
            for column, seen_V in zip(found.T, seen, strict=True):
                seen_V[np.unique(column)] = True


def _copies(seen: list[NDArray[np.bool_]]) -> list[NDArray[np.bool_]]:
    return [seen_V.copy() for seen_V in seen]


def _differences(
    after: list[NDArray[np.bool_]], before: list[NDArray[np.bool_]]
) -> list[NDArray[np.bool_]]:
    return [a & ~b for a, b in zip(after, before, strict=True)]


def _listed(
    vocabulary: Mapping[str, FeatureValues], marked: list[NDArray[np.bool_]]
) -> dict[str, list[int | str | bool]]:
    """Marked values by feature; features without any are left out."""
    named = zip(vocabulary.items(), marked, strict=True)
    listed = {
        name: [value for value, mark in zip(values, marked_V.tolist(), strict=True) if mark]
        for (name, values), marked_V in named
    }
    return {name: values for name, values in listed.items() if values}

"""Names, types and axes of the arrays that a model may read and answer with. No torch.

Axes: atom kinds, environments, messages, slots, atoms (equal ones merged), rows of one padded
molecule, graphs, features, tasks. Every axis may have any length from 1 on, and every call other
lengths.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

__all__ = ["ANSWERS", "APPLICABILITY", "ARRAYS", "OUTPUTS", "ArrayInfo"]


@dataclass(frozen=True, slots=True)
class ArrayInfo:
    """One input or output of the model."""

    name: str
    dtype: str
    """NumPy's name of the type."""

    axes: tuple[str | int, ...]
    """Name of each axis of variable length, or its fixed length."""


ARRAYS: Final[Mapping[str, ArrayInfo]] = MappingProxyType(
    {
        info.name: info
        for info in (
            ArrayInfo("kind_features", "int64", ("kinds", 9)),
            ArrayInfo("kind_degree", "float32", ("kinds",)),
            ArrayInfo("environment_kind", "int64", ("environments",)),
            ArrayInfo("environment_source", "int64", ("environment_messages",)),
            ArrayInfo("environment_bond", "int64", ("environment_messages",)),
            ArrayInfo("environment_slots", "int64", ("environments", "slots")),
            ArrayInfo("atom_environment", "int64", ("atoms",)),
            ArrayInfo("atom_graph", "int64", ("atoms",)),
            ArrayInfo("atom_source", "int64", ("messages",)),
            ArrayInfo("atom_bond", "int64", ("messages",)),
            ArrayInfo("atom_slots", "int64", ("atoms", "slots")),
            ArrayInfo("graph_kinds", "float32", ("graphs", "kinds")),
            ArrayInfo("graph_atoms", "float32", ("graphs", "atoms")),
            ArrayInfo("features", "float32", ("graphs", "features")),
            ArrayInfo("padded_atoms", "uint8", ("graphs", "rows", 9)),
            ArrayInfo("padded_neighbours", "int32", ("graphs", "rows", "slots")),
            ArrayInfo("padded_bonds", "uint8", ("graphs", "rows", "slots")),
            ArrayInfo("padded_counts", "float32", ("graphs", "rows")),
            ArrayInfo("padded_degrees", "float32", ("graphs", "rows")),
        )
    }
)
"""Every array that a model may read, by name; ``export.collate`` says what each is, and
``export.padding`` those of the padded form."""

ANSWERS: Final = ArrayInfo("answers", "float32", ("graphs", "tasks"))
"""Probabilities in [0, 1] of binary tasks, values in the task's own units of regression tasks."""

APPLICABILITY: Final = ArrayInfo("applicability", "float32", ("graphs",))
"""How typical of the training data each molecule is, in [0, 1]."""

OUTPUTS: Final[Mapping[str, ArrayInfo]] = MappingProxyType(
    {info.name: info for info in (ANSWERS, APPLICABILITY)}
)
"""What a model may answer, by name; the first is always there."""

"""Two ways in which molecules lie in arrays, as a plain network sees them.

``MergedLayout`` is that of :func:`graphadapt.export.collate.collate`: rows of all molecules below
each other, one for atoms that cannot be told apart. ``PaddedLayout`` is that of
:func:`graphadapt.export.padding.pad`: one block of rows a molecule, all of one size. A network
gives one answer in both.

Shapes: K atom kinds, U sending rows, R receiving rows, P messages, S slots, C bond codes, D width,
G graphs, A rows of one padded molecule. Rows are ``(U, D)`` when merged, ``(G, A, D)`` when padded.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor
from torch.nn import functional

__all__ = [
    "Layout",
    "MergedLayout",
    "MergedWiring",
    "Needs",
    "PaddedLayout",
    "PaddedWiring",
    "Wiring",
    "rows_of",
]

Inputs = Mapping[str, Tensor]


@torch.library.custom_op("graphadapt::rows_of", mutates_args=())
def rows_of(x_GAD: Tensor, index_GAS: Tensor) -> Tensor:
    """For each slot the row of its own molecule that it names, ``(G, A, S, D)``.

    An operator of its own, because torch has none that ONNX's GatherND with a batch axis is.
    """
    graph_G11 = torch.arange(len(x_GAD), device=x_GAD.device).view(-1, 1, 1)
    return x_GAD[graph_G11, index_GAS]


@rows_of.register_fake
def _(x_GAD: Tensor, index_GAS: Tensor) -> Tensor:
    return x_GAD.new_empty((*index_GAS.shape, x_GAD.shape[-1]))


class Needs(NamedTuple):
    """What a network asks of a layout."""

    later_layers: bool
    """It has more than one layer."""

    degree: bool
    """Its layers scale by the number of bonds."""

    sums: bool
    """It sums what the first layer sees over each graph."""

    spread: bool
    """It hands every row something of its graph."""


class Wiring(Protocol):
    """How rows that send messages reach rows that receive them."""

    def own(self, x: Tensor) -> Tensor:
        """What the receiving rows hold themselves."""

    def message_sum(self, x: Tensor, bonds_CD: Tensor, scale: Tensor | None) -> Tensor:
        """``Σ c_u relu(x_u + b_uv)`` for every receiving row; without a scale, c is 1."""

    @property
    def degree(self) -> Tensor | None:
        """Bonds of each sending row, for layers that ask."""


class Layout(Protocol):
    """Arrays of one batch, and what networks do with rows and graphs."""

    @property
    def features(self) -> Tensor:
        """Nine features of every kind of atom, or of every row, ``(..., 9)``."""

    @property
    def atom_counts(self) -> Tensor:
        """Atoms of each graph, ``(G, 1)``."""

    def wiring(self, depth: int) -> Wiring:
        """Of one layer, counted from 0."""

    def to_atoms(self, x: Tensor) -> Tensor:
        """What the first layer gives, at the rows that the others work on."""

    def spread(self, node_GD: Tensor) -> Tensor:
        """What each row receives of its graph; broadcasts against the rows."""

    def pool_first(self, x: Tensor) -> Tensor:
        """Sum over each graph of what the first layer sees, ``(G, D)``."""

    def pool(self, x: Tensor) -> Tensor:
        """Sum over each graph of the rows after the first layer, ``(G, D)``."""


@dataclass(frozen=True, slots=True)
class MergedWiring:
    """Distinct messages, and a table of slots that take them."""

    source: Tensor
    """(P,) sending row of each message."""

    bond: Tensor
    """(P,) bond code of each message."""

    slots: Tensor
    """(R, S) messages of each receiving row."""

    receiver: Tensor | None = None
    """(R,) the sending row that each receiving row is; None where they are the same rows."""

    degree: Tensor | None = None

    def own(self, x: Tensor) -> Tensor:
        """What the receiving rows hold themselves, ``(R, D)``."""
        return x if self.receiver is None else x.index_select(0, self.receiver)

    def message_sum(self, x: Tensor, bonds_CD: Tensor, scale: Tensor | None) -> Tensor:
        """Each message once, then as many of them as a row has slots, ``(R, D)``."""
        bond_PD = bonds_CD.index_select(0, self.bond)
        sent_PD = (x.index_select(0, self.source) + bond_PD).relu()
        if scale is not None:
            sent_PD = sent_PD * scale.index_select(0, self.source)
        return functional.embedding(self.slots, sent_PD).sum(dim=1)


@dataclass(frozen=True, slots=True)
class PaddedWiring:
    """Neighbours of every row within its own molecule."""

    neighbours: Tensor
    """(G, A, S) int64."""

    bonds: Tensor
    """(G, A, S) int64 bond code of each slot, the silent one where it is empty."""

    degree: Tensor | None = None

    def own(self, x: Tensor) -> Tensor:
        """The rows as they are."""
        return x

    def message_sum(self, x: Tensor, bonds_CD: Tensor, scale: Tensor | None) -> Tensor:
        """Over all slots, ``(G, A, D)``."""
        sent = (rows_of(x, self.neighbours) + functional.embedding(self.bonds, bonds_CD)).relu()
        if scale is not None:
            sent = sent * rows_of(scale, self.neighbours)
        return sent.sum(dim=2)


class MergedLayout:
    """Rows of all molecules below each other."""

    def __init__(self, inputs: Inputs) -> None:
        self._inputs = inputs

    @staticmethod
    def reads(needs: Needs) -> tuple[str, ...]:
        """Names of the arrays for a network."""
        optional = {
            "atom_source": needs.later_layers,
            "atom_bond": needs.later_layers,
            "atom_slots": needs.later_layers,
            "kind_degree": needs.degree,
            "graph_kinds": needs.sums,
            "atom_graph": needs.spread,
        }
        always = (
            "kind_features",
            "environment_kind",
            "environment_source",
            "environment_bond",
            "environment_slots",
            "atom_environment",
            "graph_atoms",
        )
        return (*always, *(name for name, needed in optional.items() if needed))

    @property
    def features(self) -> Tensor:
        """(K, 9)."""
        return self._inputs["kind_features"]

    @property
    def atom_counts(self) -> Tensor:
        """Atoms of each graph, ``(G, 1)``."""
        return self._inputs["graph_atoms"].sum(dim=1, keepdim=True)

    def wiring(self, depth: int) -> MergedWiring:
        """From kinds to environments in the first layer, between rows in the others."""
        level = "atom" if depth else "environment"
        degree, receiver = self._inputs.get("kind_degree"), None
        if not depth:
            receiver = self._inputs["environment_kind"]
        elif degree is not None:
            kind_R = self._inputs["environment_kind"].index_select(
                0, self._inputs["atom_environment"]
            )
            degree = degree.index_select(0, kind_R)
        source, bond, slots = (
            self._inputs[f"{level}_{name}"] for name in ("source", "bond", "slots")
        )
        return MergedWiring(source, bond, slots, receiver, degree)

    def to_atoms(self, x: Tensor) -> Tensor:
        """From environments to rows."""
        return x.index_select(0, self._inputs["atom_environment"])

    def spread(self, node_GD: Tensor) -> Tensor:
        """``(R, D)``."""
        return node_GD.index_select(0, self._inputs["atom_graph"])

    def pool_first(self, x: Tensor) -> Tensor:
        """Over kinds."""
        return self._inputs["graph_kinds"] @ x

    def pool(self, x: Tensor) -> Tensor:
        """Over rows."""
        return self._inputs["graph_atoms"] @ x


class PaddedLayout:
    """One block of rows a molecule; padding rows count for nothing in any sum."""

    def __init__(self, inputs: Inputs) -> None:
        self._inputs = inputs
        degree = inputs.get("padded_degrees")
        self._wiring = PaddedWiring(
            inputs["padded_neighbours"].long(), inputs["padded_bonds"].long(), degree
        )

    @staticmethod
    def reads(needs: Needs) -> tuple[str, ...]:
        """Names of the arrays for a network."""
        names = ("padded_atoms", "padded_neighbours", "padded_bonds", "padded_counts")
        return (*names, "padded_degrees") if needs.degree else names

    @property
    def features(self) -> Tensor:
        """(G, A, 9)."""
        return self._inputs["padded_atoms"].long()

    @property
    def atom_counts(self) -> Tensor:
        """Atoms of each graph, ``(G, 1)``."""
        return self._inputs["padded_counts"].sum(dim=1, keepdim=True)

    def wiring(self, depth: int) -> PaddedWiring:
        """The same in every layer."""
        return self._wiring

    def to_atoms(self, x: Tensor) -> Tensor:
        """The rows as they are."""
        return x

    def spread(self, node_GD: Tensor) -> Tensor:
        """``(G, 1, D)``."""
        return node_GD.unsqueeze(1)

    def pool_first(self, x: Tensor) -> Tensor:
        """Over rows."""
        return self.pool(x)

    def pool(self, x: Tensor) -> Tensor:
        """Over rows."""
        return (self._inputs["padded_counts"].unsqueeze(1) @ x).squeeze(1)

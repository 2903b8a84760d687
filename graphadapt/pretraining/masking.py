"""Hide some atoms and bonds of a batch, so that a network can be asked for them.

Shapes: N nodes, G graphs, B bonds, E = 2B directed edges.

What is hidden takes one fixed code: every feature its vocabulary's ``misc`` value, and the first
value where there is none (no stereo, not conjugated, not aromatic, not in a ring). ``misc`` means
"something else" in the data, which is close to "unknown"; so no table needs a row of its own, and
pretrained tables are those of the plain network. Beside real data, ``misc`` rows are trained as
this mask.
"""

import functools
from dataclasses import dataclass, replace
from typing import Final

import torch
from torch import Tensor
from torch.nn import functional

from graphadapt.graphs.batch import GraphBatch
from graphadapt.molecules.vocabulary import (
    ATOM_FEATURES,
    BOND_FEATURE_SIZES,
    BOND_FEATURES,
    FeatureValues,
)
from graphadapt.pretraining.config import MaskingConfig

__all__ = ["MASKED_ATOM", "MASKED_BOND", "Hidden", "bond_features", "choose_hidden", "hide"]


def _masked(values: FeatureValues) -> int:
    return values.index("misc") if "misc" in values else 0


MASKED_ATOM: Final = tuple(_masked(values) for values in ATOM_FEATURES.values())
"""Feature indices of a hidden atom, in column order."""

MASKED_BOND: Final = tuple(_masked(values) for values in BOND_FEATURES.values())
"""Feature indices of a hidden bond, in column order."""


@dataclass(frozen=True, slots=True)
class Hidden:
    """What the network does not see."""

    atoms: Tensor
    """``(N,)`` bool."""

    bonds: Tensor
    """``(B,)`` bool; bond b is the directed edges 2b and 2b + 1."""


def choose_hidden(
    batch: GraphBatch, config: MaskingConfig, generator: torch.Generator | None = None
) -> Hidden:
    r"""Draw what to hide.

    A graph takes part with probability ``config.graphs``. Of its n atoms
    :math:`\min(n, 1 + \lfloor n \cdot \mathrm{atoms} \rfloor)` are hidden, every set of that size
    alike, with all bonds at them, which would give them away; and each other bond with
    probability ``config.bonds``. A padded batch's padding is never hidden.

    Args:
        batch: as its source made it.
        config: the shares.
        generator: of the random numbers, on the batch's device; torch's own by default.
    """
    chosen_G = _draw(batch.num_graphs, batch, generator) < config.graphs
    quota_G = (1 + (batch.nodes_per_graph * config.atoms).floor()).long() * chosen_G
    rank_N = _rank_in_graph(batch, _draw(batch.num_nodes, batch, generator))
    atoms_N = rank_N < _of_node(quota_G, batch)
    begin_B, end_B = batch.source[0::2], batch.target[0::2]
    alone_B = _draw(len(begin_B), batch, generator) < config.bonds
    alone_B &= _of_node(chosen_G, batch)[begin_B]
    return Hidden(atoms_N, atoms_N[begin_B] | atoms_N[end_B] | alone_B)


def hide(batch: GraphBatch, hidden: Hidden) -> GraphBatch:
    """The batch with hidden atoms, and hidden bonds in both directions, under the mask's codes."""
    mask_9 = _masked_atom(batch.atoms.device)
    code = _code(MASKED_BOND)
    edges_E = hidden.bonds.repeat_interleave(2)
    return replace(
        batch,
        atoms=torch.where(hidden.atoms.unsqueeze(1), mask_9, batch.atoms),
        bond_codes=batch.bond_codes.masked_fill(edges_E, code),
    )


def bond_features(codes: Tensor) -> Tensor:
    """Feature indices of bonds from their combined codes, ``(...)`` to ``(..., 3)``.

    Example:
        >>> bond_features(torch.tensor([0, 16, 59])).tolist()
        [[0, 0, 0], [1, 2, 0], [4, 5, 1]]
    """
    _, stereos, conjugations = BOND_FEATURE_SIZES
    rest, conjugated = codes // conjugations, codes % conjugations
    return torch.stack([rest // stereos, rest % stereos, conjugated], dim=-1)


def _code(features: tuple[int, ...]) -> int:
    _, stereos, conjugations = BOND_FEATURE_SIZES
    return (features[0] * stereos + features[1]) * conjugations + features[2]


def _draw(count: int, batch: GraphBatch, generator: torch.Generator | None) -> Tensor:
    return torch.rand(count, device=batch.atoms.device, generator=generator)


def _rank_in_graph(batch: GraphBatch, draw_N: Tensor) -> Tensor:
    """Place of every node among its graph's when they are ordered by their draw, from 0."""
    # Exact: a float32 draw added to a graph's number fits a float64.
    order_N = torch.argsort(batch.graph_of_node.double() + draw_N.double())
    places_N = torch.arange(batch.num_nodes, device=draw_N.device)
    first_G = batch.nodes_per_graph.cumsum(0) - batch.nodes_per_graph
    rank_N = torch.empty_like(places_N)
    rank_N[order_N] = places_N - _of_node(first_G, batch)
    return rank_N


def _of_node(value_G: Tensor, batch: GraphBatch) -> Tensor:
    """Every node's graph's value, ``(N,)``; zero for padding, whose graph is G."""
    return functional.pad(value_G, (0, 1))[batch.graph_of_node]


# Made once, as a copy from the host cannot be captured in a CUDA graph.
@functools.cache
@torch.inference_mode(False)
def _masked_atom(device: torch.device) -> Tensor:
    return torch.tensor(MASKED_ATOM, device=device)

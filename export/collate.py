"""Molecules to the named arrays that an exported network reads. No torch.

Shapes: A atoms of the batch, K atom kinds, V environments, R rows (atoms, equal ones merged), P
messages, S slots, G graphs, M molecule features.

The network works on fewer rows than there are atoms. Its first layer sees an atom and its
neighbours, so it runs once for each distinct *environment* in the batch. From the second layer on
it runs once for each class of atoms that no number of layers can tell apart within their graph,
such as the two ortho carbons of a phenyl ring. Nothing is approximated: ``graph_atoms`` says how
many atoms a row stands for.

Incoming messages are summed through a table of slots, one row an atom, padded with a message that
is always zero. No index is ever written to twice, so the result cannot depend on threads.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from graphadapt.errors import DataError
from graphadapt.export.joined_graphs import MAX_SLOTS, SILENT, JoinedGraphs, join_graphs
from graphadapt.export.merging import (
    Classes,
    distinct,
    distinct_columns,
    indistinguishable,
    surroundings,
    with_nobody,
)
from graphadapt.export.padding import PADDED, pad
from graphadapt.molecules.arrays import MoleculeArrays
from graphadapt.molecules.vocabulary import ATOM_FEATURE_SIZES

__all__ = ["Inputs", "collate", "inputs_for", "largest_degree"]

_PLACES = np.cumprod([1, *ATOM_FEATURE_SIZES[:-1]])
"""Weights that make one number of an atom's features, each the digit of its own place."""

Inputs = dict[str, NDArray[np.generic]]
"""Arrays by input name, as an ONNX Runtime session takes them."""


def collate(
    molecules: Sequence[MoleculeArrays],
    features_GM: NDArray[np.float32] | None = None,
    *,
    merge: bool = True,
) -> Inputs:
    """Arrange a batch for the exported network.

    ``kind_features`` (K, 9), ``kind_degree`` (K,); for the first layer ``environment_kind`` (V,),
    ``environment_source`` and ``environment_bond`` (P',), ``environment_slots`` (V, S); for the
    others ``atom_environment``, ``atom_graph`` (R,), ``atom_source`` and ``atom_bond`` (P,),
    ``atom_slots`` (R, S); ``graph_kinds`` (G, K), ``graph_atoms`` (G, R); ``features`` (G, M) where
    they are given.

    Args:
        molecules: at least one, each with at least one atom.
        features_GM: untransformed molecule-level features.
        merge: whether to look for equal atoms; either way the answers are the same.

    Raises:
        DataError: if an atom has more than ``MAX_SLOTS`` bonds, or there are no molecules.
    """
    graphs = join_graphs(molecules)
    kinds, environments, rows = _partitions(graphs) if merge else _unmerged(graphs)
    (first_K, kind_A), (first_V, environment_A), (first_R, _) = kinds, environments, rows
    inputs: Inputs = {
        "kind_features": graphs.atoms[first_K],
        "kind_degree": graphs.degree[first_K].astype(np.float32),
        "environment_kind": kind_A[first_V],
        "atom_environment": environment_A[first_R],
        "atom_graph": graphs.graph[first_R],
        "graph_kinds": _multiplicity(graphs.graph, kinds),
        "graph_atoms": _multiplicity(graphs.graph, rows),
        **_messages("environment", graphs, first_V, kind_A),
        **_messages("atom", graphs, first_R, rows[1]),
    }
    if features_GM is not None:
        inputs["features"] = np.ascontiguousarray(features_GM, np.float32)
    return inputs


def inputs_for(
    reads: Sequence[str],
    molecules: Sequence[MoleculeArrays],
    features_GM: NDArray[np.float32] | None = None,
    *,
    merge: bool = True,
) -> Inputs:
    """Only the arrays that a model reads; without graph arrays among them, no graph is arranged.

    Padded arrays are as large as the largest molecule.
    """
    if "features" in reads and features_GM is None:
        raise DataError("the model reads molecule-level features, and none were given")
    if list(reads) == ["features"]:
        return {"features": np.ascontiguousarray(features_GM, np.float32)}
    if PADDED[0] in reads:
        arrays = pad(molecules, features_GM)
    else:
        arrays = collate(molecules, features_GM, merge=merge)
    return {name: arrays[name] for name in reads}


def largest_degree(molecule: MoleculeArrays) -> int:
    """Most bonds at one atom of the molecule; 0 without bonds."""
    return int(np.bincount(molecule.bonds.reshape(-1).astype(np.int64)).max(initial=0))


def _partitions(graphs: JoinedGraphs) -> tuple[Classes, Classes, Classes]:
    """Kinds and environments over the whole batch, rows within each graph."""
    kinds = distinct(graphs.atoms @ _PLACES * (MAX_SLOTS + 1) + graphs.degree)
    around = surroundings(kinds[1], graphs.neighbour, graphs.code)
    environments = distinct_columns(np.concatenate([kinds[1][None], around]))
    colour_A = environments[1] * (graphs.graph[-1] + 1) + graphs.graph
    return kinds, environments, indistinguishable(colour_A, graphs.neighbour, graphs.code)


def _unmerged(graphs: JoinedGraphs) -> tuple[Classes, Classes, Classes]:
    everyone = np.arange(len(graphs.atoms))
    alone = everyone, everyone
    return alone, alone, alone


def _messages(
    level: str, graphs: JoinedGraphs, receiver_R: NDArray[np.int64], sender_A: NDArray[np.int64]
) -> Inputs:
    """Source and bond of each distinct message, and the slots that take them.

    An empty slot holds the silent message of sender 0.
    """
    source_SR = with_nobody(sender_A).take(graphs.neighbour[:, receiver_R])
    keys = source_SR * (SILENT + 1) + graphs.code[:, receiver_R]
    first_P, which = distinct(keys.reshape(-1))
    source_P, bond_P = np.divmod(keys.reshape(-1)[first_P], SILENT + 1)
    return {
        f"{level}_source": source_P,
        f"{level}_bond": bond_P,
        f"{level}_slots": np.ascontiguousarray(which.reshape(keys.shape).T),
    }


def _multiplicity(graph_A: NDArray[np.int64], classes: Classes) -> NDArray[np.float32]:
    """How many atoms of each graph are in each class, ``(G, U)``."""
    first_U, class_A = classes
    shape = int(graph_A[-1]) + 1, len(first_U)
    count = np.bincount(graph_A * shape[1] + class_A, minlength=shape[0] * shape[1])
    return count.astype(np.float32).reshape(shape)

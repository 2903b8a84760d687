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
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from graphadapt.errors import DataError
from graphadapt.export.merging import distinct_rows, indistinguishable, surroundings
from graphadapt.molecules.featurise import MoleculeArrays
from graphadapt.molecules.vocabulary import BOND_CODES, bond_code

__all__ = [
    "MAX_SLOTS",
    "MERGE_FROM",
    "SILENT",
    "Inputs",
    "collate",
    "inputs_for",
    "largest_degree",
]

MAX_SLOTS = 64
"""Most bonds of one atom; more is an error, never a truncation."""

MERGE_FROM = 96
"""Atoms in a batch from which on looking for equal ones pays."""

SILENT = BOND_CODES
"""Bond code of the message that is always zero."""

Inputs = dict[str, NDArray[np.generic]]
"""Arrays by input name, as an ONNX Runtime session takes them."""


class _Graphs(NamedTuple):
    """Several molecules as one graph."""

    atoms: NDArray[np.int64]
    """(A, 9)."""

    graph: NDArray[np.int64]
    """(A,) graph of each atom."""

    neighbour: NDArray[np.int64]
    """(A, S) atom at the other end, ``A`` in an empty slot."""

    code: NDArray[np.int64]
    """(A, S) bond code, ``SILENT`` in an empty slot."""


class _Classes(NamedTuple):
    """A partition of the atoms."""

    first: NDArray[np.int64]
    """(U,) one atom of each class."""

    of_atom: NDArray[np.int64]
    """(A,)."""


def collate(
    molecules: Sequence[MoleculeArrays],
    features_GM: NDArray[np.float32] | None = None,
    *,
    merge: bool | None = None,
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
        merge: whether to look for equal atoms; default is from ``MERGE_FROM`` atoms on.

    Raises:
        DataError: if an atom has more than ``MAX_SLOTS`` bonds, or there are no molecules.
    """
    graphs = _join(molecules)
    if merge is None:
        merge = len(graphs.atoms) >= MERGE_FROM
    kinds, environments, rows = _partitions(graphs) if merge else _unmerged(graphs)
    inputs: Inputs = {
        "kind_features": graphs.atoms[kinds.first],
        "kind_degree": _degree(graphs)[kinds.first].astype(np.float32),
        "environment_kind": kinds.of_atom[environments.first],
        "atom_environment": environments.of_atom[rows.first],
        "atom_graph": graphs.graph[rows.first],
        "graph_kinds": _multiplicity(graphs.graph, kinds),
        "graph_atoms": _multiplicity(graphs.graph, rows),
    }
    for level, receivers, senders in (
        ("environment", environments, kinds),
        ("atom", rows, rows),
    ):
        source_P, bond_P, slots = _messages(graphs, receivers.first, senders.of_atom, merge)
        inputs[f"{level}_source"] = source_P
        inputs[f"{level}_bond"] = bond_P
        inputs[f"{level}_slots"] = slots
    if features_GM is not None:
        inputs["features"] = np.ascontiguousarray(features_GM, np.float32)
    return inputs


def inputs_for(
    reads: Sequence[str],
    molecules: Sequence[MoleculeArrays],
    features_GM: NDArray[np.float32] | None = None,
) -> Inputs:
    """Only the arrays that a model reads; without graph arrays among them, no graph is arranged."""
    if "features" in reads and features_GM is None:
        raise DataError("the model reads molecule-level features, and none were given")
    if list(reads) == ["features"]:
        return {"features": np.ascontiguousarray(features_GM, np.float32)}
    arrays = collate(molecules, features_GM)
    return {name: arrays[name] for name in reads}


def largest_degree(molecule: MoleculeArrays) -> int:
    """Most bonds at one atom of the molecule; 0 without bonds."""
    return int(np.bincount(molecule.bonds.reshape(-1).astype(np.int64)).max(initial=0))


def _join(molecules: Sequence[MoleculeArrays]) -> _Graphs:
    if not molecules:
        raise DataError("a batch of no molecules cannot be arranged; give at least one")
    sizes_G = np.array([len(each.atoms) for each in molecules])
    bonds_G = np.array([len(each.bonds) for each in molecules])
    atoms = np.concatenate([each.atoms for each in molecules]).astype(np.int64)
    first_atom_B = np.repeat(np.cumsum(sizes_G) - sizes_G, bonds_G)
    ends = np.concatenate([each.bonds for each in molecules]) + first_atom_B[:, None]
    code_B = bond_code(np.concatenate([each.bond_features for each in molecules]))
    neighbour, code = _slots(ends, code_B.astype(np.int64), len(atoms))
    return _Graphs(atoms, np.repeat(np.arange(len(molecules)), sizes_G), neighbour, code)


def _slots(
    ends_B2: NDArray[np.int64], code_B: NDArray[np.int64], atom_count: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Tables of neighbours and bond codes, one row an atom, as wide as the largest degree."""
    target_E = ends_B2.reshape(-1)
    degree_A = np.bincount(target_E, minlength=atom_count)
    width = max(1, int(degree_A.max()))
    if width > MAX_SLOTS:
        raise DataError(
            f"an atom of the batch has {width} bonds; the exported network takes {MAX_SLOTS}"
        )
    order_E = np.argsort(target_E, kind="stable")
    row_E = target_E[order_E]
    slot_E = np.arange(len(row_E)) - (np.cumsum(degree_A) - degree_A)[row_E]
    neighbour = np.full((atom_count, width), atom_count)
    code = np.full((atom_count, width), SILENT)
    neighbour[row_E, slot_E] = ends_B2[:, ::-1].reshape(-1)[order_E]
    code[row_E, slot_E] = code_B[order_E // 2]
    return neighbour, code


def _degree(graphs: _Graphs) -> NDArray[np.int64]:
    return (graphs.code != SILENT).sum(axis=1)


def _partitions(graphs: _Graphs) -> tuple[_Classes, _Classes, _Classes]:
    """Kinds and environments over the whole batch, rows within each graph."""
    looks = np.concatenate([graphs.atoms, _degree(graphs)[:, None]], axis=1)
    kinds = _Classes(*distinct_rows(looks))
    around = surroundings(kinds.of_atom, graphs.neighbour, graphs.code)
    environments = _Classes(
        *distinct_rows(np.concatenate([kinds.of_atom[:, None], around], axis=1))
    )
    colour_A = environments.of_atom * (graphs.graph[-1] + 1) + graphs.graph
    rows = _Classes(*indistinguishable(colour_A, graphs.neighbour, graphs.code))
    return kinds, environments, rows


def _unmerged(graphs: _Graphs) -> tuple[_Classes, _Classes, _Classes]:
    everyone = np.arange(len(graphs.atoms))
    alone = _Classes(everyone, everyone)
    return alone, alone, alone


def _messages(
    graphs: _Graphs, receiver_R: NDArray[np.int64], sender_A: NDArray[np.int64], merge: bool
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Source and bond of each message, the silent one last, and the slots that take them."""
    code_RS = graphs.code[receiver_R]
    heard = code_RS != SILENT
    source_E = sender_A[graphs.neighbour[receiver_R][heard]]
    bond_E = code_RS[heard]
    which_E = np.arange(len(bond_E))
    if merge:
        key_P, which_E = np.unique(source_E * BOND_CODES + bond_E, return_inverse=True)
        source_E, bond_E = np.divmod(key_P, BOND_CODES)
    slots_RS = np.full(code_RS.shape, len(bond_E))
    slots_RS[heard] = which_E
    return np.append(source_E, 0), np.append(bond_E, SILENT), slots_RS


def _multiplicity(graph_A: NDArray[np.int64], classes: _Classes) -> NDArray[np.float32]:
    """How many atoms of each graph are in each class, ``(G, U)``."""
    shape = int(graph_A[-1]) + 1, len(classes.first)
    cell_A = graph_A * shape[1] + classes.of_atom
    return np.bincount(cell_A, minlength=shape[0] * shape[1]).astype(np.float32).reshape(shape)

"""Sorted edges against a sort of every molecule by itself."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graphadapt.data.ragged import GraphColumns
from graphadapt.graphs import edge_order as module
from graphadapt.graphs.edge_order import edges_by_target
from graphadapt.molecules.arrays import MoleculeArrays


def molecule(nodes, bonds):
    pairs = np.array(bonds, np.int16).reshape(-1, 2)
    return MoleculeArrays(
        np.zeros((nodes, 9), np.uint8), pairs, np.zeros((len(pairs), 3), np.uint8)
    )


@st.composite
def molecules(draw):
    nodes = draw(st.integers(1, 6))
    end = st.integers(0, nodes - 1)
    return molecule(nodes, draw(st.lists(st.tuples(end, end), max_size=8)))


def sorted_alone(each):
    targets = [target for bond in each.bonds.tolist() for target in bond[::-1]]
    return sorted(range(len(targets)), key=lambda edge: targets[edge])


@settings(max_examples=60, deadline=None)
@given(st.lists(molecules(), max_size=7), st.integers(1, 8))
def test_edges_are_sorted_as_in_every_molecule_alone(library, chunk):
    expected = [edge for each in library for edge in sorted_alone(each)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_CHUNK", chunk)
        order = edges_by_target(GraphColumns.from_molecules(library))
    assert order.dtype == np.int16
    assert order.ravel().tolist() == expected


def test_molecules_of_very_many_bonds_get_wider_numbers():
    ring = molecule(300, [(i, (i + 1) % 300) for i in range(300)] * 60)
    order = edges_by_target(GraphColumns.from_molecules([ring]))
    assert order.dtype == np.int32
    assert order.ravel().tolist() == sorted_alone(ring)

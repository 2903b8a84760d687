"""The named arrays, against slow sums over the molecules themselves."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graphadapt.errors import DataError
from graphadapt.export.arrays import ARRAYS
from graphadapt.export.collate import (
    collate,
    inputs_for,
    largest_degree,
)
from graphadapt.export.joined_graphs import MAX_SLOTS, SILENT
from graphadapt.export.probes import PROBES
from graphadapt.molecules.arrays import MoleculeArrays
from graphadapt.molecules.featurise import featurise_smiles
from graphadapt.molecules.vocabulary import bond_code


def walk_counts(molecules):
    """What three layers of exact integer message passing give, atom by atom, in plain loops."""
    sums = []
    for each in molecules:
        state = [1 + sum((place + 1) * int(f) for place, f in enumerate(row)) for row in each.atoms]
        codes = bond_code(each.bond_features).tolist()
        for _ in range(3):
            heard = [0] * len(state)
            for (i, j), code in zip(each.bonds.tolist(), codes, strict=True):
                heard[j] += state[i] * (code + 2) % 1009
                heard[i] += state[j] * (code + 2) % 1009
            state = [(7 * own + other) % 1009 for own, other in zip(state, heard, strict=True)]
        sums.append(sum(state))
    return np.array(sums)


def walk_counts_over_arrays(arrays):
    """The same from the named arrays."""

    def layer(own, sent, source, bond, slots):
        messages = sent[source] * (bond + 2) % 1009 * (bond != SILENT)
        return (7 * own + messages[slots].sum(axis=1)) % 1009

    kinds = 1 + arrays["kind_features"] @ np.arange(1, 10)
    state = layer(
        kinds[arrays["environment_kind"]],
        kinds,
        *(arrays[f"environment_{part}"] for part in ("source", "bond", "slots")),
    )[arrays["atom_environment"]]
    for _ in range(2):
        state = layer(
            state, state, *(arrays[f"atom_{part}"] for part in ("source", "bond", "slots"))
        )
    return arrays["graph_atoms"] @ state


@pytest.mark.parametrize("merge", [True, False])
@settings(deadline=None, max_examples=40)
@given(st.lists(st.sampled_from(PROBES), min_size=1, max_size=8))
def test_message_passing_over_the_arrays_is_that_over_the_molecules(merge, smiles):
    molecules = [featurise_smiles(text) for text in smiles]
    arrays = collate(molecules, merge=merge)
    np.testing.assert_array_equal(walk_counts_over_arrays(arrays), walk_counts(molecules))


@pytest.mark.parametrize("merge", [True, False])
def test_arrays_are_what_the_contract_says(molecules, merge):
    arrays = collate(molecules, np.ones((len(molecules), 3)), merge=merge)
    stated = {name: info for name, info in ARRAYS.items() if not name.startswith("padded")}
    assert set(arrays) == set(stated)
    lengths = {"features": 3}
    for name, info in stated.items():
        assert arrays[name].dtype == info.dtype, name
        assert arrays[name].ndim == len(info.axes), name
        for axis, length in zip(info.axes, arrays[name].shape, strict=True):
            assert lengths.setdefault(axis, length) == (axis if axis == 9 else length), name
    assert lengths["graphs"] == len(molecules)


@pytest.mark.parametrize("merge", [True, False])
def test_every_atom_is_counted_once(molecules, merge):
    arrays = collate(molecules, merge=merge)
    sizes = [len(each.atoms) for each in molecules]
    np.testing.assert_array_equal(arrays["graph_atoms"].sum(axis=1), sizes)
    np.testing.assert_array_equal(arrays["graph_kinds"].sum(axis=1), sizes)
    rows_of_graph = arrays["graph_atoms"] > 0
    assert (rows_of_graph.sum(axis=0) == 1).all()
    np.testing.assert_array_equal(rows_of_graph.argmax(axis=0), arrays["atom_graph"])


def test_merging_finds_equal_atoms_within_and_environments_across_graphs():
    benzene = featurise_smiles("c1ccccc1")
    arrays = collate([benzene, benzene], merge=True)
    assert arrays["kind_features"].shape[0] == 1
    assert arrays["environment_kind"].shape[0] == 1
    np.testing.assert_array_equal(arrays["graph_atoms"], [[6, 0], [0, 6]])


@pytest.mark.parametrize("merge", [True, False])
def test_an_atom_without_bonds_hears_only_silence(merge):
    arrays = collate([featurise_smiles("[He]")], merge=merge)
    for level in ("environment", "atom"):
        assert arrays[f"{level}_bond"].tolist() == [SILENT]
        assert arrays[f"{level}_source"].tolist() == [0]
        assert arrays[f"{level}_slots"].tolist() == [[0]]


def test_slots_are_as_many_as_the_largest_degree_and_degrees_are_kept():
    arrays = collate([featurise_smiles("FS(F)(F)(F)(F)F"), featurise_smiles("CC")], merge=False)
    assert arrays["atom_slots"].shape == (9, 6)
    assert arrays["kind_degree"].tolist() == [1, 6, 1, 1, 1, 1, 1, 1, 1]


def star(points):
    """One atom bound to many."""
    bonds = np.array([[0, end] for end in range(1, points + 1)], np.int16)
    return MoleculeArrays(
        np.zeros((points + 1, 9), np.uint8), bonds, np.zeros((points, 3), np.uint8)
    )


def test_too_many_bonds_are_an_error_and_never_cut():
    assert collate([star(MAX_SLOTS)])["atom_slots"].shape[1] == MAX_SLOTS
    with pytest.raises(DataError, match=f"has {MAX_SLOTS + 1} bonds; .* takes {MAX_SLOTS}"):
        collate([star(MAX_SLOTS + 1)])
    assert largest_degree(star(70)) == 70
    assert largest_degree(featurise_smiles("C")) == 0


def test_no_molecules_are_an_error():
    with pytest.raises(DataError, match="a batch of no molecules"):
        collate([])


def test_only_what_is_read_is_made(molecules):
    features = np.ones((len(molecules), 2), np.float32)
    assert list(inputs_for(["features"], molecules, features)) == ["features"]
    assert list(inputs_for(["graph_atoms", "features"], molecules, features)) == [
        "graph_atoms",
        "features",
    ]
    with pytest.raises(DataError, match="reads molecule-level features, and none were given"):
        inputs_for(["features"], molecules)

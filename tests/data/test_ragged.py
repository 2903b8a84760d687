import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from graphadapt.data.ragged import GraphColumns, offsets_of, ragged_positions
from graphadapt.molecules.featurise import featurise_smiles

SMILES = ["C", "CCO", "c1ccccc1", "[Na+].[Cl-]", "C/C=C/C#N", "O=S(=O)(O)O"]


@st.composite
def ragged_rows(draw):
    counts = draw(st.lists(st.integers(0, 5), min_size=1, max_size=20))
    rows = draw(st.lists(st.integers(0, len(counts) - 1), max_size=30))
    return np.array(counts), np.array(rows, np.int64)


@settings(deadline=None)
@given(ragged_rows())
def test_taking_rows_agrees_with_a_slow_loop(case):
    counts, rows = case
    offsets = offsets_of(counts)
    column = np.arange(offsets[-1]) * 10
    positions, taken_offsets = ragged_positions(offsets, rows)
    taken = column[positions]
    expected = [column[offsets[row] : offsets[row + 1]].tolist() for row in rows]
    assert taken.tolist() == [item for items in expected for item in items]
    assert taken_offsets.tolist() == np.cumsum([0, *map(len, expected)]).tolist()


def test_no_rows_take_nothing():
    positions, taken = ragged_positions(np.array([0, 2]), np.array([], np.int64))
    assert positions.tolist() == []
    assert taken.tolist() == [0]


def test_columns_give_every_molecule_back():
    molecules = [featurise_smiles(text) for text in SMILES]
    columns = GraphColumns.from_molecules(molecules)
    assert columns.molecules == len(SMILES)
    for row, molecule in enumerate(molecules):
        for held, made in zip(columns.molecule(row), molecule, strict=True):
            np.testing.assert_array_equal(held, made)


@settings(deadline=None)
@given(st.lists(st.integers(0, len(SMILES) - 1), max_size=12))
def test_taking_molecules_is_joining_them_anew(rows):
    molecules = [featurise_smiles(text) for text in SMILES]
    taken = GraphColumns.from_molecules(molecules).take(np.array(rows, np.int64))
    joined = GraphColumns.from_molecules([molecules[row] for row in rows])
    for held, made in zip(taken, joined, strict=True):
        np.testing.assert_array_equal(held, made)
        assert held.dtype == made.dtype


@settings(deadline=None)
@given(st.lists(st.lists(st.sampled_from(SMILES), max_size=4), max_size=4))
def test_joining_columns_is_joining_their_molecules(texts):
    molecules = [[featurise_smiles(text) for text in part] for part in texts]
    found = GraphColumns.joined([GraphColumns.from_molecules(part) for part in molecules])
    expected = GraphColumns.from_molecules([each for part in molecules for each in part])
    for held, made in zip(found, expected, strict=True):
        np.testing.assert_array_equal(held, made)
        assert held.dtype == made.dtype

"""Batches by size: every molecule once, none too large, alike within."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from graphadapt.serve.batches import batches_by_size

SIZES = st.lists(st.integers(1, 300), min_size=1, max_size=60)


@given(SIZES, st.integers(1, 700), st.integers(1, 5))
def test_every_molecule_is_in_one_batch_of_its_size(sizes, most, shares):
    batches = batches_by_size(sizes, most, shares)
    assert sorted(np.concatenate(batches).tolist()) == list(range(len(sizes)))
    assert all(len(batch) for batch in batches)
    flat = [sizes[row] for batch in batches for row in batch]
    assert flat == sorted(flat, reverse=True)


@given(SIZES, st.integers(1, 700), st.integers(1, 5))
def test_batches_are_about_as_large_as_asked_for(sizes, most, shares):
    for batch in batches_by_size(sizes, most, shares):
        atoms = [sizes[row] for row in batch]
        assert sum(atoms) <= most + atoms[0]


def test_work_is_shared_out_evenly_when_there_is_enough_of_it():
    def atoms(sizes, most, shares):
        return [sum(sizes[r] for r in batch) for batch in batches_by_size(sizes, most, shares)]

    assert atoms([20] * 32, 640, 1) == [640]
    assert atoms([20] * 32, 640, 2) == [320, 320]
    assert atoms([20] * 33, 640, 2) == [320, 340]
    assert atoms([20] * 80, 640, 2) == [400] * 4
    assert atoms([20] * 10, 640, 4) == [200]
    assert atoms([20] * 16, 640, 4) == [160, 160]


def test_no_molecules_are_no_batches():
    assert batches_by_size([], 10) == []

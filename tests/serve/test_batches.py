"""Batches by size: every molecule once, none too large, alike within."""

from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from graphadapt.serve.batches import batches_by_size

SIZES = st.lists(st.integers(1, 300), min_size=1, max_size=60)


@given(SIZES, st.integers(1, 700), st.integers(1, 5))
def test_every_molecule_is_in_one_batch_of_its_size(sizes, most, shares):
    batches = batches_by_size(sizes, most, shares)
    assert sorted(np.concatenate(batches).tolist()) == list(range(len(sizes)))
    for batch in batches:
        assert len(batch) == 1 or sum(sizes[row] for row in batch) <= most
    flat = [sizes[row] for batch in batches for row in batch]
    assert flat == sorted(flat, reverse=True)


@given(SIZES, st.integers(1, 700))
def test_neighbouring_batches_could_not_be_one(sizes, most):
    batches = batches_by_size(sizes, most)
    for batch, following in pairwise(batches):
        assert sum(sizes[row] for row in batch) + sizes[following[0]] > most


def test_work_is_shared_out_when_there_is_enough_of_it():
    assert len(batches_by_size([20] * 32, 640, shares=1)) == 1
    assert len(batches_by_size([20] * 32, 640, shares=2)) == 2
    assert len(batches_by_size([20] * 4, 640, shares=4)) == 1


def test_no_molecules_are_no_batches():
    assert batches_by_size([], 10) == []

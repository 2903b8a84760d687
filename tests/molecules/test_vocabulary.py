import itertools

import numpy as np

from graphadapt.molecules.vocabulary import (
    ATOM_FEATURE_OFFSETS,
    ATOM_FEATURE_SIZES,
    ATOM_FEATURES,
    BOND_CODES,
    BOND_FEATURE_SIZES,
    BOND_FEATURES,
    bond_code,
)


def test_values_are_those_of_ogb_in_its_order(ogb):
    ours = [*ATOM_FEATURES.values(), *BOND_FEATURES.values()]
    assert [list(values) for values in ours] == list(ogb.allowable.values())


def test_sizes_are_those_of_ogb(ogb):
    assert list(ATOM_FEATURE_SIZES) == ogb.atom_sizes
    assert list(BOND_FEATURE_SIZES) == ogb.bond_sizes == [5, 6, 2]


def test_offsets_stack_the_tables_without_gaps():
    ends = [a + b for a, b in zip(ATOM_FEATURE_OFFSETS, ATOM_FEATURE_SIZES, strict=True)]
    assert ATOM_FEATURE_OFFSETS[0] == 0
    assert ends[:-1] == list(ATOM_FEATURE_OFFSETS[1:])
    assert ends[-1] == sum(ATOM_FEATURE_SIZES) == 174


def test_every_bond_has_its_own_code_counted_like_digits():
    every = list(itertools.product(*map(range, BOND_FEATURE_SIZES)))
    assert bond_code(np.array(every, dtype=np.uint8)).tolist() == list(range(BOND_CODES))


def test_codes_keep_leading_axes_and_accept_no_bonds():
    assert bond_code(np.zeros((0, 3), dtype=np.uint8)).shape == (0,)
    assert bond_code(np.zeros((2, 4, 3), dtype=np.int64)).shape == (2, 4)
    assert bond_code(np.zeros((2, 3), dtype=np.uint8)).dtype == np.uint8

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from graphadapt.data.split import (
    TEST,
    TRAIN,
    UNUSED,
    VALID,
    carve_validation,
    column_split,
    molecule_split_to_cells,
    random_split,
)
from graphadapt.errors import DataError

SPLITS = hnp.arrays(
    np.uint8,
    st.tuples(st.integers(1, 40), st.integers(1, 5)),
    elements=st.sampled_from([TRAIN, TRAIN, TRAIN, VALID, TEST, UNUSED]),
)


@settings(deadline=None)
@given(st.integers(1, 300), st.integers(0, 5))
def test_random_split_has_the_shares_asked_for(count, seed):
    codes = random_split(count, (0.8, 0.1, 0.1), seed)
    sizes = [int((codes == code).sum()) for code in (TRAIN, VALID, TEST)]
    assert sum(sizes) == count
    assert sizes[0] == max(1, count * 8 // 10)
    assert sizes[0] + sizes[1] == max(1, count * 9 // 10)


def test_random_split_depends_on_the_seed_alone():
    first = random_split(100, seed=1)
    np.testing.assert_array_equal(first, random_split(100, seed=1))
    assert (first != random_split(100, seed=2)).any()


@pytest.mark.parametrize(
    "fractions", [(0.8, 0.1), (0.8, 0.1, 0.2), (0, 0.5, 0.5), (1.2, -0.1, -0.1)]
)
def test_shares_that_do_not_add_up_are_refused(fractions):
    with pytest.raises(DataError, match="add up to 1"):
        random_split(10, fractions)


def test_a_column_says_who_trains():
    words = ["Train", " test ", "val", "validation", "", "unused", "training"]
    assert column_split(words, "fold").tolist() == [0, 2, 1, 1, 255, 255, 0]


def test_a_column_with_other_words_names_them():
    with pytest.raises(DataError, match=r"split column 'fold' holds '1' \(2x\), '0' \(1x\)"):
        column_split(["0", "1", "1", "train"], "fold")
    with pytest.raises(DataError, match="names no training molecule"):
        column_split(["test", ""], "fold")


def test_cells_without_a_label_are_unused():
    cells = molecule_split_to_cells(
        np.uint8([TRAIN, TEST]), np.array([[True, False], [True, True]])
    )
    assert cells.tolist() == [[TRAIN, UNUSED], [TEST, TEST]]


@settings(deadline=None)
@given(SPLITS, st.floats(0.05, 0.9), st.integers(0, 3))
def test_carving_moves_training_cells_of_whole_molecules_only(split, fraction, seed):
    carved = carve_validation(split, fraction, seed)
    moved = carved != split
    assert (split[moved] == TRAIN).all()
    assert (carved[moved] == VALID).all()
    lacking = ~(split == VALID).any(0)
    assert not moved[:, ~lacking].any()
    for task in np.flatnonzero(lacking):
        assert (split[:, task] == TRAIN).any() == (carved[:, task] == TRAIN).any()
    for row in np.flatnonzero(moved.any(1)):
        for task in np.flatnonzero(lacking & (carved[row] == TRAIN)):
            # Only a task that would have lost its last training cell keeps one here.
            assert not moved[:, task].any()
    np.testing.assert_array_equal(carved, carve_validation(split, fraction, seed))


@settings(deadline=None)
@given(SPLITS)
def test_every_task_that_can_spare_a_cell_gets_validation(split):
    carved = carve_validation(split, 0.01, 0)
    sole = (split == TRAIN).sum(0) >= 2
    gained = (carved == VALID).any(0)
    emptied = ~gained & sole
    # A task may stay without only where each of its molecules is another one's last.
    last = (carved == TRAIN) & ((carved == TRAIN).sum(0) == 1)
    for task in np.flatnonzero(emptied):
        assert last[split[:, task] == TRAIN].any(1).all()


def test_the_last_molecule_of_another_task_is_not_taken():
    split = np.array([[TRAIN, TRAIN], [TRAIN, TEST], [TEST, TRAIN]], np.uint8)
    for seed in range(20):
        carved = carve_validation(split, 0.01, seed)
        assert (carved == VALID).any(0).all()
        assert (carved == TRAIN).any(0).all()


def test_carving_takes_about_the_share_asked_for():
    carved = carve_validation(np.zeros((1000, 3), np.uint8), 0.1, 0)
    assert (carved == VALID).sum(0).tolist() == [100, 100, 100]


@pytest.mark.parametrize("fraction", [0, 1, -0.1])
def test_carving_nothing_or_everything_is_refused(fraction):
    with pytest.raises(DataError, match="is not between 0 and 1"):
        carve_validation(np.zeros((3, 1), np.uint8), fraction)

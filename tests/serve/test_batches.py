"""Batches by size: every molecule once, none too large, alike within."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphadapt.errors import ConfigError
from graphadapt.export.collate import collate
from graphadapt.export.contract_parts import Bucket
from graphadapt.export.joined_graphs import SILENT
from graphadapt.export.probes import PROBES
from graphadapt.molecules.featurise import featurise_smiles
from graphadapt.serve.batches import (
    MOST_FILLING,
    batches_by_size,
    batches_in_buckets,
    batches_of_like_size,
    padding_share,
)

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
    assert batches_of_like_size([], [], 10) == []
    assert batches_in_buckets([], [], BUCKETS) == []
    assert padding_share([], []) == 0


BUCKETS = (
    Bucket(atoms=16, slots=4, graphs=8),
    Bucket(atoms=32, slots=4, graphs=5),
    Bucket(atoms=64, slots=6, graphs=3),
)
SLOTS = st.integers(0, 8)
MOLECULES = st.lists(st.tuples(st.integers(1, 100), SLOTS), max_size=80)


def rows_of(batches):
    return sorted(row for batch in batches for row in batch.rows.tolist())


@given(MOLECULES, st.integers(1, 900), st.floats(0, 0.9))
def test_padding_stays_under_the_stated_share(molecules, most_atoms, most_padding):
    sizes, slots = [size for size, _ in molecules], [count for _, count in molecules]
    batches = batches_of_like_size(sizes, slots, most_atoms, most_padding)
    assert rows_of(batches) == list(range(len(sizes)))
    for batch in batches:
        chosen = [sizes[row] for row in batch.rows]
        assert batch.shape.atoms == max(chosen)
        assert batch.shape.graphs == len(chosen)
        assert batch.shape.slots >= max(slots[row] for row in batch.rows)
        assert padding_share(chosen, [batch]) <= most_padding + 1e-12
        assert len(chosen) == 1 or batch.shape.atoms * len(chosen) <= most_atoms
    assert padding_share(sizes, batches) <= most_padding + 1e-12


@given(MOLECULES)
def test_buckets_hold_what_is_put_in_them(molecules):
    sizes, slots = [size for size, _ in molecules], [count for _, count in molecules]
    batches = batches_in_buckets(sizes, slots, BUCKETS)
    assert rows_of(batches) == list(range(len(sizes)))
    known = {(each.atoms, each.slots): each.graphs for each in BUCKETS}
    for batch in batches:
        first = batch.rows[0]
        assert all(batch.shape.holds(sizes[row], slots[row]) for row in batch.rows)
        assert len(batch.rows) <= batch.shape.graphs <= 2 * len(batch.rows)
        if any(each.holds(sizes[first], slots[first]) for each in BUCKETS):
            assert batch.shape.graphs in (1, 4, known[batch.shape.atoms, batch.shape.slots])
            assert batch.recurs
        else:
            assert len(batch.rows) == 1
            assert not batch.recurs


def test_full_batches_stay_in_the_smallest_bucket_and_the_rest_fills_up_a_larger_one():
    def shapes(sizes):
        batches = batches_in_buckets(sizes, [3] * len(sizes), BUCKETS)
        return sorted((each.shape.atoms, each.shape.graphs, len(each.rows)) for each in batches)

    assert shapes([10] * 8) == [(16, 8, 8)]
    assert shapes([10] * 9) == [(16, 1, 1), (16, 8, 8)]
    assert shapes([10]) == [(16, 1, 1)]
    assert shapes([10] * 8 + [30] * 3) == [(16, 8, 8), (32, 4, 3)]
    assert shapes([10] * 9 + [30] * 3) == [(16, 8, 8), (32, 4, 4)]
    assert shapes([10] * 10 + [30] * 3) == [(16, 4, 2), (16, 8, 8), (32, 4, 3)]
    assert shapes([70]) == [(70, 1, 1)]


@given(st.integers(0, 3000), st.sampled_from([1, 3, 64, 341, 1024]))
def test_few_runs_of_few_shapes_hold_any_number(count, graphs):
    batches = batches_in_buckets([10] * count, [3] * count, [replace(BUCKETS[0], graphs=graphs)])
    shapes = [batch.shape.graphs for batch in batches]
    assert sum(len(batch.rows) for batch in batches) == count
    assert all(len(batch.rows) >= (1 - MOST_FILLING) * batch.shape.graphs for batch in batches)
    assert set(shapes) <= {1, 4, 16, 64, 256, graphs}
    assert len(shapes) - count // graphs <= 6


@given(st.integers(0, 3000), st.sampled_from([1, 3, 64, 341, 1024]))
def test_beside_whole_batches_there_is_one_full_run_of_each_size_at_most(count, graphs):
    batches = batches_in_buckets([10] * count, [3] * count, [replace(BUCKETS[0], graphs=graphs)])
    rest = [(len(batch.rows), batch.shape.graphs) for batch in batches][count // graphs :]
    full = [size for held, size in rest if held == size]
    assert full == sorted(set(full), reverse=True)
    assert [held < size for held, size in rest[:-1]] == [False] * len(rest[:-1])


def test_a_rest_that_would_be_mostly_padding_is_run_by_ever_smaller_sizes():
    shape = replace(BUCKETS[0], graphs=256)

    def filled(count):
        batches = batches_in_buckets([10] * count, [3] * count, [shape])
        return [(len(batch.rows), batch.shape.graphs) for batch in batches]

    assert filled(85) == [(64, 64), (16, 16), (4, 4), (1, 1)]
    assert filled(127) == [(64, 64), (63, 64)]
    assert filled(128) == [(128, 256)]
    assert filled(256 + 128) == [(256, 256), (128, 256)]


def test_what_larger_buckets_have_no_slots_for_stays():
    batches = batches_in_buckets([10, 30, 30], [6, 3, 3], BUCKETS)
    assert sorted(each.shape.atoms for each in batches) == [32, 64]


@pytest.mark.parametrize("share", [-0.1, 1.0])
def test_a_padding_share_that_is_none_is_refused(share):
    with pytest.raises(ConfigError, match="is no share"):
        batches_of_like_size([1], [0], 10, share)


def test_drug_like_molecules_leave_half_of_the_merged_forms_slots_empty():
    smiles = [PROBES[row] for row in range(30, 120)]
    molecules = [featurise_smiles(text) for text in smiles]
    inputs = collate(molecules)
    silent = (inputs["atom_bond"] == SILENT)[inputs["atom_slots"]].mean()
    rows, atoms = inputs["graph_atoms"].sum(), sum(len(each.atoms) for each in molecules)
    assert rows == atoms
    assert 0.3 < silent < 0.6

"""Ladders of batch sizes: every batch fits, few shapes, and the share of padding that was asked."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphadapt.errors import ConfigError
from graphadapt.graphs.buckets import BatchSize, BucketLadder, UsualBuckets

ladders = st.builds(BucketLadder, st.integers(8, 500), st.integers(1, 63))


@given(ladders, st.integers(0, 5000), st.integers(0, 8000))
def test_every_batch_fits_its_rung_with_padding_nodes_enough(ladder, nodes, bonds):
    size = BatchSize(nodes, bonds)
    bucket = ladder.bucket(size)
    assert bucket.holds(size)
    assert bucket.nodes > nodes
    assert bucket.bonds - bonds <= 8 * (bucket.nodes - nodes)
    assert bucket.nodes % ladder.node_step == bucket.bonds % ladder.bond_step == 0
    rung = bucket.nodes // ladder.node_step
    below = ladder.size(rung - 1)
    spare = BatchSize(below.nodes - nodes, below.bonds - bonds)
    assert spare.nodes < 1 or spare.bonds < 0 or spare.bonds > 8 * spare.nodes


@given(ladders, st.lists(st.tuples(st.integers(0, 999), st.integers(0, 999)), min_size=1))
def test_rungs_of_many_batches_are_those_of_each(ladder, sizes):
    nodes, bonds = np.array(sizes).T
    rungs = ladder.rungs(nodes, bonds)
    assert [ladder.size(int(rung)) for rung in rungs] == [
        ladder.bucket(BatchSize(*size)) for size in sizes
    ]


@pytest.mark.parametrize(
    ("bucket", "holds"),
    [
        ((5, 4), True),
        ((6, 4), True),
        ((6, 9), True),
        ((5, 5), False),
        ((4, 4), False),
        ((6, 3), False),
    ],
)
def test_padding_bonds_need_a_padding_node(bucket, holds):
    assert BatchSize(*bucket).holds(BatchSize(5, 4)) is holds


def test_batches_of_drug_like_molecules_meet_few_rungs_and_little_padding():
    random = np.random.default_rng(0)
    atoms = random.normal(26, 6, 20_000).round().astype(np.int64).clip(4)
    bonds = atoms + random.integers(-1, 5, len(atoms))
    check_epoch(atoms, bonds, random)


def test_an_epoch_of_molpcba_meets_few_rungs_and_little_padding(real_data):
    folder = real_data / "ogb" / "ogbg_molpcba_sizes"
    names = ("num-node-list.csv.gz", "num-edge-list.csv.gz")
    atoms, bonds = (np.loadtxt(folder / name, dtype=np.int64) for name in names)
    check_epoch(atoms, bonds, np.random.default_rng(0))


def check_epoch(atoms, bonds, random):
    for batch_size, few in ((512, 3), (32, 9)):
        ladder = BucketLadder.fit(atoms, bonds, batch_size, padding=0.02)
        rows = random.permutation(len(atoms))
        rows = rows[: len(rows) // batch_size * batch_size].reshape(-1, batch_size)
        nodes, rungs = atoms[rows].sum(1), ladder.rungs(atoms[rows].sum(1), bonds[rows].sum(1))
        share = (rungs * ladder.node_step).sum() / nodes.sum() - 1
        assert 0.01 < share < 0.03
        usual = np.sort(np.bincount(rungs))[::-1][:few].sum()
        assert usual > 0.99 * len(rungs)


def test_a_table_without_bonds_has_a_ladder_too():
    ladder = BucketLadder.fit(np.ones(10, np.int64), np.zeros(10, np.int64), 4)
    assert ladder.bucket(BatchSize(4, 0)) == BatchSize(8, 1)


@pytest.mark.parametrize(("node_step", "bond_step"), [(0, 1), (8, 0), (8, 64)])
def test_steps_that_cannot_work_are_an_error(node_step, bond_step):
    with pytest.raises(ConfigError, match=rf"of {node_step} nodes and {bond_step} bonds a rung"):
        BucketLadder(node_step, bond_step)


@pytest.mark.parametrize(("batch_size", "padding"), [(0, 0.02), (4, 0.0)])
def test_nothing_to_fit_is_an_error(batch_size, padding):
    with pytest.raises(ConfigError, match="make no ladder; use padding above 0"):
        BucketLadder.fit(np.ones(3, np.int64), np.ones(3, np.int64), batch_size, padding)


sizes = st.lists(st.tuples(st.integers(0, 9999), st.integers(0, 9999)), min_size=1, max_size=9)


@given(ladders, sizes, sizes, st.integers(1, 5))
def test_usual_buckets_are_few_and_hold_every_batch(ladder, known, new, most):
    usual = UsualBuckets.fit(ladder, *np.array(known).T, most)
    found = usual.buckets(*np.array(known).T)
    assert len(set(found)) <= most
    highest = ladder.size(max(usual.rungs))
    for size, bucket in zip(known + new, found + usual.buckets(*np.array(new).T), strict=True):
        own = ladder.bucket(BatchSize(*size))
        assert bucket.holds(BatchSize(*size))
        assert bucket.nodes >= own.nodes
        assert bucket in {ladder.size(rung) for rung in usual.rungs} or own == bucket
        assert bucket == own or bucket.nodes <= highest.nodes


def test_a_rung_that_few_batches_need_gives_way_to_the_next():
    ladder = BucketLadder(100, 120)
    nodes = np.array([150] * 3 + [250] * 90 + [350] * 7)
    usual = UsualBuckets.fit(ladder, nodes, nodes)
    assert usual.rungs == (3, 4)
    assert set(usual.buckets(nodes, nodes)) == {ladder.size(3), ladder.size(4)}
    assert usual.buckets(np.array([20]), np.array([20])) == [ladder.size(3)]
    assert usual.buckets(np.array([760]), np.array([700])) == [ladder.size(8)]

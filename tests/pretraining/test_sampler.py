"""Batches that depend on seed and step alone, hold their shares and reach every molecule."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphadapt.errors import ConfigError, DataError
from graphadapt.pretraining.sampler import CorpusSampler, held_out_rows


def sampler(sizes=(50, 7), shares=(), batch_size=10, seed=0, **more):
    rows = [np.arange(size) * 3 for size in sizes]
    return CorpusSampler(rows, shares, batch_size, seed, **more)


def test_an_epoch_by_size_shows_every_molecule_once():
    own = sampler((60, 30), batch_size=9)
    assert own.steps_per_epoch == 10
    for store, size in enumerate((60, 30)):
        seen = np.concatenate([own.draw(step)[store] for step in range(10)])
        assert sorted(seen) == list(range(0, 3 * size, 3))


@given(st.integers(0, 500), st.integers(0, 3))
def test_a_draw_depends_on_seed_and_step_alone(step, seed):
    walked = sampler(seed=seed)
    for before in range(max(0, step - 3), step):
        walked.draw(before)
    for mine, fresh in zip(walked.draw(step), sampler(seed=seed).draw(step), strict=True):
        np.testing.assert_array_equal(mine, fresh)


@given(st.lists(st.integers(0, 60), max_size=20))
def test_steps_may_be_drawn_in_any_order_and_few_walks_are_kept(steps):
    own = sampler(batch_size=12)  # the second store is walked through every few steps
    for step in steps:
        for mine, fresh in zip(own.draw(step), sampler(batch_size=12).draw(step), strict=True):
            np.testing.assert_array_equal(mine, fresh)
    assert max(map(len, own._orders)) <= 2


@given(st.lists(st.floats(0.01, 1.0), min_size=2, max_size=4), st.integers(1, 300))
def test_shares_hold_up_to_one_molecule_at_any_step(shares, steps):
    own = sampler([20] * len(shares), shares, batch_size=16)
    given_ = np.sum([[len(rows) for rows in own.draw(step)] for step in range(steps)], axis=0)
    expected = 16 * steps * np.array(shares) / sum(shares)
    assert (np.abs(given_ - expected) <= 1 + 16 * steps * 1e-5).all()


def test_a_rare_store_is_reached_too():
    own = sampler((10_000, 3), batch_size=100)
    seen = np.concatenate([own.draw(step)[1] for step in range(own.steps_per_epoch + 1)])
    assert set(seen) == {0, 3, 6}


def test_walks_differ_from_round_to_round_and_from_seed_to_seed():
    own = sampler((40,), batch_size=40)
    assert own.draw(0)[0].tolist() != own.draw(1)[0].tolist()
    assert own.draw(0)[0].tolist() != sampler((40,), batch_size=40, seed=1).draw(0)[0].tolist()


@given(st.integers(0, 40), st.integers(1, 5))
def test_processes_share_a_batch_without_rest_and_alike(step, world):
    draw = sampler((33, 20), batch_size=12, processes=world).draw(step)
    shards = [CorpusSampler.shard(draw, rank, world) for rank in range(world)]
    for store, rows in enumerate(draw):
        joined = np.concatenate([shard[store] for shard in shards])
        assert sorted(joined) == sorted(rows)
    sizes = [sum(map(len, shard)) for shard in shards]
    assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize("steps", [0, 1, 3, 30])
def test_what_was_drawn_is_what_the_steps_gave(steps):
    own = sampler()
    for store, drawn in enumerate(own.drawn(steps)):
        pieces = [own.draw(step)[store] for step in range(steps)]
        assert drawn.tolist() == sorted({row for piece in pieces for row in piece.tolist()})


def test_held_out_molecules_are_the_same_in_every_run_and_at_least_one():
    np.testing.assert_array_equal(held_out_rows(1000, 0.01), held_out_rows(1000, 0.01))
    assert len(held_out_rows(1000, 0.01)) == 10
    assert len(held_out_rows(3, 0.01)) == 1


def test_what_cannot_be_drawn_is_refused():
    with pytest.raises(DataError, match="store 2 of the corpus has no training molecule"):
        sampler((5, 0))
    with pytest.raises(ConfigError, match="too small for 4 processes and 2 stores; use at least"):
        sampler(batch_size=9, processes=4)
    with pytest.raises(ConfigError, match=r"trainer\.seed=-1 is negative"):
        sampler(seed=-1)

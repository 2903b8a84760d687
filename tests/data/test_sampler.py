"""Which tasks and molecules make a step: shares, coverage, uniformity, determinism, speed."""

import time
from itertools import islice

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graphadapt.config import SamplerConfig
from graphadapt.data import sampler as sampler_module
from graphadapt.data.sampler import TaskSampler
from graphadapt.errors import ConfigError, DataError


def cells(molecules=200, tasks=6, share=0.4, seed=0):
    return np.random.default_rng(seed).random((molecules, tasks)) < share


def chain(tasks=6):
    """Each task is related to the next, the more strongly the higher its number."""
    weights = np.zeros((tasks, tasks), np.float32)
    for i in range(tasks - 1):
        weights[i, i + 1] = weights[i + 1, i] = (i + 1) / tasks
    return weights


def make(mask=None, relation=None, *, seed=0, processes=1, **config):
    mask = cells() if mask is None else mask
    relation = chain(mask.shape[1]) if relation is None else relation
    plain = {"batch_size": 16, "task_count": 3} | config
    return TaskSampler(mask, relation, SamplerConfig(**plain), seed, processes)


def plain(mask, **config):
    return make(mask, neighbourhood=0.0, random=0.0, **config)


def steps(sampler, count=300):
    return [sampler.draw(step) for step in range(count)]


@pytest.mark.parametrize(("molecules", "batches"), [(32, 2), (33, 2), (34, 3), (47, 3), (5, 1)])
def test_a_plain_epoch_is_one_permutation_of_the_labelled_molecules(molecules, batches):
    mask = np.zeros((2 * molecules, 3), bool)
    labelled = np.random.default_rng(0).permutation(2 * molecules)[:molecules]
    mask[labelled, labelled % 3] = True
    sampler = plain(mask)
    assert sampler.steps_per_epoch == batches
    for epoch in range(3):
        epoch_steps = range(epoch * batches, (epoch + 1) * batches)
        rows = np.concatenate([sampler.draw(step).rows for step in epoch_steps])
        dropped = molecules % 16 == 1
        assert len(set(rows)) == len(rows) == molecules - dropped
        assert set(rows) <= set(labelled)


def test_plain_steps_weigh_all_tasks_alike():
    draw = plain(cells()).draw(3)
    assert draw.kind == "all"
    assert draw.tasks.tolist() == list(range(6))
    np.testing.assert_allclose(draw.composition, np.full(6, 1 / 6))


def test_every_epoch_has_another_order():
    sampler = plain(cells())
    per_epoch = sampler.steps_per_epoch
    assert not np.array_equal(sampler.draw(0).rows, sampler.draw(per_epoch).rows)


@pytest.mark.parametrize("order", ["backwards", "again"])
def test_a_step_depends_on_seed_and_number_only(order):
    expected = steps(make(seed=5), 60)
    sampler = make(seed=5)
    numbers = list(range(60)) if order == "again" else list(range(59, -1, -1))
    for number in numbers:
        draw = sampler.draw(number)
        assert np.array_equal(draw.rows, expected[number].rows)
        assert np.array_equal(draw.composition, expected[number].composition)
    assert any(
        not np.array_equal(a.rows, b.rows)
        for a, b in zip(steps(make(seed=6), 60), expected, strict=True)
    )


def test_kinds_come_in_their_shares():
    kinds = [draw.kind for draw in steps(make(), 2000)]
    shares = {kind: kinds.count(kind) / 2000 for kind in ("neighbourhood", "random", "all")}
    assert shares == pytest.approx({"neighbourhood": 0.5, "random": 0.25, "all": 0.25}, abs=0.05)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    molecules=st.integers(2, 60),
    tasks=st.integers(1, 7),
    share=st.floats(0.02, 1.0),
    batch=st.integers(2, 40),
    count=st.integers(1, 9),
)
def test_every_draw_is_well_formed(seed, molecules, tasks, share, batch, count):
    mask = cells(molecules, tasks, share, seed)
    mask[:2, 0] = True
    sampler = make(mask, seed=seed, batch_size=batch, task_count=count)
    drawable = int(mask.any(axis=0).sum())
    for draw in steps(sampler, 12):
        assert len(set(draw.rows)) == len(draw.rows) >= 2
        assert len(draw.rows) <= batch
        assert draw.rows.dtype == np.int64
        assert mask[draw.rows].any(axis=1).all()
        assert draw.composition.sum() == pytest.approx(1.0)
        assert np.flatnonzero(draw.composition).tolist() == draw.tasks.tolist()
        if draw.kind == "all":
            continue
        assert len(draw.tasks) == min(count, drawable)
        assert mask[:, draw.tasks].any(axis=0).all()
        labelled = mask[:, draw.tasks].any(axis=1)
        assert labelled[draw.rows].sum() == min(batch, labelled.sum())


def test_a_neighbourhood_is_a_task_with_its_strongest_neighbours():
    seen = {tuple(draw.tasks) for draw in steps(make(neighbourhood=1.0, random=0.0, task_count=2))}
    # the last task of the chain and its neighbour choose each other
    assert seen == {(0, 1), (1, 2), (2, 3), (3, 4), (4, 5)}


def test_a_neighbourhood_with_too_few_neighbours_is_filled_at_random():
    draws = steps(make(neighbourhood=1.0, random=0.0, task_count=4))
    for draw in draws:
        tasks = set(draw.tasks)
        assert len(tasks) == 4
        assert any({t - 1, t, t + 1} & set(range(6)) <= tasks for t in tasks)
    assert len({tuple(draw.tasks) for draw in draws}) > 8


def test_equally_strong_neighbours_are_chosen_at_random():
    uniform = (1 - np.eye(6)).astype(np.float32)
    draws = steps(make(relation=uniform, neighbourhood=1.0, random=0.0, task_count=3), 1200)
    counts = np.bincount(np.concatenate([draw.tasks for draw in draws]), minlength=6)
    np.testing.assert_allclose(counts / 1200, 0.5, atol=0.06)


def test_random_sets_are_uniform_over_tasks_with_labels():
    mask = cells()
    mask[:, 2] = False
    draws = steps(make(mask, neighbourhood=0.0, random=1.0, task_count=2), 1500)
    counts = np.bincount(np.concatenate([draw.tasks for draw in draws]), minlength=6)
    assert counts[2] == 0
    np.testing.assert_allclose(np.delete(counts, 2) / 1500, 0.4, atol=0.05)


@pytest.mark.parametrize("try_share", [0.01, 1e9], ids=["by trying", "by listing"])
def test_labelled_molecules_are_drawn_uniformly(monkeypatch, try_share):
    """Each of the molecules labelled in S comes equally often, by either way of finding them."""
    monkeypatch.setattr(sampler_module, "TRY_SHARE", try_share)
    mask = cells(120, 4, 0.3)
    sampler = make(mask, neighbourhood=0.0, random=1.0, task_count=4, batch_size=8)
    draws = steps(sampler, 4000)
    counts = np.bincount(np.concatenate([draw.rows for draw in draws]), minlength=120)
    labelled = mask.any(axis=1)
    assert not counts[~labelled].any()
    expected = 4000 * 8 / labelled.sum()
    deviation = (counts[labelled] - expected) / np.sqrt(expected)
    assert np.abs(deviation).max() < 4.5
    assert 0.7 < (deviation**2).mean() < 1.3


def test_a_set_with_one_labelled_molecule_is_filled_up():
    mask = cells(50, 3, 0.5)
    mask[:, 2] = False
    mask[7, 2] = True
    sampler = make(mask, neighbourhood=0.0, random=1.0, task_count=1, processes=3)
    drawn = [draw for draw in steps(sampler) if draw.tasks.tolist() == [2]]
    assert drawn
    assert all(7 in draw.rows and len(set(draw.rows)) == 6 for draw in drawn)


@pytest.mark.parametrize("world", [1, 2, 3])
def test_shards_are_disjoint_and_make_the_batch(world):
    sampler = make(processes=world, batch_size=17)
    for draw in islice(steps(sampler), 30):
        parts = [sampler.shard(draw.rows, rank, world) for rank in range(world)]
        assert sorted(np.concatenate(parts)) == sorted(draw.rows)
        sizes = [len(part) for part in parts]
        assert max(sizes) - min(sizes) <= 1
        assert min(sizes) >= 2


def test_the_last_batch_leaves_every_process_two_molecules():
    mask = np.ones((16 + 5, 2), bool)
    assert plain(mask, processes=2).steps_per_epoch == 2
    assert plain(mask, processes=3).steps_per_epoch == 1


@pytest.mark.parametrize(("molecules", "tasks", "share", "limit"), [
    (35_633, 30, 1.4 / 30, 0.002),
    (100_000, 617, 0.29, 0.010),
])  # fmt: skip
def test_a_draw_is_fast(molecules, tasks, share, limit):
    random = np.random.default_rng(0)
    mask = random.random((molecules, tasks), dtype=np.float32) < share
    relation = random.random((tasks, tasks)).astype(np.float32)
    sampler = make(mask, relation, batch_size=256, task_count=8)
    seconds = []
    for step in range(60):
        started = time.perf_counter()
        sampler.draw(step)
        seconds.append(time.perf_counter() - started)
    assert np.median(seconds) < limit


def test_settings_that_cannot_work_are_refused():
    with pytest.raises(DataError, match=r"relation is \(5, 5\), but there are 6 tasks"):
        make(relation=chain(5))
    with pytest.raises(DataError, match=r"1 molecules have a training label; a batch needs .* 2"):
        make(np.eye(6, dtype=bool)[:, :1])
    with pytest.raises(ConfigError, match=r"batch_size=4 leaves a process fewer .* at least 6"):
        make(batch_size=4, processes=3)
    with pytest.raises(ConfigError, match="seed=-1 is negative; use 0 or above"):
        make(seed=-1)
    with pytest.raises(ConfigError, match="rank=2 is not one of 2 processes; use 0 to 1"):
        TaskSampler.shard(np.arange(8), 2, 2)

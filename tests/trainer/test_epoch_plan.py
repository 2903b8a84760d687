"""A plan says what the sampler drew, in sizes that hold it."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from graphadapt.config import SamplerConfig
from graphadapt.data.sampler import TaskSampler
from graphadapt.graphs.buckets import BatchSize, BucketLadder, UsualBuckets
from graphadapt.trainer.distributed import Workers
from graphadapt.trainer.epoch_plan import (
    EpochPlan,
    EpochPlans,
    Shown,
    sizes_of_batches,
    usual_buckets,
)

MOLECULES, TASKS = 60, 4
CPU = torch.device("cpu")


def drawn(seed, batch, first):
    random = np.random.default_rng(seed)
    mask_GT = random.random((MOLECULES, TASKS)) < 0.6
    sizes_2G = np.stack([random.integers(1, 40, MOLECULES), random.integers(0, 45, MOLECULES)])
    relation_TT = np.ones((TASKS, TASKS), np.float32) - np.eye(TASKS, dtype=np.float32)
    config = SamplerConfig(batch_size=batch, task_count=2)
    sampler = TaskSampler(mask_GT, relation_TT, config, seed, processes=2)
    return [sampler.draw(first + step) for step in range(5)], sizes_2G


def shown(draws, rank=0, world=1):
    """What one of the processes is shown of whole draws."""
    return [
        Shown(TaskSampler.shard(draw.rows, rank, world), len(draw.rows), (draw.composition,))
        for draw in draws
    ]


@given(st.integers(0, 99), st.integers(4, 20), st.integers(0, 9))
def test_every_process_reads_its_part_of_every_draw(seed, batch, first):
    draws, sizes_2G = drawn(seed, batch, first)
    ladder = BucketLadder.fit(*sizes_2G, batch)
    plans = [EpochPlan(first, shown(draws, rank, 2), sizes_2G, ladder, CPU) for rank in (0, 1)]
    for place, draw in enumerate(draws):
        both = [plan.inputs(first + place) for plan in plans]
        rows = [inputs.tensors[0].numpy() for inputs in both]
        assert sorted(np.concatenate(rows)) == sorted(draw.rows)
        for inputs, own in zip(both, rows, strict=True):
            assert inputs.molecules == len(draw.rows)
            assert np.array_equal(inputs.tensors[1], draw.composition)
            size = BatchSize(*(int(total) for total in sizes_2G[:, own].sum(axis=1)))
            assert inputs.bucket == ladder.bucket(size)
            assert inputs.bucket.holds(size)


def test_steps_of_one_shape_are_told_from_others():
    draws, sizes_2G = drawn(0, 12, 0)
    plan = EpochPlan(0, shown(draws), sizes_2G, BucketLadder.fit(*sizes_2G, 12), CPU)
    assert len(plan) == len(plan.buckets) == 5
    shapes = [plan.inputs(step).shape for step in range(5)]
    alike = [(len(draw.rows), bucket) for draw, bucket in zip(draws, plan.buckets, strict=True)]
    for one in range(5):
        for two in range(5):
            assert (shapes[one] == shapes[two]) == (alike[one] == alike[two])


@pytest.mark.parametrize("step", [3, 7])
def test_inputs_are_views_of_the_plan(step):
    draws, sizes_2G = drawn(1, 6, 3)
    plan = EpochPlan(3, shown(draws), sizes_2G, BucketLadder.fit(*sizes_2G, 6), CPU)
    for one, two in zip(plan.inputs(step).tensors, plan.inputs(step).tensors, strict=True):
        assert one.data_ptr() == two.data_ptr()


def test_an_epoch_padded_to_usual_sizes_has_few_shapes():
    draws, sizes_2G = drawn(0, 8, 0)
    rows = [draw.rows for draw in draws]
    ladder = BucketLadder.fit(*sizes_2G, 8)
    nodes_2S = sizes_of_batches(sizes_2G, rows)
    assert nodes_2S.T.tolist() == [sizes_2G[:, own].sum(axis=1).tolist() for own in rows]
    usual = UsualBuckets.fit(ladder, *nodes_2S, 2)
    plan = EpochPlan(0, shown(draws), sizes_2G, usual, CPU)
    assert len({plan.inputs(step).bucket for step in range(5)}) <= 2
    for step, own in enumerate(rows):
        size = BatchSize(*sizes_2G[:, own].sum(axis=1).tolist())
        assert plan.inputs(step).bucket.holds(size)


class Asked:
    """Steps of three an epoch, lighter from epoch to epoch, and which were asked for."""

    sizes = np.stack([np.arange(1, 61), np.arange(1, 61) * 2])

    def __init__(self):
        self.steps = []

    @staticmethod
    def rows(step):
        return np.arange(4, dtype=np.int64) + 4 * (9 - step // 3)

    def __call__(self, step, workers):
        self.steps.append(step)
        rows = self.rows(step)
        return Shown(rows[workers.rank :: workers.world], len(rows))

    def plans(self):
        return EpochPlans(self, 3, 4, self.sizes, CPU)


def test_an_epoch_is_planned_once_while_it_is_one_of_the_last_two():
    asked = Asked()
    plans = asked.plans()
    for step in (0, 1, 3, 2, 4):
        inputs = plans.inputs(step, Workers())
        assert inputs.tensors[0].tolist() == asked.rows(step).tolist()
        assert inputs.molecules == 4
    assert asked.steps == [0, 1, 2, 3, 4, 5]
    plans.inputs(6, Workers())
    plans.inputs(5, Workers())  # of the last two still
    assert asked.steps == list(range(9))
    plans.inputs(0, Workers())
    assert asked.steps == [*range(9), 0, 1, 2]


@pytest.mark.parametrize("workers", [Workers(), Workers(1, 2)])
def test_a_run_that_goes_on_later_pads_as_one_from_the_start_does(workers):
    whole, resumed = Asked().plans(), Asked().plans()
    for step in range(6):
        whole.inputs(step, workers)
    found = resumed.inputs(3, workers)
    assert found.tensors[0].tolist() == Asked.rows(3)[workers.rank :: workers.world].tolist()
    assert found.molecules == 4
    assert found.bucket == whole.inputs(3, workers).bucket
    by_itself = usual_buckets(
        Asked.sizes, [Asked.rows(3)[workers.rank :: workers.world]] * 3, 4 // workers.world
    )
    nodes_2S = sizes_of_batches(Asked.sizes, [found.tensors[0].numpy()])
    assert [found.bucket] != list(by_itself.buckets(*nodes_2S))

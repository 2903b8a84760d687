"""A plan says what the sampler drew, in sizes that hold it."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from graphadapt.config import SamplerConfig
from graphadapt.data.sampler import TaskSampler
from graphadapt.graphs.buckets import BatchSize, BucketLadder, UsualBuckets
from graphadapt.trainer.epoch_plan import EpochPlan, sizes_of_batches

MOLECULES, TASKS = 60, 4


def drawn(seed, batch, first):
    random = np.random.default_rng(seed)
    mask_GT = random.random((MOLECULES, TASKS)) < 0.6
    sizes_2G = np.stack([random.integers(1, 40, MOLECULES), random.integers(0, 45, MOLECULES)])
    relation_TT = np.ones((TASKS, TASKS), np.float32) - np.eye(TASKS, dtype=np.float32)
    config = SamplerConfig(batch_size=batch, task_count=2)
    sampler = TaskSampler(mask_GT, relation_TT, config, seed, processes=2)
    return [sampler.draw(first + step) for step in range(5)], sizes_2G


@given(st.integers(0, 99), st.integers(4, 20), st.integers(0, 9))
def test_every_process_reads_its_part_of_every_draw(seed, batch, first):
    draws, sizes_2G = drawn(seed, batch, first)
    ladder = BucketLadder.fit(*sizes_2G, batch)
    plans = [
        EpochPlan(first, draws, sizes_2G, ladder, torch.device("cpu"), rank, 2) for rank in (0, 1)
    ]
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
    plan = EpochPlan(0, draws, sizes_2G, BucketLadder.fit(*sizes_2G, 12), torch.device("cpu"))
    assert len(plan) == len(plan.buckets) == 5
    shapes = [plan.inputs(step).shape for step in range(5)]
    alike = [(len(draw.rows), bucket) for draw, bucket in zip(draws, plan.buckets, strict=True)]
    for one in range(5):
        for two in range(5):
            assert (shapes[one] == shapes[two]) == (alike[one] == alike[two])


@pytest.mark.parametrize("step", [3, 7])
def test_inputs_are_views_of_the_plan(step):
    draws, sizes_2G = drawn(1, 6, 3)
    plan = EpochPlan(3, draws, sizes_2G, BucketLadder.fit(*sizes_2G, 6), torch.device("cpu"))
    for one, two in zip(plan.inputs(step).tensors, plan.inputs(step).tensors, strict=True):
        assert one.data_ptr() == two.data_ptr()


def test_an_epoch_padded_to_usual_sizes_has_few_shapes():
    draws, sizes_2G = drawn(0, 8, 0)
    rows = [draw.rows for draw in draws]
    ladder = BucketLadder.fit(*sizes_2G, 8)
    nodes_2S = sizes_of_batches(sizes_2G, rows)
    assert nodes_2S.T.tolist() == [sizes_2G[:, own].sum(axis=1).tolist() for own in rows]
    usual = UsualBuckets.fit(ladder, *nodes_2S, 2)
    plan = EpochPlan(0, draws, sizes_2G, usual, torch.device("cpu"))
    assert len({plan.inputs(step).bucket for step in range(5)}) <= 2
    for step, own in enumerate(rows):
        size = BatchSize(*sizes_2G[:, own].sum(axis=1).tolist())
        assert plan.inputs(step).bucket.holds(size)

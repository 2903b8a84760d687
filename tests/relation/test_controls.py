"""Relations that know nothing of the tasks."""

import numpy as np

from graphadapt.relation.controls import identity_relation, shuffled_relation, uniform_relation
from graphadapt.relation.matrix import Relation

NAMES = ("a", "b", "c", "d", "e", "f")


def chain():
    weights = np.zeros((6, 6), np.float32)
    for i in range(5):
        weights[i, i + 1] = weights[i + 1, i] = (i + 1) / 10
    overlap = np.arange(36, dtype=np.int32).reshape(6, 6)
    return Relation(weights, weights.copy(), overlap, "labels", NAMES)


def test_identity_has_no_edge():
    relation = identity_relation(NAMES)
    assert not relation.weights.any()
    assert (relation.kind, relation.task_names) == ("identity", NAMES)


def test_uniform_relates_every_pair_alike():
    relation = uniform_relation(NAMES)
    assert np.array_equal(relation.weights, 1 - np.eye(6))
    assert relation.weights.dtype == np.float32


def test_shuffling_keeps_the_structure_and_moves_the_tasks():
    before, after = chain(), shuffled_relation(chain(), 3)
    assert not np.array_equal(before.weights, after.weights)
    assert sorted(before.weights.ravel()) == sorted(after.weights.ravel())
    assert sorted(before.weights.sum(0)) == sorted(after.weights.sum(0))
    np.testing.assert_allclose(
        np.linalg.eigvalsh(before.weights), np.linalg.eigvalsh(after.weights), atol=1e-6
    )
    assert (after.kind, after.task_names) == ("shuffled", NAMES)


def test_shuffling_moves_all_three_matrices_alike():
    after = shuffled_relation(chain(), 5)
    assert np.array_equal(after.signed, after.weights)
    order = np.diagonal(after.overlap) // 7
    assert np.array_equal(after.weights, chain().weights[np.ix_(order, order)])


def test_shuffling_follows_its_seed():
    assert np.array_equal(
        shuffled_relation(chain(), 1).weights, shuffled_relation(chain(), 1).weights
    )
    drawn = {shuffled_relation(chain(), seed).weights.tobytes() for seed in range(20)}
    assert len(drawn) > 10

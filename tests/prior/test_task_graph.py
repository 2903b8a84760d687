import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from graphadapt.errors import ConfigError
from graphadapt.prior.task_graph import normalised_relation, spectral_start, task_edges


def random_relation(tasks=6, seed=0, density=0.6):
    generator = torch.Generator().manual_seed(seed)
    weights = torch.rand(tasks, tasks, generator=generator, dtype=torch.float64)
    weights *= torch.rand(tasks, tasks, generator=generator) < density
    weights = weights.triu(1)
    return weights + weights.T


def cosines(embedding_Tp):
    return (
        torch.nn.functional.normalize(embedding_Tp, dim=1)
        @ torch.nn.functional.normalize(embedding_Tp, dim=1).T
    )


def test_normalisation_is_the_loop_over_pairs():
    relation_TT = random_relation()
    normalised_TT = normalised_relation(relation_TT)
    degree = [1 + sum(row) for row in relation_TT.tolist()]
    for i in range(6):
        for j in range(6):
            expected = (relation_TT[i, j] + (i == j)) / (degree[i] * degree[j]) ** 0.5
            torch.testing.assert_close(normalised_TT[i, j], expected)


def test_edges_are_the_entries_that_are_not_zero_grouped_by_target():
    relation_TT = random_relation()
    normalised_TT = normalised_relation(relation_TT)
    edges = task_edges(normalised_TT)
    rebuilt_TT = torch.zeros(6, 6).double()
    rebuilt_TT[edges.target, edges.source] = edges.weight
    assert torch.equal(rebuilt_TT, normalised_TT)
    assert len(edges.weight) == int((relation_TT > 0).sum()) + 6
    assert torch.equal(edges.target, edges.target.sort().values)


def test_an_isolated_task_keeps_itself():
    edges = task_edges(normalised_relation(torch.zeros(3, 3)))
    assert edges.source.tolist() == edges.target.tolist() == [0, 1, 2]
    assert edges.weight.tolist() == [1, 1, 1]


@pytest.mark.parametrize(
    ("relation", "text"),
    [
        ([[0.0, 0.5]], r"shape \(1, 2\) is not a matrix of tasks by tasks"),
        ([[0.0, 0.5], [0.4, 0.0]], r"not symmetric"),
        ([[0.0, 1.5], [1.5, 0.0]], r"weights outside \[0, 1\]"),
        ([[0.0, float("nan")], [float("nan"), 0.0]], r"weights outside \[0, 1\]"),
        ([[1.0, 0.5], [0.5, 1.0]], r"weights on its diagonal"),
    ],
)
def test_what_is_no_relation_is_refused(relation, text):
    with pytest.raises(ConfigError, match=text):
        normalised_relation(torch.tensor(relation))


@settings(deadline=None, max_examples=20)
@given(tasks=st.integers(1, 8), seed=st.integers(0, 99))
def test_with_room_for_all_directions_cosines_are_those_of_the_positive_part(tasks, seed):
    normalised_TT = normalised_relation(random_relation(tasks, seed))
    values, vectors = torch.linalg.eigh(normalised_TT)
    positive_TT = vectors * values.clamp_min(0) @ vectors.T
    start_Tp = spectral_start(normalised_TT, tasks + 2)
    torch.testing.assert_close(cosines(start_Tp), cosines(positive_TT), rtol=0, atol=1e-6)
    torch.testing.assert_close(
        start_Tp.norm(dim=1), torch.full((tasks,), (tasks + 2) ** 0.5).double()
    )


def test_related_tasks_start_closer_than_unrelated_ones():
    relation_TT = torch.zeros(6, 6)
    relation_TT[:3, :3] = relation_TT[3:, 3:] = 0.5
    relation_TT[2, 3] = relation_TT[3, 2] = 0.1
    close_TT = cosines(spectral_start(normalised_relation(relation_TT.fill_diagonal_(0)), 4))
    assert close_TT[0, 1] > close_TT[0, 3] + 0.3
    assert close_TT[4, 5] > close_TT[4, 0] + 0.3


def test_directions_beyond_the_number_of_tasks_are_zero():
    start_Tp = spectral_start(normalised_relation(random_relation(3)), 8)
    assert start_Tp.shape == (3, 8)
    assert not start_Tp[:, 3:].any()


def test_renaming_tasks_renames_the_start():
    normalised_TT, order = normalised_relation(random_relation(7)), torch.randperm(7)
    start_Tp = spectral_start(normalised_TT, 4)
    renamed = spectral_start(normalised_TT[order][:, order], 4)
    torch.testing.assert_close(renamed, start_Tp[order], rtol=0, atol=1e-8)


def test_the_sign_does_not_hang_on_rounding():
    relation_TT = random_relation(7)
    nudged_TT = relation_TT * (1 - 1e-13)
    start, nudged = (
        spectral_start(normalised_relation(each), 5) for each in (relation_TT, nudged_TT)
    )
    torch.testing.assert_close(start, nudged, rtol=0, atol=1e-8)


def test_components_and_isolated_tasks_get_a_direction_each():
    relation_TT = torch.zeros(5, 5)
    relation_TT[0, 1] = relation_TT[1, 0] = relation_TT[3, 4] = relation_TT[4, 3] = 1.0
    start_Tp = spectral_start(normalised_relation(relation_TT), 3)
    root = 3**0.5
    expected = [[0, root, 0], [0, root, 0], [root, 0, 0], [0, 0, root], [0, 0, root]]
    torch.testing.assert_close(start_Tp, torch.tensor(expected).double())


def test_tasks_that_the_leading_directions_miss_get_a_zero_row():
    start_Tp = spectral_start(normalised_relation(torch.zeros(4, 4)), 2)
    assert start_Tp.any(1).tolist() == [True, True, False, False]


def test_one_related_whole_starts_in_one_place():
    start_Tp = spectral_start(normalised_relation(torch.ones(4, 4).fill_diagonal_(0)), 3)
    torch.testing.assert_close(cosines(start_Tp), torch.ones(4, 4).double())

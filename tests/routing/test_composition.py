import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from graphadapt.errors import ConfigError
from graphadapt.routing.composition import (
    mix,
    mix_sites,
    single_task,
    uniform_composition,
    weighted_composition,
)

NAMES = ["NR-AR", "NR-AhR", "SR-MMP", "SR-p53"]


def test_compositions_are_distributions_in_the_models_order():
    assert single_task("SR-MMP", NAMES).tolist() == [0, 0, 1, 0]
    assert uniform_composition(["SR-p53", "NR-AR"], NAMES).tolist() == [0.5, 0, 0, 0.5]
    assert weighted_composition({"SR-p53": 6, "NR-AR": 2}, NAMES).tolist() == [0.25, 0, 0, 0.75]


@settings(deadline=None, max_examples=25)
@given(st.dictionaries(st.sampled_from(NAMES), st.floats(1e-6, 1e6), min_size=1))
def test_any_weights_become_shares_of_one(weights):
    composition_T = weighted_composition(weights, NAMES)
    assert composition_T.sum().item() == pytest.approx(1, abs=1e-6)
    for name, weight in weights.items():
        share = weight / sum(weights.values())
        assert composition_T[NAMES.index(name)].item() == pytest.approx(share, abs=1e-6)


@pytest.mark.parametrize(
    ("build", "text"),
    [
        (lambda: single_task("NR-Ar", NAMES), r"unknown task 'NR-Ar'; did you mean 'NR-AR'\?"),
        (lambda: single_task("zzz", NAMES), r"unknown task 'zzz'; the model has NR-AR, NR-AhR"),
        (lambda: single_task("x", [str(i) for i in range(9)]), r"has 0, .*, 7, \.\.\."),
        (lambda: uniform_composition([], NAMES), r"at least one task of weight above 0"),
        (lambda: uniform_composition(["SR-p53"] * 2, NAMES), r"'SR-p53' is named twice"),
        (lambda: weighted_composition({"NR-AR": 0.0}, NAMES), r"at least one task of weight"),
        (lambda: weighted_composition({"NR-AR": -1.0}, NAMES), r"weight -1.0 of task 'NR-AR'"),
        (lambda: weighted_composition({"NR-AR": math.nan}, NAMES), r"weight nan of task"),
        (lambda: weighted_composition({"NR-AR": math.inf}, NAMES), r"weight inf of task"),
    ],
)
def test_what_is_no_composition_is_refused(build, text):
    with pytest.raises(ConfigError, match=text):
        build()


def random_gate(tasks=4, count=3):
    return torch.rand(tasks, count).double().softmax(1)


def test_mixing_is_the_weighted_sum_of_routes():
    gate_TK = random_gate()
    composition_T = weighted_composition({"NR-AR": 1, "SR-MMP": 3}, NAMES).double()
    torch.testing.assert_close(mix(composition_T, gate_TK), 0.25 * gate_TK[0] + 0.75 * gate_TK[2])
    assert torch.equal(mix(single_task("SR-MMP", NAMES), gate_TK), gate_TK[2])


def test_mixing_is_linear_in_the_composition_and_keeps_a_distribution():
    gate_TK = random_gate()
    one, two = torch.rand(4).double().softmax(0), torch.rand(4).double().softmax(0)
    both = mix(0.3 * one + 0.7 * two, gate_TK)
    torch.testing.assert_close(both, 0.3 * mix(one, gate_TK) + 0.7 * mix(two, gate_TK))
    assert both.sum().item() == pytest.approx(1, abs=1e-12)


def test_renaming_tasks_changes_no_mix_and_renaming_adapters_renames_it():
    gate_TK, composition_T = random_gate(), torch.rand(4).double()
    tasks, adapters = torch.randperm(4), torch.randperm(3)
    mixed = mix(composition_T[tasks], gate_TK[tasks][:, adapters])
    torch.testing.assert_close(mixed, mix(composition_T, gate_TK)[adapters])


def test_mixing_passes_gradcheck():
    inputs = (torch.rand(4).double().requires_grad_(), random_gate().requires_grad_())
    assert torch.autograd.gradcheck(mix, inputs)


def test_autocast_does_not_round_a_mix():
    gate_TK, composition_T = random_gate().float(), torch.rand(4)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = mix(composition_T, gate_TK)
    assert torch.equal(rounded, mix(composition_T, gate_TK))


def test_all_sites_mixed_at_once_are_mixed_one_by_one():
    gates = {"a": torch.rand(4, 3), "b": torch.rand(4, 1), "c": torch.rand(4, 3)}
    composition_T = torch.tensor([0.5, 0.0, 0.3, 0.2])
    found = mix_sites(composition_T, gates)
    assert list(found) == list(gates)
    for site, gate_TK in gates.items():
        torch.testing.assert_close(found[site], mix(composition_T, gate_TK))
    assert mix_sites(composition_T, {}) == {}

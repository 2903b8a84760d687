import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from graphadapt.adapters.bank import AdapterBank
from graphadapt.errors import ConfigError

FORMS = ["auto", "factored", "effective"]


def trained_bank(count=3, width_in=5, width_out=4, rank=2, scale=0.7):
    torch.manual_seed(0)
    bank = AdapterBank(count, width_in, width_out, rank, scale).double()
    nn.init.normal_(bank.up)
    return bank


def slow_answer(bank, layer, x_ND, alpha_K):
    rows = []
    for x_D in x_ND:
        y_F = layer.weight @ x_D + layer.bias
        for k in range(bank.count):
            y_F = y_F + bank.scale * alpha_K[k] * (bank.up[k] @ (bank.down[k] @ x_D))
        rows.append(y_F)
    return torch.stack(rows)


@pytest.mark.parametrize("form", FORMS)
def test_a_fresh_bank_changes_no_answer(form):
    bank, layer = AdapterBank(3, 5, 4, 2), nn.Linear(5, 4)
    x_ND, alpha_K = torch.randn(7, 5), torch.rand(3)
    assert torch.equal(bank.adapted_linear(layer, x_ND, alpha_K, form), layer(x_ND))


@pytest.mark.parametrize("form", FORMS)
def test_the_answer_is_the_loop_over_rows_and_adapters(form):
    bank, layer = trained_bank(), nn.Linear(5, 4).double()
    x_ND, alpha_K = torch.randn(7, 5).double(), torch.tensor([0.5, 0.0, 0.3]).double()
    answer = bank.adapted_linear(layer, x_ND, alpha_K, form)
    torch.testing.assert_close(answer, slow_answer(bank, layer, x_ND, alpha_K), rtol=0, atol=1e-12)


@settings(deadline=None, max_examples=25)
@given(
    count=st.integers(1, 4),
    rank=st.integers(1, 3),
    lead=st.lists(st.integers(0, 4), min_size=0, max_size=2),
    seed=st.integers(0, 99),
)
def test_factored_and_effective_agree(count, rank, lead, seed):
    torch.manual_seed(seed)
    bank, layer = AdapterBank(count, 6, 3, rank, 1.3).double(), nn.Linear(6, 3).double()
    nn.init.normal_(bank.up)
    x, alpha_K = torch.randn(*lead, 6).double(), torch.rand(count).double()
    answers = [bank.adapted_linear(layer, x, alpha_K, form) for form in FORMS]
    assert answers[0].shape == (*lead, 3)
    for answer in answers[1:]:
        torch.testing.assert_close(answer, answers[0], rtol=0, atol=1e-12)


def test_both_forms_give_the_same_gradients():
    bank, layer = trained_bank(), nn.Linear(5, 4).double()
    x_ND = torch.randn(7, 5).double().requires_grad_()
    alpha_K = torch.rand(3).double().requires_grad_()
    leaves = [x_ND, alpha_K, bank.up, bank.down, layer.weight, layer.bias]
    factored, effective = (
        torch.autograd.grad(bank.adapted_linear(layer, x_ND, alpha_K, form).sin().sum(), leaves)
        for form in FORMS[1:]
    )
    torch.testing.assert_close(factored, effective, rtol=1e-12, atol=1e-12)


class Applied(nn.Module):
    """A layer with its bank, so that both can be handed other parameters."""

    def __init__(self, bank, layer, form):
        super().__init__()
        self.bank, self.layer, self.form = bank, layer, form

    def forward(self, x_ND, alpha_K):
        return self.bank.adapted_linear(self.layer, x_ND, alpha_K, self.form)


@pytest.mark.parametrize("form", FORMS[1:])
def test_gradients_are_those_of_the_formula(form):
    module = Applied(trained_bank(), nn.Linear(5, 4).double(), form)
    names, values = zip(*module.named_parameters(), strict=True)

    def answer(x_ND, alpha_K, *parameters):
        call = dict(zip(names, parameters, strict=True))
        return torch.func.functional_call(module, call, (x_ND, alpha_K))

    inputs = [torch.randn(3, 5).double(), torch.rand(3).double(), *values]
    assert torch.autograd.gradcheck(answer, [x.detach().clone().requires_grad_() for x in inputs])


def test_delta_and_correction_are_linear_in_the_weights():
    bank = trained_bank()
    one, two = torch.rand(3).double(), torch.rand(3).double()
    torch.testing.assert_close(bank.delta(one + 2 * two), bank.delta(one) + 2 * bank.delta(two))
    x = torch.randn(6, 5).double()
    torch.testing.assert_close(bank.correction(x, one), x @ bank.delta(one).T)


def test_renaming_adapters_changes_no_answer():
    bank, order = trained_bank(), torch.tensor([2, 0, 1])
    renamed = trained_bank()
    with torch.no_grad():
        renamed.down.copy_(bank.down[order])
        renamed.up.copy_(bank.up[order])
    alpha_K = torch.rand(3).double()
    torch.testing.assert_close(renamed.delta(alpha_K[order]), bank.delta(alpha_K))


def test_corrected_rows_read_what_the_adapted_map_would_send():
    bank = trained_bank(width_in=4, width_out=4)
    rows_TD, gate_TK = torch.randn(6, 4).double(), torch.rand(6, 3).double()
    z_GD = torch.randn(5, 4).double()
    logits_GT = z_GD @ bank.correct_rows(rows_TD, gate_TK).T
    for task in range(6):
        adapted_GD = z_GD + bank.correction(z_GD, gate_TK[task])
        torch.testing.assert_close(logits_GT[:, task], adapted_GD @ rows_TD[task])
        square = torch.eye(4).double() + bank.delta(gate_TK[task])
        torch.testing.assert_close(
            bank.correct_rows(rows_TD, gate_TK)[task], square.T @ rows_TD[task]
        )


def test_renaming_tasks_renames_corrected_rows():
    bank, order = trained_bank(width_in=4, width_out=4), torch.randperm(6)
    rows_TD, gate_TK = torch.randn(6, 4).double(), torch.rand(6, 3).double()
    torch.testing.assert_close(
        bank.correct_rows(rows_TD[order], gate_TK[order]),
        bank.correct_rows(rows_TD, gate_TK)[order],
    )


def test_corrected_rows_pass_gradcheck_and_start_as_they_were():
    bank = trained_bank(width_in=4, width_out=4)
    rows_TD, gate_TK = torch.randn(2, 4).double(), torch.rand(2, 3).double()
    inputs = (rows_TD.requires_grad_(), gate_TK.requires_grad_())
    assert torch.autograd.gradcheck(bank.correct_rows, inputs)
    fresh = AdapterBank(3, 4, 4, 2).double()
    assert torch.equal(fresh.correct_rows(rows_TD, gate_TK), rows_TD)


def test_a_bank_that_is_not_square_corrects_no_rows():
    with pytest.raises(ConfigError, match=r"5->4 cannot correct readout rows; use equal widths"):
        trained_bank().correct_rows(torch.zeros(1, 4).double(), torch.zeros(1, 3).double())


@pytest.mark.parametrize(
    ("sizes", "text"),
    [
        ((0, 5, 4, 1), r"count=0 makes no bank"),
        ((2, 5, 4, 5), r"rank=5 does not fit a 5->4 layer; use 1 to 4"),
        ((2, 5, 4, 0), r"rank=0 does not fit"),
        ((2, 5, 4, 1, 0.0), r"scale=0.0 is not a positive number"),
        ((2, 5, 4, 1, math.nan), r"scale=nan is not a positive number"),
    ],
)
def test_impossible_sizes_are_refused(sizes, text):
    with pytest.raises(ConfigError, match=text):
        AdapterBank(*sizes)


def test_the_down_projections_start_apart_and_as_wide_as_a_linear_layer():
    bank = AdapterBank(20, 64, 8, 4)
    bound = 1 / math.sqrt(64)
    assert 0.95 * bound < bank.down.abs().max() <= bound
    assert not torch.equal(bank.down[0], bank.down[1])
    assert not bank.up.any()


def test_adapters_learn_from_the_first_step_and_weights_from_the_second():
    torch.manual_seed(0)
    bank, layer = AdapterBank(3, 5, 4, 2), nn.Linear(5, 4)
    alpha_K = torch.full((3,), 1 / 3, requires_grad=True)
    x_ND = torch.randn(8, 5)

    def backward():
        bank.adapted_linear(layer, x_ND, alpha_K).square().sum().backward()

    backward()
    assert not alpha_K.grad.any()
    assert bank.up.grad.abs().amax((1, 2)).min() > 0
    with torch.no_grad():
        bank.up -= 0.1 * bank.up.grad
    backward()
    assert alpha_K.grad.abs().min() > 0
    assert alpha_K.grad.unique().numel() == 3


@pytest.mark.parametrize("form", FORMS)
def test_autocast_gives_bfloat16_and_float32_gradients(form):
    torch.manual_seed(0)
    bank, layer = AdapterBank(3, 32, 16, 2), nn.Linear(32, 16)
    nn.init.normal_(bank.up, std=0.1)
    x_ND, alpha_K = torch.randn(50, 32), torch.rand(3, requires_grad=True)
    exact = bank.adapted_linear(layer, x_ND, alpha_K, form)
    with torch.autocast("cpu", torch.bfloat16):
        answer = bank.adapted_linear(layer, x_ND.bfloat16(), alpha_K, form)
    assert answer.dtype == torch.bfloat16
    assert (answer - exact).abs().max() < 0.02 * exact.abs().max()
    answer.float().square().sum().backward()
    assert {p.grad.dtype for p in (bank.up, bank.down, alpha_K)} == {torch.float32}


def test_corrected_rows_keep_their_precision_under_autocast():
    bank = trained_bank(width_in=4, width_out=4).float()
    rows_TD, gate_TK = torch.randn(6, 4), torch.rand(6, 3)
    with torch.autocast("cpu", torch.bfloat16):
        answer = bank.correct_rows(rows_TD, gate_TK)
    assert torch.equal(answer, bank.correct_rows(rows_TD, gate_TK))


def test_no_rows_are_a_valid_input():
    for form in FORMS:
        answer = trained_bank().adapted_linear(
            nn.Linear(5, 4).double(), torch.zeros(0, 5).double(), torch.rand(3).double(), form
        )
        assert answer.shape == (0, 4)

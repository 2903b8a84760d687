import pytest
import torch
from torch import nn

from graphadapt.adapters.bank import AdapterBank
from graphadapt.adapters.disagreement import adapter_disagreement


@pytest.fixture
def bank():
    torch.manual_seed(1)
    bank = AdapterBank(4, 6, 5, 3, scale=2.0).double()
    nn.init.normal_(bank.up)
    return bank


def direct(bank, x_ND):
    outputs = [x_ND @ down.T @ up.T for down, up in zip(bank.down, bank.up, strict=True)]
    return torch.stack(
        [torch.stack([(one - two).square().mean() for two in outputs]) for one in outputs]
    )


def test_the_gram_form_is_the_direct_distance(bank):
    x_ND = torch.randn(30, 6).double()
    distance_KK = adapter_disagreement(bank, x_ND)
    torch.testing.assert_close(distance_KK, direct(bank, x_ND), rtol=0, atol=1e-12)


def test_it_is_symmetric_with_a_zero_diagonal(bank):
    distance_KK = adapter_disagreement(bank, torch.randn(30, 6).double())
    torch.testing.assert_close(distance_KK, distance_KK.T)
    assert torch.equal(distance_KK.diagonal(), torch.zeros(4).double())


def test_renaming_adapters_renames_the_distances(bank):
    order, x_ND = torch.tensor([3, 1, 0, 2]), torch.randn(30, 6).double()
    renamed = AdapterBank(4, 6, 5, 3).double()
    with torch.no_grad():
        renamed.down.copy_(bank.down[order])
        renamed.up.copy_(bank.up[order])
    torch.testing.assert_close(
        adapter_disagreement(renamed, x_ND), adapter_disagreement(bank, x_ND)[order][:, order]
    )


def test_equal_adapters_agree(bank):
    with torch.no_grad():
        bank.down[1], bank.up[1] = bank.down[0], bank.up[0]
    assert adapter_disagreement(bank, torch.randn(30, 6).double())[0, 1].abs() < 1e-12


def test_gradients_are_those_of_the_formula(bank):
    def distance(x_ND, down, up):
        return torch.func.functional_call(
            Measured(bank), {"bank.down": down, "bank.up": up}, (x_ND,)
        )

    inputs = [torch.randn(5, 6).double(), bank.down.detach(), bank.up.detach()]
    assert torch.autograd.gradcheck(distance, [x.clone().requires_grad_() for x in inputs])


class Measured(nn.Module):
    def __init__(self, bank):
        super().__init__()
        self.bank = bank

    def forward(self, x_ND):
        return adapter_disagreement(self.bank, x_ND)


def test_no_rows_and_one_adapter_give_zero():
    one = AdapterBank(1, 6, 5, 3)
    nn.init.normal_(one.up)
    assert not adapter_disagreement(one, torch.randn(9, 6)).any()
    assert not adapter_disagreement(AdapterBank(3, 6, 5, 2), torch.zeros(0, 6)).any()


def test_autocast_does_not_round_it(bank):
    bank, x_ND = bank.float(), torch.randn(30, 6).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        rounded = adapter_disagreement(bank, x_ND)
    assert rounded.dtype == torch.float32
    assert torch.equal(rounded, adapter_disagreement(bank, x_ND.float()))


def test_padding_is_not_measured(bank):
    x_ND = torch.randn(30, 6).double().requires_grad_()
    padded_ND = torch.cat([x_ND, torch.full((5, 6), 9.0).double()])
    found = adapter_disagreement(bank, padded_ND, torch.tensor(30))
    expected = adapter_disagreement(bank, x_ND)
    torch.testing.assert_close(found, expected)
    gradients = [torch.autograd.grad(each.sum(), x_ND)[0] for each in (found, expected)]
    torch.testing.assert_close(*gradients)

"""The norm over atoms: torch's own without padding, and the same with it."""

import copy

import pytest
import torch
from torch import nn

from graphadapt.backbone.node_norm import NodeNorm
from graphadapt.graphs.batch import GraphTable
from graphadapt.graphs.buckets import BatchSize
from graphadapt.graphs.message_passing import message_kernels
from graphadapt.molecules.featurise import featurise_smiles

KERNELS = message_kernels("tensor", "cpu")
WIDTH = 4


@pytest.fixture
def batches():
    """One batch as it is, and padded by three atoms."""
    table = GraphTable.from_molecules([featurise_smiles(text) for text in ("CCO", "C#N", "C")])
    rows = torch.arange(3)
    return table.gather(rows), table.gather(rows, bucket=BatchSize(9, 8))


@pytest.fixture
def norm():
    torch.manual_seed(0)
    norm = NodeNorm(WIDTH).double()
    for tensor in (*norm.parameters(), norm.running_mean, norm.running_var):
        tensor.data += torch.rand_like(tensor)
    return norm


def padded(x):
    return torch.cat([x, 100 + torch.randn(3, WIDTH, dtype=x.dtype)])


def test_checkpoints_are_torchs(norm):
    plain = nn.BatchNorm1d(WIDTH).double()
    assert list(norm.state_dict()) == list(plain.state_dict())
    plain.load_state_dict(norm.state_dict())
    x = torch.randn(6, WIDTH).double()
    assert torch.equal(norm(x), plain(x))
    assert isinstance(norm, nn.BatchNorm1d)


@pytest.mark.parametrize("training", [True, False])
def test_without_padding_it_is_torchs_norm(norm, batches, training):
    plain = nn.BatchNorm1d(WIDTH).double()
    plain.load_state_dict(norm.state_dict())
    x = torch.randn(6, WIDTH).double()
    found = norm.train(training)(x, batches[0], KERNELS)
    assert torch.equal(found, plain.train(training)(x))
    for name, buffer in plain.named_buffers():
        assert torch.equal(norm.get_buffer(name), buffer), name


@pytest.mark.parametrize("momentum", [0.1, None])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_padding_moves_no_value_gradient_or_statistic(norm, batches, momentum, dtype):
    norm.momentum = momentum
    norm = norm if dtype == torch.float64 else norm.float()
    x = torch.randn(6, WIDTH).to(dtype)
    answer, results = torch.randn(6, WIDTH).to(dtype), []
    for number, batch in enumerate(batches):
        each = copy.deepcopy(norm)
        given = (padded(x) if number else x).requires_grad_()
        for _ in range(2):
            y = each(given, batch, KERNELS)
        assert not y[6:].any()
        gradients = torch.autograd.grad(y[:6], (given, each.weight, each.bias), answer)
        assert not gradients[0][6:].any()
        results.append((y[:6], gradients[0][:6], *gradients[1:], *each.buffers()))
    for plain, other in zip(*results, strict=True):
        assert plain.dtype == other.dtype
        tolerance = {"rtol": 2**-6, "atol": 0.02} if dtype == torch.bfloat16 else {}
        torch.testing.assert_close(other, plain, **tolerance)


def test_in_evaluation_padding_is_a_row_like_any_other(norm, batches):
    norm.eval()
    x = torch.randn(6, WIDTH).double()
    plain, other = norm(x, batches[0], KERNELS), norm(padded(x), batches[1], KERNELS)
    torch.testing.assert_close(other[:6], plain)
    assert norm.num_batches_tracked == 0


def test_a_single_padded_atom_gets_the_bias(norm):
    table = GraphTable.from_molecules([featurise_smiles("C")])
    batch = table.gather(torch.tensor([0]), bucket=BatchSize(4, 0))
    y = norm(torch.randn(4, WIDTH).double(), batch, KERNELS)
    torch.testing.assert_close(y[0], norm.bias)
    assert norm.running_var.isfinite().all()

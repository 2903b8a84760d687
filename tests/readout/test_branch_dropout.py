import pytest
import torch

from graphadapt.errors import ConfigError
from graphadapt.readout.branch_dropout import BranchDropout


def test_evaluation_keeps_both():
    join = BranchDropout(0.3).eval()
    z, h = torch.randn(4, 2), torch.randn(4, 3)
    assert torch.equal(join(z, h), torch.cat([z, h], dim=1))


def test_training_keeps_exactly_one_and_its_mean_is_both():
    torch.manual_seed(0)
    join = BranchDropout(0.3)
    rows = join(torch.ones(20_000, 2), torch.ones(20_000, 1))
    graph_alone = rows[:, 2] == 0
    assert torch.equal(graph_alone, rows[:, 0] != 0)
    torch.testing.assert_close(rows[graph_alone][0], torch.tensor([1 / 0.3, 1 / 0.3, 0.0]))
    torch.testing.assert_close(rows[~graph_alone][0], torch.tensor([0.0, 0.0, 1 / 0.7]))
    torch.testing.assert_close(rows.mean(0), torch.ones(3), rtol=0, atol=0.05)


def test_a_share_of_zero_keeps_both_while_training():
    assert torch.equal(BranchDropout(0.0)(torch.ones(2, 1), torch.ones(2, 1)), torch.ones(2, 2))


def test_a_share_outside_its_range_is_refused():
    with pytest.raises(ConfigError, match=r"graph_share=1.0 is not in \[0, 1\)"):
        BranchDropout(1.0)


def test_the_gradient_is_that_of_the_molecules_it_kept():
    join = BranchDropout(0.3).double()

    def kept(z, h):
        torch.manual_seed(0)
        return join(z, h)

    torch.manual_seed(1)
    inputs = [torch.randn(6, width, dtype=torch.float64, requires_grad=True) for width in (2, 3)]
    assert torch.autograd.gradcheck(kept, inputs)

import torch

from graphadapt.adapters.bank import AdapterBank
from graphadapt.readout.head import TaskReadout


def filled_readout(width=4, tasks=3, adapters=2, rank=2):
    torch.manual_seed(0)
    bank = AdapterBank(adapters, width, width, rank, scale=0.5).double()
    torch.nn.init.normal_(bank.up)
    return TaskReadout(width, tasks, bank).double()


def test_every_task_reads_the_embedding_through_its_own_mix():
    readout = filled_readout()
    z = torch.randn(5, 4, dtype=torch.float64)
    gate = torch.rand(3, 2, dtype=torch.float64)
    answers = readout(z, gate)
    for task in range(3):
        corrected = z + sum(
            0.5 * gate[task, k] * z @ readout.bank.down[k].T @ readout.bank.up[k].T
            for k in range(2)
        )
        expected = corrected @ readout.weight[task] + readout.bias[task]
        torch.testing.assert_close(answers[:, task], expected)


def test_a_fresh_bank_changes_no_answer():
    torch.manual_seed(0)
    readout = TaskReadout(4, 3, AdapterBank(2, 4, 4, 2))
    z, gate = torch.randn(5, 4), torch.full((3, 2), 0.5)
    assert torch.equal(
        readout(z, gate), torch.nn.functional.linear(z, readout.weight, readout.bias)
    )


def test_without_a_bank_it_is_a_linear_layer():
    readout = TaskReadout(4, 3)
    z = torch.randn(5, 4)
    torch.testing.assert_close(readout(z), z @ readout.weight.T + readout.bias)


def test_gradients_match_differences():
    readout = filled_readout()
    z = torch.randn(2, 4, dtype=torch.float64, requires_grad=True)
    gate = torch.rand(3, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(readout, (z, gate))

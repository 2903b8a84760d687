"""A norm folded into the layer before it against the two one after the other."""

import copy

import pytest
import torch
from torch import nn

from graphadapt.adapters.bank import AdapterBank
from graphadapt.adapters.sites import SiteBanks, find_sites
from graphadapt.backbone.fixed_norm import linear_norm
from graphadapt.backbone.network import MoleculeNetwork
from graphadapt.backbone.neural_fingerprint import NeuralFingerprint
from graphadapt.backbone.node_norm import NodeNorm
from graphadapt.backbone.protocol import ColumnMap, call_linear
from graphadapt.graphs.batch import GraphTable
from graphadapt.graphs.buckets import BatchSize
from graphadapt.graphs.message_passing import message_kernels
from graphadapt.molecules.featurise import featurise_smiles

ROWS, WIDTH_IN, WIDTH_OUT = 9, 4, 6


@pytest.fixture(scope="module")
def batch():
    smiles = ["CCO", "c1ccccc1C(=O)N", "[Na+].[Cl-]", "C"]
    table = GraphTable.from_molecules([featurise_smiles(each) for each in smiles])
    return table.gather(torch.tensor([0, 1, 2, 3, 1]))


def used_norm(width=WIDTH_OUT):
    """A norm in evaluation mode whose every number differs from where it starts."""
    norm = NodeNorm(width).double().eval()
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    norm.running_mean.normal_()
    norm.running_var.uniform_(0.1, 2)
    return norm


def calls(norm, layer, x_ND, batch):
    """The answer, and whether the norm was folded into the layer's call."""
    folded = []

    def linear(layer, x, after=None):
        folded.append(after is not None)
        return call_linear(layer, x, after)

    kernels = message_kernels("tensor", "cpu")
    return linear_norm(linear, layer, norm, x_ND, batch, kernels), folded[0]


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_folding_changes_no_answer_and_no_gradient(batch, bias, dtype):
    torch.manual_seed(0)
    layer, norm = nn.Linear(WIDTH_IN, WIDTH_OUT, bias=bias), used_norm()
    layer, norm = layer.to(dtype), norm.to(dtype).requires_grad_(False)
    x_ND = torch.randn(ROWS, WIDTH_IN, dtype=dtype, requires_grad=True)
    found, folded = calls(norm, layer, x_ND, batch)
    assert folded
    expected = norm(layer(x_ND))
    torch.testing.assert_close(found, expected)
    leaves = [x_ND, *layer.parameters()]
    torch.testing.assert_close(
        torch.autograd.grad(found.sin().sum(), leaves),
        torch.autograd.grad(expected.sin().sum(), leaves),
    )


def test_a_norm_that_moves_is_left_alone(batch):
    layer, norm = nn.Linear(WIDTH_IN, WIDTH_OUT).double(), used_norm()
    x_ND = torch.randn(ROWS, WIDTH_IN).double()
    assert not calls(norm, layer, x_ND, batch)[1]
    with torch.no_grad():
        assert calls(norm, layer, x_ND, batch)[1]
    norm.requires_grad_(False)
    assert calls(norm, layer, x_ND, batch)[1]
    assert not calls(norm, layer, x_ND[:WIDTH_IN], batch)[1]
    norm.train()
    assert not calls(norm, layer, x_ND, None)[1]


@pytest.mark.parametrize("form", ["factored", "effective"])
def test_adapters_are_mapped_with_their_layer(form):
    torch.manual_seed(0)
    layer, bank = nn.Linear(5, 4).double(), AdapterBank(3, 5, 4, 2, 0.7).double()
    nn.init.normal_(bank.up)
    after = ColumnMap(torch.randn(4).double(), torch.randn(4).double())
    x_ND, alpha_K = torch.randn(7, 5).double(), torch.rand(3).double().requires_grad_()
    leaves = [alpha_K, bank.up, bank.down]
    found = bank.adapted_linear(layer, x_ND, alpha_K, form, after=after)
    plain = bank.adapted_linear(layer, x_ND, alpha_K, form)
    expected = after.scale * plain + after.shift
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(
        torch.autograd.grad(found.sin().sum(), leaves),
        torch.autograd.grad(expected.sin().sum(), leaves),
        rtol=1e-11,
        atol=1e-12,
    )


def used_network(pooling="mean", jumping_knowledge="last", layers=3):
    """A frozen network whose norms have seen something."""
    torch.manual_seed(0)
    network = MoleculeNetwork(
        convolution="gin",
        virtual_node=True,
        width=8,
        layers=layers,
        pooling=pooling,
        jumping_knowledge=jumping_knowledge,
    ).double()
    for norm in network.norms:
        norm.load_state_dict(used_norm(8).state_dict())
    return network.eval().requires_grad_(False)


def rows_seen(network, batch, measures=False):
    """The embedding, and how many rows the last linear layer was given."""
    rows = {}

    def linear(layer, x, after=None):
        rows[layer] = len(x)
        return call_linear(layer, x, after)

    linear.measures = measures
    embedding = network(batch, linear)
    return embedding, rows[network.convolutions[-1].contract]


@pytest.mark.parametrize("pooling", ["mean", "sum"])
@pytest.mark.parametrize("layers", [1, 3])
def test_the_last_product_over_graphs_is_that_over_nodes(pooling, layers, batch):
    network = used_network(pooling, layers=layers)
    state = network.run(network.start(batch), layers, batch)
    by_nodes = network.finish(state, batch, call_linear)
    by_graphs, last_rows = rows_seen(network, batch)
    assert last_rows == batch.num_graphs
    torch.testing.assert_close(by_graphs, by_nodes, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(network.embed(state, batch), by_nodes)


@pytest.mark.parametrize(
    ("change", "measures"),
    [
        (lambda network: None, True),
        (lambda network: network.train(), False),
        (lambda network: network.norms[-1].requires_grad_(True), False),
        (lambda network: setattr(network, "jumping_knowledge", "sum"), False),
    ],
)
def test_elsewhere_the_last_product_is_over_nodes(change, measures, batch):
    network = used_network()
    change(network)
    assert rows_seen(network, batch, measures)[1] == batch.num_nodes


def test_padding_changes_no_frozen_embedding():
    smiles = ["CCO", "c1ccccc1C(=O)N", "C"]
    table = GraphTable.from_molecules([featurise_smiles(each) for each in smiles])
    rows, network = torch.tensor([1, 0, 2]), used_network()
    padded = table.gather(rows, bucket=BatchSize(nodes=32, bonds=32))
    assert padded.num_nodes == 32
    torch.testing.assert_close(network(padded), network(table.gather(rows)))


def test_reduced_precision_does_not_reach_the_last_product(batch):
    network = used_network().float()
    exact = network(batch)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = network(batch)
    assert rounded.dtype == torch.float32
    assert (rounded - exact).abs().max() < 0.03 * exact.abs().max()


NETWORKS = {
    "gin": lambda: MoleculeNetwork(convolution="gin", virtual_node=True, width=8, layers=3),
    "gcn": lambda: MoleculeNetwork(convolution="gcn", virtual_node=True, width=8, layers=3),
    "neural-fingerprint": lambda: NeuralFingerprint(width=8, layers=2, fingerprint_width=5),
}


@pytest.mark.parametrize("kind", NETWORKS)
@pytest.mark.parametrize("adapted", [False, True])
def test_a_frozen_network_answers_as_the_same_network_that_could_move(kind, adapted, batch):
    torch.manual_seed(0)
    moving = NETWORKS[kind]().double()
    for _ in range(3):
        moving(batch)
    moving.eval()
    frozen = copy.deepcopy(moving).requires_grad_(False)
    answers, gradients = [], []
    for network in (moving, frozen):
        call = call_linear
        torch.manual_seed(1)
        banks = SiteBanks(find_sites(network, ["*"]), count=2, rank=2)
        if adapted:
            for bank in banks.banks.values():
                nn.init.normal_(bank.up)
            call = banks.call({name: torch.tensor([0.3, 0.7]).double() for name in banks.names})
        answers.append(network(batch, call))
        if adapted:
            loss = answers[-1].sin().sum()
            gradients.append(torch.autograd.grad(loss, list(banks.parameters())))
    torch.testing.assert_close(*answers, rtol=1e-11, atol=1e-11)
    if adapted:
        torch.testing.assert_close(*gradients, rtol=1e-9, atol=1e-10)

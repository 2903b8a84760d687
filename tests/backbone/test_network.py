"""The networks against a slow restatement of OGB's reference, and against themselves."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from graphadapt.backbone.dropout import Dropout
from graphadapt.backbone.factory import build_backbone
from graphadapt.backbone.network import MoleculeNetwork
from graphadapt.backbone.protocol import Backbone, call_linear
from graphadapt.config import BackboneConfig
from graphadapt.errors import ConfigError
from graphadapt.graphs.batch import GraphBatch, GraphTable
from graphadapt.molecules.featurise import featurise_smiles

SMILES = ("CCO", "C/C=C/C#N", "[Na+].[Cl-]", "c1ccccc1C(=O)N[C@@H](C)C(=O)O", "C")
KINDS = [("gin", False), ("gin", True), ("gcn", False), ("gcn", True)]


@pytest.fixture(scope="module")
def batch():
    table = GraphTable.from_molecules([featurise_smiles(text) for text in SMILES])
    return table.gather(torch.arange(len(SMILES)))


@pytest.fixture(params=KINDS, ids=lambda kind: kind[0] + "-virtual-node" * kind[1])
def kind(request):
    return {"convolution": request.param[0], "virtual_node": request.param[1]}


def make_network(kind, *, seed=0, message_passing="tensor", **settings):
    """A small float64 network whose norms and constants are not at their first values."""
    torch.manual_seed(seed)
    settings = {"width": 6, "layers": 3, "dropout": 0.0, **settings}
    network = MoleculeNetwork(**kind, **settings, message_passing=message_passing).double()
    for name, tensor in network.named_parameters():
        if tensor.ndim == 1:
            tensor.data += 0.3 * torch.randn_like(tensor) + 0.1 * ("root" in name)
    for name, tensor in network.named_buffers():
        if "running" in name:
            tensor += torch.rand_like(tensor)
    return network


class Reference:
    """OGB's molecule example, node by node and edge by edge, from the network's weights."""

    def __init__(self, network, drop):
        self.network, self.drop = network, drop

    def linear(self, layer, x):
        return torch.stack([layer.weight @ row + layer.bias for row in x])

    def norm(self, layer, x):
        if self.network.training:
            mean, variance = x.mean(0), x.var(0, unbiased=False)
        else:
            mean, variance = layer.running_mean, layer.running_var
        return (x - mean) / torch.sqrt(variance + layer.eps) * layer.weight + layer.bias

    def atoms(self, batch):
        tables = self.network.atoms.tables
        return torch.stack(
            [
                sum(table.weight[value] for table, value in zip(tables, atom, strict=True))
                for atom in batch.atoms
            ]
        )

    def bond(self, encoder, code):
        kind, stereo, conjugated = encoder.tables
        return kind.weight[code // 12] + stereo.weight[code // 2 % 6] + conjugated.weight[code % 2]

    def gin(self, layer, x, batch):
        summed = [(1 + layer.epsilon) * row for row in x]
        for u, v, code in zip(batch.source, batch.target, batch.bond_codes, strict=True):
            summed[v] = summed[v] + functional.relu(x[u] + self.bond(layer.bonds, code))
        hidden = functional.relu(self.norm(layer.norm, self.linear(layer.expand, summed)))
        return self.linear(layer.contract, hidden)

    def gcn(self, layer, x, batch):
        h = self.linear(layer.update, x)
        degree = [1 + (batch.source == node).sum().item() for node in range(len(x))]
        rows = [functional.relu(h[v] + layer.root) / degree[v] for v in range(len(x))]
        for u, v, code in zip(batch.source, batch.target, batch.bond_codes, strict=True):
            message = functional.relu(h[u] + self.bond(layer.bonds, code))
            rows[v] = rows[v] + message / (degree[u] * degree[v]) ** 0.5
        return torch.stack(rows)

    def virtual_update(self, layer, state, x, batch):
        pooled = torch.stack(
            [state[g] + x[batch.graph_of_node == g].sum(0) for g in range(batch.num_graphs)]
        )
        hidden = functional.relu(self.norm(layer.expand_norm, self.linear(layer.expand, pooled)))
        out = self.norm(layer.contract_norm, self.linear(layer.contract, hidden))
        return self.drop(functional.relu(out))

    def __call__(self, batch):
        network, layers = self.network, len(self.network.convolutions)
        states, virtual = [self.atoms(batch)], None
        if network.virtual_node is not None:
            virtual = [network.virtual_node.first] * batch.num_graphs
        for number, layer in enumerate(network.convolutions):
            if virtual is not None:
                added = [virtual[graph] for graph in batch.graph_of_node]
                states[number] = states[number] + torch.stack(added)
            convolve = self.gin if hasattr(layer, "epsilon") else self.gcn
            h = self.norm(network.norms[number], convolve(layer, states[number], batch))
            if number == layers - 1:
                h = self.drop(h)
            else:
                h = self.drop(functional.relu(h))
                if virtual is not None:
                    update = network.virtual_node.updates[number]
                    virtual = self.virtual_update(update, virtual, states[number], batch)
            states.append(h)
        nodes = states[-1] if network.jumping_knowledge == "last" else sum(states)
        rows = [nodes[batch.graph_of_node == g] for g in range(batch.num_graphs)]
        pool = torch.mean if network.pooling == "mean" else torch.sum
        return torch.stack([pool(row, 0) for row in rows])


def marked(x):
    """Stands in for dropout: shows where it is applied, and how often."""
    return 0.5 * x + 0.1 * x * x


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(("pooling", "jumping"), [("mean", "last"), ("sum", "sum")])
def test_the_network_is_ogbs_reference(kind, batch, training, pooling, jumping, monkeypatch):
    monkeypatch.setattr(Dropout, "forward", lambda self, x: marked(x))
    network = make_network(kind, pooling=pooling, jumping_knowledge=jumping).train(training)
    expected = Reference(network, marked)(batch)
    torch.testing.assert_close(network(batch), expected)


@pytest.mark.parametrize("message_passing", ["tensor", "dgl"])
def test_gradients_are_the_numeric_ones(kind, batch, message_passing):
    network = make_network(kind, width=3, layers=2, message_passing=message_passing)
    small = [p for name, p in network.named_parameters() if "tables" not in name]
    assert torch.autograd.gradcheck(lambda *_: network(batch), small, fast_mode=True)
    tables = [p for name, p in network.named_parameters() if "tables" in name]
    assert torch.autograd.gradcheck(lambda *_: network(batch), tables, fast_mode=True)


def test_both_kernels_give_the_same_network(kind, batch):
    answers = []
    for message_passing in ("tensor", "dgl"):
        network = make_network(kind, message_passing=message_passing)
        out = network(batch)
        answers.append((out, *torch.autograd.grad(out.sin().sum(), list(network.parameters()))))
    for tensor, dgl in zip(*answers, strict=True):
        torch.testing.assert_close(tensor, dgl)


def test_a_batch_answers_like_its_graphs_alone(kind, batch):
    network = make_network(kind).eval()
    table = GraphTable.from_molecules([featurise_smiles(text) for text in SMILES])
    single = [network(table.gather(torch.tensor([row]))) for row in range(len(SMILES))]
    torch.testing.assert_close(network(batch), torch.cat(single))


def test_renaming_nodes_changes_no_answer(kind, batch):
    network = make_network(kind).eval()
    order = torch.cat(
        [
            torch.randperm(count) + start
            for count, start in zip(
                batch.nodes_per_graph,
                batch.nodes_per_graph.cumsum(0) - batch.nodes_per_graph,
                strict=True,
            )
        ]
    )
    new_name = torch.argsort(order)
    renamed = GraphBatch(
        atoms=batch.atoms[order],
        source=new_name[batch.source],
        target=new_name[batch.target],
        bond_codes=batch.bond_codes,
        graph_of_node=batch.graph_of_node,
        nodes_per_graph=batch.nodes_per_graph,
    )
    torch.testing.assert_close(network(renamed), network(batch))


@pytest.mark.parametrize("message_passing", ["tensor", "dgl"])
def test_a_lone_atom_has_an_embedding(kind, message_passing):
    table = GraphTable.from_molecules([featurise_smiles("C")])
    network = make_network(kind, message_passing=message_passing).eval()
    out = network(table.gather(torch.tensor([0])))
    torch.testing.assert_close(
        out, Reference(network, lambda x: x)(table.gather(torch.tensor([0])))
    )


def test_every_linear_layer_is_called_through_the_argument(kind, batch):
    network = make_network(kind)
    called = []

    def record(layer, x):
        called.append(layer)
        return call_linear(layer, x)

    assert torch.equal(network(batch, record), network(batch))
    linears = [each for each in network.modules() if isinstance(each, nn.Linear)]
    assert len(called) == len(linears)
    assert {id(layer) for layer in called} == {id(layer) for layer in linears}


def test_names_of_linear_layers_are_promises():
    network = MoleculeNetwork(convolution="gin", virtual_node=True, width=4, layers=2)
    names = {name for name, each in network.named_modules() if isinstance(each, nn.Linear)}
    assert names == {
        "convolutions.0.expand",
        "convolutions.0.contract",
        "convolutions.1.expand",
        "convolutions.1.contract",
        "virtual_node.updates.0.expand",
        "virtual_node.updates.0.contract",
    }
    gcn = MoleculeNetwork(convolution="gcn", width=4, layers=1)
    assert [n for n, each in gcn.named_modules() if isinstance(each, nn.Linear)] == [
        "convolutions.0.update"
    ]


@pytest.mark.parametrize(
    ("kind", "count"),
    [
        ("gin", 1_923_733),
        ("gin-virtual-node", 3_374_833),
        ("gcn", 566_228),
        ("gcn-virtual-node", 2_017_328),
    ],
)
def test_parameters_for_128_tasks_are_the_leaderboards_and_one_chirality(kind, count):
    network = build_backbone(BackboneConfig(kind=kind))
    head = nn.Linear(network.width, 128)
    assert sum(p.numel() for p in [*network.parameters(), *head.parameters()]) == count


@pytest.mark.parametrize("message_passing", ["tensor", "dgl"])
def test_bfloat16_autocast_stays_near_float32(kind, batch, message_passing):
    network = make_network(kind, width=32, message_passing=message_passing).float()
    expected = network(batch)
    with torch.autocast("cpu", torch.bfloat16):
        out = network(batch)
    assert out.dtype == torch.float32
    error = (out - expected).norm() / expected.norm()
    assert error < 0.05
    out.sum().backward()
    assert all(p.grad.isfinite().all() for p in network.parameters() if p.grad is not None)


def test_training_steps_repeat_at_the_same_seed(kind, batch):
    network = make_network(kind, dropout=0.5)
    outs = []
    for _ in range(2):
        torch.manual_seed(7)
        outs.append(network(batch))
    assert torch.equal(*outs)
    assert not torch.equal(outs[0], network(batch))


def test_the_factory_follows_the_settings():
    config = BackboneConfig(
        kind="gcn-virtual-node",
        layers=2,
        width=7,
        dropout=0.25,
        pooling="sum",
        jumping_knowledge="sum",
        message_passing="tensor",
    )
    network = build_backbone(config)
    assert isinstance(network, Backbone)
    assert (network.width, len(network.convolutions)) == (7, 2)
    assert (network.pooling, network.jumping_knowledge) == ("sum", "sum")
    assert network.message_passing == "tensor"
    assert network.virtual_node is not None
    assert network.dropout.probability == 0.25


def test_no_backbone_cannot_be_built():
    with pytest.raises(ConfigError, match="'none' has no network to build; use gin or gcn"):
        build_backbone(BackboneConfig(kind="none"))


def test_an_empty_network_is_an_error():
    with pytest.raises(ConfigError, match="width=300 and layers=0 must both be at least 1"):
        MoleculeNetwork(layers=0)


def test_one_layer_is_a_network_too(kind, batch):
    network = make_network(kind, layers=1).eval()
    torch.testing.assert_close(network(batch), Reference(network, lambda x: x)(batch))


def test_weights_survive_a_state_dict(kind, batch):
    network, other = make_network(kind), make_network(kind, seed=1)
    other.load_state_dict(network.state_dict())
    assert torch.equal(network.eval()(batch), other.eval()(batch))
    assert np.isfinite(other(batch).detach().numpy()).all()

"""The learned fingerprint against its formula, graph by graph."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from graphadapt.backbone.factory import build_backbone
from graphadapt.backbone.neural_fingerprint import NeuralFingerprint
from graphadapt.backbone.protocol import Backbone, call_linear
from graphadapt.config import BackboneConfig
from graphadapt.errors import ConfigError
from graphadapt.graphs.batch import GraphTable
from graphadapt.graphs.message_passing import message_kernels
from graphadapt.molecules.featurise import featurise_smiles

SMILES = ("CCO", "C/C=C/C#N", "[Na+].[Cl-]", "C")


@pytest.fixture(scope="module")
def table():
    return GraphTable.from_molecules([featurise_smiles(text) for text in SMILES])


@pytest.fixture(params=["tensor", "dgl"])
def network(request):
    torch.manual_seed(0)
    return NeuralFingerprint(
        width=4,
        layers=2,
        fingerprint_width=3,
        embedding_width=5,
        dropout=0.0,
        message_passing=request.param,
    ).double()


def restated(network, batch):
    """The module's docstring, one graph after the other where it can be."""
    kernels = message_kernels("tensor", "cpu")
    x, counts = network.atoms(batch.atoms), []
    for layer in range(len(network.convolutions)):
        heard = network.convolutions[layer](x, batch, kernels, call_linear)
        x = x + functional.relu(network.norms[layer](heard))
        soft = functional.relu(network.readouts[layer](x))
        rows = [soft[batch.graph_of_node == g].sum(0) for g in range(batch.num_graphs)]
        counts.append(torch.log(1 + torch.stack(rows)))
    return functional.relu(network.project(network.count_norm(torch.cat(counts, 1))))


@pytest.mark.parametrize("training", [True, False])
def test_the_embedding_is_its_formula(network, table, training):
    network.train(training)
    batch = table.gather(torch.arange(len(SMILES)))
    torch.testing.assert_close(network(batch), restated(network, batch))


def test_gradients_are_the_numeric_ones(network, table):
    batch = table.gather(torch.arange(len(SMILES)))
    parameters = [p for p in network.parameters() if p.ndim == 1 or p.shape[0] < 20]
    assert torch.autograd.gradcheck(lambda *_: network(batch), parameters, fast_mode=True)


def test_a_batch_answers_like_its_graphs_alone(network, table):
    network.eval()
    singles = [network(table.gather(torch.tensor([row]))) for row in range(len(SMILES))]
    batch = table.gather(torch.arange(len(SMILES)))
    torch.testing.assert_close(network(batch), torch.cat(singles))


def test_every_linear_layer_is_called_through_the_argument(network, table):
    called = []

    def record(layer, x):
        called.append(id(layer))
        return call_linear(layer, x)

    network(table.gather(torch.arange(len(SMILES))), record)
    linears = [id(each) for each in network.modules() if isinstance(each, nn.Linear)]
    assert sorted(called) == sorted(linears)


def test_the_factory_follows_the_settings():
    config = BackboneConfig(
        kind="neural-fingerprint", layers=2, width=6, fingerprint_width=7, embedding_width=9
    )
    network = build_backbone(config)
    assert isinstance(network, Backbone)
    assert (network.width, network.project.in_features) == (9, 14)


def test_an_empty_fingerprint_is_an_error():
    with pytest.raises(ConfigError, match=r"fingerprint_width=0 and .* must all be at least 1"):
        NeuralFingerprint(fingerprint_width=0)

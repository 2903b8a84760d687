"""The published networks against a slow restatement of their code, and their files."""

import pytest
import torch
from torch.nn import functional

from graphadapt.backbone.pretrain_gnns import PretrainGnnsNetwork, load_pretrain_gnns
from graphadapt.errors import CheckpointError
from graphadapt.graphs.batch import GraphTable
from graphadapt.graphs.buckets import BatchSize
from graphadapt.molecules.featurise import featurise_smiles
from graphadapt.molecules.vocabulary import BOND_FEATURE_SIZES

SMILES = ("CCO", "C/C=C/C#N", "[Na+].[Cl-]", "c1ccccc1C(=O)N[C@@H](C)C(=O)O", "C")
CONVOLUTIONS = ("gcn", "graphsage")


def gather(smiles=SMILES):
    table = GraphTable.from_molecules([featurise_smiles(text) for text in smiles])
    return table.gather(torch.arange(len(smiles)))


def make(convolution, **settings):
    torch.manual_seed(0)
    network = PretrainGnnsNetwork(
        convolution=convolution, message_passing="tensor", **{"width": 6, "layers": 3, **settings}
    ).double()
    for name, tensor in network.named_buffers():
        if "running" in name:
            tensor += torch.rand_like(tensor)
    return network.eval()


def slow_states(network, batch, convolution):
    """Node by node, with self-loops as edges of type 4, as the published code has it."""
    element, chirality = batch.atoms[:, 0], batch.atoms[:, 1]
    chirality = torch.where(chirality < 3, chirality, 0)
    x = network.elements.weight[element] + network.chiralities.weight[chirality]
    kinds = batch.bond_codes // (BOND_FEATURE_SIZES[1] * BOND_FEATURE_SIZES[2])
    edges = [
        (int(u), int(v), int(kind))
        for u, v, kind in zip(batch.source, batch.target, kinds, strict=True)
    ]
    edges += [(v, v, 4) for v in range(batch.num_nodes)]
    degree = [sum(target == v for _, target, _ in edges) for v in range(batch.num_nodes)]
    for layer, (convolution_, norm) in enumerate(
        zip(network.convolutions, network.norms, strict=True)
    ):
        h = [convolution_.update.weight @ row + convolution_.update.bias for row in x]
        heard = torch.zeros_like(x)
        for u, v, kind in edges:
            said = (
                h[u] + convolution_.bond_types.weight[kind] + convolution_.bond_directions.weight[0]
            )
            share = degree[v] if convolution == "graphsage" else (degree[u] * degree[v]) ** 0.5
            heard[v] += said / share
        if convolution == "graphsage":
            heard = functional.normalize(heard, dim=-1)
        x = (heard - norm.running_mean) / (norm.running_var + norm.eps).sqrt()
        x = x * norm.weight + norm.bias
        x = x if layer == len(network.norms) - 1 else x.relu()
    return x


@pytest.mark.parametrize("convolution", CONVOLUTIONS)
def test_states_are_those_of_the_published_code(convolution):
    network, batch = make(convolution), gather()
    expected = slow_states(network, batch, convolution)
    torch.testing.assert_close(network.node_states(batch), expected)
    means = [expected[batch.graph_of_node == g].mean(0) for g in range(batch.num_graphs)]
    torch.testing.assert_close(network(batch), torch.stack(means))


@pytest.mark.parametrize("convolution", CONVOLUTIONS)
def test_a_batch_answers_as_its_molecules_do_alone(convolution):
    network = make(convolution)
    alone = torch.cat([network(gather([text])) for text in SMILES])
    torch.testing.assert_close(network(gather()), alone)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("convolution", CONVOLUTIONS)
def test_padding_changes_no_answer_gradient_or_statistic(convolution, training):
    molecules = [featurise_smiles(text) for text in SMILES]
    table = GraphTable.from_molecules(molecules, ordered=True)
    rows, results = torch.tensor([3, 0, 4, 1, 2, 3]), []
    for bucket in (None, BatchSize(64, 60)):
        network = make(convolution).train(training)
        embedding = network(table.gather(rows, bucket=bucket))
        loss = (embedding * torch.linspace(-1, 1, embedding.numel()).view_as(embedding)).sum()
        gradients = torch.autograd.grad(loss, list(network.parameters()))
        results.append([embedding, *gradients, *network.state_dict().values()])
    for padded, plain in zip(results[1], results[0], strict=True):
        torch.testing.assert_close(padded, plain)


@pytest.mark.parametrize("convolution", CONVOLUTIONS)
def test_the_published_files_load_and_tell_molecules_apart(convolution, real_data):
    network = load_pretrain_gnns(
        real_data / "pretrained" / f"{convolution}_contextpred.pth", convolution
    )
    with torch.no_grad():
        embeddings = network(gather())
    assert embeddings.shape == (len(SMILES), 300)
    assert torch.isfinite(embeddings).all()
    assert torch.cdist(embeddings, embeddings).fill_diagonal_(1).min() > 0.1


def test_a_file_of_something_else_is_refused_in_one_line(tmp_path):
    with pytest.raises(CheckpointError, match="is no readable checkpoint"):
        load_pretrain_gnns(tmp_path / "nothing.pth", "gcn")
    (tmp_path / "text.pth").write_text("no weights")
    with pytest.raises(CheckpointError, match=r"text\.pth is no readable checkpoint"):
        load_pretrain_gnns(tmp_path / "text.pth", "gcn")
    torch.save({"weight": torch.ones(2)}, tmp_path / "other.pth")
    with pytest.raises(CheckpointError, match=r"it has no x_embedding1\.weight"):
        load_pretrain_gnns(tmp_path / "other.pth", "gcn")

"""Peers train our network: from the same weights they give the same answers and gradients."""

import importlib
import sys

import numpy as np
import pytest
import torch
from torch import nn

from graphadapt.assemble import ModelInputs, assemble
from graphadapt.config import RunConfig
from graphadapt.data.ragged import GraphColumns
from graphadapt.data.store import TaskInfo
from graphadapt.graphs.batch import GraphTable
from graphadapt.molecules.featurise import featurise_smiles
from graphadapt.objective.total import Objective
from graphadapt.routing.composition import uniform_composition

SMILES = ("CCO", "[Na+].[Cl-]", "c1ccccc1C(=O)O", "C", "F/C=C/F", "C[C@H](N)C(=O)O", "O=S=O")
BATCHES = ([4, 0, 1], [2, 3, 6, 5])
SIZES = {"width": 8, "layers": 3, "dropout": 0.0}
TASKS = 3

both = pytest.mark.parametrize("library", ["peers.geometric", "peers.dgl_batch"])
either_form = pytest.mark.parametrize("tuned", [False, True], ids=["as written", "tuned"])


@pytest.fixture(scope="module")
def columns():
    return GraphColumns.from_molecules([featurise_smiles(text) for text in SMILES])


@pytest.fixture
def graphs(columns):
    from peers.training import LabelledGraphs

    labels = torch.from_numpy(np.random.default_rng(0).integers(0, 2, (len(SMILES), TASKS)))
    labels = labels.float().masked_fill(torch.eye(len(SMILES), TASKS).bool(), float("nan"))
    return LabelledGraphs(columns, labels, [np.array(rows) for rows in BATCHES])


def make(library, graphs, tuned=False, **settings):
    from peers.training import PeerSettings

    module = importlib.import_module(library)
    train = module.geometric_training if "geometric" in library else module.dgl_training
    device = settings.pop("device", "cpu")
    return train(graphs, PeerSettings(tuned=tuned, **settings), device, **SIZES)


def our_network(tasks=TASKS, **sizes):
    settings = {f"backbone.{name}": value for name, value in sizes.items()}
    infos = tuple(TaskInfo(f"t{task}", "binary") for task in range(tasks))
    config = RunConfig.from_toml("ogb").with_settings(settings)
    return assemble(config, ModelInputs(infos), np.zeros((tasks, tasks), np.float32))


def moved(network):
    """Nothing at its first value, so that no term vanishes."""
    torch.manual_seed(1)
    with torch.no_grad():
        for tensor in network.state_dict().values():
            if tensor.is_floating_point():
                tensor.add_(0.1 * torch.rand_like(tensor))
    return network


@both
@either_form
def test_our_weights_give_our_logits_gradients_and_statistics(library, tuned, graphs):
    from peers.training import labelled_loss
    from peers.weights import copy_weights, counterparts

    ours = moved(our_network(**SIZES)).double().train()
    training = make(library, graphs, tuned)
    theirs = training.network.double().train()
    copy_weights(ours, theirs)
    rows = torch.tensor(BATCHES[0])
    w = uniform_composition(["t0", "t1", "t2"], ["t0", "t1", "t2"]).double()
    answer = ours(GraphTable(graphs.columns).gather(rows), w)
    batch, labels = next(training.batches)
    logits = theirs(batch)
    torch.testing.assert_close(logits, answer.logits, rtol=0, atol=1e-12)

    config = RunConfig.from_toml("ogb").objective
    objective = Objective(config, torch.ones(TASKS, dtype=torch.bool), torch.zeros(TASKS, TASKS))
    objective(answer, graphs.labels[rows], w).backward()
    labelled_loss(logits, labels, picks=not tuned).backward()
    pairs = list(counterparts(ours, theirs))
    assert {id(theirs) for _, theirs in pairs} >= {id(p) for p in theirs.parameters()}
    for own, other in pairs:
        torch.testing.assert_close(other, own.view_as(other), rtol=0, atol=1e-12)
        if isinstance(own, nn.Parameter):
            assert own.grad.abs().max() > 0
            torch.testing.assert_close(other.grad, own.grad.view_as(other), rtol=0, atol=1e-12)


@both
@either_form
def test_at_ogb_sizes_all_have_the_published_number_of_parameters(library, tuned):
    module = importlib.import_module(library)
    network = module.GeometricNetwork if "geometric" in library else module.DglNetwork
    for each in (network(128, tuned=tuned), our_network(128)):
        assert sum(weight.numel() for weight in each.parameters()) == 3_374_833


@both
@pytest.mark.parametrize(
    "settings", [{}, {"tuned": True}, {"workers": 1}], ids=["as written", "tuned", "a worker"]
)
def test_batches_hold_the_molecules_asked_for_and_come_again(library, settings, graphs):
    training = make(library, graphs, **settings)
    network, table = training.network, GraphTable(graphs.columns)
    for rows in (*BATCHES, *BATCHES):
        batch, labels = next(training.batches)
        wanted = table.gather(torch.tensor(rows))
        assert torch.equal(network.atom_codes(batch), wanted.atoms)
        assert network.count(batch) == len(rows)
        torch.testing.assert_close(labels, graphs.labels[rows], equal_nan=True)
        ones = torch.ones(wanted.num_nodes, 1)
        assert (
            network.pool(ones, batch, "sum").flatten().tolist() == wanted.nodes_per_graph.tolist()
        )
        names = torch.arange(len(rows)).unsqueeze(1)
        assert torch.equal(network.spread(names, batch).flatten(), wanted.graph_of_node)


@pytest.mark.parametrize("picks", [False, True])
@pytest.mark.parametrize("is_binary", [False, True])
def test_the_loss_is_the_mean_over_labelled_cells(picks, is_binary):
    from peers.training import labelled_loss

    logits = torch.tensor([[0.5, -1.0], [2.0, 0.0]], dtype=torch.bfloat16)
    labels = torch.tensor([[1.0, float("nan")], [0.0, 1.0]])
    total = 0.0
    for x, y in ((0.5, 1.0), (2.0, 0.0), (0.0, 1.0)):
        total += np.log1p(np.exp(x)) - x * y if is_binary else (x - y) ** 2
    found = labelled_loss(logits, labels, is_binary=is_binary, picks=picks)
    assert found.dtype == torch.float32
    assert found.item() == pytest.approx(total / 3, rel=1e-6)


@both
@pytest.mark.parametrize(
    "settings",
    [{}, {"tuned": True}, {"tuned": True, "precision": "bfloat16"}],
    ids=["as written", "tuned", "tuned in bfloat16"],
)
@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_a_peer_learns(library, settings, device, graphs):
    if device == "cuda" and ("dgl" in library or not torch.cuda.is_available()):
        pytest.skip("no GPU that this library's build computes on")
    torch.manual_seed(0)
    training = make(library, graphs, device=device, **settings)
    losses = [training.step().item() for _ in range(60)]
    assert np.mean(losses[-4:]) < 0.8 * np.mean(losses[:4])


def test_the_tuned_network_compiles_as_one_graph_for_all_sizes(graphs):
    training = make("peers.geometric", graphs, tuned=True)
    network = training.network.eval()
    seen = []

    def backend(module, inputs):
        seen.append(module)
        return module.forward

    compiled = torch.compile(network, backend=backend, fullgraph=True, dynamic=True)
    for _ in range(3):
        batch, _ = next(training.batches)
        torch.testing.assert_close(compiled(batch), network(batch))
    assert len(seen) <= 2


def test_without_the_library_one_line_says_what_to_install(monkeypatch, graphs):
    import peers.geometric

    monkeypatch.setitem(sys.modules, "torch_geometric.data", None)
    with pytest.raises(SystemExit, match=r"^PyTorch Geometric .* pip install torch_geometric, or"):
        peers.geometric.load_geometric()

"""A whole training step on a padded batch: the loss of the plain one, and nothing looked at."""

import importlib.util
from contextlib import nullcontext
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from graphadapt.assemble import ModelInputs, assemble
from graphadapt.config import RunConfig
from graphadapt.data.store import TaskInfo
from graphadapt.graphs.batch import GraphTable
from graphadapt.graphs.buckets import BatchSize
from graphadapt.graphs.message_passing import message_kernels
from graphadapt.graphs.tensor_kernels import TensorKernels
from graphadapt.molecules.features import FeatureBlock
from graphadapt.molecules.featurise import featurise_smiles
from graphadapt.objective.total import Objective
from graphadapt.routing.composition import uniform_composition

SMILES = ("CCO", "c1ccccc1O", "C", "CC(=O)Nc1ccc(O)cc1", "[Na+].[Cl-]", "C[C@H](N)C(=O)O")
TASKS = (TaskInfo("a", "binary"), TaskInfo("b", "regression", "log"), TaskInfo("c", "binary"))
RELATION = np.array([[0, 0.5, 0], [0.5, 0, 0.2], [0, 0.2, 0]], np.float32)
KINDS = ("gin", "gin-virtual-node", "gcn", "gcn-virtual-node", "neural-fingerprint")
BUCKET = BatchSize(64, 70)
EVERYONE = uniform_composition(["a", "b", "c"], ["a", "b", "c"])


def table_on(device="cpu"):
    features = np.random.default_rng(0).integers(0, 3, (len(SMILES), 16)).astype(np.uint8)
    molecules = [featurise_smiles(text) for text in SMILES]
    return GraphTable.from_molecules(molecules, features, device, ordered=True)


def built(kind):
    """A model with adapters wherever there is a linear layer, and its objective with every term."""
    settings = {
        "features.blocks": ["counts"],
        "features.hidden": [6],
        "features.graph_share": 0.0,
        "features.dropout": 0.0,
        "features.input_dropout": 0.0,
        "backbone.kind": kind,
        "backbone.layers": 2,
        "backbone.width": 8,
        "backbone.dropout": 0.0,
        "backbone.message_passing": "tensor",
        "adapters.count": 4,
        "adapters.rank": 2,
        "adapters.sites": ["*"],
        "prior.width": 5,
        "routing.threshold": 0.2,
        "objective.consistency": 0.1,
        "objective.balance": 0.1,
        "objective.entropy": 0.1,
    }
    torch.manual_seed(0)
    config = RunConfig().with_settings(settings)
    model = assemble(config, ModelInputs(TASKS, (FeatureBlock(kind="counts", size=16),)), RELATION)
    for name, parameter in model.named_parameters():
        if name.endswith(".up"):
            torch.nn.init.normal_(parameter, std=0.3)
    is_binary, relation = torch.tensor([True, False, True]), torch.from_numpy(RELATION)
    return model.train(), Objective(config.objective, is_binary, relation, model.routing)


def targets():
    generator = torch.Generator().manual_seed(2)
    target = torch.randint(0, 2, (len(SMILES), 3), generator=generator).float()
    target[::2, 0] = torch.nan
    return target


def loss_of(model, objective, batch, target, everyone=None):
    everyone = EVERYONE.to(target) if everyone is None else everyone
    return objective(model(batch, everyone, measures=True), target, everyone)


@pytest.mark.parametrize("kind", KINDS)
def test_a_padded_step_has_the_loss_and_gradients_of_the_plain_one(kind):
    rows, results = torch.tensor([4, 0, 3, 1, 2, 5]), []
    for bucket in (None, BUCKET):
        model, objective = built(kind)
        model, objective.relation = model.double(), objective.relation.double()
        batch = table_on().gather(rows, bucket=bucket)
        batch = replace(batch, features=batch.features.double())
        loss = loss_of(model, objective, batch, targets()[rows].double())
        names, parameters = zip(*model.named_parameters(), strict=True)
        gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
        results.append({"loss": loss, **dict(zip(names, gradients, strict=True))})
    assert any(name.startswith("banks.") and g is not None for name, g in results[0].items())
    for name, plain in results[0].items():
        padded = results[1][name]
        if plain is None:
            assert padded is None
            continue
        torch.testing.assert_close(padded, plain, rtol=1e-9, atol=1e-10, msg=name)


class NothingIsLookedAt(TorchDispatchMode):
    """Refuse what makes the host wait for a GPU: a value, or a shape that depends on values."""

    REFUSED = (
        *("_local_scalar_dense", "bincount", "equal", "is_nonzero", "item"),
        *("masked_select", "nonzero", "unique", "_unique"),
    )

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name, kwargs = function._schema.name.removeprefix("aten::"), kwargs or {}
        refused = name.startswith(self.REFUSED)
        if name.startswith("repeat_interleave"):
            refused = kwargs.get("output_size") is None
        if name.startswith(("index", "_unsafe_index")) and isinstance(args[1], list | tuple):
            refused = any(each is not None and each.dtype == torch.bool for each in args[1])
        assert not refused, f"{name} waits for the device"
        return function(*args, **kwargs)


def use_device_kernels(monkeypatch, kernels):
    """Let every module take the kernels of a GPU."""
    for module in ("backbone.network", "backbone.neural_fingerprint", "prior.propagation"):
        monkeypatch.setattr(f"graphadapt.{module}.message_kernels", lambda name, device: kernels)
    monkeypatch.setattr("graphadapt.prior.attention.message_kernels", lambda n, d: kernels)


@pytest.mark.parametrize("kind", KINDS)
def test_a_whole_step_looks_at_no_value(kind, monkeypatch):
    use_device_kernels(monkeypatch, TensorKernels(waits=False))
    monkeypatch.setattr(GraphTable, "size", lambda self, rows: None)
    monkeypatch.setattr("graphadapt.graphs.batch._check_fit", lambda size, bucket: None)
    (model, objective), table, rows = built(kind), table_on(), torch.arange(len(SMILES))
    target, optimiser = targets(), torch.optim.SGD(model.parameters(), lr=0.01)
    with NothingIsLookedAt():
        batch = table.gather(rows, bucket=BUCKET)
        loss_of(model, objective, batch, target[rows]).backward()
        optimiser.step()


class NothingFromTheHost(TorchDispatchMode):
    """Refuse tensors of another device: a CUDA graph would read them while it is captured only."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        results = function(*args, **(kwargs or {}))
        for each in tree_leaves((args, kwargs, results)):
            if isinstance(each, torch.Tensor):
                assert each.device.type == "meta", f"{function} has a tensor on {each.device}"
        return results


@pytest.mark.parametrize("kind", KINDS)
def test_a_whole_step_there_and_back_takes_nothing_from_the_host(kind, monkeypatch):
    """On a device that holds no values at all, where asking for one is an error."""
    use_device_kernels(monkeypatch, TensorKernels(waits=False))
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())
    monkeypatch.setattr(torch, "is_autocast_enabled", lambda *_: False)
    (model, objective), table = built(kind), table_on("meta")
    model = model.to("meta")
    objective.is_binary = objective.is_binary.to("meta")
    objective.relation = objective.relation.to("meta")
    target, everyone = targets().to("meta"), EVERYONE.to("meta")
    rows = torch.arange(len(SMILES), device="meta")

    def step():
        batch = table.gather(rows, bucket=BUCKET)
        loss_of(model, objective, batch, target[rows], everyone).backward()

    step()  # constants are worked out once
    model.zero_grad()
    with NothingFromTheHost():
        step()
    moved = [p.grad is not None for p in model.parameters()]
    assert sum(moved) > len(moved) / 2


def replayed(step, device):
    """The step as it is on a CPU; on a GPU a graph of it, which is given nothing but replays."""
    if device == "cpu":
        return step
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        results = step()

    def replay():
        graph.replay()
        return results

    return replay


def on_device(kind, kernels, device):
    """The model and its objective as a GPU would run them."""
    model, objective = built(kind)
    for module in model.to(device).modules():
        if hasattr(module, "message_passing"):
            module.message_passing = kernels
    objective.is_binary = objective.is_binary.to(device)
    objective.relation = objective.relation.to(device)
    return model, objective


needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
needs_triton = pytest.mark.skipif(
    importlib.util.find_spec("triton") is None, reason="needs Triton: pip install triton"
)


@pytest.mark.parametrize(
    ("device", "kernels"),
    [
        ("cpu", "tensor"),
        pytest.param("cuda", "tensor", marks=needs_gpu),
        pytest.param("cuda", "triton", marks=[needs_gpu, needs_triton]),
    ],
)
@pytest.mark.parametrize("kind", KINDS)
def test_a_captured_step_follows_the_rows_of_every_replay(kind, device, kernels):
    (model, objective), table = on_device(kind, kernels, device), table_on(device)
    target, everyone = targets().to(device), EVERYONE.to(device)
    rows, parameters = torch.arange(len(SMILES), device=device), list(model.parameters())

    def step(bucket=BUCKET):
        batch = table.gather(rows, bucket=bucket)
        loss = loss_of(model, objective, batch, target[rows], everyone)
        return [loss, *torch.autograd.grad(loss, parameters, allow_unused=True)]

    replay = replayed(step, device)
    for order in ([0, 1, 2, 3, 4, 5], [5, 5, 1, 0, 2, 2], [3, 3, 3, 4, 1, 0]):
        rows.copy_(torch.tensor(order))
        for found, expected in zip(replay(), step(None), strict=True):
            assert (found is None) == (expected is None)
            if found is not None:
                torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)


@needs_gpu
@pytest.mark.parametrize("kernels", ["tensor", pytest.param("triton", marks=needs_triton)])
def test_kernels_of_a_gpu_can_be_captured(kernels):
    assert message_kernels(kernels, "cuda").capturable

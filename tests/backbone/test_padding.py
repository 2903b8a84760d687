"""Padded batches give every backbone the values and gradients of plain ones, and wait for nothing.

What a GPU would run is run here on the CPU: its kernels, over tensors without values to look at.
"""

import pytest
import torch
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
    FakeTensorMode,
)

from graphadapt.backbone import network, neural_fingerprint
from graphadapt.backbone.factory import build_backbone
from graphadapt.backbone.node_norm import NodeNorm
from graphadapt.config import BackboneConfig
from graphadapt.graphs.batch import GraphTable
from graphadapt.graphs.buckets import BatchSize
from graphadapt.graphs.message_passing import message_kernels
from graphadapt.graphs.tensor_kernels import TensorKernels
from graphadapt.molecules.featurise import featurise_smiles

SMILES = ("CCO", "C/C=C/C#N", "[Na+].[Cl-]", "c1ccccc1C(=O)N[C@@H](C)C(=O)O", "C")
KINDS = ("gin", "gin-virtual-node", "gcn", "gcn-virtual-node", "neural-fingerprint")
ROWS = torch.tensor([3, 0, 4, 1, 2])
BUCKETS = ((40, 40), (27, 25))


@pytest.fixture(scope="module")
def table():
    return GraphTable.from_molecules([featurise_smiles(text) for text in SMILES], ordered=True)


@pytest.fixture(params=["tensor", "dgl", "device tensor"])
def kernels(request, monkeypatch):
    """Kernels for every backbone, among them those of a GPU."""
    if request.param == "device tensor":
        use_device_kernels(monkeypatch)
        return "tensor"
    return request.param


def use_device_kernels(monkeypatch, name="tensor"):
    """Let backbones take the kernels of a GPU; Triton's without running its programs."""
    kernels = TensorKernels(waits=False)
    if name == "triton":
        pytest.importorskip("triton", reason="needs Triton: pip install triton")
        from graphadapt.graphs.triton_kernels import TritonKernels

        kernels = TritonKernels()
        for module in ("triton_message", "triton_norm", "triton_segments"):
            monkeypatch.setattr(f"graphadapt.graphs.{module}.launch", lambda *a, **k: None)
    for module in (network, neural_fingerprint):
        monkeypatch.setattr(module, "message_kernels", lambda name, device: kernels)


def backbone_of(kind, kernels="tensor", **settings):
    torch.manual_seed(0)
    settings = {"width": 6, "layers": 3, "dropout": 0.0, **settings}
    config = BackboneConfig(
        kind=kind,
        message_passing=kernels,
        fingerprint_width=5,
        embedding_width=4,
        **settings,
    )
    backbone = build_backbone(config).double()
    for parameter in backbone.parameters():
        if parameter.ndim == 1:
            parameter.data += 0.3 * torch.randn_like(parameter)
    return backbone


def outcome(kind, kernels, batch, *, training, **settings):
    """Embeddings, all gradients and all running statistics of one step."""
    backbone = backbone_of(kind, kernels, **settings).train(training)
    out = backbone(batch)
    answer = torch.randn(out.shape, generator=torch.Generator().manual_seed(1))
    (out * answer).sum().backward()
    gradients = {name: each.grad for name, each in backbone.named_parameters()}
    return {"out": out, **gradients, **dict(backbone.named_buffers())}


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("bucket", BUCKETS)
@pytest.mark.parametrize("kind", KINDS)
def test_padding_changes_no_value_gradient_or_statistic(kind, kernels, table, bucket, training):
    plain = outcome(kind, kernels, table.gather(ROWS), training=training)
    batch = table.gather(ROWS, bucket=BatchSize(*bucket))
    padded = outcome(kind, kernels, batch, training=training)
    for name, value in plain.items():
        if value is None:
            assert padded[name] is None
            continue
        torch.testing.assert_close(padded[name], value, rtol=1e-9, atol=1e-10, msg=name)


@pytest.mark.parametrize("kind", KINDS[:4])
def test_pooled_sums_over_all_layers_leave_padding_out_too(kind, table):
    settings = {"pooling": "sum", "jumping_knowledge": "sum"}
    plain = outcome(kind, "tensor", table.gather(ROWS), training=True, **settings)
    batch = table.gather(ROWS, bucket=BatchSize(50, 50))
    padded = outcome(kind, "tensor", batch, training=True, **settings)
    torch.testing.assert_close(padded, plain, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_of_a_padded_batch_are_the_numeric_ones(kind, table):
    backbone = backbone_of(kind, width=3, layers=2)
    batch = table.gather(ROWS, bucket=BatchSize(*BUCKETS[0]))
    parameters = [each for each in backbone.parameters() if each.ndim == 1 or len(each) < 20]
    assert torch.autograd.gradcheck(lambda *_: backbone(batch), parameters, fast_mode=True)


@pytest.mark.parametrize("kind", KINDS)
def test_in_bfloat16_padding_changes_no_more_than_rounding(kind, table):
    outs = []
    for bucket in (None, BatchSize(*BUCKETS[0])):
        backbone = backbone_of(kind, width=32).float()
        with torch.autocast("cpu", torch.bfloat16):
            outs.append(backbone(table.gather(ROWS, bucket=bucket)))
    error = (outs[1] - outs[0]).norm() / outs[0].norm()
    assert error < 0.03


@pytest.mark.parametrize("kind", KINDS)
def test_padding_stays_finite_through_many_layers(kind, table):
    backbone = backbone_of(kind, layers=12).float().eval()
    batch = table.gather(ROWS, bucket=BatchSize(26, 32))
    assert backbone.node_states(batch).isfinite().all()


def test_every_norm_over_nodes_knows_padding():
    for kind in KINDS:
        backbone = backbone_of(kind)
        for name, module in backbone.named_modules():
            over_graphs = "updates" in name or name == "count_norm"
            if isinstance(module, torch.nn.BatchNorm1d):
                assert isinstance(module, NodeNorm) != over_graphs, name


def step(backbone, table, rows, bucket):
    """What a trainer does with a batch of a known shape, all on the device."""
    optimiser = torch.optim.SGD(backbone.parameters(), lr=0.1)
    out = backbone(table.gather(rows, bucket=bucket))
    out.square().mean().backward()
    optimiser.step()
    return out


@pytest.mark.parametrize("name", ["tensor", "triton"])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_a_step_runs_on_tensors_that_have_no_values(kind, training, name, table, monkeypatch):
    use_device_kernels(monkeypatch, name)
    # What rows on the host are checked for, a GPU's rows are not.
    monkeypatch.setattr("graphadapt.graphs.batch._check_fit", lambda size, bucket: None)
    monkeypatch.setattr(GraphTable, "size", lambda self, rows: None)
    backbone = backbone_of(kind).train(training)
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        for attribute, column in list(vars(table).items()):
            if isinstance(column, torch.Tensor):
                monkeypatch.setattr(table, attribute, mode.from_tensor(column))
        for module in backbone.modules():
            for tensors in (module._parameters, module._buffers):
                for attribute, tensor in tensors.items():
                    tensors[attribute] = mode.from_tensor(tensor)
        out = step(backbone, table, mode.from_tensor(ROWS), BatchSize(40, 40))
        assert all(each.grad is not None for each in backbone.parameters())
    assert out.shape == (5, backbone.width)


@pytest.mark.parametrize(
    "look",
    [
        lambda count: count[0].item(),
        lambda count: bool(count[0]),
        lambda count: count.tolist(),
        lambda count: count[count > 1] + 1,
        lambda count: torch.repeat_interleave(count, count),
        lambda count: torch.unique(count),
    ],
)
def test_tensors_without_values_refuse_to_be_looked_at(look):
    with FakeTensorMode() as mode:
        count = mode.from_tensor(torch.tensor([1, 2]))
        with pytest.raises((DataDependentOutputException, DynamicOutputShapeException)):
            look(count)


def test_a_backbone_on_the_cpu_takes_the_kernels_that_may_look():
    assert message_kernels("tensor", "cpu").waits
    assert not message_kernels("tensor", "cuda").waits

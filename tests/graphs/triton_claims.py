"""What holds of the Triton kernels, wherever they run: on a GPU, or in Triton's interpreter.

Not collected by its name: ``test_triton_kernels.py`` runs it in a process whose environment says
TRITON_INTERPRET=1, and on a GPU once more as it is.
"""

import pytest
import torch
from torch.nn import functional

from graphadapt.backbone.network import MoleculeNetwork
from graphadapt.graphs.batch import GraphTable
from graphadapt.graphs.buckets import BatchSize
from graphadapt.graphs.edges import bond_order
from graphadapt.graphs.leading_norm import leading_norm
from graphadapt.graphs.message_passing import message_kernels
from graphadapt.graphs.tensor_kernels import TensorKernels
from graphadapt.graphs.triton_bridge import triton_is_interpreted
from graphadapt.molecules.featurise import featurise_smiles

DEVICE = "cpu" if triton_is_interpreted() else "cuda"
CODES = 60
TOLERANCE = {torch.float64: 1e-12, torch.float32: 2e-5, torch.bfloat16: 2e-2}


@pytest.fixture(scope="module")
def kernels():
    return message_kernels("triton", DEVICE)


def make_graph(nodes=37, edges=90, width=70, *, dtype=torch.float64, weighted=True, codes=CODES):
    """Random edges that spare the last nodes; bonds and weights in float32 at least."""
    generator = torch.Generator().manual_seed(nodes + edges + width)
    source, target = torch.randint(0, max(nodes - 2, 1), (2, edges), generator=generator)
    wide = torch.promote_types(dtype, torch.float32)
    graph = {
        "x_ND": torch.randn(nodes, width, generator=generator).to(dtype),
        "bond_CD": torch.randn(codes, width, generator=generator).to(wide),
        "source_E": source,
        "target_E": target,
        "code_E": torch.randint(0, codes, (edges,), generator=generator),
        "weight_E": torch.rand(edges, generator=generator).to(wide) if weighted else None,
    }
    return {name: None if c is None else c.to(DEVICE) for name, c in graph.items()}


def differentiable(graph):
    names = [name for name in ("x_ND", "bond_CD", "weight_E") if graph[name] is not None]
    for name in names:
        graph[name] = graph[name].detach().requires_grad_()
    return [graph[name] for name in names]


def slow_sums(graph):
    """Messages and all gradients of ``sum(m * g)`` in float64, edge after edge; and that g."""
    x, bond = graph["x_ND"].detach().double().cpu(), graph["bond_CD"].detach().double().cpu()
    g = torch.randn(x.shape, generator=torch.Generator().manual_seed(7)).to(graph["x_ND"].dtype)
    answer, weights = g.double(), graph["weight_E"]
    m, dx, db = torch.zeros_like(x), torch.zeros_like(x), torch.zeros_like(bond)
    dw = torch.zeros(len(graph["source_E"]), dtype=torch.float64)
    for edge in range(len(dw)):
        u, v, c = (graph[name][edge].item() for name in ("source_E", "target_E", "code_E"))
        weight = 1.0 if weights is None else weights[edge].item()
        message = (x[u] + bond[c]).clamp(min=0)
        m[v] += weight * message
        dx[u] += weight * answer[v] * (message > 0)
        db[c] += weight * answer[v] * (message > 0)
        dw[edge] = answer[v] @ message
    return g.to(DEVICE), [m, dx, db, *([] if weights is None else [dw])]


@pytest.mark.parametrize("dtype", list(TOLERANCE), ids=str)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(("nodes", "edges", "width"), [(37, 90, 70), (5, 40, 3), (18, 7, 129)])
def test_values_and_gradients_are_the_loops(kernels, dtype, weighted, nodes, edges, width):
    graph = make_graph(nodes, edges, width, dtype=dtype, weighted=weighted)
    g, expected = slow_sums(graph)
    inputs = differentiable(graph)
    m = kernels.relu_message_sum(**graph)
    found = [m, *torch.autograd.grad(m, inputs, g)]
    for one, two, like in zip(found, expected, [m, *inputs], strict=True):
        assert one.dtype == like.dtype
        scale = max(1.0, two.abs().max().item())
        torch.testing.assert_close(
            one.double().cpu() / scale, two / scale, rtol=0, atol=TOLERANCE[dtype]
        )


@pytest.mark.parametrize("weighted", [False, True])
def test_gradients_are_the_numeric_ones(kernels, weighted):
    graph = make_graph(6, 9, 5, weighted=weighted, codes=17)
    names = [name for name in ("x_ND", "bond_CD", "weight_E") if graph[name] is not None]

    def summed(*values):
        return kernels.relu_message_sum(**{**graph, **dict(zip(names, values, strict=True))})

    assert torch.autograd.gradcheck(summed, differentiable(graph), fast_mode=True)


@pytest.mark.parametrize("weighted", [False, True])
def test_a_known_order_changes_nothing(kernels, weighted):
    graph = make_graph(weighted=weighted)
    columns = [graph[name] for name in ("source_E", "target_E", "code_E")]
    results = []
    for order in (None, bond_order(*columns, 37)):
        inputs = differentiable(graph)
        m = kernels.relu_message_sum(**graph, order=order)
        results.append((m, *torch.autograd.grad(m.sin().sum(), inputs)))
    for one, two in zip(*results, strict=True):
        assert torch.equal(one, two)


def test_many_edges_are_shared_out_over_parts(kernels):
    graph = make_graph(20, 700, 3, dtype=torch.float32, weighted=False)
    g, expected = slow_sums(graph)
    inputs = differentiable(graph)
    m = kernels.relu_message_sum(**graph)
    _, bond_gradient = torch.autograd.grad(m, inputs, g)
    torch.testing.assert_close(bond_gradient.double().cpu(), expected[2], rtol=1e-5, atol=1e-4)


def test_only_what_is_asked_for_has_a_gradient(kernels):
    graph = make_graph()
    graph["bond_CD"].requires_grad_()
    kernels.relu_message_sum(**graph).sum().backward()
    assert graph["bond_CD"].grad is not None
    assert graph["x_ND"].grad is None


def test_without_edges_or_nodes_there_are_zeros(kernels):
    for nodes, edges in ((5, 0), (0, 0)):
        graph = make_graph(nodes, edges, 3, weighted=False)
        inputs = differentiable(graph)
        m = kernels.relu_message_sum(**graph)
        assert m.shape == (nodes, 3)
        assert not m.any()
        for gradient in torch.autograd.grad(m.sum(), inputs):
            assert not gradient.any()


def test_what_is_not_a_number_stays_visible(kernels):
    graph = make_graph(4, 6, 3)
    graph["x_ND"][graph["source_E"][0]] = torch.nan
    assert kernels.relu_message_sum(**graph).isnan().any()


def test_a_transposed_or_expanded_input_is_read_right(kernels):
    graph = make_graph(4, 6, 4, weighted=False)
    expected = kernels.relu_message_sum(**graph)
    graph["x_ND"] = graph["x_ND"].T.contiguous().T.requires_grad_()
    m = kernels.relu_message_sum(**graph)
    assert torch.equal(m, expected)
    m.sum().backward()
    assert graph["x_ND"].grad.isfinite().all()


@pytest.mark.parametrize("dtype", list(TOLERANCE), ids=str)
@pytest.mark.parametrize("counts", [[3, 0, 40, 1], [], [0, 0], [17]])
@pytest.mark.parametrize("padding", [0, 5])
def test_segments_add_up_and_spread_as_plain_tensors_do(kernels, dtype, counts, padding):
    segment = torch.tensor([s for s, n in enumerate(counts) for _ in range(n)], dtype=torch.int64)
    segment = torch.cat([segment, torch.full((padding,), len(counts))]).to(DEVICE)
    offsets = torch.tensor([0, *counts]).cumsum(0).to(DEVICE)
    x = torch.randn(len(segment), 70).to(DEVICE, dtype).requires_grad_()
    y = torch.randn(len(counts), 70).to(DEVICE, dtype).requires_grad_()
    results = []
    for each in (kernels, TensorKernels(waits=False)):
        summed = each.segment_sum(x, segment, len(counts), offsets=offsets)
        spread = each.spread(y, segment, offsets=offsets)
        gradients = torch.autograd.grad(summed.sin().sum() + spread.sin().sum(), (x, y))
        results.append((summed, spread, *gradients))
    for one, two in zip(*results, strict=True):
        torch.testing.assert_close(one, two, rtol=TOLERANCE[dtype], atol=10 * TOLERANCE[dtype])


@pytest.mark.parametrize("dtype", list(TOLERANCE), ids=str)
@pytest.mark.parametrize(
    ("rows", "width", "count"), [(40, 70, 33), (300, 5, 300), (300, 5, 129), (3, 2, 1), (9, 66, 2)]
)
def test_the_norm_is_the_plain_tensors(kernels, dtype, rows, width, count):
    wide = torch.promote_types(dtype, torch.float32)
    x = (torch.randn(rows, width) + 2).to(DEVICE, dtype)
    x[count:] = torch.nan
    weight, bias = torch.randn(2, width).to(DEVICE, wide)
    inputs = [each.detach().requires_grad_() for each in (x, weight, bias)]
    g, results = torch.randn(rows, width).to(DEVICE, dtype), []
    for norm in (kernels.leading_norm, leading_norm):
        y, mean, variance = norm(*inputs, torch.tensor(count, device=DEVICE), 1e-5)
        results.append((y, mean, variance, *torch.autograd.grad(y, inputs, g)))
    for one, two in zip(*results, strict=True):
        assert one.dtype == two.dtype
        scale = max(1.0, two.float().abs().max().item())
        torch.testing.assert_close(one / scale, two / scale, rtol=0, atol=2 * TOLERANCE[dtype])
    assert not results[0][0][count:].any()


def test_the_norm_has_numeric_gradients_and_loses_nothing_to_a_large_mean(kernels):
    count = torch.tensor(37, device=DEVICE)
    x = torch.randn(40, 3, dtype=torch.float64, device=DEVICE).requires_grad_()
    weight, bias = torch.randn(2, 3, dtype=torch.float64, device=DEVICE)
    inputs = (x, weight.requires_grad_(), bias.requires_grad_())
    assert torch.autograd.gradcheck(
        lambda *a: kernels.leading_norm(*a, count, 1e-5)[0], inputs, fast_mode=True
    )
    far = (x.detach() + 1000).float()
    _, _, variance = kernels.leading_norm(far, weight.float(), bias.float(), count, 1e-5)
    torch.testing.assert_close(variance.double(), far[:37].double().var(0), rtol=1e-4, atol=0)


def test_results_repeat_to_the_bit(kernels):
    graph = make_graph(dtype=torch.float32)
    runs = []
    for _ in range(2):
        inputs = differentiable(graph)
        m = kernels.relu_message_sum(**graph)
        runs.append((m, *torch.autograd.grad(m.sin().sum(), inputs)))
    for one, two in zip(*runs, strict=True):
        assert torch.equal(one, two)


def test_the_other_sums_are_left_to_plain_tensors(kernels):
    graph, plain = make_graph(), TensorKernels(waits=False)
    x, source, target = graph["x_ND"], graph["source_E"], graph["target_E"]
    for one, two in (
        [each.weighted_sum(x, source, target, graph["weight_E"], 37) for each in (kernels, plain)],
        [each.edge_softmax(graph["weight_E"], target, 37) for each in (kernels, plain)],
    ):
        torch.testing.assert_close(one, two)
    assert (kernels.name, kernels.capturable) == ("triton", True)


def test_what_is_normalised_is_torchs_batch_norm(kernels):
    x = torch.randn(20, 6, dtype=torch.float64, device=DEVICE)
    weight, bias = torch.randn(2, 6, dtype=torch.float64, device=DEVICE)
    y, _, _ = kernels.leading_norm(x, weight, bias, torch.tensor(20, device=DEVICE), 1e-5)
    expected = functional.batch_norm(x, None, None, weight, bias, True, 0.0, 1e-5)
    torch.testing.assert_close(y, expected)


@pytest.mark.parametrize("convolution", ["gin", "gcn"])
def test_a_network_is_the_same_over_a_padded_batch(convolution):
    molecules = [featurise_smiles(text) for text in ("CCO", "[Na+].[Cl-]", "c1ccccc1C(=O)O", "C")]
    table, rows = GraphTable.from_molecules(molecules, device=DEVICE, ordered=True), torch.arange(4)
    results = []
    for kernels, bucket in (("tensor", None), ("triton", BatchSize(20, 24))):
        torch.manual_seed(0)
        settings = {"width": 6, "layers": 2, "virtual_node": True, "dropout": 0.0}
        network = MoleculeNetwork(convolution=convolution, message_passing=kernels, **settings).to(
            DEVICE, torch.float64
        )
        out = network(table.gather(rows, bucket=bucket))
        gradients = torch.autograd.grad(out.sin().sum(), list(network.parameters()))
        results.append((out, *gradients, *network.buffers()))
    for plain, padded in zip(*results, strict=True):
        torch.testing.assert_close(padded, plain, rtol=1e-9, atol=1e-10)

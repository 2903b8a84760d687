"""Every kernel against slow loops, symmetries, the other kernels and numeric gradients.

One table runs all backends through the same claims. ``device tensor`` are the tensor kernels as a
GPU runs them, which know the order of edges and look at no value; :mod:`triton_claims` holds the
Triton kernels to the same.
"""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from graphadapt.errors import DependencyError
from graphadapt.graphs.dgl_bridge import dgl_supports
from graphadapt.graphs.edges import bond_order
from graphadapt.graphs.grouped_sums import one_hot_rows
from graphadapt.graphs.message_passing import message_kernels
from graphadapt.graphs.tensor_kernels import TensorKernels
from graphadapt.graphs.triton_bridge import triton_supports

BACKENDS = ("tensor", "dgl", "device tensor")
NODES, WIDTH, CODES = 7, 5, 60


def kernels_of(backend):
    return TensorKernels(waits=False) if "device" in backend else message_kernels(backend, "cpu")


@pytest.fixture(params=BACKENDS)
def kernels(request):
    return kernels_of(request.param)


def make_graph(edges=16, seed=0, dtype=torch.float64):
    """Random edges between the first six of seven nodes, with few codes so that messages repeat."""
    generator = torch.Generator().manual_seed(seed)
    source, target = torch.randint(0, NODES - 1, (2, edges), generator=generator)
    return {
        "x_ND": torch.randn(NODES, WIDTH, generator=generator, dtype=dtype),
        "bond_CD": torch.randn(CODES, WIDTH, generator=generator, dtype=dtype),
        "source_E": source.clone(),
        "target_E": target.clone(),
        "code_E": torch.randint(0, 3, (edges,), generator=generator) * 20,
        "weight_E": torch.rand(edges, generator=generator, dtype=dtype),
    }


def message_loop(x_ND, bond_CD, source_E, target_E, code_E, weight_E=None):
    summed = [[0.0] * x_ND.shape[1] for _ in x_ND]
    for edge in range(len(source_E)):
        weight = 1.0 if weight_E is None else weight_E[edge].item()
        for d in range(x_ND.shape[1]):
            raw = x_ND[source_E[edge], d].item() + bond_CD[code_E[edge], d].item()
            summed[target_E[edge]][d] += weight * max(raw, 0.0)
    return torch.tensor(summed, dtype=x_ND.dtype)


def without_weight(graph):
    return {**graph, "weight_E": None}


def with_order(graph):
    """The same with its edges grouped beforehand."""
    names = ("source_E", "target_E", "code_E")
    return {**graph, "order": bond_order(*(graph[name] for name in names), NODES)}


@settings(max_examples=25, deadline=None)
@given(edges=st.integers(0, 40), seed=st.integers(0, 10**6), weighted=st.booleans())
@pytest.mark.parametrize("backend", BACKENDS)
def test_messages_add_up_as_in_a_loop(backend, edges, seed, weighted):
    graph = make_graph(edges, seed)
    graph = graph if weighted else without_weight(graph)
    kernels, expected = kernels_of(backend), message_loop(**graph)
    torch.testing.assert_close(kernels.relu_message_sum(**graph), expected)
    torch.testing.assert_close(kernels.relu_message_sum(**with_order(graph)), expected)


@settings(max_examples=25, deadline=None)
@given(edges=st.integers(0, 40), seed=st.integers(0, 10**6))
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_weighted_sum_is_a_matrix_product(backend, edges, seed):
    graph = make_graph(edges, seed)
    targets = 9
    dense = torch.zeros(targets, NODES, dtype=torch.float64)
    for source, target, weight in zip(
        graph["source_E"], graph["target_E"], graph["weight_E"], strict=True
    ):
        dense[target, source] += weight
    summed = kernels_of(backend).weighted_sum(
        graph["x_ND"], graph["source_E"], graph["target_E"], graph["weight_E"], targets
    )
    torch.testing.assert_close(summed, dense @ graph["x_ND"])


@settings(max_examples=25, deadline=None)
@given(edges=st.integers(0, 40), seed=st.integers(0, 10**6))
@pytest.mark.parametrize("backend", BACKENDS)
def test_edge_softmax_is_a_softmax_over_each_targets_edges(backend, edges, seed):
    target = make_graph(edges, seed)["target_E"]
    logit = 30 * torch.randn(edges, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    shares = kernels_of(backend).edge_softmax(logit, target, NODES)
    for node in range(NODES):
        arriving = (target == node).nonzero().flatten()
        torch.testing.assert_close(shares[arriving], torch.softmax(logit[arriving], 0))


def test_edge_softmax_of_one_edge_is_one_however_large(kernels):
    logit = torch.tensor([1e4, -1e4, 5.0])
    shares = kernels.edge_softmax(logit, torch.tensor([0, 1, 3]), 4)
    assert shares.tolist() == [1.0, 1.0, 1.0]


def test_edge_softmax_adds_up_in_float32_whatever_comes_in(kernels):
    logit = torch.zeros(1000, dtype=torch.bfloat16)
    shares = kernels.edge_softmax(logit, torch.zeros(1000, dtype=torch.int64), 1)
    assert shares.dtype == torch.bfloat16
    assert shares[0].item() == pytest.approx(1e-3, rel=2**-8)


def test_segments_add_up_and_spread_is_their_transpose(kernels):
    x = torch.randn(6, 3, dtype=torch.float64)
    segment = torch.tensor([0, 0, 1, 3, 3, 3])
    summed = kernels.segment_sum(x, segment, 5)
    rows = [x[:2].sum(0), x[2], torch.zeros(3), x[3:].sum(0), torch.zeros(3)]
    torch.testing.assert_close(summed, torch.stack([row.double() for row in rows]))
    y = torch.randn(5, 3, dtype=torch.float64)
    assert torch.equal(kernels.spread(y, segment), y[segment])
    torch.testing.assert_close((summed * y).sum(), (x * kernels.spread(y, segment)).sum())


def test_members_of_no_segment_are_left_out_and_get_zeros(kernels):
    x = torch.randn(7, 3, dtype=torch.float64, requires_grad=True)
    y = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)
    segment, offsets = torch.tensor([0, 0, 1, 3, 3, 4, 4]), torch.tensor([0, 2, 3, 3, 5])
    summed = kernels.segment_sum(x, segment, 4, offsets=offsets)
    rows = [x[:2].sum(0), x[2], torch.zeros(3).double(), x[3:5].sum(0)]
    torch.testing.assert_close(summed, torch.stack(rows))
    spread = kernels.spread(y, segment, offsets=offsets)
    assert torch.equal(spread[:5], y[segment[:5]])
    assert not spread[5:].any()
    torch.testing.assert_close((summed * y).sum(), (x * spread).sum())
    for out, source in ((summed, x), (spread, y)):
        (gradient,) = torch.autograd.grad(out.square().sum(), source)
        expected = torch.zeros_like(gradient)
        for member, owner in enumerate(segment[:5]):
            if source is x:
                expected[member] = 2 * summed[owner]
            else:
                expected[owner] += 2 * spread[member]
        torch.testing.assert_close(gradient, expected)


def test_leading_rows_are_normalised_alone(kernels):
    x = torch.randn(6, 3, dtype=torch.float64)
    weight, bias = torch.randn(2, 3, dtype=torch.float64)
    y, mean, variance = kernels.leading_norm(x, weight, bias, torch.tensor(4), 1e-5)
    torch.testing.assert_close((mean, variance), (x[:4].mean(0), x[:4].var(0)))
    unit = (x[:4] - mean) / torch.sqrt(x[:4].var(0, unbiased=False) + 1e-5)
    torch.testing.assert_close(y, torch.cat([unit * weight + bias, torch.zeros(2, 3)]))


@pytest.mark.parametrize("weighted", [False, True])
def test_renaming_nodes_renames_the_answer(kernels, weighted):
    graph = make_graph()
    graph = graph if weighted else without_weight(graph)
    new_name = torch.randperm(NODES)
    renamed = torch.empty_like(graph["x_ND"])
    renamed[new_name] = graph["x_ND"]
    moved = kernels.relu_message_sum(
        **{
            **graph,
            "x_ND": renamed,
            "source_E": new_name[graph["source_E"]],
            "target_E": new_name[graph["target_E"]],
        }
    )
    torch.testing.assert_close(moved[new_name], kernels.relu_message_sum(**graph))


def test_the_order_of_edges_does_not_matter(kernels):
    graph = make_graph()
    order = torch.randperm(len(graph["source_E"]))
    shuffled = {name: c[order] if name.endswith("_E") else c for name, c in graph.items()}
    torch.testing.assert_close(
        kernels.relu_message_sum(**shuffled), kernels.relu_message_sum(**graph)
    )


def test_an_isolated_node_and_a_graph_without_edges_receive_zeros(kernels):
    summed = kernels.relu_message_sum(**make_graph())
    assert torch.equal(summed[-1], torch.zeros(WIDTH, dtype=torch.float64))
    empty = make_graph(edges=0)
    empty["x_ND"].requires_grad_()
    summed = kernels.relu_message_sum(**empty)
    assert torch.equal(summed, torch.zeros(NODES, WIDTH, dtype=torch.float64))
    summed.sum().backward()
    assert not empty["x_ND"].grad.any()


@pytest.mark.parametrize("weighted", [False, True])
def test_gradients_of_messages_are_the_numeric_ones(kernels, weighted):
    graph = make_graph()
    graph = graph if weighted else without_weight(graph)
    names = [name for name in ("x_ND", "bond_CD", "weight_E") if graph[name] is not None]
    graph["bond_CD"] = graph["bond_CD"][:41].clone()
    inputs = tuple(graph[name].requires_grad_() for name in names)

    for each in (graph, with_order(graph)):

        def summed(*values, each=each):
            return kernels.relu_message_sum(**{**each, **dict(zip(names, values, strict=True))})

        assert torch.autograd.gradcheck(summed, inputs)


def test_gradients_of_the_other_sums_are_the_numeric_ones(kernels):
    graph = make_graph()
    source, target = graph["source_E"], graph["target_E"]
    x, weight = graph["x_ND"].requires_grad_(), graph["weight_E"].requires_grad_()
    segment = torch.tensor([0, 0, 1, 1, 1, 3, 3])
    assert torch.autograd.gradcheck(
        lambda x, weight: kernels.weighted_sum(x, source, target, weight, 9), (x, weight)
    )
    assert torch.autograd.gradcheck(lambda x: kernels.segment_sum(x, segment, 4), (x,))
    assert torch.autograd.gradcheck(lambda x: kernels.spread(x[:4], segment), (x,))
    assert torch.autograd.gradcheck(
        lambda logit: kernels.edge_softmax(logit, target, NODES), (weight,)
    )


def test_second_gradients_of_the_tensor_kernels_are_the_numeric_ones():
    graph = make_graph(edges=6)
    x, weight = graph["x_ND"].requires_grad_(), graph["weight_E"].requires_grad_()
    kernels = message_kernels("tensor", "cpu")
    assert torch.autograd.gradgradcheck(
        lambda x, weight: kernels.weighted_sum(
            x, graph["source_E"], graph["target_E"], weight, NODES
        ),
        (x, weight),
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("weighted", [False, True])
def test_all_backends_agree_in_values_and_gradients(dtype, weighted):
    results = []
    for backend in BACKENDS:
        graph = make_graph(edges=40, dtype=dtype)
        graph = graph if weighted else without_weight(graph)
        inputs = [
            graph[name] for name in ("x_ND", "bond_CD", "weight_E") if graph[name] is not None
        ]
        for each in inputs:
            each.requires_grad_()
        summed = kernels_of(backend).relu_message_sum(**graph)
        gradients = torch.autograd.grad(summed.sin().sum(), inputs)
        results.append((summed, *gradients))
    for tensor, *others in zip(*results, strict=True):
        for other in others:
            torch.testing.assert_close(tensor, other)


@pytest.mark.parametrize("weighted", [False, True])
def test_bfloat16_flows_through_within_its_rounding(kernels, weighted):
    graph = make_graph(edges=12, dtype=torch.float32)
    graph = graph if weighted else without_weight(graph)
    expected = kernels.relu_message_sum(**graph)
    with torch.autocast("cpu", torch.bfloat16):
        x = graph["x_ND"].bfloat16().requires_grad_()
        summed = kernels.relu_message_sum(**{**graph, "x_ND": x})
        pooled = kernels.segment_sum(summed, torch.zeros(NODES, dtype=torch.int64), 1)
    assert summed.dtype == pooled.dtype == torch.bfloat16
    torch.testing.assert_close(summed.float(), expected, atol=0.05, rtol=0.02)
    pooled.sum().backward()
    assert x.grad.dtype == torch.bfloat16
    assert x.grad.isfinite().all()


def test_without_gradients_the_answers_are_the_same(kernels):
    graph = make_graph()
    with torch.inference_mode():
        answer = kernels.relu_message_sum(**make_graph())
    assert torch.equal(answer, kernels.relu_message_sum(**graph))


def test_rows_of_a_short_table_may_come_from_a_matrix_product():
    table, rows = torch.randn(4, 3), torch.tensor([3, 0, 0, 2])
    assert torch.equal(one_hot_rows(table, rows), table[rows])
    assert one_hot_rows(table, rows[:0]).shape == (0, 3)


needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
needs_cuda_dgl = pytest.mark.skipif(
    not torch.cuda.is_available() or not dgl_supports("cuda"),
    reason="needs a GPU, and a DGL that is built for CUDA",
)


@pytest.mark.parametrize(
    "backend",
    [
        pytest.param("auto", marks=needs_gpu),
        pytest.param("tensor", marks=needs_gpu),
        pytest.param("dgl", marks=needs_cuda_dgl),
    ],
)
@pytest.mark.parametrize("weighted", [False, True])
def test_a_gpu_gives_the_cpus_values_and_gradients(backend, weighted):
    results = []
    for device in ("cpu", "cuda"):
        graph = make_graph(edges=40)
        graph = graph if weighted else without_weight(graph)
        graph = {n: None if c is None else c.to(device) for n, c in graph.items()}
        inputs = [
            graph[name] for name in ("x_ND", "bond_CD", "weight_E") if graph[name] is not None
        ]
        for each in inputs:
            each.requires_grad_()
        summed = message_kernels(backend, device).relu_message_sum(**graph)
        gradients = torch.autograd.grad(summed.sin().sum(), inputs)
        results.append([each.cpu() for each in (summed, *gradients)])
    for here, there in zip(*results, strict=True):
        torch.testing.assert_close(here, there)


def test_auto_takes_dgl_where_it_computes_then_triton_then_tensors():
    assert message_kernels("auto", "cpu").name == "dgl"
    assert message_kernels("auto", "meta").name == "tensor"
    otherwise = "triton" if triton_supports("cuda") else "tensor"
    assert message_kernels("auto", "cuda").name == ("dgl" if dgl_supports("cuda") else otherwise)


def test_asking_for_dgl_where_it_cannot_compute_is_an_error():
    with pytest.raises(DependencyError, match=r"DGL .* does not compute on 'meta'; set backbone"):
        message_kernels("dgl", "meta")


def test_only_kernels_that_wait_for_nothing_can_be_captured():
    assert not message_kernels("dgl", "cpu").capturable
    assert not message_kernels("tensor", "cpu").capturable
    assert message_kernels("tensor", "cuda").capturable


def test_weights_default_to_one(kernels):
    graph = make_graph()
    graph["weight_E"] = torch.ones_like(graph["weight_E"])
    torch.testing.assert_close(
        kernels.relu_message_sum(**graph), kernels.relu_message_sum(**without_weight(graph))
    )


def test_a_hand_sum(kernels):
    x = torch.tensor([[1.0, -2.0], [3.0, 0.5]])
    bond = torch.tensor([[0.0, 1.0], [-2.0, 2.0]])
    answer = kernels.relu_message_sum(
        x, bond, torch.tensor([0, 1, 1]), torch.tensor([1, 0, 0]), torch.tensor([0, 0, 1])
    )
    assert answer.tolist() == [[3.0 + 1.0, 1.5 + 2.5], [1.0, 0.0]]
    assert math.isclose(answer.sum().item(), 9.0)

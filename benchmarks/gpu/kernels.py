"""Every kernel that a GPU's training step runs, held against float64 and timed.

Shapes: N nodes, E directed edges, G graphs, D width, C bond codes.

References are written out in torch's plainest operations, in float64, on the same inputs. What is
compared is ``|found - expected| / |expected|``, in the norm over all entries.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from gpu.clock import device_seconds
from graphadapt.backbone.encoders import multi_hot_rows
from graphadapt.graphs.batch import GraphBatch, GraphTable
from graphadapt.graphs.buckets import BucketLadder
from graphadapt.graphs.message_passing import MessageKernels
from graphadapt.molecules.vocabulary import ATOM_FEATURE_OFFSETS, ATOM_FEATURE_SIZES, BOND_CODES

__all__ = ["gather_rows", "kernel_rows"]

ALLOWED = {torch.float32: 1e-5, torch.bfloat16: 1e-2}
"""Largest relative error: of sums in float32, and of results rounded to bfloat16."""

EPSILON = 1e-5


class Case(NamedTuple):
    """One kernel: what it is, what it should be, and what it is given."""

    name: str
    found: Callable[..., Tensor]
    expected: Callable[..., Tensor]
    inputs: Mapping[str, Tensor]
    """Differentiable arguments."""

    least_bytes: int
    """Each input read once and each output written once, there and back."""


def kernel_rows(
    kernels: Mapping[str, MessageKernels], batch: GraphBatch, width: int, seed: int
) -> Iterator[dict[str, Any]]:
    """Errors of values and gradients, and times, of all kernels in both precisions.

    Args:
        kernels: by name.
        batch: padded, as the training gathers it.
        width: D.
        seed: of the inputs.
    """
    for name, each in kernels.items():
        for dtype, allowed in ALLOWED.items():
            torch.manual_seed(seed)
            for case in cases(each, batch, width, dtype):
                yield {
                    "kernel": case.name,
                    "kernels": name,
                    "precision": str(dtype).removeprefix("torch."),
                    **checked(case, allowed),
                }


def checked(case: Case, allowed: float) -> dict[str, Any]:
    """Largest relative error over the value and all gradients, and the time of both."""
    device = next(iter(case.inputs.values())).device
    value, gradients = _run(case.found, case.inputs)
    wide = {name: tensor.double() for name, tensor in case.inputs.items()}
    answer = torch.randn_like(value)
    value, gradients = _run(case.found, case.inputs, answer)
    expected, expected_gradients = _run(case.expected, wide, answer.double())
    errors = {"value": relative(value, expected)}
    for name, one, two in zip(case.inputs, gradients, expected_gradients, strict=True):
        errors[f"gradient of {name}"] = relative(one, two)
    seconds = device_seconds(lambda: _run(case.found, case.inputs, answer), device)
    return {
        "error": max(errors.values()),
        "worst": max(errors, key=lambda name: errors[name]),
        "allowed": allowed,
        "holds": all(error <= allowed for error in errors.values()),  # false for NaN
        "seconds": seconds,
        "bytes_per_s": case.least_bytes / seconds,
    }


def relative(found: Tensor, expected: Tensor) -> float:
    return float((found.double() - expected).norm() / expected.norm().clamp(min=1e-30))


def _run(
    work: Callable[..., Tensor], inputs: Mapping[str, Tensor], answer: Tensor | None = None
) -> tuple[Tensor, tuple[Tensor, ...]]:
    leaves = {name: tensor.detach().requires_grad_() for name, tensor in inputs.items()}
    value = work(**leaves)
    if answer is None:
        return value.detach(), ()
    return value.detach(), torch.autograd.grad(value, list(leaves.values()), answer.to(value.dtype))


def cases(
    kernels: MessageKernels, batch: GraphBatch, width: int, dtype: torch.dtype
) -> Iterator[Case]:
    device, nodes = batch.atoms.device, batch.num_nodes
    x_ND = torch.randn(nodes, width, device=device).to(dtype)
    yield from _message_cases(kernels, batch, x_ND)
    flow = x_ND.nbytes
    graph_N, offsets = batch.graph_of_node, batch.node_offsets
    graphs = batch.num_graphs

    def plain_sum(x: Tensor) -> Tensor:
        return x.new_zeros(graphs + 1, width).index_add(0, graph_N, x)[:-1]

    yield Case(
        "segment sum",
        lambda x: kernels.segment_sum(x, graph_N, graphs, offsets=offsets),
        plain_sum,
        {"x": x_ND},
        2 * flow,
    )
    yield Case(
        "spread",
        lambda x: kernels.spread(x, graph_N, offsets=offsets),
        lambda x: functional.pad(x, (0, 0, 0, 1))[graph_N],
        {"x": torch.randn(graphs, width, device=device).to(dtype)},
        2 * flow,
    )
    yield _norm_case(kernels, batch, x_ND)
    yield _table_case(batch, width)


def _message_cases(kernels: MessageKernels, batch: GraphBatch, x_ND: Tensor) -> Iterator[Case]:
    source, target, code = batch.source, batch.target, batch.bond_codes
    bond_CD = torch.randn(BOND_CODES, x_ND.shape[1], device=x_ND.device)
    # Bonds in the flow's precision, so that no rounding decides on which side of relu a sum falls.
    bond_CD = bond_CD.to(x_ND.dtype).float()

    def fused(x: Tensor, bond: Tensor, weight: Tensor | None = None) -> Tensor:
        return kernels.relu_message_sum(
            x, bond, source, target, code, weight, order=batch.bond_order
        )

    def plain(x: Tensor, bond: Tensor, weight: Tensor | None = None) -> Tensor:
        message = (x[source] + bond[code]).relu()
        if weight is not None:
            message = message * weight.unsqueeze(1)
        return torch.zeros_like(x).index_add(0, target, message)

    weight_E = torch.rand(len(source), device=x_ND.device)
    indices = 4 * 8 * len(source)
    least = 5 * x_ND.nbytes + indices
    yield Case("message sum", fused, plain, {"x": x_ND, "bond": bond_CD}, least)
    yield Case(
        "weighted message sum",
        fused,
        plain,
        {"x": x_ND, "bond": bond_CD, "weight": weight_E},
        least + 3 * weight_E.nbytes,
    )


def _norm_case(kernels: MessageKernels, batch: GraphBatch, x_ND: Tensor) -> Case:
    count, width, device = batch.node_offsets[-1], x_ND.shape[1], x_ND.device
    leads_N1 = (torch.arange(len(x_ND), device=device) < count).unsqueeze(1)

    def plain(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        mean = torch.where(leads_N1, x, 0).sum(0) / count
        square = torch.where(leads_N1, (x - mean) ** 2, 0).sum(0) / count
        y = (x - mean) / (square + EPSILON).sqrt() * weight + bias
        return torch.where(leads_N1, y, 0)

    return Case(
        "norm of padded rows",
        lambda x, weight, bias: kernels.leading_norm(x, weight, bias, count, EPSILON)[0],
        plain,
        {
            "x": x_ND + 1,
            "weight": torch.rand(width, device=device) + 0.5,
            "bias": torch.randn(width, device=device),
        },
        7 * x_ND.nbytes,
    )


def _table_case(batch: GraphBatch, width: int) -> Case:
    starts = torch.tensor(ATOM_FEATURE_OFFSETS, device=batch.atoms.device)
    rows_N9 = batch.atoms + starts
    table = torch.randn(sum(ATOM_FEATURE_SIZES), width, device=batch.atoms.device)
    return Case(
        "atom tables",
        lambda table: multi_hot_rows(rows_N9, table),
        lambda table: table[rows_N9].sum(1),
        {"table": table},
        2 * len(rows_N9) * width * 4 + rows_N9.nbytes,
    )


def gather_rows(
    table: GraphTable, host: GraphTable, ladder: BucketLadder, rows: Tensor
) -> Iterator[dict[str, Any]]:
    """A padded batch gathered on the device is the one gathered on the host, and its time.

    Args:
        table: on the device.
        host: the same molecules on the host, with the edges' order.
        ladder: sizes to pad to.
        rows: on the host.
    """
    bucket = ladder.bucket(host.size(rows))
    expected, given = host.gather(rows, bucket=bucket), rows.to(table.device)
    found = table.gather(given, bucket=bucket)
    names = ("atoms", "source", "target", "bond_codes", "graph_of_node", "by_target")
    different = [n for n in names if not torch.equal(getattr(found, n).cpu(), getattr(expected, n))]
    moved = sum(getattr(found, name).nbytes for name in names)
    seconds = device_seconds(lambda: table.gather(given, bucket=bucket), table.device)
    yield {
        "kernel": "gather",
        "kernels": "tensor",
        "precision": "exact",
        "error": float(len(different)),
        "worst": ", ".join(different),
        "allowed": 0.0,
        "holds": not different,
        "seconds": seconds,
        "bytes_per_s": moved / seconds,
    }

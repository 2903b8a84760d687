"""The fused message step through Triton, as one differentiable function.

Shapes: N nodes, E edges, D width, C bond codes, P parts of the edges.
"""

from typing import Any

import torch
import triton
from torch import Tensor
from torch.autograd.function import once_differentiable

from graphadapt.graphs import triton_message_programs as programs
from graphadapt.graphs.edges import BondOrder
from graphadapt.graphs.triton_launch import launch, product_type, sum_type, tiles, wide_type

__all__ = ["fused_message_sum"]

_NODES, _EDGES, _COLUMNS = 16, 32, 64
_FEWEST_BLOCKS, _MOST_PARTS = 16, 128


def fused_message_sum(
    x_ND: Tensor, bond_CD: Tensor, code_E: Tensor, weight_E: Tensor | None, order: BondOrder
) -> Tensor:
    r"""Add up what a node's neighbours say along their bonds, ``(N, D)``.

    .. math:: m_v = \sum_{e = u \to v} w_e \, \mathrm{relu}(x_u + b_{c_e})

    With :math:`p_e = w_e \, g_v \, [x_u + b_{c_e} > 0]` and g the gradient of m, that of
    :math:`x_u` is the sum of p over the edges that leave u, that of :math:`b_c` the sum over the
    edges of code c, and that of :math:`w_e` is :math:`\langle g_v, \mathrm{relu}(x_u +
    b_{c_e})\rangle`.

    Sums are held in float32 at least; bond rows and weights are read in their own precision. There
    is no second derivative.

    Args:
        x_ND: node states.
        bond_CD: one row for each bond code.
        code_E: bond code of each edge.
        weight_E: weight of each edge; None is one.
        order: the edges, grouped at both ends.
    """
    summed: Tensor = _MessageSum.apply(  # type: ignore[no-untyped-call]
        x_ND.contiguous(), bond_CD.contiguous(), weight_E, code_E, order
    )
    return summed


class _MessageSum(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x_ND: Tensor,
        bond_CD: Tensor,
        weight_E: Tensor | None,
        code_E: Tensor,
        order: BondOrder,
    ) -> Tensor:
        ctx.save_for_backward(x_ND, bond_CD, weight_E, code_E)
        ctx.order = order
        edges, m_ND = order.edges, torch.empty_like(x_ND)
        launch(
            programs.message_sum,
            tiles(len(x_ND), _NODES, x_ND.shape[1], _COLUMNS),
            x_ND,
            bond_CD,
            edges.sources_by_target,
            order.codes_by_target,
            edges.target_offsets,
            _in_order(weight_E, edges.by_target),
            m_ND,
            len(x_ND),
            **_constants(x_ND, weight_E, NODES=_NODES),
        )
        return m_ND

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x_ND, bond_CD, weight_E, code_E = ctx.saved_tensors
        given = (x_ND, bond_CD, gradients[0].contiguous())
        wanted = ctx.needs_input_grad
        return (
            _node_gradient(*given, weight_E, ctx.order) if wanted[0] else None,
            _bond_gradient(*given, weight_E, code_E, ctx.order) if wanted[1] else None,
            _weight_gradient(*given, weight_E, code_E, ctx.order) if wanted[2] else None,
            None,
            None,
        )


def _node_gradient(
    x_ND: Tensor, bond_CD: Tensor, gradient_ND: Tensor, weight_E: Tensor | None, order: BondOrder
) -> Tensor:
    edges, out_ND = order.edges, torch.empty_like(x_ND)
    launch(
        programs.node_gradient,
        tiles(len(x_ND), _NODES, x_ND.shape[1], _COLUMNS),
        x_ND,
        bond_CD,
        gradient_ND,
        edges.targets_by_source,
        order.codes_by_source,
        edges.source_offsets,
        _in_order(weight_E, edges.by_source),
        out_ND,
        len(x_ND),
        **_constants(x_ND, weight_E, NODES=_NODES),
    )
    return out_ND


def _bond_gradient(
    x_ND: Tensor,
    bond_CD: Tensor,
    gradient_ND: Tensor,
    weight_E: Tensor | None,
    code_E: Tensor,
    order: BondOrder,
) -> Tensor:
    """Tables of parts of the edges, added up.

    A few codes take nearly all edges, so that programs of a code each would wait for one another.
    Instead each multiplies the one-hot codes of a part of the edges by what these are answered:
    nothing of E rows is written, a GPU has hardly any cheaper work than such a product, and the
    tables of the parts are always added up in the same order.
    """
    (edges, width), blocks = (len(code_E), x_ND.shape[1]), _FEWEST_BLOCKS
    while edges > _MOST_PARTS * blocks * _EDGES:
        blocks *= 2
    grid = tiles(edges, blocks * _EDGES, width, _COLUMNS)
    codes = max(16, triton.next_power_of_2(len(bond_CD)))
    part_PCD = x_ND.new_empty((grid[0], codes, width), dtype=wide_type(x_ND))
    launch(
        programs.bond_gradient,
        grid,
        x_ND,
        bond_CD,
        gradient_ND,
        order.edges.source,
        order.edges.target,
        code_E,
        weight_E,
        part_PCD,
        edges,
        **_constants(x_ND, weight_E, EDGES=_EDGES, BLOCKS=blocks, CODES=codes),
        PRODUCT=product_type(x_ND, programs.bond_gradient),
    )
    return part_PCD.sum(0)[: len(bond_CD)].to(bond_CD.dtype)


def _weight_gradient(
    x_ND: Tensor,
    bond_CD: Tensor,
    gradient_ND: Tensor,
    weight_E: Tensor,
    code_E: Tensor,
    order: BondOrder,
) -> Tensor:
    out_E = torch.empty_like(weight_E)
    launch(
        programs.weight_gradient,
        (triton.cdiv(len(code_E), _EDGES),),
        x_ND,
        bond_CD,
        gradient_ND,
        order.edges.source,
        order.edges.target,
        code_E,
        out_E,
        len(code_E),
        WIDTH=x_ND.shape[1],
        SUM=sum_type(x_ND),
        EDGES=_EDGES,
        COLUMNS=_COLUMNS,
    )
    return out_E


def _constants(x_ND: Tensor, weight_E: Tensor | None, **sizes: int) -> dict[str, Any]:
    return {
        "WIDTH": x_ND.shape[1],
        "IS_WEIGHTED": weight_E is not None,
        "SUM": sum_type(x_ND),
        "COLUMNS": _COLUMNS,
        **sizes,
    }


def _in_order(weight_E: Tensor | None, order_E: Tensor | None) -> Tensor | None:
    """The edges' weights in the order that a program walks them."""
    if weight_E is None or order_E is None:
        return weight_E
    return weight_E[order_E]

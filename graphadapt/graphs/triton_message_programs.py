# What Triton compiles is not typed Python.
# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-decorators
"""The programs of the fused message step, forward and back, as Triton compiles them.

Shapes: N nodes, E edges, D = WIDTH columns, C bond codes, P parts of the edges. Every array is
contiguous, indices are int64, and sums are held in SUM.

A message is made, weighted and added up without being written to memory. A program holds a tile of
nodes by columns and walks its nodes' edges in step, which in molecules are two or three each. Going
back, a node adds up what its messages are answered, over the edges that leave it. So no two
programs add to one number: there are no atomic additions, and results repeat to the bit.

Loops whose length only the device knows are written as ``while``: Triton 3.6's interpreter cannot
take a ``range`` from a tensor under NumPy 2.4.
"""

import triton
import triton.language as tl

__all__ = ["bond_gradient", "message_sum", "node_gradient", "weight_gradient"]


@triton.jit(do_not_specialize=["num_nodes"])
def message_sum(
    x,
    bond,
    source,
    code,
    offsets,
    weight,
    out,
    num_nodes,
    WIDTH: tl.constexpr,
    IS_WEIGHTED: tl.constexpr,
    SUM: tl.constexpr,
    NODES: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    """``sum w relu(x_u + b)`` over the edges u -> v of every v; edges sorted by v."""
    node = tl.program_id(0).to(tl.int64) * NODES + tl.arange(0, NODES)
    column = (tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS))[None, :]
    is_node = node < num_nodes
    edge = tl.load(offsets + node, mask=is_node, other=0)
    end = tl.load(offsets + node + 1, mask=is_node, other=0)
    total = tl.zeros((NODES, COLUMNS), SUM)
    left = tl.max(end - edge, 0)
    while left > 0:
        is_edge = edge < end
        held = is_edge[:, None] & (column < WIDTH)
        sender = tl.load(source + edge, mask=is_edge, other=0)[:, None]
        kind = tl.load(code + edge, mask=is_edge, other=0)[:, None]
        state = tl.load(x + sender * WIDTH + column, mask=held, other=0.0).to(SUM)
        row = tl.load(bond + kind * WIDTH + column, mask=held, other=0.0).to(SUM)
        message = tl.maximum(state + row, 0.0, propagate_nan=tl.PropagateNan.ALL)
        if IS_WEIGHTED:
            share = tl.load(weight + edge, mask=is_edge, other=0.0).to(SUM)
            message *= share[:, None]
        total += message
        edge += 1
        left -= 1
    place = out + node[:, None] * WIDTH + column
    held = is_node[:, None] & (column < WIDTH)
    tl.store(place, total.to(out.dtype.element_ty), mask=held)


@triton.jit(do_not_specialize=["num_nodes"])
def node_gradient(
    x,
    bond,
    gradient,
    target,
    code,
    offsets,
    weight,
    out,
    num_nodes,
    WIDTH: tl.constexpr,
    IS_WEIGHTED: tl.constexpr,
    SUM: tl.constexpr,
    NODES: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    """``sum w g_v [x_u + b > 0]`` over the edges u -> v of every u; edges sorted by u."""
    node = tl.program_id(0).to(tl.int64) * NODES + tl.arange(0, NODES)
    column = (tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS))[None, :]
    is_node = node < num_nodes
    own = is_node[:, None] & (column < WIDTH)
    state = tl.load(x + node[:, None] * WIDTH + column, mask=own, other=0.0).to(SUM)
    edge = tl.load(offsets + node, mask=is_node, other=0)
    end = tl.load(offsets + node + 1, mask=is_node, other=0)
    total = tl.zeros((NODES, COLUMNS), SUM)
    left = tl.max(end - edge, 0)
    while left > 0:
        is_edge = edge < end
        held = is_edge[:, None] & (column < WIDTH)
        receiver = tl.load(target + edge, mask=is_edge, other=0)[:, None]
        kind = tl.load(code + edge, mask=is_edge, other=0)[:, None]
        answer = tl.load(gradient + receiver * WIDTH + column, mask=held, other=0.0).to(SUM)
        row = tl.load(bond + kind * WIDTH + column, mask=held, other=0.0).to(SUM)
        if IS_WEIGHTED:
            share = tl.load(weight + edge, mask=is_edge, other=0.0).to(SUM)
            answer *= share[:, None]
        total += tl.where(state + row > 0.0, answer, 0.0)
        edge += 1
        left -= 1
    place = out + node[:, None] * WIDTH + column
    tl.store(place, total.to(out.dtype.element_ty), mask=own)


@triton.jit(do_not_specialize=["num_edges"])
def bond_gradient(
    x,
    bond,
    gradient,
    source,
    target,
    code,
    weight,
    part,
    num_edges,
    WIDTH: tl.constexpr,
    IS_WEIGHTED: tl.constexpr,
    SUM: tl.constexpr,
    PRODUCT: tl.constexpr,
    CODES: tl.constexpr,
    BLOCKS: tl.constexpr,
    EDGES: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    """``sum w g_v [x_u + b > 0]`` over a part of the edges for every code; edges in any order."""
    number = tl.program_id(0).to(tl.int64)
    column = (tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS))[None, :]
    kinds = tl.arange(0, CODES)[:, None]
    total = tl.zeros((CODES, COLUMNS), SUM)
    for block in range(BLOCKS):
        edge = (number * BLOCKS + block) * EDGES + tl.arange(0, EDGES)
        is_edge = edge < num_edges
        held = is_edge[:, None] & (column < WIDTH)
        sender = tl.load(source + edge, mask=is_edge, other=0)[:, None]
        receiver = tl.load(target + edge, mask=is_edge, other=0)[:, None]
        kind = tl.load(code + edge, mask=is_edge, other=0)
        state = tl.load(x + sender * WIDTH + column, mask=held, other=0.0).to(SUM)
        row = tl.load(bond + kind[:, None] * WIDTH + column, mask=held, other=0.0).to(SUM)
        answer = tl.load(gradient + receiver * WIDTH + column, mask=held, other=0.0).to(SUM)
        if IS_WEIGHTED:
            share = tl.load(weight + edge, mask=is_edge, other=0.0).to(SUM)
            answer *= share[:, None]
        passed = tl.where(state + row > 0.0, answer, 0.0).to(gradient.dtype.element_ty)
        chosen = (kinds == kind[None, :]).to(PRODUCT)
        total = tl.dot(chosen, passed.to(PRODUCT), total, input_precision="ieee", out_dtype=SUM)
    place = part + (number * CODES + kinds) * WIDTH + column
    tl.store(place, total, mask=(kinds < CODES) & (column < WIDTH))


@triton.jit(do_not_specialize=["num_edges"])
def weight_gradient(
    x,
    bond,
    gradient,
    source,
    target,
    code,
    out,
    num_edges,
    WIDTH: tl.constexpr,
    SUM: tl.constexpr,
    EDGES: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    """``<g_v, relu(x_u + b)>`` of every edge u -> v."""
    edge = tl.program_id(0).to(tl.int64) * EDGES + tl.arange(0, EDGES)
    is_edge = edge < num_edges
    sender = tl.load(source + edge, mask=is_edge, other=0)[:, None]
    receiver = tl.load(target + edge, mask=is_edge, other=0)[:, None]
    kind = tl.load(code + edge, mask=is_edge, other=0)[:, None]
    total = tl.zeros((EDGES, COLUMNS), SUM)
    for first in range(0, WIDTH, COLUMNS):
        column = (first + tl.arange(0, COLUMNS))[None, :]
        held = is_edge[:, None] & (column < WIDTH)
        state = tl.load(x + sender * WIDTH + column, mask=held, other=0.0).to(SUM)
        row = tl.load(bond + kind * WIDTH + column, mask=held, other=0.0).to(SUM)
        answer = tl.load(gradient + receiver * WIDTH + column, mask=held, other=0.0).to(SUM)
        total += tl.where(state + row > 0.0, (state + row) * answer, 0.0)
    tl.store(out + edge, tl.sum(total, 1).to(out.dtype.element_ty), mask=is_edge)

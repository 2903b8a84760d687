"""Message passing in plain tensors, through sums over sorted groups.

Shapes: N nodes, E directed edges, D width, C bond codes, S segments, P messages.
"""

import torch
from torch import Tensor
from torch.nn import functional

from graphadapt.graphs.derived import DerivedCache
from graphadapt.graphs.edges import (
    BondMessages,
    BondOrder,
    GroupedEdges,
    distinct_messages,
    edge_messages,
    group_edges,
)
from graphadapt.graphs.grouped_sums import grouped_sum, one_hot_rows, take_rows
from graphadapt.graphs.leading_norm import leading_norm
from graphadapt.graphs.segments import bag_sum, contiguous_spread, contiguous_sum

__all__ = ["TensorKernels"]


class TensorKernels:
    """The kernels of :class:`graphadapt.graphs.message_passing.MessageKernels` in torch alone.

    Args:
        waits: whether to look at values on the host where that saves work, which is free on a CPU
            and makes the host wait for a GPU. Without, a CUDA graph can capture every kernel that
            is given the order of its edges or segments.
    """

    name = "tensor"

    def __init__(self, *, waits: bool = True) -> None:
        self.waits = waits
        self._derived = DerivedCache()

    @property
    def capturable(self) -> bool:
        """Whether a CUDA graph can capture the sums over a batch."""
        return not self.waits

    def relu_message_sum(
        self,
        x_ND: Tensor,
        bond_CD: Tensor,
        source_E: Tensor,
        target_E: Tensor,
        code_E: Tensor,
        weight_E: Tensor | None = None,
        *,
        order: BondOrder | None = None,
    ) -> Tensor:
        """Add up what a node's neighbours say along their bonds, ``(N, D)``."""
        messages = self._messages(source_E, target_E, code_E, len(x_ND), order)
        x_PD = take_rows(x_ND, messages.sending)
        bond_PD = self._bond_rows(bond_CD.to(x_ND.dtype), messages.code)
        return grouped_sum(functional.relu(x_PD + bond_PD), weight_E, messages.receiving)

    def weighted_sum(
        self, x_ND: Tensor, source_E: Tensor, target_E: Tensor, weight_E: Tensor, num_targets: int
    ) -> Tensor:
        """Add up the weighted rows that arrive at every target, ``(num_targets, D)``."""
        edges = self._derived.get(
            "edges",
            (source_E, target_E),
            (len(x_ND), num_targets),
            lambda: group_edges(source_E, target_E, len(x_ND), num_targets),
        )
        return grouped_sum(x_ND, weight_E, edges)

    def edge_softmax(self, logit_E: Tensor, target_E: Tensor, num_targets: int) -> Tensor:
        """Softmax over the edges that arrive at the same target, ``(E,)``."""
        wide_E = logit_E.to(torch.promote_types(logit_E.dtype, torch.float32))
        largest_V = wide_E.new_full((num_targets,), -torch.inf)
        largest_V = largest_V.scatter_reduce(0, target_E, wide_E.detach(), "amax")
        raised_E = torch.exp(wide_E - largest_V[target_E])
        total_V = raised_E.new_zeros(num_targets).index_add(0, target_E, raised_E)
        return (raised_E / total_V[target_E]).to(logit_E.dtype)

    def segment_sum(
        self,
        x_ND: Tensor,
        segment_N: Tensor,
        num_segments: int,
        *,
        offsets: Tensor | None = None,
    ) -> Tensor:
        """Add up the rows of every segment, ``(num_segments, D)``."""
        if offsets is not None:
            return contiguous_sum(x_ND, segment_N, offsets, self._add_up)
        return grouped_sum(x_ND, None, self._gathering(segment_N, num_segments).reversed())

    def spread(self, x_SD: Tensor, segment_N: Tensor, *, offsets: Tensor | None = None) -> Tensor:
        """Give every member its segment's row, ``(N, D)``."""
        if offsets is not None:
            return contiguous_spread(x_SD, segment_N, offsets, self._add_up)
        return take_rows(x_SD, self._gathering(segment_N, len(x_SD)))

    def leading_norm(
        self, x_ND: Tensor, weight_D: Tensor, bias_D: Tensor, count: Tensor, epsilon: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Normalise the first ``count`` rows, and zero the others."""
        return leading_norm(x_ND, weight_D, bias_D, count, epsilon)

    def _add_up(self, x_ND: Tensor, offsets: Tensor) -> Tensor:
        """Sums of contiguous segments, without autograd."""
        return bag_sum(x_ND, offsets)

    def _messages(
        self,
        source_E: Tensor,
        target_E: Tensor,
        code_E: Tensor,
        num_nodes: int,
        order: BondOrder | None,
    ) -> BondMessages:
        if order is not None and not self.waits:
            return edge_messages(code_E, order.edges)

        def make() -> BondMessages:
            if self.waits:
                return distinct_messages(source_E, target_E, code_E, num_nodes)
            return edge_messages(code_E, group_edges(source_E, target_E, num_nodes, num_nodes))

        return self._derived.get("messages", (source_E, target_E, code_E), (num_nodes,), make)

    def _bond_rows(self, bond_CD: Tensor, code_P: Tensor) -> Tensor:
        if not self.waits:
            # The gradient adds up thousands of rows a code, in a GPU's grouped sum one by one.
            return one_hot_rows(bond_CD, code_P)
        return take_rows(bond_CD, self._gathering(code_P, len(bond_CD)))

    def _gathering(self, row_N: Tensor, num_rows: int) -> GroupedEdges:
        """One edge from row ``row_N[n]`` to each ``n``."""
        return self._derived.get(
            "gathering",
            (row_N,),
            (num_rows,),
            lambda: group_edges(
                row_N, torch.arange(len(row_N), device=row_N.device), num_rows, len(row_N)
            ),
        )

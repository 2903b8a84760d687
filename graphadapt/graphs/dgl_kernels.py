"""Message passing by DGL's kernels.

Shapes: N nodes, E directed edges, D width, C bond codes, S segments, P distinct messages.
"""

from types import ModuleType
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from graphadapt.graphs.derived import DerivedCache
from graphadapt.graphs.edges import BondOrder, distinct_messages
from graphadapt.graphs.leading_norm import leading_norm

__all__ = ["DglKernels"]


class DglKernels:
    """The kernels of :class:`graphadapt.graphs.message_passing.MessageKernels` through DGL.

    Args:
        dgl: the module that :func:`graphadapt.graphs.dgl_bridge.load_dgl` returns.
    """

    name = "dgl"
    capturable = False

    def __init__(self, dgl: ModuleType) -> None:
        self._dgl = dgl
        self._derived = DerivedCache()

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
        """Add up what a node's neighbours say along their bonds, ``(N, D)``.

        DGL sorts edges by itself, so their order is of no use to it.
        """
        counts = (len(x_ND), len(bond_CD))
        sending, receiving = self._derived.get(
            "messages",
            (source_E, target_E, code_E),
            counts,
            lambda: self._message_graphs(source_E, target_E, code_E, *counts),
        )
        with _without_autocast(x_ND):
            summed_PD = self._dgl.ops.u_add_v(sending, x_ND, bond_CD.to(x_ND.dtype))
            return self._sum(receiving, functional.relu(summed_PD), weight_E)

    def weighted_sum(
        self, x_ND: Tensor, source_E: Tensor, target_E: Tensor, weight_E: Tensor, num_targets: int
    ) -> Tensor:
        """Add up the weighted rows that arrive at every target, ``(num_targets, D)``."""
        graph = self._derived.get(
            "edges",
            (source_E, target_E),
            (len(x_ND), num_targets),
            lambda: self._bipartite(source_E, target_E, len(x_ND), num_targets),
        )
        with _without_autocast(x_ND):
            return self._sum(graph, x_ND, weight_E)

    def edge_softmax(self, logit_E: Tensor, target_E: Tensor, num_targets: int) -> Tensor:
        """Softmax over the edges that arrive at the same target, ``(E,)``."""
        wide_E = logit_E.to(torch.promote_types(logit_E.dtype, torch.float32))
        graph = self._membership(target_E, num_targets)
        with _without_autocast(wide_E):
            return self._dgl.ops.edge_softmax(graph, wide_E).to(logit_E.dtype)

    def segment_sum(
        self,
        x_ND: Tensor,
        segment_N: Tensor,
        num_segments: int,
        *,
        offsets: Tensor | None = None,
    ) -> Tensor:
        """Add up the rows of every segment, ``(num_segments, D)``."""
        # Members of no segment are in one more, which is dropped.
        graph = self._membership(segment_N, num_segments + (offsets is not None))
        with _without_autocast(x_ND):
            return self._sum(graph, x_ND, None)[:num_segments]

    def spread(self, x_SD: Tensor, segment_N: Tensor, *, offsets: Tensor | None = None) -> Tensor:
        """Give every member its segment's row, ``(N, D)``."""
        if offsets is not None:
            x_SD = functional.pad(x_SD, (0, 0, 0, 1))
        graph = self._membership(segment_N, len(x_SD))
        with _without_autocast(x_SD):
            return self._dgl.ops.copy_v(graph, x_SD)

    def leading_norm(
        self, x_ND: Tensor, weight_D: Tensor, bias_D: Tensor, count: Tensor, epsilon: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Normalise the first ``count`` rows, and zero the others."""
        return leading_norm(x_ND, weight_D, bias_D, count, epsilon)

    def _sum(self, graph: Any, x_SD: Tensor, weight_E: Tensor | None) -> Tensor:
        if weight_E is None:
            return self._dgl.ops.copy_u_sum(graph, x_SD)
        # Weighted sums in bfloat16 take DGL's CPU kernels four times as long as in float32.
        wide_SD = x_SD.to(torch.promote_types(x_SD.dtype, torch.float32))
        weight_E1 = weight_E.to(wide_SD.dtype).unsqueeze(1)
        return self._dgl.ops.u_mul_e_sum(graph, wide_SD, weight_E1).to(x_SD.dtype)

    def _message_graphs(
        self, source_E: Tensor, target_E: Tensor, code_E: Tensor, num_nodes: int, num_codes: int
    ) -> tuple[Any, Any]:
        """Messages as edges from sender to bond code, and as nodes that point at receivers."""
        if source_E.is_cuda:
            message_E = torch.arange(len(source_E), device=source_E.device)
            return (
                self._bipartite(source_E, code_E, num_nodes, num_codes),
                self._bipartite(message_E, target_E, len(source_E), num_nodes),
            )
        messages = distinct_messages(source_E, target_E, code_E, num_nodes)
        edges = messages.receiving
        return (
            self._bipartite(messages.sending.source, messages.code, num_nodes, num_codes),
            self._bipartite(edges.source, edges.target, len(messages.code), num_nodes),
        )

    def _membership(self, segment_N: Tensor, num_segments: int) -> Any:
        """One edge from each member to its segment."""
        return self._derived.get(
            "membership",
            (segment_N,),
            (num_segments,),
            lambda: self._bipartite(
                torch.arange(len(segment_N), device=segment_N.device),
                segment_N,
                len(segment_N),
                num_segments,
            ),
        )

    def _bipartite(self, source_E: Tensor, target_E: Tensor, sources: int, targets: int) -> Any:
        return self._dgl.heterograph(
            {("source", "edge", "target"): (source_E.int(), target_E.int())},
            num_nodes_dict={"source": sources, "target": targets},
        )


def _without_autocast(x: Tensor) -> torch.autocast:
    """Keep DGL from casting what it is given: under CUDA autocast it would, by deprecated calls."""
    return torch.autocast(x.device.type, enabled=False)

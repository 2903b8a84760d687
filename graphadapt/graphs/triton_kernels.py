"""Message passing by fused Triton kernels, for a GPU.

Shapes: N nodes, E directed edges, D width, C bond codes, S segments.
"""

from torch import Tensor

from graphadapt.graphs.edges import BondOrder, bond_order
from graphadapt.graphs.tensor_kernels import TensorKernels
from graphadapt.graphs.triton_message import fused_message_sum
from graphadapt.graphs.triton_norm import triton_leading_norm
from graphadapt.graphs.triton_segments import segment_sum

__all__ = ["TritonKernels"]


class TritonKernels(TensorKernels):
    """The kernels of :class:`graphadapt.graphs.message_passing.MessageKernels` through Triton.

    Fused are those that move every node's or edge's row: messages, sums of segments and the norm of
    padded batches. The others are left to plain tensors: gathers by themselves are one kernel, and
    weighted sums and edge softmax serve task graphs of a few hundred edges.
    """

    name = "triton"

    def __init__(self) -> None:
        super().__init__(waits=False)

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
        if order is None:
            order = self._derived.get(
                "bonds",
                (source_E, target_E, code_E),
                (len(x_ND),),
                lambda: bond_order(source_E, target_E, code_E, len(x_ND)),
            )
        return fused_message_sum(x_ND, bond_CD, code_E, weight_E, order)

    def leading_norm(
        self, x_ND: Tensor, weight_D: Tensor, bias_D: Tensor, count: Tensor, epsilon: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Normalise the first ``count`` rows, and zero the others."""
        return triton_leading_norm(x_ND, weight_D, bias_D, count, epsilon)

    def _add_up(self, x_ND: Tensor, offsets: Tensor) -> Tensor:
        return segment_sum(x_ND, offsets)

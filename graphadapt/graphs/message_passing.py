"""One meaning of message passing, and the choice of kernels that carry it out.

Shapes: N nodes, E directed edges, D width, C bond codes, S segments.

Index arguments are int64. Kernels remember what they derive from them (sorted edges, DGL graphs)
by the identity of the tensors: pass the same ones again rather than copies. Where the caller knows
an order already, as a gathered batch does, nothing is derived or remembered.
"""

import functools
from typing import Literal, Protocol

import torch
from torch import Tensor

from graphadapt.errors import DependencyError
from graphadapt.graphs.dgl_bridge import dgl_supports, load_dgl
from graphadapt.graphs.dgl_kernels import DglKernels
from graphadapt.graphs.edges import BondOrder
from graphadapt.graphs.tensor_kernels import TensorKernels
from graphadapt.graphs.triton_bridge import load_triton_kernels, triton_supports

__all__ = ["KernelName", "MessageKernels", "message_kernels"]

KernelName = Literal["auto", "dgl", "tensor", "triton"]


class MessageKernels(Protocol):
    """Sums over edges and segments, differentiable in everything but the indices.

    A node that nothing points at, and a segment without members, receives zeros. Reduced precision
    is for what flows (``x_ND``): tables and weights follow its type.
    """

    name: str
    """``dgl``, ``tensor`` or ``triton``."""

    @property
    def capturable(self) -> bool:
        """Whether a CUDA graph can capture the sums whose order the caller gives."""

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
        r"""Add up what a node's neighbours say along their bonds, ``(N, D)``.

        .. math:: m_v = \sum_{e = u \to v} w_e \, \mathrm{relu}(x_u + b_{c_e})

        Args:
            x_ND: node states.
            bond_CD: one row for each bond code, at most 60.
            source_E: sending node of each edge, in ``[0, N)``.
            target_E: receiving node of each edge, in ``[0, N)``.
            code_E: bond code of each edge, in ``[0, C)``.
            weight_E: weight of each edge; None is one.
            order: these edges grouped at both ends, if known.
        """

    def weighted_sum(
        self,
        x_ND: Tensor,
        source_E: Tensor,
        target_E: Tensor,
        weight_E: Tensor,
        num_targets: int,
    ) -> Tensor:
        r"""Add up the weighted rows that arrive at every target, ``(num_targets, D)``.

        .. math:: m_v = \sum_{e = u \to v} w_e \, x_u

        Sources and targets may be two kinds of nodes: ``source_E`` counts rows of ``x_ND``,
        ``target_E`` is in ``[0, num_targets)``.
        """

    def edge_softmax(self, logit_E: Tensor, target_E: Tensor, num_targets: int) -> Tensor:
        r"""Softmax over the edges that arrive at the same target, ``(E,)``.

        .. math:: a_e = \exp(l_e) / \sum_{e' \to v(e)} \exp(l_{e'})

        Computed in float32 at least, whatever the precision of the logits.
        """

    def segment_sum(
        self,
        x_ND: Tensor,
        segment_N: Tensor,
        num_segments: int,
        *,
        offsets: Tensor | None = None,
    ) -> Tensor:
        """Add up the rows of every segment, ``(num_segments, D)``.

        Args:
            x_ND: rows.
            segment_N: segment of each row, in ``[0, num_segments)``.
            num_segments: S.
            offsets: ``(S + 1,)`` where each segment begins and the last one ends, if they stand
                one after the other. Rows after that end have the number S and are left out.
        """

    def spread(self, x_SD: Tensor, segment_N: Tensor, *, offsets: Tensor | None = None) -> Tensor:
        """Give every member its segment's row, ``(N, D)``: the transpose of ``segment_sum``.

        With ``offsets``, members of no segment get zeros.
        """

    def leading_norm(
        self, x_ND: Tensor, weight_D: Tensor, bias_D: Tensor, count: Tensor, epsilon: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Normalise the first ``count`` rows by their own statistics, and zero the others.

        See :func:`graphadapt.graphs.leading_norm.leading_norm`.
        """


def message_kernels(name: KernelName, device: torch.device | str) -> MessageKernels:
    """The kernels called ``name`` for a device.

    ``auto`` is DGL wherever the installed build computes on the device. Elsewhere it is Triton on a
    GPU that it supports, and plain tensors on everything else.

    Raises:
        DependencyError: if ``dgl`` or ``triton`` was asked for and cannot be imported or not use
            the device.
    """
    return _kernels(name, torch.device(device).type)


@functools.cache
def _kernels(name: KernelName, device_type: str) -> MessageKernels:
    if name == "auto":
        name = _best(device_type)
    if name == "triton":
        return load_triton_kernels(device_type)
    if name == "tensor":
        return TensorKernels(waits=device_type == "cpu")
    dgl = load_dgl()
    if not dgl_supports(device_type):
        raise DependencyError(
            f"the installed DGL {dgl.__version__} does not compute on {device_type!r}; set "
            "backbone.message_passing to 'auto' or 'tensor', or install a DGL built for it"
        )
    return DglKernels(dgl)


def _best(device_type: str) -> KernelName:
    if dgl_supports(device_type):
        return "dgl"
    return "triton" if triton_supports(device_type) else "tensor"

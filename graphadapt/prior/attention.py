"""One attention message from some nodes to others along given edges.

Shapes: N receiving nodes, M sending nodes, E directed edges, p embedding width.
"""

import math

from torch import Tensor, nn

from graphadapt.graphs.message_passing import KernelName, message_kernels

__all__ = ["AttentionMessage"]


class AttentionMessage(nn.Module):
    r"""What every node hears from its neighbours, the fitting ones loudest.

    .. math::
        m_v = O \sum_{u \to v} a_{uv}\, V x_u, \qquad
        a_{uv} = \operatorname*{softmax}_{u \to v}
                 \frac{\langle Q y_v, K x_u \rangle}{\sqrt p}

    ``O`` starts at zero, so a fresh message is silent, and it has a gradient from the first step.
    The other maps start as random rotations. A node that nothing points at hears zeros.

    Args:
        width: p.
        message_passing: kernels to use.
    """

    def __init__(self, width: int, message_passing: KernelName = "auto") -> None:
        super().__init__()
        self.message_passing: KernelName = message_passing
        self.query = nn.Linear(width, width, bias=False)
        self.key = nn.Linear(width, width, bias=False)
        self.value = nn.Linear(width, width, bias=False)
        self.out = nn.Linear(width, width, bias=False)
        for layer in (self.query, self.key, self.value):
            nn.init.orthogonal_(layer.weight)
        nn.init.zeros_(self.out.weight)

    def forward(
        self, receiver_Np: Tensor, sender_Mp: Tensor, source_E: Tensor, target_E: Tensor
    ) -> Tensor:
        """One message for every receiver, ``(N, p)``.

        Args:
            receiver_Np: y.
            sender_Mp: x.
            source_E: int64, in ``[0, M)``.
            target_E: int64, in ``[0, N)``.
        """
        kernels = message_kernels(self.message_passing, receiver_Np.device)
        query_Np, key_Mp = self.query(receiver_Np), self.key(sender_Mp)
        fit_E = (query_Np[target_E] * key_Mp[source_E]).sum(1) / math.sqrt(query_Np.shape[1])
        weight_E = kernels.edge_softmax(fit_E, target_E, len(receiver_Np))
        heard_Np = kernels.weighted_sum(
            self.value(sender_Mp), source_E, target_E, weight_E, len(receiver_Np)
        )
        return self.out(heard_Np)

"""Two differently hidden views of a molecule recognise each other.

Shapes: G graphs, F width of the graph embedding, C width of the comparison.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from graphadapt.pretraining.config import ContrastiveConfig
from graphadapt.pretraining.corpus import Molecules
from graphadapt.pretraining.objective import Evidence, LossSum, PretrainingObjective, View

__all__ = ["Contrastive"]


class Contrastive(PretrainingObjective):
    r"""Find the other view of a molecule among all views of the batch.

    .. math:: L = -\frac{1}{2G} \sum_{i} \log
        \frac{\exp(\langle p_i, p_{i'} \rangle / \tau)}
        {\sum_{j \ne i} \exp(\langle p_i, p_j \rangle / \tau)}, \quad
        p = \frac{h(z)}{\lVert h(z) \rVert}

    over the 2G views i with partner i', and h a network with one hidden layer. Several processes
    compare within their own parts of the batch.

    Args:
        width: F.
        config: temperature τ and C.
        batch_size: molecules that a batch is expected to hold, for :attr:`constant`.

    References:
        You et al., Graph Contrastive Learning with Augmentations, 2020: attribute masking; Chen et
        al., A Simple Framework for Contrastive Learning of Visual Representations, 2020: NT-Xent.
    """

    def __init__(self, width: int, config: ContrastiveConfig, batch_size: int) -> None:
        super().__init__()
        self.temperature = config.temperature
        self.batch_size = batch_size
        self.project = nn.Sequential(
            nn.Linear(width, width), nn.ReLU(), nn.Linear(width, config.width)
        )

    def fit(self, molecules: Molecules) -> None:
        """The loss of guessing among the others."""
        self.set_constant(math.log(2 * self.batch_size - 1))

    def forward(self, view: View) -> LossSum:
        """Loss over all views."""
        logits_VV, partner_V = self._similarities(view)
        total = functional.cross_entropy(logits_VV, partner_V, reduction="sum")
        return LossSum(total, total.new_full((), len(partner_V)))

    def evidence(self, view: View) -> dict[str, Tensor]:
        """Whether each view's nearest is its partner."""
        logits_VV, partner_V = self._similarities(view)
        return {"found": logits_VV.argmax(dim=1) == partner_V}

    def metrics(self, evidence: Evidence) -> dict[str, float]:
        """Share of views that find their partner; chance is one in all others of a batch."""
        return {"found": float(evidence["found"].mean())}

    def _similarities(self, view: View) -> tuple[Tensor, Tensor]:
        """Logits between all views ``(2G, 2G)``, and where each one's partner is."""
        assert view.others is not None
        both = torch.cat([view.graphs, view.others])
        p_VC = functional.normalize(self.project(both).float(), dim=1)
        logits_VV = (p_VC @ p_VC.T) / self.temperature
        own_VV = torch.eye(len(p_VC), dtype=torch.bool, device=p_VC.device)
        count = len(view.graphs)
        partner_V = torch.arange(2 * count, device=p_VC.device).roll(count)
        return logits_VV.masked_fill(own_VV, -torch.inf), partner_V

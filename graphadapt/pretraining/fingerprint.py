"""Predict the places of a count fingerprint from the graph embedding.

Shapes: G graphs, M places of the fingerprint, W of them watched, F width of the graph embedding.
"""

import math

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from graphadapt.objective.ranking import average_precision
from graphadapt.pretraining.config import FingerprintConfig
from graphadapt.pretraining.corpus import Molecules
from graphadapt.pretraining.objective import (
    Evidence,
    LossSum,
    PretrainingObjective,
    View,
    answer_head,
)

__all__ = ["Fingerprint"]

WATCHED = 256
"""W at most: ranking thousands of places would take longer than answering them."""

RAREST = 0.005
"""Share of training molecules that have a watched place, at least."""


class Fingerprint(PretrainingObjective):
    r"""Say which substructures a molecule holds, or how often.

    With counts :math:`n_{g,m}` and logits :math:`x_{g,m}`, for ``bits``

    .. math:: L = \frac{1}{G M} \sum_{g,m} \log(1 + e^x) - [n > 0]\, x

    and for ``counts`` half the Poisson deviance of the rate :math:`e^x`

    .. math:: L = \frac{1}{G M} \sum_{g,m} n \log\frac{n}{e^x} - (n - e^x).

    Args:
        width: F.
        config: what is asked, and the width of a hidden layer.
        size: M.

    References:
        Rogers and Hahn, Extended-Connectivity Fingerprints, 2010, for what is predicted; Rong et
        al., Self-Supervised Graph Transformer on Large-Scale Molecular Data, 2020, for predicting
        which motifs a molecule holds (ours are hashed environments).
    """

    watched: Tensor

    def __init__(self, width: int, config: FingerprintConfig, size: int) -> None:
        super().__init__()
        self.target = config.target
        self.answer = answer_head(width, size, config.hidden)
        self.register_buffer("watched", torch.arange(min(WATCHED, size)))

    @torch.no_grad()
    def fit(self, molecules: Molecules) -> None:
        """Start at every place's own rate, and choose which places are watched."""
        counts_GM = molecules.targets["counts"].float()
        truth_GM = counts_GM if self.target == "counts" else (counts_GM > 0).float()
        # Half an occurrence more, so that no place is impossible.
        rate_M = (truth_GM.sum(dim=0) + 0.5) / (len(truth_GM) + 1)
        start_M = rate_M.log() if self.target == "counts" else torch.logit(rate_M)
        last = self.answer[-1]
        assert isinstance(last, torch.nn.Linear)
        last.bias.copy_(start_M)
        self.set_constant(float(self._losses(start_M.expand_as(counts_GM), counts_GM).mean()))
        self.watched.copy_(_spread((counts_GM > 0).float().mean(dim=0), len(self.watched)))

    def forward(self, view: View) -> LossSum:
        """Loss over all molecules."""
        counts_GM = view.molecules.targets["counts"].float()
        loss_G = self._losses(self.answer(view.graphs).float(), counts_GM).mean(dim=1)
        return LossSum(loss_G.sum(), loss_G.new_full((), len(loss_G)))

    def evidence(self, view: View) -> dict[str, Tensor]:
        """Logits and counts of the watched places."""
        return {
            "answer": self.answer(view.graphs)[:, self.watched].float(),
            "truth": view.molecules.targets["counts"][:, self.watched],
        }

    def metrics(self, evidence: Evidence) -> dict[str, float]:
        """Mean average precision of a watched place's presence, beside chance.

        For counts also the mean correlation of the logarithms of rate and count.
        """
        answer_GW, truth_GW = evidence["answer"], evidence["truth"]
        there_GW = truth_GW > 0
        both = np.flatnonzero(there_GW.any(axis=0) & ~there_GW.all(axis=0))
        if not len(both):
            return {}
        found = {
            "average_precision": float(
                np.mean([average_precision(answer_GW[:, w], there_GW[:, w]) for w in both])
            ),
            "prevalence": float(there_GW[:, both].mean()),
        }
        if self.target == "counts":
            pairs = zip(answer_GW[:, both].T, np.log1p(truth_GW[:, both]).T, strict=True)
            found["correlation"] = float(np.mean([_correlation(a, b) for a, b in pairs]))
        return found

    def _losses(self, logit_GM: Tensor, counts_GM: Tensor) -> Tensor:
        if self.target == "bits":
            return functional.binary_cross_entropy_with_logits(
                logit_GM, (counts_GM > 0).float(), reduction="none"
            )
        logit_GM = logit_GM.clamp(max=math.log(255.0))  # the most that a count is stored as
        return torch.xlogy(counts_GM, counts_GM) - counts_GM * logit_GM - counts_GM + logit_GM.exp()


def _spread(share_M: Tensor, count: int) -> Tensor:
    """Places from the commonest to the rarest that is not too rare, evenly by rank."""
    order_M = share_M.argsort(descending=True)
    enough = max(count, int((share_M >= RAREST).sum()))
    picked = torch.linspace(0, enough - 1, count, device=order_M.device).round().long()
    return order_M[picked]


def _correlation(first_G: np.ndarray, second_G: np.ndarray) -> float:
    """Pearson's; 0 where one does not vary."""
    if first_G.std() == 0 or second_G.std() == 0:
        return 0.0
    return float(np.corrcoef(first_G, second_G)[0, 1])

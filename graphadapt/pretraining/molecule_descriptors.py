"""Predict RDKit's descriptors from the graph embedding.

Shapes: G graphs, M descriptors, F width of the graph embedding.
"""

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from graphadapt.molecules.descriptors import DESCRIPTOR_NAMES
from graphadapt.pretraining.config import DescriptorsConfig
from graphadapt.pretraining.corpus import Molecules
from graphadapt.pretraining.objective import (
    Evidence,
    LossSum,
    PretrainingObjective,
    View,
    answer_head,
    r_squared,
)

__all__ = ["MoleculeDescriptors"]

QUARTILES_OF_A_DEVIATION = 1.349
"""Distance of a normal distribution's quartiles, in its standard deviation."""


class MoleculeDescriptors(PretrainingObjective):
    r"""Say a molecule's descriptors, on a robust scale.

    .. math:: L = \frac{1}{G M} \sum_{g,m} \mathrm{Huber}_1(\hat y_{g,m} - y_{g,m}), \quad
        y_{g,m} = \mathrm{clip}\Bigl(\frac{d_{g,m} - \mathrm{median}_m}{\sigma_m}, -c, c\Bigr)

    with :math:`\sigma_m` the distance of the quartiles over 1.349; the standard deviation where the
    quartiles coincide, as in a count that is mostly zero. A descriptor that never varies is left
    out.

    Args:
        width: F.
        config: c, and the width of a hidden layer.
        count: M.

    References:
        Fabian et al., Molecular representation learning with language models and domain-relevant
        auxiliary tasks, 2020, whose physico-chemical task this is for graphs.
    """

    center: Tensor
    scale: Tensor
    varies: Tensor

    def __init__(
        self, width: int, config: DescriptorsConfig, count: int = len(DESCRIPTOR_NAMES)
    ) -> None:
        super().__init__()
        self.clip = config.clip
        self.answer = answer_head(width, count, config.hidden)
        self.register_buffer("center", torch.zeros(count))
        self.register_buffer("scale", torch.ones(count))
        self.register_buffer("varies", torch.ones(count))

    @torch.no_grad()
    def fit(self, molecules: Molecules) -> None:
        """Medians, scales, and the loss of answering every median."""
        raw_GM = molecules.targets["descriptors"].double().cpu().numpy()
        low_M, median_M, high_M = np.percentile(raw_GM, (25, 50, 75), axis=0)
        deviation_M = raw_GM.std(axis=0)
        scale_M = np.where(high_M > low_M, (high_M - low_M) / QUARTILES_OF_A_DEVIATION, deviation_M)
        self.varies.copy_(torch.from_numpy(scale_M > 0))
        self.center.copy_(torch.from_numpy(median_M))
        self.scale.copy_(torch.from_numpy(np.where(scale_M > 0, scale_M, 1.0)))
        target_GM = self.targets(molecules)
        self.set_constant(float(self._mean_huber(torch.zeros_like(target_GM), target_GM).mean()))

    def targets(self, molecules: Molecules) -> Tensor:
        """Standardised and clipped descriptors, ``(G, M)``."""
        scaled_GM = (molecules.targets["descriptors"].float() - self.center) / self.scale
        return scaled_GM.clamp(-self.clip, self.clip)

    def forward(self, view: View) -> LossSum:
        """Loss over all molecules."""
        answer_GM = self.answer(view.graphs).float()
        loss_G = self._mean_huber(answer_GM, self.targets(view.molecules))
        return LossSum(loss_G.sum(), loss_G.new_full((), len(loss_G)))

    def evidence(self, view: View) -> dict[str, Tensor]:
        """Answers and truth on the robust scale."""
        return {
            "answer": self.answer(view.graphs).float(),
            "truth": self.targets(view.molecules),
        }

    def metrics(self, evidence: Evidence) -> dict[str, float]:
        """Mean and median over descriptors of the explained share of variance."""
        found_M = r_squared(evidence["answer"], evidence["truth"])
        found_M = found_M[np.isfinite(found_M) & self.varies.bool().cpu().numpy()]
        if not len(found_M):
            return {}
        return {"r2": float(found_M.mean()), "r2_median": float(np.median(found_M))}

    def _mean_huber(self, answer_GM: Tensor, target_GM: Tensor) -> Tensor:
        """Mean over the descriptors that vary, ``(G,)``."""
        loss_GM = functional.huber_loss(answer_GM, target_GM, reduction="none")
        return (loss_GM * self.varies).sum(dim=1) / self.varies.sum().clamp(min=1)

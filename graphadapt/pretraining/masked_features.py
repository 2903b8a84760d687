"""Predict the features of what was hidden: the loss that atoms and bonds share.

Shapes: P atoms or bonds, F predicted features, C answers of all features side by side.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from graphadapt.pretraining.objective import Evidence, LossSum

__all__ = ["FeatureHeads"]


class FeatureHeads(nn.Module):
    r"""One linear answer for each predicted feature, from the state of an atom or bond.

    .. math:: L = \sum_{p \text{ hidden}} \sum_f w_f \,
        \mathrm{CE}\bigl(\mathrm{softmax}(W_f h_p + b_f), a_{p,f}\bigr)

    Args:
        width: of the states.
        sizes: number of values of every feature of the vocabulary, in column order.
        weights: :math:`w_f` by name, in the same order; a feature of weight 0 is not predicted.
    """

    def __init__(self, width: int, sizes: Sequence[int], weights: Mapping[str, float]) -> None:
        super().__init__()
        self.columns = [i for i, weight in enumerate(weights.values()) if weight > 0]
        self.names = [name for name, weight in weights.items() if weight > 0]
        self.weights = [weight for weight in weights.values() if weight > 0]
        self.sizes = [sizes[i] for i in self.columns]
        self.answer = nn.Linear(width, sum(self.sizes))

    def loss(self, states_PD: Tensor, features_PF: Tensor, hidden_P: Tensor) -> LossSum:
        """Weighted cross entropy of what is hidden.

        Args:
            states_PD: of all atoms or bonds.
            features_PF: indices of all features of the vocabulary.
            hidden_P: bool, which were hidden.
        """
        per_P = states_PD.new_zeros(len(states_PD), dtype=torch.float32)
        for answer_PC, column, weight in zip(
            self._answers(states_PD), self.columns, self.weights, strict=True
        ):
            entropy_P = functional.cross_entropy(
                answer_PC, features_PF[:, column], reduction="none"
            )
            per_P = per_P + weight * entropy_P
        # A product rather than a choice of rows, whose number a GPU would have to be asked for.
        return LossSum((per_P * hidden_P).sum(), hidden_P.sum().to(per_P.dtype))

    @torch.no_grad()
    def fit(self, features_PF: Tensor) -> float:
        r"""Start at each feature's distribution; returns the loss :math:`\sum_f w_f H_f` there.

        Every value counts half an occurrence more than it has, so that none is impossible.
        """
        starts, loss = [], 0.0
        for column, size, weight in zip(self.columns, self.sizes, self.weights, strict=True):
            counts = torch.bincount(features_PF[:, column], minlength=size).double()
            smoothed = (counts + 0.5) / (counts + 0.5).sum()
            starts.append(smoothed.log())
            shares = counts / counts.sum().clamp(min=1)
            loss -= weight * float((shares * smoothed.log()).sum())
        self.answer.bias.copy_(torch.cat(starts))
        return loss

    def evidence(
        self, states_PD: Tensor, features_PF: Tensor, hidden_P: Tensor
    ) -> dict[str, Tensor]:
        """Most likely and true value of every predicted feature of what was hidden."""
        found = {}
        for name, answer_PC, column in zip(
            self.names, self._answers(states_PD[hidden_P]), self.columns, strict=True
        ):
            truth_P = features_PF[hidden_P, column]
            found[name] = torch.stack([answer_PC.argmax(dim=1), truth_P], dim=1).to(torch.uint8)
        return found

    def metrics(self, evidence: Evidence) -> dict[str, float]:
        """``accuracy`` of every feature, beside the ``majority`` that always says the commonest."""
        found = {}
        for name, pairs_P2 in evidence.items():
            if len(pairs_P2):
                answer_P, truth_P = pairs_P2.T
                found[f"{name}_accuracy"] = float((answer_P == truth_P).mean())
                found[f"{name}_majority"] = float(np.bincount(truth_P).max() / len(truth_P))
        return found

    def _answers(self, states_PD: Tensor) -> tuple[Tensor, ...]:
        """Logits of every feature ``(P, C_f)``, in float32 at least."""
        logits = self.answer(states_PD)
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        return logits.split(self.sizes, dim=1)

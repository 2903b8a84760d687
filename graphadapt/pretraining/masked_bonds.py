"""Predict the features of hidden bonds from the states of their two ends.

Shapes: B bonds, D width of the nodes.
"""

from torch import Tensor

from graphadapt.molecules.vocabulary import BOND_FEATURE_SIZES
from graphadapt.pretraining.config import BondsConfig, feature_weights
from graphadapt.pretraining.corpus import Molecules
from graphadapt.pretraining.masked_features import FeatureHeads
from graphadapt.pretraining.masking import bond_features
from graphadapt.pretraining.objective import Evidence, LossSum, PretrainingObjective, View

__all__ = ["MaskedBonds"]


class MaskedBonds(PretrainingObjective):
    r"""Say what a hidden bond is, whichever end is named first.

    .. math:: L = \frac{1}{|H|} \sum_{uv \in H} \sum_f w_f \,
        \mathrm{CE}(\mathrm{softmax}(W_f (h_u + h_v) + b_f), a_{uv,f})

    over the hidden bonds H and features f of the OGB vocabulary.

    Args:
        width: D.
        config: weight of every feature.

    References:
        Hu et al., Strategies for Pre-training Graph Neural Networks, 2020: attribute masking.
    """

    def __init__(self, width: int, config: BondsConfig) -> None:
        super().__init__()
        self.heads = FeatureHeads(width, BOND_FEATURE_SIZES, feature_weights(config))

    def fit(self, molecules: Molecules) -> None:
        """Start at the features' distribution over all bonds."""
        self.set_constant(self.heads.fit(bond_features(molecules.batch.bond_codes[0::2])))

    def forward(self, view: View) -> LossSum:
        """Loss over hidden bonds."""
        return self.heads.loss(*_bonds(view))

    def evidence(self, view: View) -> dict[str, Tensor]:
        """Answers and truth of hidden bonds."""
        return self.heads.evidence(*_bonds(view))

    def metrics(self, evidence: Evidence) -> dict[str, float]:
        """Accuracy of every feature beside that of its commonest value."""
        return self.heads.metrics(evidence)


def _bonds(view: View) -> tuple[Tensor, Tensor, Tensor]:
    """States ``(B, D)``, features ``(B, 3)``, and which are hidden ``(B,)``."""
    batch = view.batch
    states_BD = view.nodes[batch.source[0::2]] + view.nodes[batch.target[0::2]]
    features_B3 = bond_features(batch.bond_codes[0::2])
    if view.hidden is None:
        return states_BD, features_B3, features_B3.new_zeros(len(features_B3)).bool()
    return states_BD, features_B3, view.hidden.bonds

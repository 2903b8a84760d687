"""Predict the features of hidden atoms from what is left around them.

Shapes: N nodes, D width of the nodes.
"""

from torch import Tensor

from graphadapt.molecules.vocabulary import ATOM_FEATURE_SIZES
from graphadapt.pretraining.config import AtomsConfig, feature_weights
from graphadapt.pretraining.corpus import Molecules
from graphadapt.pretraining.masked_features import FeatureHeads
from graphadapt.pretraining.objective import Evidence, LossSum, PretrainingObjective, View

__all__ = ["MaskedAtoms"]


class MaskedAtoms(PretrainingObjective):
    r"""Say what a hidden atom is, from its state in the last layer.

    .. math:: L = \frac{1}{|H|} \sum_{v \in H} \sum_f w_f \,
        \mathrm{CE}(\mathrm{softmax}(W_f h_v + b_f), a_{v,f})

    over the hidden atoms H and features f of the OGB vocabulary.

    Args:
        width: D.
        config: weight of every feature.

    References:
        Hu et al., Strategies for Pre-training Graph Neural Networks, 2020: attribute masking. Ours
        hides the bonds at hidden atoms as well, which would give away valence and aromaticity, and
        asks for more than the element.
    """

    def __init__(self, width: int, config: AtomsConfig) -> None:
        super().__init__()
        self.heads = FeatureHeads(width, ATOM_FEATURE_SIZES, feature_weights(config))

    def fit(self, molecules: Molecules) -> None:
        """Start at the features' distribution over all atoms."""
        self.set_constant(self.heads.fit(molecules.batch.atoms))

    def forward(self, view: View) -> LossSum:
        """Loss over hidden atoms."""
        return self.heads.loss(view.nodes, view.batch.atoms, _hidden_atoms(view))

    def evidence(self, view: View) -> dict[str, Tensor]:
        """Answers and truth of hidden atoms."""
        return self.heads.evidence(view.nodes, view.batch.atoms, _hidden_atoms(view))

    def metrics(self, evidence: Evidence) -> dict[str, float]:
        """Accuracy of every feature beside that of its commonest value."""
        return self.heads.metrics(evidence)


def _hidden_atoms(view: View) -> Tensor:
    """``(N,)`` bool."""
    if view.hidden is None:
        return view.batch.atoms.new_zeros(view.batch.num_nodes).bool()
    return view.hidden.atoms

"""Losses of a task under other readout weights, from embeddings computed once.

Axes: G graphs, T tasks, K adapters, D embedding width, C candidate gates, N labelled cells.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["ReadoutLosses"]

Floats = NDArray[np.floating[Any]]


class ReadoutLosses:
    r"""Losses under other readout weights, from embeddings computed once.

    .. math:: \text{logit}_{b,c} = u_t \cdot z_b + c_t + \sum_k g_{c,k} (v_{t,k} \cdot z_b)

    with :math:`v_{t,k} = \gamma U_k^T V_k^T u_t`, what adapter k alone adds to task t's row: the
    logit is linear in the weights, so all candidates cost one product.

    Args:
        embedding_GD: readout inputs z of the validation molecules.
        target_GT: 0, 1 or standardised values; NaN outside the labelled validation cells.
        is_binary_T: which tasks are binary.
        row_TD: readout rows u.
        bias_T: readout biases.
        correction_TKD: v.
    """

    def __init__(
        self,
        embedding_GD: Floats,
        target_GT: Floats,
        is_binary_T: NDArray[np.bool_],
        row_TD: Floats,
        bias_T: Floats,
        correction_TKD: Floats,
    ) -> None:
        self.embedding_GD = embedding_GD
        self.target_GT = target_GT
        self.is_binary_T = is_binary_T
        self.row_TD = row_TD
        self.bias_T = bias_T
        self.correction_TKD = correction_TKD

    def __call__(self, site: str, task: int, gates_CK: Floats) -> Floats:
        """Mean loss of every candidate, ``(C,)``; NaN without labelled cells."""
        cells = np.flatnonzero(~np.isnan(self.target_GT[:, task]))
        if len(cells) == 0:
            return np.full(len(gates_CK), np.nan)
        z_ND = self.embedding_GD[cells].astype(np.float64)
        base_N = z_ND @ self.row_TD[task] + self.bias_T[task]
        logit_CN = base_N + gates_CK @ (z_ND @ self.correction_TKD[task].T).T
        target_N = self.target_GT[cells, task].astype(np.float64)
        if self.is_binary_T[task]:
            return (np.logaddexp(0.0, logit_CN) - target_N * logit_CN).mean(axis=1)
        return np.square(logit_CN - target_N).mean(axis=1)

"""What the frozen model itself answers: in float64 the truth that an exported file is held to.

Shapes: G graphs, M molecule features, T tasks.
"""

import copy
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from graphadapt.freeze import FrozenModel
from graphadapt.graphs.batch import GraphTable
from graphadapt.molecules.arrays import MoleculeArrays

__all__ = ["Reference"]


class Reference:
    """A frozen model by its own message passing rather than the exported one.

    Args:
        frozen: left as it is.
        dtype: of weights and arithmetic.
    """

    def __init__(self, frozen: FrozenModel, dtype: torch.dtype = torch.float64) -> None:
        self._dtype = dtype
        self._model = copy.deepcopy(frozen).cpu().to(dtype)

    @torch.inference_mode()
    def answer(
        self,
        molecules: Sequence[MoleculeArrays],
        features_GM: NDArray[np.float32] | None = None,
    ) -> NDArray[np.float64]:
        """Probabilities and values, ``(G, T)``; applicability in a last column where it is."""
        table = GraphTable.from_molecules(molecules, features_GM)
        batch = table.gather(torch.arange(len(molecules)))
        if batch.features is not None:
            batch = replace(batch, features=batch.features.to(self._dtype))
        return self._model.outputs(batch).double().numpy()

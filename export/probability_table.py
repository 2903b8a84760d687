"""Isotonic maps as a part of the network: sums of clipped ramps, without a look-up or a scatter.

Shapes: G graphs, T tasks, B knots, J segments between them, KNOTS - 1 whatever B is.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from graphadapt.data.store import TaskInfo
from graphadapt.export.contract_parts import Calibration
from graphadapt.export.isotonic import KNOTS

__all__ = ["ProbabilityTable"]


class ProbabilityTable(nn.Module):
    r"""From logits to probabilities: by a task's table where it has one, else by the sigmoid.

    .. math:: p_t = p_{t,1} + \sum_j (p_{t,j+1} - p_{t,j})\,
              \mathrm{clip}\!\left(\frac{x_t - x_{t,j}}{x_{t,j+1} - x_{t,j}}, 0, 1\right)

    linear between the knots :math:`(x_{t,j}, p_{t,j})`, level beyond them. A logit that is not a
    number is answered by none.

    Args:
        tasks: of the columns.
        calibration: by task; maps without knots stay with the sigmoid.
    """

    lowest: Tensor
    left: Tensor
    slope: Tensor
    rise: Tensor
    sigmoid_share: Tensor

    def __init__(self, tasks: Sequence[TaskInfo], calibration: Mapping[str, Calibration]) -> None:
        super().__init__()
        maps = [calibration.get(task.name) for task in tasks]
        has_table = [each is not None and bool(each.logits) for each in maps]
        lowest_T, ramps_T3J = zip(*(_ramps(each) for each in maps), strict=True)
        left_TJ, slope_TJ, rise_TJ = np.stack(ramps_T3J, axis=1)
        self.register_buffer("lowest", torch.tensor(lowest_T, dtype=torch.float32))
        self.register_buffer("left", torch.tensor(left_TJ, dtype=torch.float32))
        self.register_buffer("slope", torch.tensor(slope_TJ, dtype=torch.float32))
        self.register_buffer("rise", torch.tensor(rise_TJ, dtype=torch.float32))
        self.register_buffer("sigmoid_share", 1 - torch.tensor(has_table, dtype=torch.float32))

    def forward(self, logits_GT: Tensor) -> Tensor:
        """Map ``(G, T)`` to probabilities ``(G, T)``."""
        passed_GTJ = ((logits_GT.unsqueeze(-1) - self.left) * self.slope).clamp(0.0, 1.0)
        table_GT = self.lowest + (passed_GTJ * self.rise).sum(dim=-1)
        # Clip makes a number of what is none, in ONNX Runtime; the sigmoid, times 0, does not
        return logits_GT.sigmoid() * self.sigmoid_share + table_GT


def _ramps(found: Calibration | None) -> tuple[float, NDArray[np.float64]]:
    """Lowest probability, then left ends, reciprocal widths and rises, ``(3, J)``.

    What fills them up rises by nothing over a width of 1, which is defined for infinite logits too.
    """
    ramps_3J = np.zeros((3, KNOTS - 1))
    ramps_3J[1] = 1.0
    if found is None or not found.logits:
        return 0.0, ramps_3J
    score_B = np.array(found.logits, np.float32).astype(np.float64)
    width = np.diff(score_B)
    ramps_3J[:, : len(width)] = score_B[:-1], 1 / width, np.diff(found.probabilities)
    return found.probabilities[0], ramps_3J

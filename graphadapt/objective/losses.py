"""What training minimises: a loss per task over its labelled cells, joined by a composition.

Axes: G graphs, T tasks.
"""

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["task_losses", "weighted_task_loss"]


def task_losses(
    logits_GT: Tensor, targets_GT: Tensor, is_binary_T: Tensor
) -> tuple[Tensor, Tensor]:
    r"""Mean loss of every task over its labelled cells.

    .. math:: \ell_t = \frac{1}{\max(1, n_t)} \sum_{b \in \text{labelled}_t}
        \begin{cases} \log(1 + e^{x}) - y x & \text{binary} \\
        (x - y)^2 & \text{regression} \end{cases}

    A task without a labelled cell has loss 0 and sends no gradient. Half-precision logits are
    raised to float32 first.

    Args:
        logits_GT: logits of binary tasks, standardised values of regression tasks.
        targets_GT: 0, 1 or standardised values; NaN where missing.
        is_binary_T: bool, which loss a task takes.

    Returns:
        Losses ``(T,)`` and counts of labelled cells ``(T,)``, in the dtype of the losses.
    """
    logits_GT = logits_GT.to(torch.promote_types(logits_GT.dtype, torch.float32))
    labelled_GT = ~torch.isnan(targets_GT)
    # filled before any arithmetic, because NaN times a zero gradient is NaN
    target_GT = torch.where(labelled_GT, targets_GT, 0.0).to(logits_GT.dtype)
    entropy_GT = functional.binary_cross_entropy_with_logits(logits_GT, target_GT, reduction="none")
    cell_GT = torch.where(is_binary_T, entropy_GT, (logits_GT - target_GT).square())
    count_T = labelled_GT.sum(dim=0).to(logits_GT.dtype)
    total_T = torch.where(labelled_GT, cell_GT, 0.0).sum(dim=0)
    return total_T / count_T.clamp(min=1.0), count_T


def weighted_task_loss(
    loss_T: Tensor,
    count_T: Tensor,
    composition_T: Tensor,
    reduction: Literal["task", "cell"] = "task",
) -> Tensor:
    r"""Join task losses by a composition :math:`w`.

    .. math:: L = \frac{\sum_t w_t m_t \ell_t}{\sum_t w_t m_t},
        \quad m_t = [n_t > 0] \text{ (task)} \text{ or } n_t \text{ (cell)}

    A task that no graph of the batch is labelled in has no mean loss, so ``w`` is taken over the
    others; if none is left the loss is 0.

    Args:
        loss_T: mean loss of every task.
        count_T: labelled cells of every task.
        composition_T: not negative; need not sum to 1.
        reduction: ``task`` weighs tasks alike, ``cell`` labelled cells.

    Returns:
        A scalar.
    """
    measured_T = count_T if reduction == "cell" else (count_T > 0).to(loss_T.dtype)
    weight_T = composition_T.to(loss_T.dtype) * measured_T
    total = weight_T.sum()
    return (weight_T * loss_T).sum() / torch.where(total > 0, total, 1.0)

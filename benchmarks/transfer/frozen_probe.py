"""A linear answer on embeddings that stay as they are: what a frozen network is worth by itself.

Shapes: G molecules, N of them with a training cell, T tasks, D width of the embedding.

Regressions are ridge regressions in closed form, binary tasks logistic regressions by L-BFGS, on
embeddings standardised over the training molecules; each task takes the penalty that answers its
validation cells best.
"""

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from graphadapt.data.dataset import Dataset
from graphadapt.graphs.batch import GraphTable
from graphadapt.progress import Progress, track

__all__ = ["STRENGTHS", "embed", "linear_probe", "logistic", "ridge"]

STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)
"""Penalties, per cell, on the square of the weights of standardised embeddings."""


@torch.no_grad()
def embed(
    backbone: nn.Module, table: GraphTable, batch_size: int = 512, device: str = "cpu"
) -> Tensor:
    """Embeddings of all molecules, ``(G, D)`` float32 on the host."""
    backbone = backbone.to(device).eval()
    parts = []
    with Progress(len(table), "Embedding molecules") as progress:
        for rows in torch.arange(len(table)).split(batch_size):
            parts.append(backbone(table.gather(rows).to(device)).float().cpu())
            progress.update(len(rows))
    return torch.cat(parts)


def linear_probe(embedding_GD: Tensor, dataset: Dataset) -> np.ndarray:
    """Answers for all molecules, ``(G, T)``: logits, and values in the labels' units."""
    train = torch.from_numpy(dataset.rows("train"))
    center_D, spread_D = embedding_GD[train].mean(0), embedding_GD[train].std(0)
    x_GD = (embedding_GD - center_D) / torch.where(spread_D > 0, spread_D, 1.0)
    x_GD = torch.cat([x_GD, torch.ones(len(x_GD), 1)], dim=1)
    trained = torch.from_numpy(dataset.labels_of("train"))
    judged = torch.from_numpy(dataset.labels_of("valid"))
    answers_GT = torch.zeros(trained.shape)
    binary_T = torch.from_numpy(dataset.is_binary)
    if binary_T.any():
        answers_GT[:, binary_T] = _logistic_probe(x_GD, trained[:, binary_T], judged[:, binary_T])
    values = (~binary_T).nonzero().flatten().tolist()
    for task in track(values, len(values), "Fitting regressions") if values else ():
        answers_GT[:, task] = _ridge_probe(x_GD, trained[:, task], judged[:, task])
    return answers_GT.numpy()


def ridge(x_ND: Tensor, y_N: Tensor, strengths: tuple[float, ...]) -> Tensor:
    r"""Weights for every penalty, ``(len(strengths), D)``; the last column of x is not penalised.

    .. math:: w = (X^\top X / N + \lambda I')^{-1} X^\top y / N
    """
    x_ND, y_N = x_ND.double(), y_N.double()
    square_DD, reach_D = x_ND.T @ x_ND / len(x_ND), x_ND.T @ y_N / len(x_ND)
    penalty_D = torch.ones(x_ND.shape[1], dtype=torch.float64)
    penalty_D[-1] = 0
    systems = [square_DD + torch.diag(strength * penalty_D) for strength in strengths]
    return torch.stack([torch.linalg.lstsq(s, reach_D[:, None]).solution[:, 0] for s in systems])


def logistic(x_ND: Tensor, labels_NT: Tensor, strength: float, start_DT: Tensor) -> Tensor:
    r"""Weights of all tasks at one penalty, ``(D, T)``; the last row is not penalised.

    .. math:: \min_W \sum_t \frac{1}{n_t} \sum_n \log(1 + e^{x}) - y x
        + \frac{\lambda}{2} \lVert w_t \rVert^2
    """
    known_NT = ~torch.isnan(labels_NT)
    truth_NT = torch.where(known_NT, labels_NT, 0.0)
    share_NT = known_NT / known_NT.sum(dim=0).clamp(min=1)
    weight_DT = start_DT.clone().requires_grad_()
    optimiser = torch.optim.LBFGS([weight_DT], max_iter=100, line_search_fn="strong_wolfe")

    def objective() -> Tensor:
        optimiser.zero_grad()
        loss_NT = functional.binary_cross_entropy_with_logits(
            x_ND @ weight_DT, truth_NT, reduction="none"
        )
        loss = (loss_NT * share_NT).sum() + strength / 2 * weight_DT[:-1].square().sum()
        loss.backward()
        return loss

    optimiser.step(objective)
    return weight_DT.detach()


def _ridge_probe(x_GD: Tensor, trained_G: Tensor, judged_G: Tensor) -> Tensor:
    known_G, valid_G = ~torch.isnan(trained_G), ~torch.isnan(judged_G)
    weights_SD = ridge(x_GD[known_G], trained_G[known_G], STRENGTHS).float()
    answers_GS = x_GD @ weights_SD.T
    errors_S = (answers_GS[valid_G] - judged_G[valid_G, None]).square().mean(dim=0)
    return answers_GS[:, _best(errors_S[:, None])[0]]


def _logistic_probe(x_GD: Tensor, trained_GT: Tensor, judged_GT: Tensor) -> Tensor:
    known_G = ~torch.isnan(trained_GT).all(dim=1)
    weight_DT = torch.zeros(x_GD.shape[1], trained_GT.shape[1])
    answers, errors = [], []
    stiffest_first = sorted(STRENGTHS, reverse=True)
    for strength in track(stiffest_first, len(STRENGTHS), "Fitting penalties"):
        # each starts where a stiffer one ended
        weight_DT = logistic(x_GD[known_G], trained_GT[known_G], strength, weight_DT)
        answers.append(x_GD @ weight_DT)
        errors.append(_log_losses(answers[-1], judged_GT))
    best_T = _best(torch.stack(errors))
    return torch.stack(answers)[best_T, :, torch.arange(len(best_T))].T


def _log_losses(logits_GT: Tensor, labels_GT: Tensor) -> Tensor:
    known_GT = ~torch.isnan(labels_GT)
    truth_GT = torch.where(known_GT, labels_GT, 0.0)
    loss_GT = functional.binary_cross_entropy_with_logits(logits_GT, truth_GT, reduction="none")
    return (loss_GT * known_GT).sum(dim=0) / known_GT.sum(dim=0)


def _best(errors_ST: Tensor) -> Tensor:
    """Choice with the least error of every task; the middle one where nothing can be judged."""
    middle = torch.full(errors_ST.shape[1:], len(errors_ST) // 2)
    return torch.where(torch.isnan(errors_ST).any(dim=0), middle, errors_ST.argmin(dim=0))

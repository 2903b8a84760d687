"""The relation matrix as a graph over tasks, normalised, and its leading directions.

Shapes: T tasks, E directed edges with one self-loop a task, p embedding width.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from graphadapt.errors import ConfigError

__all__ = ["TaskEdges", "normalised_relation", "spectral_start", "task_edges"]

EQUAL = 1e-9  # eigenvalues, and entries of a projector, closer than this differ by rounding only


class TaskEdges(NamedTuple):
    """Directed edges of the task graph with their weights."""

    source: Tensor
    """``(E,)`` int64."""

    target: Tensor
    """``(E,)`` int64."""

    weight: Tensor
    """``(E,)`` float64."""


def normalised_relation(relation_TT: Tensor) -> Tensor:
    r"""The propagation matrix :math:`\hat A = D^{-1/2} (A + I) D^{-1/2}`, D the degrees of A + I.

    A task without relations keeps itself alone, with weight one. Eigenvalues lie in ``(-1, 1]``.

    Args:
        relation_TT: A, symmetric, in ``[0, 1]``, with a zero diagonal.

    Returns:
        ``(T, T)`` float64.

    Raises:
        ConfigError: if A is not such a matrix.
    """
    _check_relation(relation_TT)
    looped_TT = relation_TT.double() + torch.eye(len(relation_TT), dtype=torch.float64)
    scale_T = looped_TT.sum(1).rsqrt()
    return scale_T.unsqueeze(1) * looped_TT * scale_T


def task_edges(normalised_TT: Tensor) -> TaskEdges:
    """The entries of ``Â`` that are not zero, self-loops included, grouped by target."""
    target_E, source_E = normalised_TT.nonzero(as_tuple=True)
    return TaskEdges(source_E, target_E, normalised_TT[target_E, source_E])


def spectral_start(normalised_TT: Tensor, width: int) -> Tensor:
    r"""Embed tasks so that related ones point the same way.

    .. math:: X = [\lambda_1 v_1, \lambda_2 v_2, \dots], \quad
              \cos(X_t, X_{t'}) \approx \cos(\hat A_t, \hat A_{t'})

    over the leading eigenpairs of :math:`\hat A`, at most p and positive ones only, rows then
    scaled to length :math:`\sqrt p`. It is the diffusion map after one step: the eigenvalues must
    weigh, because for T <= p the bare eigenvectors make any two tasks orthogonal.

    The basis does not hang on the linear algebra library. Each eigenspace takes the columns of the
    pivoted Cholesky factor of its projector: an eigenvector that stands alone gets its largest
    entry positive (of equal ones the first), and components of the graph that share the
    eigenvalue 1 get a direction each. With fewer than p directions the other columns are zero.
    With more, tasks that the leading ones do not reach get a zero row.

    Args:
        normalised_TT: ``Â``, as :func:`normalised_relation` gives it.
        width: p.

    Returns:
        ``(T, p)`` float64.

    References:
        Coifman and Lafon, Diffusion maps, 2006.
    """
    columns = _weighted_directions(normalised_TT, width)
    embedding_Tp = normalised_TT.new_zeros(len(normalised_TT), width)
    embedding_Tp[:, : len(columns)] = torch.stack(columns, 1)
    length_T1 = embedding_Tp.norm(dim=1, keepdim=True)
    reached_T1 = length_T1 > 1e-6 * length_T1.max()
    return torch.where(reached_T1, embedding_Tp * width**0.5 / length_T1.clamp_min(1e-300), 0.0)


def _weighted_directions(normalised_TT: Tensor, limit: int) -> list[Tensor]:
    """``λ v`` of at most ``limit`` leading eigenpairs; the first has the eigenvalue 1."""
    values, vectors = torch.linalg.eigh(normalised_TT)
    values, vectors = values.flip(0), vectors.flip(1)
    positive = int((values > EQUAL).sum())
    columns: list[Tensor] = []
    while len(columns) < min(positive, limit):
        first = len(columns)
        end = first + int((values[first:positive] > values[first] - EQUAL).sum())
        basis = _canonical_basis(vectors[:, first:end], limit - first)
        columns += [values[first] * direction_T for direction_T in basis]
    return columns


def _canonical_basis(vectors_Tn: Tensor, limit: int) -> list[Tensor]:
    """At most ``limit`` of an orthonormal basis that depends on the space alone."""
    projector_TT = vectors_Tn @ vectors_Tn.T
    basis = []
    for _ in range(min(vectors_Tn.shape[1], limit)):
        diagonal_T = projector_TT.diagonal()
        # Of equal entries the first is taken.
        pivot = int((diagonal_T > diagonal_T.max() * (1 - EQUAL)).to(torch.uint8).argmax())
        direction_T = projector_TT[pivot] / diagonal_T[pivot].sqrt()
        projector_TT = projector_TT - torch.outer(direction_T, direction_T)
        basis.append(direction_T)
    return basis


def _check_relation(relation_TT: Tensor) -> None:
    tasks = len(relation_TT)
    if tasks == 0 or relation_TT.shape != (tasks, tasks):
        raise ConfigError(
            f"a relation of shape {tuple(relation_TT.shape)} is not a matrix of tasks by tasks"
        )
    if not bool(((relation_TT >= 0) & (relation_TT <= 1)).all()):
        raise ConfigError("a relation has weights outside [0, 1]; clip or scale it first")
    if not torch.equal(relation_TT, relation_TT.T):
        raise ConfigError("a relation is not symmetric; use the mean of it and its transpose")
    if bool(relation_TT.diagonal().any()):
        raise ConfigError("a relation has weights on its diagonal; set them to zero")

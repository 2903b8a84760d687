"""Adapter weight allocation (AWA): do the adapters that a task weighs most help it most?

For task t alone and site s, the contribution of adapter k is the rise of the task's loss on
labelled validation cells when k is taken out and the other weights are renormalised. AWA compares
weights and contributions of the active adapters, beside a random routing of equal sparsity.

Axes: T tasks, K adapters at a site, C candidate gates.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from graphadapt.errors import DataError
from graphadapt.objective.intervals import bootstrap_mean

__all__ = [
    "Agreement",
    "AllocationReport",
    "GateLosses",
    "adapter_allocation",
    "contributions",
    "precision_at",
    "rank_correlation",
    "sample_pairs",
    "without_each",
]

Floats = NDArray[np.floating[Any]]


class GateLosses(Protocol):
    """Ask the model what a task would lose with other weights at one site."""

    def __call__(self, site: str, task: int, gates_CK: Floats) -> Floats:
        """Mean loss of ``task`` alone, ``(C,)``, on its labelled validation cells.

        Every candidate replaces the task's weights at ``site``; all other sites keep theirs. NaN
        if the task has no such cell.
        """


class Agreement(NamedTuple):
    """AWA of one routing over task–site pairs."""

    precision: tuple[float, float, float]
    """Mean precision@m with its interval over pairs; NaN if it is defined nowhere."""

    correlation: tuple[float, float, float]
    """Mean Spearman ρ with its interval over pairs; NaN if it is defined nowhere."""

    by_site: dict[str, tuple[float, float]]
    """Site to its own mean precision@m and mean ρ."""

    pairs: int
    """Pairs looked at."""

    unlabelled: int
    """Pairs left out because the task has no labelled validation cell."""

    single: int
    """Pairs left out because a single adapter was active, so nothing can be taken out."""

    precision_undefined: int
    """Pairs with at most m active adapters, where precision@m would be 1 whatever they do."""

    correlation_undefined: int
    """Pairs whose weights, or contributions, are all equal."""


@dataclass(frozen=True, kw_only=True)
class AllocationReport:
    """AWA of a routing and of its random control."""

    top: int
    """m of precision@m."""

    routed: Agreement
    random: Agreement

    def to_dict(self) -> dict[str, Any]:
        """Plain nested tables for JSON; NaN becomes None."""
        plain = asdict(self)
        for name in ("routed", "random"):
            plain[name] = _without_nan(getattr(self, name)._asdict())
        return plain


def adapter_allocation(
    gates: Mapping[str, Floats],
    losses: GateLosses,
    pairs: Sequence[tuple[str, int]],
    *,
    top: int = 3,
    seed: int = 0,
    controls: int = 1,
) -> AllocationReport:
    """Measure AWA of a routing and of random routings that are as sparse.

    A control gives each task its own weights in a random order over the adapters, so that it
    shares their number and sizes; its contributions are measured anew.

    Args:
        gates: site to the task weights ``(T, K)``, rows that sum to 1.
        losses: the model.
        pairs: the sites and tasks to measure, such as :func:`sample_pairs` draws.
        top: m of precision@m, at least 1.
        seed: of the controls and the intervals.
        controls: random routings to average over for each pair, at least 1.
    """
    random = np.random.default_rng(seed)
    routed = [_case(site, task, gates[site][task], losses, top) for site, task in pairs]
    shuffled = [
        _averaged(
            [
                _case(site, task, random.permutation(gates[site][task]), losses, top)
                for _ in range(controls)
            ]
        )
        for site, task in pairs
    ]
    return AllocationReport(
        top=top, routed=_agreement(routed, seed), random=_agreement(shuffled, seed)
    )


def sample_pairs(
    sites: Sequence[str], tasks: Sequence[int], count: int, seed: int
) -> list[tuple[str, int]]:
    """Up to ``count`` of all site–task pairs, drawn without replacement, in their own order."""
    everything = [(site, task) for site in sites for task in tasks]
    if count >= len(everything):
        return everything
    chosen = np.random.default_rng(seed).choice(len(everything), count, replace=False)
    return [everything[index] for index in sorted(chosen)]


def contributions(site: str, task: int, gate_K: Floats, losses: GateLosses) -> Floats:
    """Rise of the task's loss when each active adapter is taken out, in order of adapter."""
    candidates_CK = np.concatenate([gate_K[None], without_each(gate_K)])
    loss_C = np.asarray(losses(site, task, candidates_CK), np.float64)
    return loss_C[1:] - loss_C[0]


def without_each(gate_K: Floats) -> Floats:
    """The weights without each active adapter in turn, rescaled to the sum they had.

    Args:
        gate_K: weights, at least 0, at least two above.

    Returns:
        One row per active adapter, ``(C, K)``.
    """
    active_C = np.flatnonzero(gate_K > 0)
    if len(active_C) < 2:
        raise DataError("one active adapter cannot be taken out; nothing would be left to weigh")
    rest_CK = np.repeat(gate_K[None].astype(np.float64), len(active_C), axis=0)
    rest_CK[np.arange(len(active_C)), active_C] = 0.0
    return rest_CK * (gate_K.sum() / rest_CK.sum(axis=1, keepdims=True))


def precision_at(weight_K: Floats, contribution_K: Floats, top: int) -> float:
    """Share of the ``top`` adapters by weight that are among the ``top`` by contribution.

    Ties at the border count as the mean over all orders of the tied. NaN if there are no more
    than ``top`` adapters, because the share would always be 1.
    """
    if len(weight_K) <= top:
        return float("nan")
    return float(_chance_in_top(weight_K, top) @ _chance_in_top(contribution_K, top) / top)


def rank_correlation(weight_K: Floats, contribution_K: Floats) -> float:
    """Spearman's ρ with mean ranks for ties; NaN if either side is constant."""
    a_K, b_K = _mean_ranks(weight_K), _mean_ranks(contribution_K)
    a_K, b_K = a_K - a_K.mean(), b_K - b_K.mean()
    scale = float(np.sqrt((a_K @ a_K) * (b_K @ b_K)))
    return float(a_K @ b_K) / scale if scale > 0 else float("nan")


class _Case(NamedTuple):
    site: str
    status: str  # "measured", "single" or "unlabelled"
    precision: float
    correlation: float


def _case(site: str, task: int, gate_K: Floats, losses: GateLosses, top: int) -> _Case:
    active_C = np.flatnonzero(gate_K > 0)
    if len(active_C) < 2:
        return _Case(site, "single", np.nan, np.nan)
    rise_C = contributions(site, task, gate_K, losses)
    if np.isnan(rise_C).any():
        return _Case(site, "unlabelled", np.nan, np.nan)
    weight_C = gate_K[active_C]
    precision = precision_at(weight_C, rise_C, top)
    return _Case(site, "measured", precision, rank_correlation(weight_C, rise_C))


def _averaged(cases: Sequence[_Case]) -> _Case:
    """One pair's case from several random routings, so that its interval counts pairs."""
    return cases[0]._replace(
        precision=_mean(np.array([case.precision for case in cases])),
        correlation=_mean(np.array([case.correlation for case in cases])),
    )


def _agreement(cases: Sequence[_Case], seed: int) -> Agreement:
    measured = [case for case in cases if case.status == "measured"]
    precision = np.array([case.precision for case in measured])
    correlation = np.array([case.correlation for case in measured])
    site = np.array([case.site for case in measured])
    return Agreement(
        precision=bootstrap_mean(_defined(precision), seed),
        correlation=bootstrap_mean(_defined(correlation), seed),
        by_site={
            str(name): (_mean(precision[site == name]), _mean(correlation[site == name]))
            for name in dict.fromkeys(case.site for case in measured)
        },
        pairs=len(cases),
        unlabelled=sum(case.status == "unlabelled" for case in cases),
        single=sum(case.status == "single" for case in cases),
        precision_undefined=int(np.isnan(precision).sum()),
        correlation_undefined=int(np.isnan(correlation).sum()),
    )


def _defined(values: Floats) -> NDArray[np.float64]:
    return values[~np.isnan(values)].astype(np.float64)


def _mean(values: Floats) -> float:
    defined = _defined(values)
    return float(defined.mean()) if len(defined) else float("nan")


def _chance_in_top(value_K: Floats, top: int) -> NDArray[np.float64]:
    """Chance of each to be among the ``top`` largest when ties are broken at random."""
    border = np.partition(value_K, -top)[-top]
    above_K, tied_K = value_K > border, value_K == border
    return above_K + tied_K * ((top - above_K.sum()) / tied_K.sum())


def _mean_ranks(value_K: Floats) -> NDArray[np.float64]:
    _, group_K, count = np.unique(value_K, return_inverse=True, return_counts=True)
    return (np.cumsum(count) - (count - 1) / 2)[group_K]


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, tuple):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and np.isnan(value) else value

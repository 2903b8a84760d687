"""A distribution over tasks, and what it makes of their routes.

Shapes: T tasks, K adapters.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches

import torch
from torch import Tensor

from graphadapt.errors import ConfigError

__all__ = ["mix", "mix_sites", "single_task", "uniform_composition", "weighted_composition"]


def weighted_composition(weights: Mapping[str, float], all_names: Sequence[str]) -> Tensor:
    """A composition in proportion to the given weights.

    Args:
        weights: task name to weight, finite and at least 0; tasks not named get none.
        all_names: the model's tasks, in its order.

    Returns:
        w, ``(T,)`` float32 that sums to one.

    Raises:
        ConfigError: for an unknown task, a negative weight, or weights that are all zero.

    Example:
        >>> weighted_composition({"c": 3.0, "a": 1.0}, ["a", "b", "c"])
        tensor([0.2500, 0.0000, 0.7500])
    """
    index = {name: position for position, name in enumerate(all_names)}
    composition_T = torch.zeros(len(all_names), dtype=torch.float64)
    for name, weight in weights.items():
        if name not in index:
            raise ConfigError(_unknown(name, all_names))
        if not 0 <= weight < math.inf:
            raise ConfigError(f"weight {weight} of task {name!r} is not a share; use 0 or more")
        composition_T[index[name]] = weight
    total = composition_T.sum()
    if not total > 0:
        raise ConfigError("a composition needs at least one task of weight above 0")
    return (composition_T / total).float()


def uniform_composition(names: Iterable[str], all_names: Sequence[str]) -> Tensor:
    """The same weight on every named task, ``(T,)``; each may be named once.

    Raises:
        ConfigError: for an unknown or repeated task, or none at all.
    """
    weights: dict[str, float] = {}
    for name in names:
        if name in weights:
            raise ConfigError(f"task {name!r} is named twice; name every task once")
        weights[name] = 1.0
    return weighted_composition(weights, all_names)


def single_task(name: str, all_names: Sequence[str]) -> Tensor:
    """All weight on one task, ``(T,)``.

    Raises:
        ConfigError: for an unknown task.
    """
    return weighted_composition({name: 1.0}, all_names)


def mix(composition_T: Tensor, gate_TK: Tensor) -> Tensor:
    r"""Adapter weights of a composition: :math:`\alpha_k = \sum_t w_t g_{tk}`, ``(K,)``.

    Linear in w, and a distribution over adapters as long as w and every row of g are.
    """
    # Not a matrix product, which autocast would round to bfloat16.
    return (composition_T.to(gate_TK.dtype).unsqueeze(1) * gate_TK).sum(0)


def mix_sites(composition_T: Tensor, gates: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """:func:`mix` at every site in one pass, each ``(K,)``; sites may differ in K."""
    if not gates:
        return {}
    widths = [gate_TK.shape[1] for gate_TK in gates.values()]
    alphas = mix(composition_T, torch.cat(list(gates.values()), dim=1))
    return dict(zip(gates, torch.split(alphas, widths), strict=True))


def _unknown(name: str, all_names: Sequence[str]) -> str:
    near = get_close_matches(name, all_names, n=1)
    if near:
        return f"unknown task {name!r}; did you mean {near[0]!r}?"
    shown = ", ".join(all_names[:8]) + (", ..." if len(all_names) > 8 else "")
    return f"unknown task {name!r}; the model has {shown or 'no tasks'}"

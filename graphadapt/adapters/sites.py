"""Which linear layers of a backbone carry a bank, and how a forward pass reaches them.

Shapes: ... any leading axes, D in, F out, K adapters.
"""

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from graphadapt.adapters.bank import AdapterBank
from graphadapt.adapters.disagreement import adapter_disagreement
from graphadapt.adapters.joined_weights import effective_weights, joinable
from graphadapt.adapters.site_names import key_of
from graphadapt.backbone.protocol import ColumnMap, call_linear
from graphadapt.errors import ConfigError
from graphadapt.graphs.batch import GraphBatch

__all__ = ["SiteBanks", "SiteCall", "find_sites"]


def find_sites(backbone: nn.Module, patterns: Sequence[str]) -> dict[str, nn.Linear]:
    """The linear layers that the patterns name, in the backbone's own order.

    Args:
        backbone: any network.
        patterns: shell patterns such as ``layers.*.expand``; each is held against a layer's whole
            name and against its last segment, so ``expand`` finds every layer of that name.

    Returns:
        Name to layer; empty without patterns.

    Raises:
        ConfigError: if a pattern matches no linear layer; names those that exist.
    """
    layers = {
        name: module for name, module in backbone.named_modules() if isinstance(module, nn.Linear)
    }
    for pattern in patterns:
        if not any(_matches(name, pattern) for name in layers):
            raise ConfigError(
                f"adapter site {pattern!r} matches no linear layer{_hint(pattern, layers)}; "
                f"the backbone has {', '.join(layers) or 'none'}"
            )
    return {
        name: layer
        for name, layer in layers.items()
        if any(_matches(name, pattern) for pattern in patterns)
    }


def _matches(name: str, pattern: str) -> bool:
    return fnmatchcase(name, pattern) or fnmatchcase(name.rpartition(".")[2], pattern)


def _hint(pattern: str, layers: Mapping[str, nn.Linear]) -> str:
    known = {*layers, *(name.rpartition(".")[2] for name in layers)}
    near = get_close_matches(pattern, sorted(known), n=1)
    return f" (did you mean {near[0]!r}?)" if near else ""


class SiteBanks(nn.Module):
    """One bank for each site; the layers stay the backbone's.

    Args:
        sites: site name to layer, as :func:`find_sites` gives them.
        count: K, adapters at every site.
        rank: R, at most the narrower side of every site.
        scale: γ.

    Raises:
        ConfigError: if ``rank`` does not fit a site, which it names.
    """

    def __init__(
        self, sites: Mapping[str, nn.Linear], count: int, rank: int, scale: float = 1.0
    ) -> None:
        super().__init__()
        self.names = tuple(sites)
        # A plain dict: the layers' parameters must not be listed here a second time.
        self._name_of = {layer: name for name, layer in sites.items()}
        self.banks = nn.ModuleDict(
            {key_of(name): _bank(name, layer, count, rank, scale) for name, layer in sites.items()}
        )

    def __getitem__(self, name: str) -> AdapterBank:
        return cast("AdapterBank", self.banks[key_of(name)])

    def call(
        self,
        alphas: Mapping[str, Tensor],
        *,
        measures: bool = False,
        batch: GraphBatch | None = None,
        joined: bool | None = None,
    ) -> "SiteCall":
        """The linear call of one forward pass.

        Args:
            alphas: ``(K,)`` adapter weights of every site.
            measures: whether to keep each site's :func:`adapter_disagreement`.
            batch: what is passed through, so that its padding is not measured.
            joined: whether sites of one shape form their effective weights together; None is
                everywhere but on a CPU, which starts small operations without delay.
        """
        places = {layer: (name, self[name]) for layer, name in self._name_of.items()}
        if joined is None:
            joined = any(bank.up.device.type != "cpu" for _, bank in places.values())
        return SiteCall(places, alphas, measures=measures, batch=batch, joined=joined)


class SiteCall:
    """A backbone's linear call for one forward pass, with adapters where a bank sits.

    Layers without a bank go straight through.

    Args:
        places: adapted layer to its site name and bank.
        alphas: ``(K,)`` adapter weights of every site.
        measures: whether to keep each site's :func:`adapter_disagreement`.
        batch: what is passed through, so that its padding is not measured.
        joined: whether sites of one shape form their effective weights together.

    Raises:
        ConfigError: if a site has no weights.
    """

    def __init__(
        self,
        places: Mapping[nn.Linear, tuple[str, AdapterBank]],
        alphas: Mapping[str, Tensor],
        *,
        measures: bool = False,
        batch: GraphBatch | None = None,
        joined: bool = False,
    ) -> None:
        names = [name for name, _ in places.values()]
        missing = [name for name in names if name not in alphas]
        if missing:
            raise ConfigError(f"no adapter weights for site {missing[0]!r}; give one set a site")
        self._places = places
        self._alphas = alphas
        self.measures = measures
        self._batch = batch
        self._joined = joined
        self._effective: dict[nn.Linear, Tensor] = {}
        self._uncalled = set(names)
        self._distances: dict[str, list[Tensor]] = {}

    def __call__(self, layer: nn.Linear, x: Tensor, after: ColumnMap | None = None, /) -> Tensor:
        """Map ``(..., D)`` to ``(..., F)``, and the result on by ``after`` if it is given."""
        place = self._places.get(layer)
        if place is None:
            return call_linear(layer, x, after)
        name, bank = place
        self._uncalled.discard(name)
        if self.measures:
            rows = x.reshape(-1, bank.in_features)
            distance_KK = adapter_disagreement(bank, rows, self._real_rows(len(rows)))
            self._distances.setdefault(name, []).append(distance_KK)
        if self._joined and after is None and bank.cost(layer, x).prefers_effective:
            return functional.linear(x, self._effective_weight(layer, bank), layer.bias)
        return bank.adapted_linear(layer, x, self._alphas[name], after=after)

    def _effective_weight(self, layer: nn.Linear, bank: AdapterBank) -> Tensor:
        """The layer's weight with its adapters, ``(F, D)``; formed with all others of its shape."""
        if layer not in self._effective:
            alike = [
                each
                for each, (_, other) in self._places.items()
                if joinable(other) == joinable(bank)
            ]
            names, banks = zip(*(self._places[each] for each in alike), strict=True)
            formed_SFD = effective_weights(alike, banks, [self._alphas[name] for name in names])
            self._effective |= dict(zip(alike, formed_SFD.unbind(0), strict=True))
        return self._effective[layer]

    def _real_rows(self, rows: int) -> Tensor | None:
        """How many of a layer's input rows are no padding; None if all are.

        Only nodes are padded, and there are more of them than graphs as soon as there is padding.
        """
        batch = self._batch
        return None if batch is None or rows != batch.num_nodes else batch.num_real_nodes

    @property
    def distances(self) -> dict[str, Tensor]:
        """Disagreement ``(K, K)`` at every site called so far, averaged over its calls."""
        return {name: torch.stack(calls).mean(0) for name, calls in self._distances.items()}

    def check_all_called(self) -> None:
        """Make sure that the backbone passed every site through this call.

        Raises:
            ConfigError: if it applied an adapted layer directly, past its adapters.
        """
        if self._uncalled:
            raise ConfigError(
                f"the backbone applied site {min(self._uncalled)!r} past its adapters, or not at "
                "all; its forward must call linear(layer, x) for every layer that is a site"
            )


def _bank(name: str, layer: nn.Linear, count: int, rank: int, scale: float) -> AdapterBank:
    try:
        bank = AdapterBank(count, layer.in_features, layer.out_features, rank, scale)
    except ConfigError as error:
        raise ConfigError(f"adapter site {name!r}: {error}") from error
    return bank.to(layer.weight.device, layer.weight.dtype)

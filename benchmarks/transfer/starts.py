"""The networks that a comparison of starts begins with, and where adapters sit in them."""

import hashlib
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from graphadapt.backbone.factory import build_backbone
from graphadapt.backbone.layered import LayeredBackbone
from graphadapt.backbone.package import file_digest, read_card
from graphadapt.backbone.pretrain_gnns import load_pretrain_gnns
from graphadapt.config import BackboneConfig
from graphadapt.trainer.start_weights import start_backbone

__all__ = ["PLACES", "Start", "adapter_sites", "starts"]

PLACES = ("all", "top")
"""Where adapters may sit: at all linear layers, or at those of the last layer and after it."""

MARK_DIGITS = 12


@dataclass(frozen=True)
class Start:
    """A network to begin with."""

    name: str
    make: Callable[[int, float], LayeredBackbone]
    """From a seed and a dropout."""

    mark: str
    """Tells its weights from others of the same name; of random ones, its architecture."""

    is_random: bool = False


def starts(packages: Iterable[Path], gnns: Path | None, wanted: Iterable[str]) -> list[Start]:
    """The starts that are asked for, by the first word or words of their names, and there."""
    found = [start for package in packages for start in _own(package)]
    for convolution in ("gcn", "graphsage"):
        path = None if gnns is None else gnns / f"{convolution}_contextpred.pth"
        if path is not None and path.exists():
            found.append(_published(convolution, path))
    return [start for start in found if start.name.startswith(tuple(wanted))]


def adapter_sites(network: LayeredBackbone, place: str) -> list[str]:
    """Names of the linear layers at one of ``PLACES``.

    Adapters at the top leave all layers but the last as they were, so what those say of a molecule
    is computed once and remembered.
    """
    first = {"all": 0, "top": network.num_layers - 1}[place]
    return [
        name
        for name, module in network.named_modules()
        if isinstance(module, nn.Linear) and network.layer_of(name) >= first
    ]


def _own(package: Path) -> list[Start]:
    """A package's network untrained, and as it is."""
    settings = read_card(package)["backbone"]

    def network(seed: int, dropout: float, weights: str) -> LayeredBackbone:
        torch.manual_seed(seed)
        config = BackboneConfig(**settings, dropout=dropout, weights=weights)
        backbone = build_backbone(config)
        if weights:
            start_backbone(backbone, config)
        return backbone

    def untrained(seed: int, dropout: float) -> LayeredBackbone:
        return network(seed, dropout, "")

    def pretrained(seed: int, dropout: float) -> LayeredBackbone:
        return network(seed, dropout, str(package))

    shape = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()
    return [
        Start(f"random {package.stem}", untrained, shape[:MARK_DIGITS], is_random=True),
        Start(f"ours {package.stem}", pretrained, file_digest(package)[:MARK_DIGITS]),
    ]


def _published(convolution: str, path: Path) -> Start:
    def make(seed: int, dropout: float) -> LayeredBackbone:
        network = load_pretrain_gnns(path, convolution)
        network.dropout.probability = dropout
        return network

    return Start(f"pretrain-gnns {convolution}", make, file_digest(path)[:MARK_DIGITS])

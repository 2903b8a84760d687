"""How many parameters each part of a model holds, and which of them train."""

from collections.abc import Iterable
from fnmatch import fnmatchcase

from torch import nn

from graphadapt.config import BackboneConfig
from graphadapt.model import ComposedModel
from graphadapt.report.table import Cell, format_table

__all__ = ["backbone_trainable", "parameter_counts", "size_table"]


def parameter_counts(model: ComposedModel, backbone: BackboneConfig) -> dict[str, dict[str, int]]:
    """``parameters`` and ``trainable`` of every part, of the whole, and of what freezing leaves.

    Args:
        model: trained or not.
        backbone: settings that say which of the backbone's weights train.
    """
    inner = [] if model.banks is None else list(model.banks.parameters())
    readout_bank = [] if model.readout.bank is None else list(model.readout.bank.parameters())
    parts = {
        "features": _size(model.features),
        "adapters": sum(parameter.numel() for parameter in [*inner, *readout_bank]),
        "routing": _size(model.routing),
        "heads": model.readout.weight.numel() + model.readout.bias.numel(),
    }
    network = _size(model.backbone)
    counts = {"backbone": {"parameters": network, "trainable": 0}}
    if model.backbone is not None:
        counts["backbone"]["trainable"] = backbone_trainable(model.backbone, backbone)
    counts |= {name: {"parameters": size, "trainable": size} for name, size in parts.items()}
    counts["all"] = {
        key: sum(part[key] for part in counts.values()) for key in ("parameters", "trainable")
    }
    counts["frozen"] = {"parameters": network + parts["features"] + parts["heads"], "trainable": 0}
    return counts


def backbone_trainable(network: nn.Module, settings: BackboneConfig) -> int:
    """Parameters of a backbone that move under these settings."""
    patterns = {"all": ("*",), "frozen": (), "partly": settings.train_layers}[settings.train]
    return sum(
        parameter.numel()
        for name, parameter in network.named_parameters()
        if any(fnmatchcase(name, pattern) for pattern in patterns)
    )


def size_table(counts: dict[str, dict[str, int]]) -> str:
    """One row a part, then the sums."""
    shown = {"all": "all together", "frozen": "left when frozen"}
    rows: list[list[Cell]] = [
        [shown.get(name, name), part["parameters"], part["trainable"]]
        for name, part in counts.items()
    ]
    return format_table(["part", "parameters", "trainable"], rows)


def _size(part: nn.Module | None) -> int:
    held: Iterable[nn.Parameter] = () if part is None else part.parameters()
    return sum(parameter.numel() for parameter in held)

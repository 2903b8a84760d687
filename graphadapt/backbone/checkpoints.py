"""Weights from elsewhere, how they may not fit, and which of a backbone's weights move."""

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Final

from torch import Tensor, nn

from graphadapt.errors import CheckpointError, ConfigError

__all__ = ["load_backbone", "mismatch", "set_trainable"]

LISTED: Final = 3
"""Names that a mismatch shows of each kind."""


def load_backbone(backbone: nn.Module, tensors: Mapping[str, Tensor], origin: object) -> None:
    """Give a backbone weights of the same names and shapes; they take on its precision.

    Args:
        backbone: of the kind and size that the weights were trained in.
        tensors: parameters and buffers by name.
        origin: where they are from, for the error.

    Raises:
        CheckpointError: if a tensor is missing, left over or of another shape.
    """
    found = mismatch(backbone, tensors)
    if found:
        raise CheckpointError(
            f"the weights in {origin} do not fit this backbone ({found}); give it the kind, layers "
            "and width that they were trained in"
        )
    backbone.load_state_dict(tensors)


def mismatch(module: nn.Module, tensors: Mapping[str, Tensor]) -> str:
    """How tensors differ from a module's own: the first few names of each kind, and how many.

    Empty if they have the same names and shapes.

    Example:
        >>> mismatch(nn.Linear(2, 3), {"weight": torch.zeros(3, 1), "scale": torch.ones(3)})
        '1 missing: bias; 1 left over: scale; 1 of another shape: weight (3, 1) for (3, 2)'
    """
    own = module.state_dict()
    kinds = {
        "missing": [name for name in own if name not in tensors],
        "left over": [name for name in tensors if name not in own],
        "of another shape": [
            f"{name} {tuple(tensors[name].shape)} for {tuple(tensor.shape)}"
            for name, tensor in own.items()
            if name in tensors and tensors[name].shape != tensor.shape
        ],
    }
    return "; ".join(
        f"{len(names)} {kind}: {', '.join(names[:LISTED])}{', …' if len(names) > LISTED else ''}"
        for kind, names in kinds.items()
        if names
    )


def set_trainable(backbone: nn.Module, patterns: Sequence[str]) -> None:
    """Let the parameters that a shell pattern names move, and no others; ``*`` is all there are.

    Raises:
        ConfigError: if another pattern matches no parameter; names those that exist.
    """
    names = [name for name, _ in backbone.named_parameters()]
    for pattern in patterns:
        if pattern != "*" and not any(fnmatchcase(name, pattern) for name in names):
            raise ConfigError(
                f"backbone.train_layers pattern {pattern!r} matches no parameter; "
                f"there are {', '.join(names)}"
            )
    for name, parameter in backbone.named_parameters():
        moves = any(fnmatchcase(name, pattern) for pattern in patterns)
        parameter.requires_grad_(moves and parameter.is_floating_point())

"""Weights that come from elsewhere, and which of a backbone's weights move."""

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase

from torch import Tensor, nn

from graphadapt.errors import CheckpointError, ConfigError

__all__ = ["load_backbone", "set_trainable"]


def load_backbone(backbone: nn.Module, tensors: Mapping[str, Tensor], origin: object) -> None:
    """Give a backbone weights of the same names and shapes; they take on its precision.

    Args:
        backbone: of the kind and size that the weights were trained in.
        tensors: parameters and buffers by name.
        origin: where they are from, for the error.

    Raises:
        CheckpointError: if a tensor is missing, left over or of another shape.
    """
    try:
        backbone.load_state_dict(tensors)
    except RuntimeError as error:
        raise CheckpointError(
            f"the weights in {origin} do not fit this backbone; give it the same kind, layers "
            f"and width: {str(error).splitlines()[-1].strip()}"
        ) from error


def set_trainable(backbone: nn.Module, patterns: Sequence[str]) -> None:
    """Let the parameters that a shell pattern names move, and no others.

    Raises:
        ConfigError: if a pattern matches no parameter; names those that exist.
    """
    names = [name for name, _ in backbone.named_parameters()]
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in names):
            raise ConfigError(
                f"backbone.train_layers pattern {pattern!r} matches no parameter; "
                f"there are {', '.join(names)}"
            )
    for name, parameter in backbone.named_parameters():
        parameter.requires_grad_(any(fnmatchcase(name, pattern) for pattern in patterns))

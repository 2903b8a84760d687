"""Whether the steps of a model can be recorded and replayed, as far as that is known beforehand."""

import torch
from torch import nn

from graphadapt.graphs.message_passing import message_kernels

__all__ = ["capture_obstacle"]


def capture_obstacle(model: nn.Module, device: torch.device, *, planned: bool) -> str:
    """Why they cannot; empty if nothing is known against it.

    Args:
        model: with every module that passes messages saying by which kernels.
        device: where steps are computed.
        planned: whether batches are padded to a few sizes that the host knows.
    """
    if not planned:
        return "its batches are not padded to fixed sizes"
    for module in model.modules():
        name = getattr(module, "message_passing", None)
        if name is not None and not message_kernels(name, device).capturable:
            found = message_kernels(name, device).name
            return f"message passing by {found!r} cannot be captured"
    return ""

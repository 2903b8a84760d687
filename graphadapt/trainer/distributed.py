"""Data-parallel training under ``torchrun``: who am I, and sums over processes."""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
import torch.distributed as dist
from torch import Tensor

from graphadapt.errors import ConfigError

__all__ = ["Workers", "process_group"]


class Workers:
    """The processes that train one model together; one alone needs no group.

    Args:
        rank: this process, in ``[0, world)``.
        world: number of processes.
    """

    def __init__(self, rank: int = 0, world: int = 1) -> None:
        self.rank = rank
        self.world = world

    @property
    def is_first(self) -> bool:
        """Whether this process writes files and shows progress."""
        return self.rank == 0

    def agree(self, text: str) -> str:
        """What the first process says, in all of them."""
        said = [text]
        if self.world > 1:
            dist.broadcast_object_list(said)
        return said[0]

    def sum(self, tensor: Tensor) -> Tensor:
        """Sum over processes; the argument stays as it is."""
        if self.world == 1:
            return tensor
        total = tensor.detach().clone()
        dist.all_reduce(total)
        return total

    @torch.no_grad()
    def sum_gradients(self, parameters: Iterable[torch.nn.Parameter]) -> None:
        """Add up gradients over processes, as one message."""
        if self.world == 1:
            return
        held = [p for p in parameters if p.requires_grad]
        grads = [p.grad if p.grad is not None else torch.zeros_like(p) for p in held]
        flat = torch.cat([grad.flatten() for grad in grads])
        dist.all_reduce(flat)
        for parameter, total in zip(
            held, torch.split(flat, [p.numel() for p in held]), strict=True
        ):
            parameter.grad = total.view_as(parameter)

    @torch.no_grad()
    def share_buffers(self, module: torch.nn.Module) -> None:
        """Average floating-point buffers, such as running statistics, over processes."""
        if self.world == 1:
            return
        for buffer in module.buffers():
            if buffer.is_floating_point():
                dist.all_reduce(buffer)
                buffer /= self.world


@contextmanager
def process_group(device: torch.device) -> Iterator[Workers]:
    """Join the group that ``torchrun`` describes; alone where there is none.

    Raises:
        ConfigError: if there are more processes on this machine than GPUs.
    """
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world == 1:
        yield Workers()
        return
    if device.type == "cuda":
        _take_gpu(int(os.environ["LOCAL_RANK"]))
    # Tensors on the host have a way of their own, so that questions of the host wait for no GPU.
    dist.init_process_group("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo")
    try:
        yield Workers(dist.get_rank(), world)
    finally:
        dist.destroy_process_group()


def _take_gpu(number: int) -> None:
    """Let this process compute on a GPU of its own, which it counts by among those here."""
    gpus = torch.cuda.device_count()
    if number >= gpus:
        raise ConfigError(
            f"process {number + 1} of torchrun has no GPU of its own on a machine of {gpus}; use "
            f"--nproc-per-node {gpus}, or trainer.device='cpu'"
        )
    torch.cuda.set_device(number)

"""What torch and DGL can do on this machine, and which message-passing kernels ``auto`` takes.

Imports torch inside its functions, so that an environment without it can be examined too.
"""

import importlib.util
import sys
from dataclasses import dataclass

from graphadapt.errors import DependencyError

__all__ = ["Dgl", "Kernels", "Torch", "auto_kernels", "examine_dgl", "examine_torch"]

DEVICES = ("cpu", "cuda")


@dataclass(frozen=True, slots=True)
class Torch:
    """The installed torch."""

    version: str
    cuda_build: str
    """CUDA version that it was built for; empty in a CPU build."""

    gpus: tuple[str, ...]
    """Names of the GPUs that it can use."""

    threads: int
    precision: dict[str, str]
    """What ``trainer.precision='auto'`` computes in, by device."""


@dataclass(frozen=True, slots=True)
class Dgl:
    """The installed DGL, as the bridge loads it."""

    version: str
    repaired: bool
    """Whether its data loader had to be left out so that it imports beside this torch."""

    cuda: bool
    """Whether this build computes on a GPU of this machine."""

    problem: str = ""
    """Why it cannot be imported; empty if it can."""


@dataclass(frozen=True, slots=True)
class Kernels:
    """What ``backbone.message_passing='auto'`` means on one device."""

    device: str
    name: str
    why: str


def examine_torch() -> Torch:
    """Import torch and ask what it can use.

    Raises:
        DependencyError: if torch is missing or cannot be imported.
    """
    if importlib.util.find_spec("torch") is None:
        raise DependencyError("torch is not installed; pip install 'graphadapt[train]'")
    try:
        import torch
    except (ImportError, OSError) as error:
        raise DependencyError(f"torch is installed but cannot be imported: {error}") from error
    from graphadapt.trainer.precision import resolve_precision

    has_gpu = torch.cuda.is_available()
    devices = DEVICES if has_gpu else DEVICES[:1]
    return Torch(
        version=str(torch.__version__),
        cuda_build=torch.version.cuda or "",
        gpus=tuple(map(torch.cuda.get_device_name, range(torch.cuda.device_count())))
        if has_gpu
        else (),
        threads=torch.get_num_threads(),
        precision={
            device: str(resolve_precision("auto", torch.device(device))).removeprefix("torch.")
            for device in devices
        },
    )


def examine_dgl() -> Dgl:
    """Load DGL through the bridge; needs torch."""
    from graphadapt.graphs.dgl_bridge import dgl_supports, dgl_version

    try:
        version = dgl_version()
    except DependencyError as error:
        return Dgl("", False, False, str(error))
    loader = sys.modules.get("dgl.graphbolt")
    repaired = loader is not None and getattr(loader, "__file__", None) is None
    return Dgl(version, repaired, dgl_supports("cuda"))


def auto_kernels(dgl: Dgl, gpus: tuple[str, ...]) -> tuple[Kernels, ...]:
    """What ``auto`` takes on the CPU and on a GPU, whether or not there is one."""
    from graphadapt.graphs.message_passing import message_kernels

    return tuple(
        Kernels(device, message_kernels("auto", device).name, _why(device, dgl, gpus))
        for device in DEVICES
    )


def _why(device: str, dgl: Dgl, gpus: tuple[str, ...]) -> str:
    if dgl.problem:
        return "DGL cannot be used"
    if device == "cpu":
        return "DGL computes on every CPU"
    if dgl.cuda:
        return "this DGL is built for CUDA"
    return "this DGL is built for the CPU only" if gpus else "there is no GPU that DGL could use"

"""The only import of DGL, repaired so that it works beside a current torch.

DGL 2.1.0 fails on import with torch 2.3 and later: its ``graphbolt`` data loader needs a
compiled library for each torch version and a part of torchdata that is gone. Nothing here uses
graphbolt, so an empty module takes its place before DGL looks for it.
"""

import functools
import os
import sys
import warnings
from importlib import import_module
from types import ModuleType

import torch

from graphadapt.errors import DependencyError

__all__ = ["dgl_supports", "dgl_version", "load_dgl"]

_GRAPHBOLT = "dgl.graphbolt"


def load_dgl() -> ModuleType:
    """The DGL module, imported at the first call.

    Raises:
        DependencyError: if DGL is missing or cannot be imported; the text says which and why.
    """
    outcome = _import_once()
    if isinstance(outcome, DependencyError):
        raise outcome
    return outcome


def dgl_version() -> str:
    """Version of the installed DGL.

    Raises:
        DependencyError: as :func:`load_dgl`.
    """
    return str(load_dgl().__version__)


def dgl_supports(device: torch.device | str) -> bool:
    """Whether DGL can be imported and this build of it computes on the device."""
    device = torch.device(device)
    try:
        dgl = load_dgl()
    except DependencyError:
        return False
    if device.type == "cuda":
        return bool(dgl.ndarray.gpu(device.index or 0).exist)
    return device.type == "cpu"


# A failed import leaves half of DGL loaded, and a second try would blame something else: so the
# first outcome is kept, error or not.
@functools.cache
def _import_once() -> ModuleType | DependencyError:
    os.environ["DGLBACKEND"] = "pytorch"  # unset, DGL asks and writes ~/.dgl/config.json
    stubbed = "dgl" not in sys.modules
    if stubbed:
        _forget_failed_import()
        sys.modules[_GRAPHBOLT] = ModuleType(_GRAPHBOLT, "Empty: graphadapt does not use it.")
    try:
        return _import_quietly()
    except (ImportError, OSError, AttributeError) as error:
        if stubbed:
            del sys.modules[_GRAPHBOLT]
        return DependencyError(_explanation(error))


def _forget_failed_import() -> None:
    """Drop what is left where somebody tried to import DGL before, as ogb does on its own."""
    for name in [name for name in sys.modules if name.startswith("dgl.")]:
        del sys.modules[name]


def _import_quietly() -> ModuleType:
    with warnings.catch_warnings():
        # One of DGL's docstrings holds a stray backslash, seen when Python first compiles it.
        warnings.filterwarnings("ignore", "invalid escape sequence")
        return import_module("dgl")


def _explanation(error: Exception) -> str:
    """One line: what is wrong with DGL and what would help."""
    choice = "install it with pip install 'graphadapt[train]', or set backbone.message_passing"
    if isinstance(error, ModuleNotFoundError) and error.name == "dgl":
        return f"DGL is not installed: {choice} to 'tensor'"
    reason = " ".join(str(error).split()) or type(error).__name__
    return (
        f"DGL is installed but cannot be imported beside torch {torch.__version__}: {reason}; "
        f"re{choice} to 'tensor'"
    )

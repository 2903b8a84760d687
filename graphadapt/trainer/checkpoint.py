"""Named tensors and a JSON state as one file, replaced in one move.

A reader finds the old file or the new one, whenever the writer dies. The file is
safetensors; the state travels in its header.
"""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from graphadapt.errors import CheckpointError

__all__ = [
    "load_state",
    "load_tensors",
    "optimiser_state",
    "restore_optimiser",
    "save_tensors",
    "write_text",
]

STATE_KEY = "graphadapt"


def write_text(path: Path, text: str) -> None:
    """Replace a text file in one move."""
    _replace(path, text.encode())


def save_tensors(path: Path, tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> None:
    """Write tensors and a JSON-able state, atomically; what shares memory is written twice."""
    plain: dict[str, Tensor] = {}
    places = set()
    for name, tensor in tensors.items():
        held = tensor.detach().cpu().contiguous()
        place = held.untyped_storage().data_ptr()
        plain[name] = held.clone() if place in places else held
        places.add(place)
    _replace(path, save(plain, metadata={STATE_KEY: json.dumps(state)}))


def load_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what :func:`save_tensors` wrote.

    Raises:
        CheckpointError: if the file is missing, cut short or of another kind.
    """
    with _opened(path) as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        return tensors, _state(file, path)


def load_state(path: Path) -> dict[str, Any]:
    """The state alone, without the tensors; raises as :func:`load_tensors`."""
    with _opened(path) as file:
        return _state(file, path)


def optimiser_state(
    optimiser: torch.optim.Optimizer, names: Mapping[Tensor, str]
) -> dict[str, Tensor]:
    """Moments and step counts by the name of their parameter."""
    return {
        f"{names[parameter]}#{key}": value
        for parameter, values in optimiser.state.items()
        for key, value in values.items()
    }


def restore_optimiser(
    optimiser: torch.optim.Optimizer, names: Mapping[Tensor, str], state: Mapping[str, Tensor]
) -> None:
    """Put back what :func:`optimiser_state` took."""
    by_name = {name: parameter for parameter, name in names.items()}
    for full_name, value in state.items():
        name, _, key = full_name.rpartition("#")
        parameter = by_name[name]
        # the fused kernel wants its step counter beside the parameter
        optimiser.state[parameter][key] = value.to(parameter.device)


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    try:
        with safe_open(path, framework="pt") as file:
            yield file
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path} is no readable checkpoint: {error}") from error


def _state(file: Any, path: Path) -> dict[str, Any]:
    header = file.metadata() or {}
    if STATE_KEY not in header:
        raise CheckpointError(f"{path} holds tensors, but was not written by graphadapt")
    state: dict[str, Any] = json.loads(header[STATE_KEY])
    return state


def _replace(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with beside.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)

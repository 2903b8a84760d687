"""ONNX Runtime adapter files: one composition each, over one backbone. No torch.

A file holds, by name, the values of inputs that the model leaves open: the two factors at each
adapted map, and whatever else differs between compositions.
"""

import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graphadapt.errors import BundleError
from graphadapt.export.contract_parts import Composition
from graphadapt.export.session import onnx_runtime

__all__ = [
    "SUFFIX",
    "adapter_paths",
    "check_adapter_file",
    "run_options",
    "write_adapter_file",
    "written_adapters",
]

SUFFIX = ".onnx_adapter"


def write_adapter_file(path: Path, arrays: Mapping[str, NDArray[np.float32]]) -> None:
    """Write the values of a composition; the path ends in ``.onnx_adapter``."""
    runtime = onnx_runtime()
    adapter = runtime.AdapterFormat()
    adapter.set_adapter_version(1)
    adapter.set_model_version(1)
    adapter.set_parameters(
        {
            name: runtime.OrtValue.ortvalue_from_numpy(np.ascontiguousarray(array))
            for name, array in arrays.items()
        }
    )
    adapter.export_adapter(str(path))


@contextmanager
def adapter_paths(
    compositions: Mapping[str, Composition], contents: Mapping[str, bytes]
) -> Iterator[dict[str, Path]]:
    """Adapter files of bytes at hand, by composition, for as long as the ``with`` block lasts.

    ONNX Runtime reads adapters from files alone. The bundle's own may change after they were
    checked; these hold what was checked.
    """
    with _paths(compositions) as paths:
        for name, each in compositions.items():
            paths[name].write_bytes(contents[each.file])
        yield paths


@contextmanager
def written_adapters(
    adapters: Mapping[str, Mapping[str, NDArray[np.float32]]],
) -> Iterator[dict[str, Path]]:
    """Adapter files of values at hand, as :func:`adapter_paths` has those of bytes."""
    with _paths(adapters) as paths:
        for name, arrays in adapters.items():
            write_adapter_file(paths[name], arrays)
        yield paths


def run_options(path: Path) -> Any:
    """Options of a run that answers by the composition in a file.

    They may be kept and used by several runs at a time. The file is mapped into memory.

    Raises:
        BundleError: if the file is no adapter file.
    """
    runtime = onnx_runtime()
    # ONNX Runtime's options only point to an adapter: were it not kept with them, it would be freed
    keeping = type("_KeepingOptions", (runtime.RunOptions,), {})
    adapter, options = runtime.LoraAdapter(), keeping()
    try:
        adapter.Load(str(path))
    except (RuntimeError, ValueError) as error:
        raise BundleError(f"{path} is no ONNX Runtime adapter file: {error}") from error
    options.add_active_adapter(adapter)
    options.adapter = adapter
    return options


def check_adapter_file(path: Path, proto: Any, stated: Composition) -> None:
    """Refuse a file that does not fill just what the model leaves open.

    Args:
        path: of the file, or of a copy: errors call it as ``stated`` does.
        proto: the model, as ``onnx`` reads it.
        stated: what the contract says of the file.

    Raises:
        BundleError: naming what does not fit.
    """
    try:
        file = onnx_runtime().AdapterFormat.read_adapter(str(path))  # kept: the values lie in it
        held = file.get_parameters()
    except (RuntimeError, ValueError) as error:
        raise BundleError(f"{stated.file} is no ONNX Runtime adapter file: {error}") from error
    weights = {each.name for each in proto.graph.initializer}
    shapes = {
        value.name: [axis.dim_value for axis in value.type.tensor_type.shape.dim]
        for value in proto.graph.input
        if value.name in weights
    }
    if held.keys() != shapes.keys():
        raise BundleError(
            f"{stated.file} holds {', '.join(sorted(held))}; the model leaves open "
            f"{', '.join(sorted(shapes))}"
        )
    for name, value in held.items():
        _check_shape(stated.file, name, list(value.shape()), shapes[name])
    count = sum(int(np.prod(value.shape())) for value in held.values())
    if count != stated.parameters:
        raise BundleError(
            f"{stated.file} holds {count:,} numbers, the contract states {stated.parameters:,}"
        )


@contextmanager
def _paths(names: Iterable[str]) -> Iterator[dict[str, Path]]:
    """A path for each name, in a folder that goes with the ``with`` block."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:  # Windows keeps maps
        yield {name: Path(folder) / f"{index}{SUFFIX}" for index, name in enumerate(names)}


def _check_shape(file: str, name: str, found: list[int], wanted: list[int]) -> None:
    """An axis that the model leaves open, the rank, has length 0 in ``wanted``."""
    fits = len(found) == len(wanted) and all(
        have == want or want == 0 for have, want in zip(found, wanted, strict=True)
    )
    if not fits:
        raise BundleError(f"{file}: {name} has shape {found}, the model takes {wanted}")

"""A Triton model repository from a bundle of the padded form. No torch.

::

    REPOSITORY/
      BUNDLE/                 Python backend: takes SMILES
        config.pbtxt
        1/model.py
        1/bundle/             the bundle itself
      BUNDLE_ATOMSxSLOTS/     ONNX Runtime backend: takes arrays, one model a bucket
        config.pbtxt
        1/model.onnx
      BUNDLE_any/             the same for molecules that fit no bucket, one shape a call

Each bucket is a model of its own, because Triton batches only requests of equal shape and keeps one
queue a model.
"""

import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from graphadapt.errors import BundleError
from graphadapt.export.arrays import ARRAYS, OUTPUTS, ArrayInfo
from graphadapt.export.bundle_files import read_bundle_files
from graphadapt.export.bundle_folder import check_place
from graphadapt.export.contract import CONTRACT_FILE, MODEL_FILE, BundleContract
from graphadapt.export.contract_parts import Bucket
from graphadapt.export.triton_python import MODEL_PY

__all__ = ["check_repository", "write_triton"]

_TYPES: Final = {
    "float32": "TYPE_FP32",
    "int32": "TYPE_INT32",
    "int64": "TYPE_INT64",
    "uint8": "TYPE_UINT8",
}
_DELAY: Final = 200
"""Microseconds that a request may wait for others."""

_SMILES_BATCH: Final = 256

Block = Mapping[str, Any]
"""A message of the config's text format: its fields by name."""


def check_repository(folder: Path, bundle: Path) -> None:
    """Refuse a place that is no new or empty folder, or that the bundle shares.

    Raises:
        BundleError: saying so.
    """
    check_place(folder)
    if folder.is_dir() and any(folder.iterdir()):
        raise BundleError(
            f"{folder} is not empty; give a new folder for the Triton repository, or remove it"
        )
    place, other = folder.resolve(), bundle.resolve()
    if place == other or place in other.parents or other in place.parents:
        raise BundleError(
            f"the Triton repository {folder} and the bundle {bundle} lie within each other; give "
            "each a folder of its own"
        )


def write_triton(bundle: Path, repository: Path) -> list[str]:
    """Write the repository, whole or not at all.

    Args:
        bundle: of the padded form; named as the models are to be.
        repository: a new or empty folder.

    Returns:
        Names of the models.

    Raises:
        BundleError: if the bundle cannot be trusted or has another form, or the repository cannot
            be written there.
    """
    check_repository(repository, bundle)
    contract, contents = read_bundle_files(bundle)
    if contract.form != "padded":
        raise BundleError(
            f"{bundle} has the {contract.form} form, whose shapes Triton cannot batch; export it "
            "with --form padded"
        )
    name = re.sub(r"\W+", "_", bundle.resolve().name)
    repository = repository.resolve()
    repository.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=repository.parent, prefix=".triton.") as place:
        fresh = Path(place) / "repository"
        models = [_write_smiles_model(fresh / name, name, contract, contents)]
        for bucket in (*contract.buckets, None):
            models.append(_write_array_model(fresh, name, contract, contents[MODEL_FILE], bucket))
        if repository.exists():
            repository.rmdir()
        fresh.replace(repository)
    return models


def _write_smiles_model(
    folder: Path, name: str, contract: BundleContract, contents: Mapping[str, bytes]
) -> str:
    version = folder / "1"
    (version / "bundle").mkdir(parents=True)
    for file in contract.files:
        (version / "bundle" / file).write_bytes(contents[file])
    (version / "bundle" / CONTRACT_FILE).write_text(contract.to_text(), encoding="utf-8")
    (version / "model.py").write_text(MODEL_PY, encoding="utf-8")
    inputs: list[Block] = [{"name": "smiles", "data_type": _Word("TYPE_STRING"), "dims": [1]}]
    if contract.own_columns:
        width = len(contract.own_columns)
        inputs.append({"name": "columns", "data_type": _Word("TYPE_FP32"), "dims": [width]})
    outputs = [_array(OUTPUTS[each], {"tasks": len(contract.tasks)}) for each in contract.outputs]
    config: Block = {
        "name": name,
        "backend": "python",
        "max_batch_size": _SMILES_BATCH,
        "input": inputs,
        "output": [*outputs, {"name": "error", "data_type": _Word("TYPE_STRING"), "dims": [1]}],
        "dynamic_batching": {"max_queue_delay_microseconds": _DELAY},
        "instance_group": [{"count": 1, "kind": _Word("KIND_CPU")}],
    }
    (folder / "config.pbtxt").write_text(_text(config), encoding="utf-8")
    return name


def _write_array_model(
    repository: Path, name: str, contract: BundleContract, model: bytes, bucket: Bucket | None
) -> str:
    """One model of the ONNX Runtime backend; without a bucket, of any shape."""
    name = f"{name}_any" if bucket is None else f"{name}_{bucket.atoms}x{bucket.slots}"
    lengths = {"tasks": len(contract.tasks), "features": _feature_width(contract)}
    if bucket is not None:
        lengths |= {"rows": bucket.atoms, "slots": bucket.slots}
    config: dict[str, Any] = {
        "name": name,
        "backend": "onnxruntime",
        "max_batch_size": max(each.graphs for each in contract.buckets)
        if bucket is None
        else bucket.graphs,
        "input": [_array(ARRAYS[each], lengths) for each in contract.reads],
        "output": [_array(OUTPUTS[each], lengths) for each in contract.outputs],
    }
    if bucket is not None:
        config["dynamic_batching"] = {"max_queue_delay_microseconds": _DELAY}
    version = repository / name / "1"
    version.mkdir(parents=True)
    (version / MODEL_FILE).write_bytes(model)
    (repository / name / "config.pbtxt").write_text(_text(config), encoding="utf-8")
    return name


def _feature_width(contract: BundleContract) -> int:
    return sum(block.width for block in contract.feature_blocks)


def _array(info: ArrayInfo, lengths: Mapping[str, int]) -> Block:
    """One input or output without its batch axis; -1 is any length."""
    dims = [axis if isinstance(axis, int) else lengths.get(axis, -1) for axis in info.axes[1:]]
    block: dict[str, Any] = {"name": info.name, "data_type": _Word(_TYPES[info.dtype])}
    if dims:
        return block | {"dims": dims}
    return block | {"dims": [1], "reshape": {"shape": []}}  # Triton has no arrays of no axes


class _Word(str):
    """A word of the format, which stands without quotes."""

    __slots__ = ()


def _text(block: Block) -> str:
    """A message in protobuf's text format."""
    return "\n".join(_lines(block, "")) + "\n"


def _lines(block: Block, indent: str) -> Iterator[str]:
    for name, value in block.items():
        if isinstance(value, Mapping):
            yield f"{indent}{name} {{"
            yield from _lines(value, indent + "  ")
            yield f"{indent}}}"
        elif isinstance(value, list) and value and isinstance(value[0], Mapping):
            for item in value:
                yield from _lines({name: item}, indent)
        else:
            yield f"{indent}{name}: {_value(value)}"


def _value(value: Any) -> str:
    if isinstance(value, _Word | int):
        return str(value)
    if isinstance(value, str):
        return f'"{value}"'
    items: Sequence[Any] = value
    return f"[{', '.join(map(_value, items))}]"

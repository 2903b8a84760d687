"""What an exported ONNX file may hold, and what it must say. No torch.

The same checks run before a file is written and whenever a bundle is verified.
"""

import importlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto

from graphadapt.data.store import TaskInfo
from graphadapt.errors import BundleError
from graphadapt.export.arrays import ANSWERS, ARRAYS, OUTPUTS, ArrayInfo
from graphadapt.export.contract import OPSET, BundleContract

__all__ = [
    "ALLOWED_OPERATORS",
    "check_against",
    "check_model",
    "count_numbers",
    "metadata_of",
]

ALLOWED_OPERATORS = frozenset(
    {
        *("Add", "Sub", "Mul", "Div", "Max", "Clip", "Sqrt", "Reciprocal", "Log", "Relu"),
        *("Sigmoid", "Where", "Gemm", "MatMul", "Transpose", "ReduceSum", "Gather", "GatherND"),
        *("Cast", "Concat", "Reshape", "Squeeze", "Unsqueeze"),
        *("QuantizeLinear", "DequantizeLinear"),
    }
)
"""Operators an exported file may hold: none writes to an index, none is control flow."""

# protobuf's own modules carry no types
_DecodeError: type[Exception] = importlib.import_module("google.protobuf.message").DecodeError

_FLOATS = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE, TensorProto.INT8)

_TASKS, _FORM, _FEATURISATION = (
    f"graphadapt.{name}" for name in ("tasks", "form", "featurisation_version")
)


def metadata_of(tasks: Sequence[TaskInfo], form: str, featurisation_version: int) -> dict[str, str]:
    """What a file says of itself, so that it cannot be taken for another bundle's."""
    columns = [task.to_dict() for task in tasks]
    return {
        _TASKS: json.dumps(columns, ensure_ascii=False),
        _FORM: form,
        _FEATURISATION: str(featurisation_version),
    }


def count_numbers(proto: onnx.ModelProto) -> int:
    """Weights and constants in a file that are not whole numbers by meaning."""
    held = (each for each in proto.graph.initializer if each.data_type in _FLOATS)
    return sum(int(np.prod(each.dims, dtype=np.int64)) for each in held)


def check_against(model: bytes, contract: BundleContract) -> onnx.ModelProto:
    """Refuse a model that is invalid, or not the one that a contract describes.

    Raises:
        BundleError: naming what is wrong.
    """
    try:
        proto = onnx.load_from_string(model)
    except _DecodeError as error:
        raise BundleError(f"the model is no ONNX file: {error}") from error
    check_model(proto, contract.reads, contract.outputs, contract.form)
    if contract.opset != OPSET:
        raise BundleError(
            f"the model is of operator set {OPSET}, the contract says {contract.opset}"
        )
    _check_metadata(proto, contract)
    found = count_numbers(proto)
    if found != contract.parameters:
        raise BundleError(
            f"the model holds {found:,} numbers where the contract states "
            f"{contract.parameters:,}: heads or adapters that nobody asked for, or too few"
        )
    return proto


def check_model(
    proto: onnx.ModelProto,
    reads: Sequence[str],
    outputs: Sequence[str] = (ANSWERS.name,),
    form: str = "merged",
) -> None:
    """Refuse a model that is invalid, or not what bundles may hold.

    Raises:
        BundleError: naming what is wrong.
    """
    try:
        onnx.checker.check_model(proto, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise BundleError(f"the exported model is invalid: {error}") from error
    others: set[str] = {node.op_type for node in proto.graph.node} - ALLOWED_OPERATORS
    others |= {f"the function {function.name}" for function in proto.functions}
    if others:
        raise BundleError(
            f"the exported model holds {', '.join(sorted(others))}; only "
            f"{', '.join(sorted(ALLOWED_OPERATORS))} are safe to run on several threads"
        )
    opsets = {item.domain: item.version for item in proto.opset_import}
    if opsets != {"": OPSET}:
        raise BundleError(f"the exported model needs operator sets {opsets}, not {OPSET}")
    _check_weights(proto)
    _check_all_read(proto)
    _check_folded(proto)
    _check_arrays(proto, reads, outputs, form)


def _check_weights(proto: onnx.ModelProto) -> None:
    """All inside, and none where :func:`count_numbers` does not look."""
    outside = [
        each.name
        for each in proto.graph.initializer
        if each.external_data or each.data_location == TensorProto.EXTERNAL
    ]
    if outside:
        raise BundleError(f"weights {', '.join(outside)} lie outside of the file; export again")
    if proto.graph.sparse_initializer or proto.training_info:
        what = "sparse weights" if proto.graph.sparse_initializer else "a graph to train by"
        raise BundleError(f"the exported model holds {what}, which nobody counts")


def _check_all_read(proto: onnx.ModelProto) -> None:
    """Every weight, and everything that a node computes."""
    fixed = {each.name for each in proto.graph.initializer}
    used = {name for node in proto.graph.node for name in node.input}
    if fixed - used:
        raise BundleError(f"nothing reads the weights {', '.join(sorted(fixed - used))}")
    used |= {value.name for value in proto.graph.output}
    idle = [name for node in proto.graph.node for name in node.output if name not in used]
    if idle:
        raise BundleError(f"nothing reads {', '.join(idle)}, which the exported model computes")


def _check_folded(proto: onnx.ModelProto) -> None:
    """Nothing is left that could be computed beforehand."""
    fixed = {each.name for each in proto.graph.initializer}
    fixed -= {value.name for value in proto.graph.input}
    for node in proto.graph.node:
        foldable = node.op_type != "DequantizeLinear" and all(
            name in fixed for name in node.input if name
        )
        if foldable:
            raise BundleError(
                f"{node.op_type} of {', '.join(node.input)} is computed in every run, and is "
                "always the same; export again"
            )


def _check_arrays(
    proto: onnx.ModelProto, reads: Sequence[str], outputs: Sequence[str], form: str
) -> None:
    held = {each.name for each in proto.graph.initializer}
    optional = [value.name for value in proto.graph.input if value.name in held]
    if optional and form != "adapters":
        raise BundleError(f"weights {', '.join(optional)} can be replaced from outside")
    given = [value for value in proto.graph.input if value.name not in held]
    named = [*(value.name for value in given), *(value.name for value in proto.graph.output)]
    if named != [*reads, *outputs]:
        raise BundleError(f"the exported model has arrays {named}, not {[*reads, *outputs]}")
    for value in (*given, *proto.graph.output):
        _check_array(value, {**ARRAYS, **OUTPUTS}[value.name])


def _check_array(value: onnx.ValueInfoProto, info: ArrayInfo) -> None:
    """Its type, and its lengths: a bundle has its own for ``features`` and ``tasks``."""
    kind = value.type.tensor_type.elem_type
    if kind != onnx.helper.np_dtype_to_tensor_dtype(np.dtype(info.dtype)):
        given = TensorProto.DataType.Name(kind)
        raise BundleError(
            f"array {value.name} of the exported model is of type {given}, not {info.dtype}"
        )
    lengths = [axis.dim_value for axis in value.type.tensor_type.shape.dim]
    wanted = [axis if isinstance(axis, int) else 0 for axis in info.axes]
    if info.axes[-1] in ("features", "tasks") and len(lengths) == len(wanted):
        lengths[-1] = 0
    if lengths != wanted:
        raise BundleError(
            f"array {value.name} of the exported model is fixed to {lengths}; axes are {info.axes}"
        )


def _check_metadata(proto: onnx.ModelProto, contract: BundleContract) -> None:
    """Tasks, units, form and featurisation, and one column of answers a task."""
    said = {item.key: item.value for item in proto.metadata_props}
    wanted = metadata_of(contract.tasks, contract.form, contract.featurisation_version)
    if said != wanted:
        different = sorted(key for key in said.keys() | wanted if said.get(key) != wanted.get(key))
        raise BundleError(
            f"the model says of itself {_shown(said, different)}, the contract "
            f"{_shown(wanted, different)}: the two belong to different bundles"
        )
    width = proto.graph.output[0].type.tensor_type.shape.dim[1].dim_value
    if width != len(contract.tasks):
        raise BundleError(f"the model answers {width} tasks, the contract {len(contract.tasks)}")


def _shown(table: Mapping[str, Any], keys: Sequence[str]) -> str:
    return ", ".join(f"{key}={table.get(key, 'nothing')}" for key in keys)

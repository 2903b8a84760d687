"""A plain network as one checked ONNX file.

The dynamo exporter traces it at one batch; every axis that may vary stays symbolic. What comes out
is stripped of traces and paths, so equal weights give equal bytes.
"""

import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch.export import Dim

from graphadapt.errors import BundleError
from graphadapt.export.contract import ANSWERS, ARRAYS, OPSET
from graphadapt.export.network import PlainModel

__all__ = ["ALLOWED_OPERATORS", "check_model", "write_onnx"]

ALLOWED_OPERATORS = frozenset(
    {
        *("Add", "Sub", "Mul", "Div", "Max", "Clip", "Sqrt", "Reciprocal", "Log", "Relu"),
        *("Sigmoid", "Where", "Gemm", "MatMul", "Transpose", "ReduceSum", "Gather"),
        *("Cast", "Concat", "Reshape", "Squeeze", "Unsqueeze"),
    }
)
"""Operators an exported file may hold: none writes to an index, none is control flow."""


def write_onnx(model: PlainModel, example: Mapping[str, NDArray[np.generic]]) -> bytes:
    """Export a network and check the file.

    Args:
        model: in evaluation mode.
        example: arrays of one batch, every variable axis at least 2 long.

    Raises:
        BundleError: if the file is not what the contract allows.
    """
    inputs = {name: torch.from_numpy(example[name]) for name in model.reads}
    axes = {name: _variable_axes(name) for name in model.reads}
    with _quiet_exporter():
        program = torch.onnx.export(
            model,
            (),
            kwargs={"inputs": inputs},
            dynamo=True,
            dynamic_shapes={"inputs": axes},
            input_names=list(model.reads),
            output_names=[ANSWERS.name],
            opset_version=OPSET,
            external_data=False,
            optimize=True,
            verbose=False,
        )
    assert program is not None
    proto = program.model_proto
    _strip(proto)
    check_model(proto, model.reads)
    return proto.SerializeToString(deterministic=True)


def check_model(proto: onnx.ModelProto, reads: tuple[str, ...]) -> None:
    """Refuse a model that is invalid, or not what the contract says.

    Raises:
        BundleError: naming what is wrong.
    """
    try:
        onnx.checker.check_model(proto, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise BundleError(f"the exported model is invalid: {error}") from error
    found = {node.op_type for node in proto.graph.node}
    if found - ALLOWED_OPERATORS or proto.functions:
        raise BundleError(
            f"the exported model holds {', '.join(sorted(found - ALLOWED_OPERATORS))}; only "
            f"{', '.join(sorted(ALLOWED_OPERATORS))} are safe to run on several threads"
        )
    opsets = {item.domain: item.version for item in proto.opset_import}
    if opsets != {"": OPSET}:
        raise BundleError(f"the exported model needs operator sets {opsets}, not {OPSET}")
    _check_arrays(proto, reads)


def _check_arrays(proto: onnx.ModelProto, reads: tuple[str, ...]) -> None:
    named = [*(item.name for item in proto.graph.input), *(o.name for o in proto.graph.output)]
    if named != [*reads, ANSWERS.name]:
        raise BundleError(f"the exported model has arrays {named}, not {[*reads, ANSWERS.name]}")
    for value in proto.graph.input:
        info = ARRAYS[value.name]
        lengths = [axis.dim_value for axis in value.type.tensor_type.shape.dim]
        wanted = [axis if isinstance(axis, int) else 0 for axis in info.axes]
        if value.name == "features":  # M is a number in the file, a name in the contract
            lengths[1] = 0
        if lengths != wanted:
            raise BundleError(
                f"array {value.name} of the exported model is fixed to {lengths}; axes are "
                f"{info.axes}"
            )


def _variable_axes(name: str) -> dict[int, object]:
    axes = ARRAYS[name].axes
    return {
        place: Dim.DYNAMIC
        for place, axis in enumerate(axes)
        if isinstance(axis, str) and axis != "features"
    }


def _strip(proto: onnx.ModelProto) -> None:
    """Remove what depends on the place and way of the export, not on the model."""
    proto.producer_name, proto.producer_version, proto.doc_string = "graphadapt", "", ""
    proto.graph.name = "graphadapt"
    del proto.metadata_props[:]
    del proto.graph.value_info[:]
    for item in (proto.graph, *proto.graph.node, *proto.graph.input, *proto.graph.output):
        del item.metadata_props[:]
        item.doc_string = ""
    for value in (*proto.graph.input, *proto.graph.output):
        info = ARRAYS.get(value.name, ANSWERS)
        for axis, given in zip(info.axes, value.type.tensor_type.shape.dim, strict=True):
            if not given.HasField("dim_value"):
                given.dim_param = str(axis)


@contextmanager
def _quiet_exporter() -> Iterator[None]:
    """Keep remarks about torch's own insides and packages not used here from the screen."""
    logger = logging.getLogger("torch.onnx")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            warnings.simplefilter("ignore", DeprecationWarning)
            yield
    finally:
        logger.setLevel(before)

"""A plain network as one checked ONNX file.

The dynamo exporter traces it at one batch; every axis that may vary stays symbolic. What comes out
is stripped of traces and paths, so equal weights give equal bytes.
"""

import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnxscript import opset18
from torch.export import Dim

from graphadapt.errors import BundleError
from graphadapt.export.arrays import ARRAYS, OUTPUTS
from graphadapt.export.contract import OPSET
from graphadapt.export.network import PlainModel
from graphadapt.export.onnx_check import check_model, count_numbers

__all__ = ["leave_open", "write_onnx"]

_CONSTANTS: Final = 64
"""Most numbers that the exporter adds of its own, such as the ends of a clip; a head has more."""


def write_onnx(
    model: PlainModel,
    example: Mapping[str, NDArray[np.generic]],
    metadata: Mapping[str, str] | None = None,
) -> bytes:
    """Export a network and check the file.

    Args:
        model: in evaluation mode.
        example: arrays of one batch, every variable axis at least 2 long.
        metadata: what the file says of itself.

    Raises:
        BundleError: if the file is not what the contract allows, or holds more than the network.
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
            output_names=list(model.outputs),
            opset_version=OPSET,
            custom_translation_table={torch.ops.graphadapt.rows_of.default: _gather_rows},
            external_data=False,
            optimize=True,
            verbose=False,
        )
    assert program is not None
    proto = program.model_proto
    _strip(proto)
    onnx.helper.set_model_props(proto, dict(metadata or {}))
    check_model(proto, model.reads, model.outputs)
    _check_pruned(proto, model)
    return proto.SerializeToString(deterministic=True)


def leave_open(
    model: bytes, shapes: Mapping[str, tuple[int | str, ...]], like: PlainModel
) -> bytes:
    """Let weights be given from outside, by an adapter file; until they are, every answer is NaN.

    Args:
        model: the ONNX file.
        shapes: of each such weight; a length that varies is a name.
        like: the network that the file was made from.

    Raises:
        BundleError: if the file is not what the contract allows.
    """
    proto = onnx.load_from_string(model)
    held = {each.name: each for each in proto.graph.initializer}
    for name, shape in shapes.items():
        lengths = [1 if isinstance(length, str) else length for length in shape]
        missing = np.full(lengths, np.nan, np.float32)
        held[name].CopyFrom(onnx.numpy_helper.from_array(missing, name))
        value = onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)
        proto.graph.input.append(value)
    check_model(proto, like.reads, like.outputs, "adapters")
    return proto.SerializeToString(deterministic=True)


def _check_pruned(proto: onnx.ModelProto, model: PlainModel) -> None:
    """Refuse a graph of more numbers than the network, such as heads that nobody asked for."""
    tensors = model.state_dict().values()
    held = sum(tensor.numel() for tensor in tensors if tensor.is_floating_point())
    more = count_numbers(proto) - held
    if more > _CONSTANTS:
        raise BundleError(
            f"the exported model holds {more:,} numbers that its network does not: heads or "
            "adapters that nobody asked for, or weights twice"
        )


def _gather_rows(x_GAD: Any, index_GAS: Any) -> Any:
    """:func:`graphadapt.export.layouts.rows_of` in ONNX."""
    last: Any = [-1]
    return opset18.GatherND(x_GAD, opset18.Unsqueeze(index_GAS, last), batch_dims=1)


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
        info = {**ARRAYS, **OUTPUTS}[value.name]
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

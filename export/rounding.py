"""Exported files in lower precision: half for GPUs, eight-bit whole numbers for CPUs. No torch.

Both are made from the float32 file by ONNX Runtime's own tools, and keep its arrays and what it
says of itself.
"""

import importlib
import logging
import tempfile
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx

from graphadapt.errors import DependencyError
from graphadapt.export.collate import Inputs
from graphadapt.export.contract_parts import PrecisionName

__all__ = ["BOUNDS", "TOLERANCES", "round_model"]

BOUNDS: Final[dict[PrecisionName, float]] = {"fp32": 0.0, "fp16": 0.002, "int8": 0.01}
"""Most that a metric may lose on validation: points of 1, or a share of an RMSE."""

TOLERANCES: Final[dict[PrecisionName, float]] = {"fp32": 1e-5, "fp16": 0.05, "int8": 1.0}
"""Largest error on probe molecules, as a share of the answers' scale. Probes are far stranger than
validation molecules; that a metric keeps to its bound says more."""

_QUANTISED: Final = ("Gemm", "MatMul")
"""Products, which nearly all of the arithmetic is."""

_HEAVY: Final = ("backbone.layers.", "backbone.readouts.", "backbone.updates.")
"""What the weights of maps are called that every atom or virtual node goes through."""


def round_model(model: bytes, precision: PrecisionName, batches: Iterable[Inputs]) -> bytes:
    """A file of the same arrays that computes in lower precision.

    Args:
        model: the float32 file.
        precision: ``fp32`` gives it back.
        batches: molecules whose values set the scales of ``int8``.

    Raises:
        DependencyError: if ONNX Runtime's tools are missing.
    """
    if precision == "fp32":
        return model
    proto = _halved(model) if precision == "fp16" else _quantised(model, batches)
    del proto.graph.value_info[:]
    used = {node.domain for node in proto.graph.node}
    kept = [item for item in proto.opset_import if item.domain in used]
    del proto.opset_import[:]
    proto.opset_import.extend(kept)
    proto.producer_name, proto.producer_version = "graphadapt", ""
    onnx.helper.set_model_props(
        proto, {item.key: item.value for item in onnx.load_from_string(model).metadata_props}
    )
    return proto.SerializeToString(deterministic=True)


def _halved(model: bytes) -> onnx.ModelProto:
    convert = _tool("onnxruntime.transformers.float16").convert_float_to_float16
    source = _named(model)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # one for every weight that is cut to zero
        proto: onnx.ModelProto = convert(
            onnx.load_from_string(source.SerializeToString()),
            keep_io_types=True,
            node_block_list=sorted(_beside_answers(source)),
        )
    _once(proto)
    _fold_casts(proto, source)
    # the tool puts the casts of inputs behind the nodes that read them
    _tool("onnxruntime.transformers.onnx_model").OnnxModel(proto).topological_sort()
    for index, node in enumerate(proto.graph.node):  # some have none, some one name
        node.name = f"node_{index}"
    return proto


def _once(proto: onnx.ModelProto) -> None:
    """Drop what is there twice: the tool writes one cast for each of its readers, by one name."""
    defined: set[str] = set()
    kept = []
    for node in proto.graph.node:
        if not defined & set(node.output):
            kept.append(node)
        defined |= set(node.output)
    del proto.graph.node[:]
    proto.graph.node.extend(kept)


def _fold_casts(proto: onnx.ModelProto, source: onnx.ModelProto) -> None:
    """Put the float32 weights themselves where the tool casts halved ones back."""
    before = {each.name: each for each in source.graph.initializer}
    casts = [
        node
        for node in proto.graph.node
        if node.op_type == "Cast" and node.input[0] in before and node.output[0] not in before
    ]
    for node in casts:
        whole = proto.graph.initializer.add()
        whole.CopyFrom(before[node.input[0]])
        whole.name = node.output[0]
        proto.graph.node.remove(node)
    used = {name for node in proto.graph.node for name in node.input}
    kept = [each for each in proto.graph.initializer if each.name in used]
    del proto.graph.initializer[:]
    proto.graph.initializer.extend(kept)


def _quantised(model: bytes, batches: Iterable[Inputs]) -> onnx.ModelProto:
    """Signed, one scale an activation and one an output of a weight: what has fast kernels."""
    tools = _tool("onnxruntime.quantization")
    source = _named(model)
    del source.graph.value_info[:]  # the tool crashes on symbolic shapes that it did not infer
    with tempfile.TemporaryDirectory() as place, _quiet():
        path = Path(place) / "int8.onnx"
        tools.quantize_static(
            source,
            path,
            _Reader(iter(batches)),
            quant_format=tools.QuantFormat.QDQ,
            activation_type=tools.QuantType.QInt8,
            weight_type=tools.QuantType.QInt8,
            op_types_to_quantize=list(_QUANTISED),
            nodes_to_quantize=_heavy(source),
            per_channel=True,
            extra_options={"ActivationSymmetric": True, "QuantizeBias": False},
        )
        return onnx.load(path)


def _heavy(proto: onnx.ModelProto) -> list[str]:
    """Maps of atoms and virtual nodes, where the arithmetic is; of features, where there are none.

    Maps at the readout stay in float32: they are small, and those that take in counts lose
    everything, because a norm that is folded into their columns makes some weights thousands of
    times larger than others.
    """
    maps = {
        node.name: name
        for node in proto.graph.node
        if node.op_type in _QUANTISED
        for name in node.input
        if name.endswith(".weight")
    }
    inner = [name for name, weight in maps.items() if weight.startswith(_HEAVY)]
    return inner or [name for name, weight in maps.items() if weight.startswith("features.")]


def _named(model: bytes) -> onnx.ModelProto:
    """The file, each node with a name by which the tools can be told of it."""
    proto = onnx.load_from_string(model)
    for index, node in enumerate(proto.graph.node):
        node.name = node.name or f"node_{index}"
    return proto


def _beside_answers(proto: onnx.ModelProto) -> set[str]:
    """Nodes that no answer needs: those of the applicability, whose squares want float32."""
    needed, others = {proto.graph.output[0].name}, set()
    for node in reversed(proto.graph.node):
        if needed & set(node.output):
            needed |= set(node.input)
        else:
            others.add(node.name)
    return others


class _Reader:
    """Batches one by one, as ONNX Runtime's calibrators ask for them."""

    def __init__(self, batches: Iterator[Inputs]) -> None:
        self._batches = batches

    def get_next(self) -> Inputs | None:
        """The next batch; None after the last."""
        return next(self._batches, None)

    def __len__(self) -> int:
        return int(np.iinfo(np.int32).max)

    def set_range(self, start_index: int, end_index: int) -> None:
        """Asked for by calibrators that go through the batches in parts; there is one part."""


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep advice on preprocessing from the screen."""
    before = logging.root.level
    logging.root.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.root.setLevel(before)


def _tool(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise DependencyError(
            f"lower precision needs {error.name or name}; install graphadapt[export,serve]"
        ) from error

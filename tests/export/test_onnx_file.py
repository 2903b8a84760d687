"""The exported file: what it holds, what it may not hold, and that its bytes are stable."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from graphadapt.errors import BundleError
from graphadapt.export.collate import collate
from graphadapt.export.contract import ARRAYS, OPSET
from graphadapt.export.onnx_file import ALLOWED_OPERATORS, check_model, write_onnx
from graphadapt.export.parity import Probes
from graphadapt.export.restate import restate


def test_the_file_holds_only_what_is_allowed(exported):
    proto = onnx.load_from_string(exported.model)
    operators = {node.op_type for node in proto.graph.node}
    assert operators <= ALLOWED_OPERATORS
    assert not [name for name in ALLOWED_OPERATORS if name.startswith(("Scatter", "Loop", "If"))]
    assert [(item.domain, item.version) for item in proto.opset_import] == [("", OPSET)]
    assert not proto.functions


def test_the_file_is_whole(exported):
    proto = onnx.load_from_string(exported.model)
    locations = {tensor.data_location for tensor in proto.graph.initializer}
    assert locations == {TensorProto.DEFAULT}


def test_axes_carry_the_names_of_the_contract(exported):
    proto = onnx.load_from_string(exported.model)
    assert tuple(value.name for value in proto.graph.input) == exported.plain.reads
    for value in proto.graph.input:
        axes = [axis.dim_param or axis.dim_value for axis in value.type.tensor_type.shape.dim]
        expected = list(ARRAYS[value.name].axes)
        if value.name == "features":
            expected[1] = len(exported.frozen.features.is_count)
        assert axes == expected


def test_the_file_tells_nothing_of_where_it_was_made(exported):
    proto = onnx.load_from_string(exported.model)
    assert not proto.metadata_props
    assert not any(node.metadata_props or node.doc_string for node in proto.graph.node)
    assert b"/export/" not in exported.model


def test_weights_stand_in_the_file_once(exported):
    proto = onnx.load_from_string(exported.model)
    sizes = [onnx.numpy_helper.to_array(each).nbytes for each in proto.graph.initializer]
    held = sum(t.numel() * t.element_size() for t in exported.plain.state_dict().values())
    assert sum(sizes) <= held + 2048


@pytest.mark.parametrize("exported", ["none"], indirect=True)
def test_equal_weights_give_equal_bytes(exported):
    example = collate(*Probes(exported.blocks).take(np.arange(3)), merge=True)
    assert write_onnx(restate(exported.frozen), example) == exported.model


def model_of(nodes, *, opset=OPSET, reads="atom_graph", shape=("atoms",), output="answers"):
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info(reads, TensorProto.INT64, shape)],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, ["graphs"])],
        [helper.make_tensor("zeros", TensorProto.FLOAT, [4], [0.0] * 4)],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)


CAST = helper.make_node("Cast", ["atom_graph"], ["answers"], to=TensorProto.FLOAT)


def test_a_sound_model_passes():
    check_model(model_of([CAST]), ("atom_graph",))


def test_a_scatter_is_refused_by_name():
    nodes = [
        helper.make_node("Cast", ["atom_graph"], ["cast"], to=TensorProto.FLOAT),
        helper.make_node("ScatterElements", ["zeros", "atom_graph", "cast"], ["answers"]),
    ]
    with pytest.raises(BundleError, match=r"holds ScatterElements; only .* are safe"):
        check_model(model_of(nodes), ("atom_graph",))


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (model_of([CAST], output="other"), "invalid"),
        (model_of([CAST], opset=17), r"needs operator sets \{'': 17\}, not 18"),
        (model_of([CAST], shape=(5,)), r"array atom_graph .* fixed to \[5\]"),
    ],
)
def test_a_model_off_the_contract_is_refused(model, message):
    with pytest.raises(BundleError, match=message):
        check_model(model, ("atom_graph",))


def test_other_arrays_are_refused():
    with pytest.raises(BundleError, match=r"has arrays \['atom_graph', 'answers'\], not \['feat"):
        check_model(model_of([CAST]), ("features",))

"""The exported file: what it holds, what it may not hold, and that its bytes are stable."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto

from graphadapt.errors import BundleError
from graphadapt.export.arrays import ARRAYS
from graphadapt.export.collate import collate
from graphadapt.export.contract import OPSET
from graphadapt.export.onnx_check import ALLOWED_OPERATORS, count_numbers
from graphadapt.export.onnx_file import _check_pruned, write_onnx
from graphadapt.export.probes import Probes
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


def test_the_file_holds_as_many_numbers_as_the_network(exported):
    """No head that nobody asked for, no adapter: beside the weights, two constants at most."""
    tensors = exported.plain.state_dict().values()
    held = sum(tensor.numel() for tensor in tensors if tensor.is_floating_point())
    assert 0 <= count_numbers(onnx.load_from_string(exported.model)) - held <= 2


@pytest.mark.parametrize("exported", ["none"], indirect=True)
def test_a_file_of_more_than_its_network_is_refused(exported):
    proto = onnx.load_from_string(exported.model)
    _check_pruned(proto, exported.plain)
    spare = onnx.numpy_helper.from_array(np.ones((1, 100), np.float32), "head.other")
    proto.graph.initializer.append(spare)
    with pytest.raises(BundleError, match=r"holds 10\d numbers that its network does not: heads"):
        _check_pruned(proto, exported.plain)


@pytest.mark.parametrize("exported", ["none"], indirect=True)
def test_equal_weights_give_equal_bytes(exported):
    example = collate(*Probes(exported.blocks).take(np.arange(3)), merge=True)
    assert write_onnx(restate(exported.frozen), example) == exported.model

"""What an ONNX file may hold: refused by name, each on a model small enough to read."""

from dataclasses import replace

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from graphadapt.data.store import TaskInfo
from graphadapt.errors import BundleError
from graphadapt.export.contract import OPSET, BundleContract, FileInfo
from graphadapt.export.onnx_check import (
    ALLOWED_OPERATORS,
    check_against,
    check_model,
    count_numbers,
    metadata_of,
)
from graphadapt.export.parity_record import Parity


def floats(name, *values):
    return helper.make_tensor(name, TensorProto.FLOAT, [len(values)], values)


CAST = helper.make_node("Cast", ["atom_graph"], ["cast"], to=TensorProto.FLOAT)
COLUMN = helper.make_node("Unsqueeze", ["cast", "last"], ["answers"])
RAW = onnx.numpy_helper.from_array(np.ones(1, np.float32), "w")
LAST = helper.make_tensor("last", TensorProto.INT64, [1], [1])


def model_of(
    nodes=(CAST, COLUMN),
    weights=(LAST,),
    *,
    opset=OPSET,
    shape=("atoms",),
    output="answers",
    kind=TensorProto.INT64,
):
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("atom_graph", kind, shape)],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, ["graphs", 1])],
        weights,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)


def test_a_sound_model_passes():
    check_model(model_of(), ("atom_graph",))


def scaled(*nodes, weights):
    """The model with something between its two nodes, from ``cast`` to ``scaled``."""
    column = helper.make_node("Unsqueeze", ["scaled", "last"], ["answers"])
    return model_of((CAST, *nodes, column), (LAST, *weights))


def outside():
    model = scaled(helper.make_node("Mul", ["cast", "w"], ["scaled"]), weights=[RAW])
    weight = model.graph.initializer[1]
    onnx.external_data_helper.set_external_data(weight, "elsewhere.bin")
    return model


def sparse():
    model = model_of()
    kept = model.graph.sparse_initializer.add()
    kept.values.CopyFrom(floats("more", 2.0))
    kept.indices.CopyFrom(helper.make_tensor("", TensorProto.INT64, [1], [3]))
    kept.dims.append(9)
    return model


def function():
    model = model_of()
    twice = helper.make_node("Add", ["x", "x"], ["y"])
    opset = helper.make_opsetid("", OPSET)
    model.functions.append(helper.make_function("own", "Twice", ["x"], ["y"], [twice], [opset]))
    model.opset_import.append(helper.make_opsetid("own", 1))
    return model


def training():
    model = model_of()
    model.training_info.add().algorithm.initializer.append(floats("head.other", 1.0))
    return model


ALWAYS = helper.make_tensor("always", TensorProto.BOOL, [], [True])


def value(name, kind=TensorProto.FLOAT, shape=("atoms",)):
    return helper.make_tensor_value_info(name, kind, shape)


def branching():
    sides = [
        helper.make_graph([helper.make_node(kind, ["cast"], ["side"])], kind, [], [value("side")])
        for kind in ("Relu", "Sigmoid")
    ]
    node = helper.make_node(
        "If", ["always"], ["scaled"], then_branch=sides[0], else_branch=sides[1]
    )
    return scaled(node, weights=[ALWAYS])


def looping():
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["go"], ["go_on"]),
            helper.make_node("Add", ["x", "x"], ["twice"]),
        ],
        "body",
        [value("step", TensorProto.INT64, ()), value("go", TensorProto.BOOL, ()), value("x")],
        [value("go_on", TensorProto.BOOL, ()), value("twice")],
    )
    node = helper.make_node("Loop", ["times", "always", "cast"], ["scaled"], body=body)
    return scaled(node, weights=[helper.make_tensor("times", TensorProto.INT64, [], [3]), ALWAYS])


def scattering(reduction):
    node = helper.make_node("ScatterND", ["cast", "place", "more"], ["scaled"], reduction=reduction)
    place = helper.make_tensor("place", TensorProto.INT64, [1, 1], [0])
    return scaled(node, weights=[place, floats("more", 1.0)])


def replaceable():
    model = scaled(helper.make_node("Mul", ["cast", "w"], ["scaled"]), weights=[floats("w", 2.0)])
    model.graph.input.append(helper.make_tensor_value_info("w", TensorProto.FLOAT, [1]))
    return model


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (model_of(output="other"), "invalid"),
        (model_of(opset=17), r"needs operator sets \{'': 17\}, not 18"),
        (model_of(shape=(5,)), r"array atom_graph .* fixed to \[5\]"),
        (
            scaled(
                helper.make_node("ScatterElements", ["zeros", "atom_graph", "cast"], ["scaled"]),
                weights=[floats("zeros", 0.0, 0.0)],
            ),
            r"holds ScatterElements; only .* are safe",
        ),
        (scattering("none"), "holds ScatterND; only .* are safe"),
        (scattering("add"), "holds ScatterND; only .* are safe"),
        (branching(), "holds If; only .* are safe"),
        (looping(), "holds Loop; only .* are safe"),
        (
            scaled(
                helper.make_node("Constant", [], ["two"], value=floats("two", 2.0)),
                helper.make_node("Mul", ["cast", "two"], ["scaled"]),
                weights=[],
            ),
            "holds Constant; only .* are safe",
        ),
        (
            model_of((CAST, COLUMN, helper.make_node("Relu", ["cast"], ["spare"]))),
            "nothing reads spare, which the exported model computes",
        ),
        (model_of(kind=TensorProto.INT32), "atom_graph .* is of type INT32, not int64"),
        (training(), "invalid|holds a graph to train by, which nobody counts"),
        (
            scaled(
                helper.make_node("Add", ["w", "w"], ["twice"]),
                helper.make_node("Mul", ["cast", "twice"], ["scaled"]),
                weights=[floats("w", 2.0)],
            ),
            "Add of w, w is computed in every run, and is always the same",
        ),
        (model_of(weights=(LAST, floats("head.other", 1.0))), "nothing reads .* head.other"),
        (sparse(), "holds sparse weights"),
        (function(), r"holds the function Twice; only .* are safe"),
        (outside(), "invalid|outside of the file"),
        (replaceable(), "weights w can be replaced from outside"),
    ],
)
def test_a_model_off_the_rules_is_refused(model, message):
    with pytest.raises(BundleError, match=message):
        check_model(model, ("atom_graph",))


def test_what_may_be_replaced_is_for_the_adapters_form():
    check_model(replaceable(), ("atom_graph",), form="adapters")


def test_other_arrays_are_refused():
    with pytest.raises(BundleError, match=r"has arrays \['atom_graph', 'answers'\], not \['feat"):
        check_model(model_of(), ("features",))


@pytest.fixture
def contract():
    return BundleContract(
        tasks=(TaskInfo("potency", "regression", "nM"),),
        composition={"potency": 1.0},
        reads=("atom_graph",),
        most_bonds=64,
        parity=Parity(
            largest_error=0.0,
            tolerance=1e-5,
            repeats=1,
            batch_sizes=(1,),
            threads=(1,),
            molecules=1,
            provider="CPUExecutionProvider",
        ),
        files={"model.onnx": FileInfo(1, "")},
    )


def signed(contract, model=None):
    model = model or model_of()
    about = metadata_of(contract.tasks, contract.form, contract.featurisation_version)
    helper.set_model_props(model, about)
    return model.SerializeToString()


def test_a_model_that_its_contract_describes_passes(contract):
    assert check_against(signed(contract), contract).graph.name == "graph"


def test_a_model_of_other_tasks_or_units_is_not_the_contract_s(contract):
    model = signed(contract)
    other = replace(contract, tasks=(TaskInfo("potency", "regression", "µM"),))
    with pytest.raises(BundleError, match=r'"nM".* the contract .*"µM".* different bundles'):
        check_against(model, other)
    with pytest.raises(BundleError, match=r"says of itself .*=nothing, the contract"):
        check_against(model_of().SerializeToString(), contract)


def test_a_model_of_another_number_of_columns_is_refused(contract):
    two = replace(contract, tasks=(*contract.tasks, TaskInfo("toxic", "binary")))
    with pytest.raises(BundleError, match="answers 1 tasks, the contract 2"):
        check_against(signed(two), two)


def test_another_operator_set_than_the_contract_s_is_refused(contract):
    with pytest.raises(BundleError, match="is of operator set 18, the contract says 17"):
        check_against(signed(contract), replace(contract, opset=17))


def test_no_operator_that_writes_to_an_index_or_branches_is_allowed():
    """Of all that ONNX has: by name, and by what takes a graph."""
    schemas = onnx.defs.get_all_schemas()
    branching = {
        each.name
        for each in schemas
        if any(a.type == onnx.defs.OpSchema.AttrType.GRAPH for a in each.attributes.values())
    }
    assert branching >= {"If", "Loop", "Scan"}
    writing = {each.name for each in schemas if "Scatter" in each.name}
    assert writing >= {"ScatterND", "ScatterElements"}
    assert not ALLOWED_OPERATORS & (branching | writing)


def test_numbers_that_nobody_stated_are_refused(contract):
    model = scaled(helper.make_node("Mul", ["cast", "w"], ["scaled"]), weights=[floats("w", 2.0)])
    assert count_numbers(model) == 1
    with pytest.raises(BundleError, match="holds 1 numbers where the contract states 0"):
        check_against(signed(contract, model), contract)
    check_against(signed(contract, model), replace(contract, parameters=1))


def test_what_is_no_model_is_refused(contract):
    with pytest.raises(BundleError, match="is no ONNX file"):
        check_against(b"\xff not a model", contract)

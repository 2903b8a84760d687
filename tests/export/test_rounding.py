"""Files of lower precision: the same arrays, near answers, a stated loss."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from graphadapt.errors import BundleError
from graphadapt.export.collate import inputs_for
from graphadapt.export.onnx_check import check_model
from graphadapt.export.probes import Probes
from graphadapt.export.reference import Reference
from graphadapt.export.repeated_runs import opener, share_off, truth_of
from graphadapt.export.rounding import BOUNDS, TOLERANCES, _beside_answers, round_model
from graphadapt.export.validation_loss import check_loss, metric_losses
from graphadapt.objective.metrics import Evaluation


@pytest.fixture(params=["fp16", "int8"])
def precision(request):
    return request.param


@pytest.mark.parametrize("exported", ["none"], indirect=True)
def test_a_lower_precision_answers_nearly_the_same(exported, precision):
    probes, reads = Probes(exported.blocks), exported.plain.reads
    inputs = inputs_for(reads, probes.molecules, probes.features)
    model = round_model(exported.model, precision, [inputs])
    proto = onnx.load_from_string(model)
    check_model(proto, reads)
    assert [item.domain for item in proto.opset_import] == [""]
    truth = Reference(exported.frozen).answer(probes.molecules, probes.features)
    found = opener(model, exported.plain.outputs)(1)(inputs)
    off = share_off(found, *truth_of(exported.frozen.tasks, truth, probes))
    assert 1e-6 < off <= TOLERANCES[precision]


@pytest.mark.parametrize("exported", ["none"], indirect=True)
def test_weights_take_fewer_bytes(exported, precision):
    probes, reads = Probes(exported.blocks), exported.plain.reads
    batches = [inputs_for(reads, probes.molecules, probes.features)]
    held = [
        {weight.data_type for weight in onnx.load_from_string(model).graph.initializer}
        for model in (exported.model, round_model(exported.model, precision, batches))
    ]
    kind = TensorProto.FLOAT16 if precision == "fp16" else TensorProto.INT8
    assert kind not in held[0]
    assert kind in held[1]


@pytest.mark.parametrize("exported", ["none"], indirect=True)
def test_float32_stays_as_it_is(exported):
    assert round_model(exported.model, "fp32", []) is exported.model


def test_what_is_beside_the_answers_stays_in_float32():
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["z"], name="shared"),
        helper.make_node("Mul", ["z", "z"], ["square"], name="beside"),
        helper.make_node("ReduceSum", ["square", "axis"], ["applicability"], name="too"),
        helper.make_node("Relu", ["z"], ["answers"]),
    ]
    graph = helper.make_graph(
        nodes,
        "graph",
        [],
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, None)
            for name in ("answers", "applicability")
        ],
    )
    assert _beside_answers(helper.make_model(graph)) == {"beside", "too"}


def scored(**mean):
    return Evaluation(metric="rmse", tasks={}, mean=mean, skipped={}, score=0.0)


def test_points_are_lost_of_ranks_and_shares_of_errors():
    lost = metric_losses({"rocauc": 0.9, "rmse": 2.0}, {"rocauc": 0.88, "rmse": 2.01})
    assert lost == pytest.approx({"rocauc": 0.02, "rmse": 0.005})


def test_a_loss_above_the_bound_is_refused_unless_forced():
    before, near, far = scored(ap=0.5), scored(ap=0.499), scored(ap=0.45)
    kept = check_loss("fp16", before, near, force=False)
    assert (kept.name, kept.bound, kept.forced) == ("fp16", BOUNDS["fp16"], False)
    assert kept.loss == pytest.approx({"ap": 0.001})
    with pytest.raises(BundleError, match=r"int8 costs 0\.0500 of ap on validation, more than 0"):
        check_loss("int8", before, far, force=False)
    assert check_loss("int8", before, far, force=True).forced
    with pytest.raises(BundleError, match="costs nan of ap"):
        check_loss("int8", before, scored(ap=np.nan), force=False)


def test_without_a_metric_there_is_nothing_to_lose():
    assert check_loss("int8", scored(), scored(), force=False).loss == {}

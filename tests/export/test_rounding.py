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
from graphadapt.export.restate import restate
from graphadapt.export.rounding import BOUNDS, TOLERANCES, _beside_answers, round_model
from graphadapt.export.validation_loss import check_loss, metric_losses, score_file
from graphadapt.freeze import freeze
from graphadapt.objective.metrics import Evaluation
from graphadapt.run import Run


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


def scored(skipped=None, **mean):
    return Evaluation(metric="rmse", tasks={}, mean=mean, skipped=skipped or {}, score=0.0)


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


def test_a_loss_that_is_no_number_hides_behind_no_other():
    before, after = scored(ap=0.5, rocauc=0.9), scored(ap=0.5, rocauc=np.nan)
    with pytest.raises(BundleError, match="costs nan of rocauc"):
        check_loss("int8", before, after, force=False)


ONE_CLASS = {"toxic": "one class only: 0 of 12 cells are positive"}


def test_what_cannot_be_measured_is_refused_and_if_forced_it_says_so():
    nothing = scored(ONE_CLASS)
    with pytest.raises(BundleError) as caught:
        check_loss("int8", nothing, nothing, force=False)
    assert str(caught.value) == (
        "what int8 costs is unmeasured: no task has a metric on validation ('toxic': one class "
        "only: 0 of 12 cells are positive), so nothing was written; take fp32, or --force if that "
        "is good enough"
    )
    found = check_loss("int8", nothing, nothing, force=True)
    assert (found.loss, found.unmeasured, found.forced) == ({}, ONE_CLASS, True)


def test_tasks_beside_a_measured_one_are_listed():
    found = check_loss("fp16", scored(ONE_CLASS, ap=0.5), scored(ONE_CLASS, ap=0.5), force=False)
    assert (found.loss, found.unmeasured, found.forced) == ({"ap": 0.0}, ONE_CLASS, False)


def test_a_metric_that_rounding_takes_away_is_unmeasured():
    before, after = scored(ap=0.5, rmse=1.0), scored(rmse=1.0)
    with pytest.raises(BundleError, match="it leaves no ap on validation, so nothing was written"):
        check_loss("fp16", before, after, force=False)
    found = check_loss("fp16", before, after, force=True)
    assert (found.loss, found.forced) == ({"rmse": 0.0}, True)


def test_answers_that_are_no_numbers_are_not_scored(tiny_run):
    run = Run.open(tiny_run)
    plain = restate(freeze(run.model))
    tasks = ("aromatic", "greasy", "potency")

    def ask(inputs):
        answers = np.full((len(inputs["graph_atoms"]), 3), 0.5)
        answers[0, 1] = np.inf
        return answers

    with pytest.raises(BundleError, match="answers of the file to valid molecules are no finite"):
        score_file(run, tasks, ask, plain.reads)

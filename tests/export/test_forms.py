"""One composition in every form: equal answers, and nothing in a file that nobody asked for."""

from typing import NamedTuple

import numpy as np
import onnx
import onnxruntime
import pytest

from graphadapt.export.adapter_files import SUFFIX, run_options
from graphadapt.export.bundle_files import read_bundle_files
from graphadapt.export.collate import inputs_for
from graphadapt.export.contract import BundleContract
from graphadapt.export.onnx_check import count_numbers
from graphadapt.export.parity_record import TOLERANCE
from graphadapt.export.probes import Probes
from graphadapt.export.repeated_runs import ParityPlan, share_off, truth_of
from graphadapt.export.restate import restate
from graphadapt.export.rounding import round_model
from graphadapt.export.run_bundle import ExportOptions, export_compositions, export_run
from graphadapt.export.session import open_session
from graphadapt.freeze import Selection
from graphadapt.model import READOUT
from graphadapt.report.freeze_gap import freeze_run
from graphadapt.routing.composition import uniform_composition
from graphadapt.run import Run

SITE = "convolutions.1.expand"
TASKS, UNASKED = ["potency", "greasy"], "aromatic"
ONE = Selection(top_m=1)
QUICK = ParityPlan(repeats=1, batch_sizes=(1, 16), threads=(1,))
FORMS = ("merged", "padded", "adapters")
ROUNDED = ("fp16", "int8")


class Written(NamedTuple):
    """A bundle that was written, and what its files hold."""

    contract: BundleContract
    proto: onnx.ModelProto
    model: dict[str, np.ndarray]
    """Weights of the model file, by name."""

    adapters: dict[str, np.ndarray]
    """Weights of its one adapter file; none in other forms."""

    answers: np.ndarray | None
    """To the probes; None where they are rounded."""


@pytest.fixture(scope="module")
def run(tiny_run):
    return Run.open(tiny_run)


@pytest.fixture(scope="module")
def bundles(run, tmp_path_factory):
    """Two of three tasks and one of four adapters at each site, in every form and precision."""
    place = tmp_path_factory.mktemp("forms")
    mix_T = uniform_composition(TASKS, [task.name for task in run.inputs.tasks])
    common = {"tasks": TASKS, "selection": ONE, "plan": QUICK, "shown": False}
    for name in FORMS:
        common["options"] = ExportOptions(form=name, calibrate="none")
        if name == "adapters":
            export_compositions(run, place / name, {"mix": mix_T}, **common)
        else:
            export_run(run, place / name, composition_T=mix_T, **common)
    found = {name: written(place / name) for name in FORMS}
    return found | {name: rounded(place / "merged", name) for name in ROUNDED}


def written(folder):
    contract, contents = read_bundle_files(folder)
    paths, adapters, options = sorted(folder.glob(f"*{SUFFIX}")), {}, None
    for path in paths:
        file = onnxruntime.AdapterFormat.read_adapter(str(path))  # its values go with it
        adapters |= {name: held.numpy().copy() for name, held in file.get_parameters().items()}
        options = run_options(path)
    probes = Probes(contract.feature_blocks)
    inputs = inputs_for(contract.reads, probes.molecules, probes.features)
    (answers,) = open_session(contents["model.onnx"]).run(None, inputs, options)
    return Written(contract, *read(contents["model.onnx"]), adapters, answers)


def rounded(folder, precision):
    contract, contents = read_bundle_files(folder)
    probes = Probes(contract.feature_blocks)
    batch = inputs_for(contract.reads, probes.molecules, probes.features)
    model = round_model(contents["model.onnx"], precision, [batch])
    return Written(contract, *read(model), {}, None)


def read(model):
    proto = onnx.load_from_string(model)
    held = {each.name: onnx.numpy_helper.to_array(each) for each in proto.graph.initializer}
    return proto, held


each_form = pytest.mark.parametrize("form", [*FORMS, *ROUNDED])
in_float32 = pytest.mark.parametrize("form", FORMS)


@in_float32
def test_every_form_answers_alike(bundles, form):
    merged, found = bundles["merged"], bundles[form]
    probes = Probes(merged.contract.feature_blocks)
    expected = merged.answers.astype(np.float64)
    scale = truth_of(merged.contract.tasks, expected, probes).scale
    bound = max(TOLERANCE, 2 * merged.contract.parity.float32_error)
    assert share_off(found.answers, expected, scale) <= bound


def holds(arrays, line_D):
    """Whether any line of any array, along any axis, is that line up to rounding in 16 bits."""
    for array in arrays:
        for axis in np.flatnonzero(np.array(array.shape) == len(line_D)):
            lines = np.moveaxis(array, axis, -1).reshape(-1, len(line_D)).astype(np.float64)
            if (np.abs(lines - line_D) <= 1e-2 * np.abs(line_D).max()).all(axis=1).any():
                return True
    return False


@each_form
def test_heads_that_nobody_asked_for_are_gone(run, bundles, form):
    found = bundles[form]
    arrays = [*found.model.values(), *found.adapters.values()]
    for selection in (Selection(), ONE):
        everything = freeze_run(run, selection=selection)
        heads = dict(zip((t.name for t in everything.tasks), everything.head.weight, strict=True))
        assert not holds(arrays, heads[UNASKED].numpy())
    assert all(holds(arrays, heads[name].numpy()) for name in TASKS)
    width = found.proto.graph.output[0].type.tensor_type.shape.dim[1].dim_value
    assert width == len(TASKS)
    assert UNASKED not in str(found.proto.metadata_props)


@each_form
def test_adapters_that_nobody_asked_for_are_gone(run, bundles, form):
    found, inner, outer = bundles[form], run.model.bank(SITE), run.model.bank(READOUT)
    arrays = [*found.model.values(), *found.adapters.values()]
    lines = {
        adapter: [holds(arrays, line.numpy()) for line in inner.down[adapter].detach()]
        for adapter in range(len(inner.down))
    }
    if form == "adapters":
        (kept,) = found.contract.compositions["mix"].kept[SITE]
        assert lines.pop(kept) == [True] * inner.rank
    assert not any(any(each) for each in lines.values())
    assert not any(holds(arrays, line.numpy()) for line in outer.down.detach().flatten(0, 1))
    named = {name for name in found.model if name.endswith((".down", ".up"))}
    assert named == {name for name in found.adapters if name.endswith((".down", ".up"))}
    assert len(named) == (2 if form == "adapters" else 0)


@in_float32
def test_the_graph_holds_the_numbers_of_its_network(run, bundles, form):
    found, names = bundles[form], [task.name for task in run.inputs.tasks]
    frozen = freeze_run(
        run, tasks=TASKS, composition_T=uniform_composition(TASKS, names), selection=ONE
    )
    tensors = restate(frozen).state_dict().values()
    held = sum(tensor.numel() for tensor in tensors if tensor.is_floating_point())
    count = count_numbers(found.proto)
    assert count == found.contract.parameters
    open_numbers = sum(array.size for array in found.adapters.values())
    assert 0.9 * held <= count <= held + open_numbers + 16


@each_form
def test_every_weight_is_read_on_the_way_to_an_answer(bundles, form):
    """Walked back from the outputs, so that no head can hide in a branch that leads nowhere."""
    graph = bundles[form].proto.graph
    needed = {value.name for value in graph.output}
    for node in reversed(graph.node):
        assert needed & set(node.output), f"{node.name} leads nowhere"
        needed |= set(node.input)
    assert {each.name for each in graph.initializer} <= needed

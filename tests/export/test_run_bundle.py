"""From a run to what a bundle is written from: heads, temperatures, the figure, what it records."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from graphadapt.errors import BundleError, ConfigError
from graphadapt.export import calibration, run_bundle, run_measures
from graphadapt.export.bundle import trace
from graphadapt.export.calibration import expected_calibration_error
from graphadapt.export.contract_parts import Calibration
from graphadapt.export.padding import BUCKETS
from graphadapt.export.probes import Probes
from graphadapt.export.restate import restate
from graphadapt.export.run_bundle import ExportOptions, export_compositions, export_run
from graphadapt.freeze import Selection, freeze
from graphadapt.objective.scoring import score_cells
from graphadapt.routing.composition import single_task
from graphadapt.run import Run


@pytest.fixture
def run(tiny_run):
    return Run.open(tiny_run)


@pytest.fixture
def written(monkeypatch):
    """What would be written, without the seconds of an export."""
    calls = []
    for name in ("write_bundle", "write_adapter_bundle"):
        monkeypatch.setattr(run_bundle, name, lambda *args, **named: calls.append((args, named)))
    return calls


def numbers(frozen):
    return sum(t.numel() for t in restate(frozen).state_dict().values() if t.is_floating_point())


def test_a_merged_network_holds_neither_adapters_nor_other_heads(run):
    merged = freeze(run.model, tasks=["potency"])
    everything = numbers(freeze(run.model))
    run.model.routing, run.model.banks = None, None
    assert numbers(merged) == numbers(freeze(run.model, tasks=["potency"]))
    assert everything - numbers(merged) == 2 * (merged.head.in_features + 1)


def test_temperatures_are_fitted_on_validation_cells_and_put_into_the_head(
    run, written, tmp_path, monkeypatch
):
    monkeypatch.setitem(calibration.FEWEST_CELLS, "temperature", 10)
    bare = freeze(run.model)
    _, frozen = export_run(run, tmp_path / "b", shown=False)
    (_, named), *_ = written
    found = named["notes"].calibration
    assert set(found) <= {"aromatic", "greasy"}
    assert found
    for name, part in found.items():
        column = [task.name for task in run.inputs.tasks].index(name)
        held = run.dataset.cells("valid")[:, column]
        assert part.cells == held.sum()
        rows = torch.from_numpy(np.flatnonzero(held))
        logits = frozen.double()(run.feed.table.gather(rows))[:, column].numpy()
        positive = run.dataset.labels[held, column] > 0.5
        probability = 1 / (1 + np.exp(-logits))
        after = expected_calibration_error(probability, positive)
        assert part.after == pytest.approx(after, abs=1e-4)
    assert torch.equal(frozen.head.weight[2].float(), bare.head.weight[2])
    written.clear()
    export_run(run, tmp_path / "b", options=ExportOptions(calibrate="none"), shown=False)
    assert written[0][1]["notes"].calibration == {}


def test_isotonic_tables_are_fitted_on_validation_cells_and_put_behind_the_head(
    run, written, tmp_path, monkeypatch
):
    options = ExportOptions(calibrate="isotonic")
    _, frozen = export_run(run, tmp_path / "b", options=options, shown=False)
    assert (frozen.calibration, written.pop()[1]["notes"].calibration) == (None, {})
    monkeypatch.setitem(calibration.FEWEST_CELLS, "isotonic", 10)
    _, frozen = export_run(run, tmp_path / "b", options=options, shown=False)
    found = written[0][1]["notes"].calibration
    assert found
    assert all(isinstance(part, Calibration) and part.logits for part in found.values())
    rows = torch.from_numpy(run.dataset.rows("valid"))
    batch = run.feed.table.gather(rows)
    logits, answers = frozen(batch).numpy(), frozen.answers(batch).numpy()
    for column, task in enumerate(frozen.tasks):
        if part := found.get(task.name):
            expected = np.interp(logits[:, column], part.logits, part.probabilities)
            np.testing.assert_allclose(answers[:, column], expected, atol=1e-5)
    assert restate(frozen).calibration is not frozen.calibration
    record = written[0][1]["notes"].metrics["calibration"]
    assert set(record["left_out"]) | set(found) == {"aromatic", "greasy"}
    columns = [column for column, task in enumerate(frozen.tasks) if task.kind == "binary"]
    cells, data = run.dataset.cells("valid"), run.dataset
    expected = score_cells(
        data, answers[:, columns], rows.numpy(), cells[rows.numpy()][:, columns], np.array(columns)
    )
    assert record["after"] == pytest.approx(expected.mean)
    assert record["after"]


def test_tasks_without_a_map_are_recorded_with_the_reason(run, written, tmp_path):
    export_run(run, tmp_path / "b", options=ExportOptions(calibrate="isotonic"), shown=False)
    record = written[0][1]["notes"].metrics["calibration"]
    assert (record["method"], record["fewest_cells"], record["after"]) == ("isotonic", 200, {})
    cells = run.dataset.cells("valid").sum(axis=0)
    for column, task in enumerate(("aromatic", "greasy")):
        assert record["left_out"][task].startswith(f"{cells[column]} cells, ")
    written.clear()
    export_run(run, tmp_path / "b", tasks=["potency"], shown=False)
    export_run(run, tmp_path / "b", options=ExportOptions(calibrate="none"), shown=False)
    assert not any("calibration" in named["notes"].metrics for _, named in written)


@pytest.mark.parametrize("word", [False, True, None, "platt"])
def test_a_calibration_that_there_is_not_is_refused(word):
    with pytest.raises(ConfigError, match="use one of 'temperature', 'isotonic', 'none'"):
        ExportOptions(calibrate=word)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"form": "onnx"}, r"form='onnx' cannot .* use one of 'merged', 'adapters', 'padded'"),
        ({"precision": "bf16"}, r"precision='bf16' cannot .* use one of 'fp32', 'fp16', 'int8'"),
        ({"form": "padded", "precision": "int8"}, "int8 is for CPUs and the padded form for GPUs"),
        ({"form": "adapters", "precision": "fp16"}, "adapter files are float32; leave"),
    ],
)
def test_what_cannot_be_exported_is_refused_before_any_run_is_read(words, message):
    with pytest.raises(ConfigError, match=message):
        ExportOptions(**words)


@pytest.fixture
def stray(tiny_run, tmp_path):
    """A run over a frozen backbone whose store is gone."""
    run = Run.open(tiny_run)
    gone = {"data.store": str(tmp_path / "gone"), "backbone.train": "frozen"}
    run.config = run.config.with_settings(gone)
    return run


def test_without_molecules_half_precision_is_unmeasured_and_wants_force(stray, written, tmp_path):
    with pytest.raises(BundleError, match=r"what fp16 costs is unmeasured \(.*gone.*take fp32, or"):
        export_run(stray, tmp_path / "b", options=ExportOptions(precision="fp16"), shown=False)
    options = ExportOptions(precision="fp16", form="padded", force=True)
    _, frozen = export_run(stray, tmp_path / "b", options=options, shown=False)
    ((_, named),) = written
    plain = restate(frozen)
    model = trace(plain, frozen, Probes(stray.inputs.blocks))
    rounded, precision = named["lower"](model, plain.reads, plain.outputs)
    assert len(rounded) < len(model)
    assert (precision.name, precision.loss, precision.forced) == ("fp16", {}, True)
    assert set(precision.unmeasured) == {"aromatic", "greasy", "potency"}
    assert all("gone" in reason for reason in precision.unmeasured.values())
    assert named["buckets"] is BUCKETS
    record = named["notes"].metrics["calibration"]
    assert record["left_out"] == dict.fromkeys(
        ("aromatic", "greasy"), "the run's molecules are not at hand"
    )


@pytest.mark.parametrize("force", [False, True])
def test_eight_bits_need_molecules_whatever_is_forced(stray, tmp_path, force):
    options = ExportOptions(precision="int8", force=force)
    with pytest.raises(BundleError, match="training molecules, which must be at hand, forced or"):
        export_run(stray, tmp_path / "b", options=options, shown=False)
    assert list(tmp_path.iterdir()) == []


def test_the_figure_is_fitted_on_training_molecules(run, written, tmp_path, monkeypatch):
    _, frozen = export_run(run, tmp_path / "b", shown=False)
    assert frozen.applicability is None  # 100 training molecules are the least
    assert written[0][1]["notes"].applicability.measure == "none"
    monkeypatch.setattr(run_measures, "FEWEST_MOLECULES", 10)
    _, frozen = export_run(run, tmp_path / "b", shown=False)
    rows = torch.from_numpy(run.dataset.rows("train"))
    outputs = frozen.outputs(run.feed.table.gather(rows))
    assert written[1][1]["notes"].applicability.molecules == len(rows)
    assert outputs.shape[1] == 4
    assert float(outputs[:, 3].mean()) == pytest.approx(0.5, abs=0.05)
    torch.testing.assert_close(outputs[:, :3], frozen.answers(run.feed.table.gather(rows)))
    options = ExportOptions(applicability=False)
    assert export_run(run, tmp_path / "b", options=options, shown=False)[1].applicability is None


def test_compositions_share_the_molecules_of_the_figure(run, monkeypatch):
    for name, count in {
        "FEWEST_MOLECULES": 10,
        "_TRAINING_MOLECULES": 32,
        "_LEAST_SHARE": 12,
    }.items():
        monkeypatch.setattr(run_measures, name, count)
    for networks, molecules in ((1, 32), (2, 16), (9, 12)):
        found = run_measures.measure(
            run, freeze(run.model), method="none", applicability=True, networks=networks
        )
        assert found.applicability.molecules == molecules
        assert found.has_molecules


def test_every_composition_is_frozen_and_measured_by_itself(run, written, tmp_path):
    names = [task.name for task in run.inputs.tasks]
    mixes = {name: single_task(name, names) for name in names[:2]}
    export_compositions(
        run, tmp_path / "b", mixes, tasks=["potency"], selection=Selection(top_m=1), shown=False
    )
    (models, _), named = written[0]
    assert {name: each.composition for name, each in models.items()} == {
        name: {name: 1.0} for name in mixes
    }
    assert all([task.name for task in each.tasks] == ["potency"] for each in models.values())
    assert named["notes"].selection == {"top_m": 1}
    assert set(named["notes"].metrics["freeze_gaps"]) == set(mixes)
    assert named["notes"].metrics["calibrations"] == {}  # potency is a number
    assert list(named["own"]) == list(mixes)
    assert not any(each.calibration for each in named["own"].values())


def without_labels(run, part):
    """The run, none of whose cells are of a part any more."""
    code = {"valid": 1}[part]
    split = np.where(run.dataset.split == code, np.uint8(255), run.dataset.split)
    run.dataset = replace(run.dataset, split=split)
    return run


def lower(run, frozen, tmp_path, *, force):
    """What ``export_run`` hands over to make a float32 file one of half precision."""
    plain = restate(frozen)
    probes = Probes(run.inputs.blocks)
    model = trace(plain, frozen, probes)
    options = ExportOptions(precision="fp16", force=force)
    return run_bundle._lowered(run, frozen, options, model, plain.reads, plain.outputs)


def test_a_precision_that_nobody_can_measure_is_refused_unless_forced(run, tmp_path):
    run = without_labels(run, "valid")
    frozen = freeze(run.model)
    with pytest.raises(BundleError, match=r"what fp16 costs is unmeasured: no task has a metric"):
        lower(run, frozen, tmp_path, force=False)
    _, precision = lower(run, frozen, tmp_path, force=True)
    assert precision.forced
    assert precision.loss == {}
    assert precision.unmeasured == dict.fromkeys(
        ("aromatic", "greasy", "potency"), "no labelled cell"
    )


def test_without_validation_cells_nothing_is_calibrated(run, written, tmp_path):
    export_run(without_labels(run, "valid"), tmp_path / "b", shown=False)
    notes = written[0][1]["notes"]
    assert notes.calibration == {}
    assert notes.metrics["freeze_gap"]["gap"] == {}


def test_force_reaches_whoever_writes(run, written, tmp_path):
    for force in (False, True):
        options = ExportOptions(precision="fp16", force=force)
        export_run(run, tmp_path / "b", options=options, shown=False)
    assert [named["force"] for _, named in written] == [False, True]


def test_compositions_need_names(run, tmp_path):
    for nameless in ({}, {"": single_task("greasy", ["aromatic", "greasy", "potency"])}):
        with pytest.raises(ConfigError, match="give one or more, and a name to each"):
            export_compositions(run, tmp_path / "b", nameless)


def test_where_there_is_nothing_to_switch_nothing_is_measured(run, tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("something was measured")

    monkeypatch.setattr(run_bundle, "measure", refuse)
    run.model.banks = None
    assert not run.model.sites
    mixes = {"one": single_task("greasy", [task.name for task in run.inputs.tasks])}
    with pytest.raises(ConfigError, match="every composition answers alike; export the merged"):
        export_compositions(run, tmp_path / "b", mixes)


def test_forms_that_do_not_go_together_are_refused(run, tmp_path):
    with pytest.raises(ConfigError, match="holds several compositions; name them"):
        export_run(run, tmp_path / "b", options=ExportOptions(form="adapters"))
    with pytest.raises(ConfigError, match="adapter files are float32"):
        export_compositions(run, tmp_path / "b", {}, options=ExportOptions(precision="fp16"))

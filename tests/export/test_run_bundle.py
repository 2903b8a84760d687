"""From a run to what a bundle is written from: heads, temperatures, the figure, what it records."""

import numpy as np
import pytest
import torch

from graphadapt.errors import ConfigError
from graphadapt.export import calibration, run_bundle
from graphadapt.export.calibration import expected_calibration_error
from graphadapt.export.restate import restate
from graphadapt.export.run_bundle import ExportOptions, export_compositions, export_run
from graphadapt.freeze import Selection, freeze
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
    monkeypatch.setattr(calibration, "FEWEST_CELLS", 10)
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
    export_run(run, tmp_path / "b", options=ExportOptions(calibrate=False), shown=False)
    assert written[0][1]["notes"].calibration == {}


def test_the_figure_is_fitted_on_training_molecules(run, written, tmp_path, monkeypatch):
    _, frozen = export_run(run, tmp_path / "b", shown=False)
    assert frozen.applicability is None  # 100 training molecules are the least
    assert written[0][1]["notes"].applicability.measure == "none"
    monkeypatch.setattr(run_bundle, "FEWEST_MOLECULES", 10)
    _, frozen = export_run(run, tmp_path / "b", shown=False)
    rows = torch.from_numpy(run.dataset.rows("train"))
    outputs = frozen.outputs(run.feed.table.gather(rows))
    assert written[1][1]["notes"].applicability.molecules == len(rows)
    assert outputs.shape[1] == 4
    assert float(outputs[:, 3].mean()) == pytest.approx(0.5, abs=0.05)
    torch.testing.assert_close(outputs[:, :3], frozen.answers(run.feed.table.gather(rows)))
    options = ExportOptions(applicability=False)
    assert export_run(run, tmp_path / "b", options=options, shown=False)[1].applicability is None


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


def test_forms_that_do_not_go_together_are_refused(run, tmp_path):
    with pytest.raises(ConfigError, match="holds several compositions; name them"):
        export_run(run, tmp_path / "b", options=ExportOptions(form="adapters"))
    with pytest.raises(ConfigError, match="adapter files are float32"):
        export_compositions(run, tmp_path / "b", {}, options=ExportOptions(precision="fp16"))

"""Bundles on disk: whole or not at all, and never over anything else."""

from pathlib import Path

import numpy as np
import onnx
import pytest

from graphadapt.errors import BundleError, ConfigError
from graphadapt.export import bundle as module
from graphadapt.export import bundle_folder
from graphadapt.export.bundle import BundleNotes, write_bundle
from graphadapt.export.bundle_folder import check_target
from graphadapt.export.contract import BundleContract, FileInfo
from graphadapt.export.contract_parts import Precision
from graphadapt.export.parity_record import Parity
from graphadapt.export.probes import PROBES
from graphadapt.export.reference import Reference
from graphadapt.export.repeated_runs import ParityPlan, Truth
from graphadapt.export.verify import verify_bundle
from graphadapt.molecules.features import FeatureBlock
from graphadapt.molecules.featurise import featurise_smiles
from graphadapt.serve.predictor import Predictor

QUICK = ParityPlan(repeats=1, batch_sizes=(1, 16), threads=(1,))


@pytest.fixture
def without_export(monkeypatch):
    """Skip the seconds that torch takes to export, and the proof."""
    parity = {"largest_error": 0.0, "tolerance": 1e-5, "repeats": 1, "batch_sizes": (1,)}
    parity |= {"threads": (1,), "molecules": 1, "provider": "CPUExecutionProvider"}
    proven = Parity(**parity), Truth(np.zeros((len(PROBES), 2)), np.ones((len(PROBES), 2)))
    empty = onnx.ModelProto(ir_version=9).SerializeToString()
    monkeypatch.setattr(module, "write_onnx", lambda *_: empty)
    monkeypatch.setattr(module, "prove_parity", lambda *_, **__: proven)


@pytest.fixture
def frozen(make_backbone, make_frozen):
    return make_frozen(make_backbone("gin", width=8, layers=2))


def test_a_bundle_answers_like_the_model_and_says_what_it_is(frozen, tmp_path):
    folder = tmp_path / "deep" / "bundle"
    contract = write_bundle(
        frozen,
        folder,
        notes=BundleNotes(selection={"mass": 0.9}, metrics={"rmse": 0.5}, origin={"run": "r"}),
        plan=QUICK,
    )
    files = ["bundle.json", "model.onnx", "probes.json"]
    assert sorted(path.name for path in folder.iterdir()) == files
    assert [path.name for path in folder.parent.iterdir()] == ["bundle"]
    assert contract.files == {name: FileInfo.of((folder / name).read_bytes()) for name in files[1:]}
    assert verify_bundle(folder, QUICK).largest_error <= contract.parity.allowed
    predictor = Predictor(folder, threads=1)
    assert predictor.contract == contract
    assert (contract.tasks, contract.composition) == (frozen.tasks, frozen.composition)
    assert (contract.selection, contract.metrics["rmse"]) == ({"mass": 0.9}, 0.5)
    assert {"torch", "onnx", "onnxruntime", "python"} <= set(contract.versions)
    expected = Reference(frozen).answer([featurise_smiles("CCO")])
    np.testing.assert_allclose(predictor.predict(["CCO"]).values, expected, rtol=1e-4)


@pytest.mark.usefixtures("without_export")
def test_a_bundle_is_replaced(frozen, tmp_path):
    folder = tmp_path / "bundle"
    for run in ("first", "second"):
        write_bundle(frozen, folder, notes=BundleNotes(origin={"run": run}))
        for name in ("tuning.json", "9.onnx_adapter", ".tuning.json.7"):
            (folder / name).write_text("of the bundle before")
    assert BundleContract.from_text((folder / "bundle.json").read_text()).origin["run"] == "second"
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]


@pytest.mark.usefixtures("without_export")
def test_what_the_user_keeps_beside_a_bundle_is_not_removed_with_it(frozen, tmp_path):
    folder = tmp_path / "bundle"
    write_bundle(frozen, folder)
    (folder / "answers.csv").write_text("mine")
    (folder / ".git").mkdir()
    with pytest.raises(BundleError, match=r"holds \.git, answers\.csv beside its bundle, .* move"):
        write_bundle(frozen, folder)
    assert (folder / "answers.csv").read_text() == "mine"
    (folder / "answers.csv").unlink()
    (folder / ".git").rmdir()
    write_bundle(frozen, folder)


def test_nothing_else_is_written_over(frozen, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("x")
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.tex").write_text("x")
    (tmp_path / "empty").mkdir()
    with pytest.raises(BundleError, match="file is a file; give a folder"):
        write_bundle(frozen, tmp_path / "file")
    with pytest.raises(BundleError, match="holds something other than a bundle"):
        write_bundle(frozen, tmp_path / "thesis")
    with pytest.raises(BundleError, match=r"cannot be written: .*file is a file"):
        check_target(tmp_path / "file" / "bundle")
    monkeypatch.chdir(tmp_path / "empty")
    with pytest.raises(BundleError, match="is the folder that you are in"):
        check_target(Path())
    monkeypatch.undo()
    check_target(tmp_path / "empty")
    check_target(tmp_path / "new")
    assert (tmp_path / "thesis" / "chapter.tex").read_text() == "x"


@pytest.mark.usefixtures("without_export")
def test_an_empty_folder_is_filled(frozen, tmp_path):
    write_bundle(frozen, tmp_path)
    assert (tmp_path / "bundle.json").is_file()


@pytest.mark.usefixtures("without_export")
def test_a_failure_leaves_the_old_bundle_as_it_was(frozen, tmp_path, monkeypatch):
    folder = tmp_path / "bundle"
    write_bundle(frozen, folder, notes=BundleNotes(origin={"run": "first"}))

    def fail(*_):
        raise OSError("no space left")

    monkeypatch.setattr(bundle_folder.os, "fsync", fail)
    with pytest.raises(OSError, match="no space left"):
        write_bundle(frozen, folder, notes=BundleNotes(origin={"run": "second"}))
    assert BundleContract.from_text((folder / "bundle.json").read_text()).origin["run"] == "first"
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]


class Stubborn:
    """Renames fail from the second on, of so many folders."""

    def __init__(self, monkeypatch, failing):
        self.failing, self.calls, self.rename = failing, 0, Path.replace
        monkeypatch.setattr(Path, "replace", lambda path, target: self(path, target))

    def __call__(self, path, target):
        self.calls += 1
        if 1 < self.calls <= 1 + self.failing:
            raise OSError(5, "Input/output error", str(target))
        return self.rename(path, target)


@pytest.mark.usefixtures("without_export")
def test_a_bundle_that_cannot_be_put_in_place_leaves_the_old_one(frozen, tmp_path, monkeypatch):
    folder = tmp_path / "bundle"
    write_bundle(frozen, folder, notes=BundleNotes(origin={"run": "first"}))
    Stubborn(monkeypatch, failing=1)
    with pytest.raises(OSError, match="Input/output"):
        write_bundle(frozen, folder, notes=BundleNotes(origin={"run": "second"}))
    assert BundleContract.from_text((folder / "bundle.json").read_text()).origin["run"] == "first"
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]


@pytest.mark.usefixtures("without_export")
def test_an_old_bundle_that_cannot_be_put_back_is_kept_and_named(frozen, tmp_path, monkeypatch):
    folder = tmp_path / "bundle"
    write_bundle(frozen, folder, notes=BundleNotes(origin={"run": "first"}))
    Stubborn(monkeypatch, failing=2)
    with pytest.raises(BundleError, match=r"what was there is kept in (\S+)") as caught:
        write_bundle(frozen, folder, notes=BundleNotes(origin={"run": "second"}))
    kept = Path(str(caught.value).rpartition(" ")[2])
    assert BundleContract.from_text((kept / "bundle.json").read_text()).origin["run"] == "first"


@pytest.mark.usefixtures("without_export")
def test_a_link_to_a_bundle_stays_a_link(frozen, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "bundle").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    for run in ("first", "second"):
        write_bundle(frozen, tmp_path / "bundle", notes=BundleNotes(origin={"run": run}))
    assert (tmp_path / "bundle").is_symlink()
    text = (tmp_path / "elsewhere" / "bundle.json").read_text()
    assert BundleContract.from_text(text).origin["run"] == "second"


def test_a_file_that_is_not_equal_is_not_written(frozen, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "write_onnx", lambda *_: b"onnx")

    def refuse(*_, **__):
        raise BundleError("off by 1")

    monkeypatch.setattr(module, "prove_parity", refuse)
    with pytest.raises(BundleError, match="off by 1"):
        write_bundle(frozen, tmp_path / "bundle")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("off", "lossy", "forced"), [(0.01, False, False), (0.08, False, True), (0.01, True, True)]
)
def test_a_file_is_forced_if_its_metrics_or_its_probes_are_beyond_their_bounds(
    frozen, tmp_path, monkeypatch, off, lossy, forced
):
    calls = []

    def prove(*_, **named):
        calls.append(named)
        parity = Parity(
            largest_error=off,
            tolerance=0.05,
            repeats=1,
            batch_sizes=(1,),
            threads=(1,),
            molecules=1,
            provider="CPUExecutionProvider",
        )
        return parity, Truth(np.zeros((len(PROBES), 2)), np.ones((len(PROBES), 2)))

    def lower(model, reads, outputs):
        return model, Precision(name="fp16", loss={"ap": 0.0}, forced=lossy)

    empty = onnx.ModelProto(ir_version=9).SerializeToString()
    monkeypatch.setattr(module, "write_onnx", lambda *_: empty)
    monkeypatch.setattr(module, "check_model", lambda *_: None)
    monkeypatch.setattr(module, "prove_parity", prove)
    contract = write_bundle(frozen, tmp_path / "b", lower=lower, force=True)
    assert contract.precision.forced == forced
    assert (calls[0]["precision"], calls[0]["force"]) == ("fp16", True)


def test_features_that_do_not_fit_are_counted(frozen, tmp_path):
    with pytest.raises(ConfigError, match=r"reads 0 .* features, the feature blocks make 16"):
        write_bundle(frozen, tmp_path / "b", feature_blocks=[FeatureBlock(kind="counts", size=16)])


def test_a_place_that_cannot_be_written_is_refused_before_any_work(tmp_path, monkeypatch):
    monkeypatch.setattr("os.access", lambda place, mode: False)
    with pytest.raises(BundleError, match=r"new cannot be written: .* is read-only"):
        check_target(tmp_path / "deep" / "new")

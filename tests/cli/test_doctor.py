"""The doctor reports what is there, and its exit code says whether anything cannot work."""

import json
import subprocess
import sys

from click.testing import CliRunner

from graphadapt.cli import main
from graphadapt.environment import examination
from graphadapt.environment.packages import Package, packages
from graphadapt.environment.providers import Provider

TORCH_FREE = """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "dgl", "ogb"):
            raise ModuleNotFoundError(f"{name} is blocked", name=name)
sys.meta_path.insert(0, Blocked())
import importlib.util
find = importlib.util.find_spec
importlib.util.find_spec = lambda name, *rest: None if name == "torch" else find(name, *rest)
from graphadapt.environment import packages
held = packages._installed
packages._installed = lambda name: "" if name in ("torch", "dgl", "ogb") else held(name)
from graphadapt.cli import main
main(["doctor", *sys.argv[1:]])
"""


def doctor(*arguments):
    return CliRunner().invoke(main, ["doctor", *arguments])


def with_packages(monkeypatch, **versions):
    """Pretend other versions; an empty one is not installed."""
    changed = tuple(
        Package(p.name, p.extra, p.wanted, versions.get(p.name.replace("-", "_"), p.installed))
        for p in packages()
    )
    monkeypatch.setattr(examination, "packages", lambda: changed)


def test_this_environment_is_sound_and_shown_with_its_versions():
    result = doctor("train", "export", "serve")
    assert result.exit_code == 0, result.output
    assert "No faults." in result.output
    for package in packages():
        assert package.name in result.output
        assert package.installed in result.output


def test_json_says_what_auto_takes_and_what_answers():
    found = json.loads(doctor("--json").output)
    assert found["sound"] is True
    assert found["torch"]["threads"] >= 1
    assert {kernels["device"] for kernels in found["kernels"]} == {"cpu", "cuda"}
    assert found["kernels"][0]["name"] == "dgl"
    usable = {provider["name"] for provider in found["providers"] if provider["usable"]}
    assert "CPUExecutionProvider" in usable


def test_dgl_beside_a_current_torch_is_reported_as_repaired():
    assert "DGL: imports with its data loader left out" in doctor().output


def test_an_extra_that_is_missing_is_a_fault_only_if_asked_for(monkeypatch):
    with_packages(monkeypatch, onnx="", onnxscript="")
    assert doctor().exit_code == 0
    result = doctor("export")
    assert result.exit_code == 1
    assert "FAULT  onnx: missing; pip install 'graphadapt[export]'" in result.output
    assert "2 faults." in result.output


def test_both_runtimes_over_each_other_are_a_fault(monkeypatch):
    with_packages(monkeypatch, onnxruntime="1.31.1", onnxruntime_gpu="1.31.1")
    result = doctor()
    assert result.exit_code == 1
    assert "the CPU files win" in result.output


def test_a_gpu_runtime_without_gpu_is_a_fault_only_if_asked_for(monkeypatch):
    with_packages(monkeypatch, onnxruntime="", onnxruntime_gpu="1.31.1")
    found = (
        Provider("CUDAExecutionProvider", False, "libcudnn.so.9 is missing"),
        Provider("CPUExecutionProvider", True),
    )
    monkeypatch.setattr(examination, "usable_providers", lambda: found)
    result = doctor()
    assert result.exit_code == 0
    assert "NOTE  onnxruntime-gpu: no session runs on CUDA (libcudnn.so.9 is missing)" in (
        result.output
    )
    assert doctor("serve-gpu").exit_code == 1


def test_a_version_outside_the_tested_range_is_noted(monkeypatch):
    with_packages(monkeypatch, torch="2.99.0+cu130")
    result = doctor("train")
    assert result.exit_code == 0
    assert "NOTE  torch 2.99.0+cu130: outside the tested range >=2.11,<=" in result.output


def test_an_unknown_extra_lists_those_that_exist():
    result = doctor("gpu")
    assert result.exit_code == 1
    assert "no extra 'gpu'; there are export, serve, serve-gpu, test, train" in result.stderr


def test_it_works_where_torch_is_not_installed():
    run = [sys.executable, "-c", TORCH_FREE]
    done = subprocess.run([*run, "serve"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "torch: none, so no training and no export" in done.stdout
    assert "ONNX Runtime CPUExecutionProvider: usable" in done.stdout
    assert subprocess.run([*run, "train"], capture_output=True).returncode == 1

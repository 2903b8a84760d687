"""A provider counts as usable only if a session runs on it and answers."""

import sys
from types import SimpleNamespace

import numpy as np
import onnx
import onnxruntime
import pytest
from onnxruntime.capi.onnxruntime_pybind11_state import EPFail, Fail, RuntimeException

from graphadapt.environment import providers
from graphadapt.environment.providers import IDENTITY_MODEL, Provider, usable_providers
from graphadapt.errors import DependencyError


def test_the_model_is_one_valid_identity():
    model = onnx.load_model_from_string(IDENTITY_MODEL)
    onnx.checker.check_model(model)
    assert [node.op_type for node in model.graph.node] == ["Identity"]
    session = onnxruntime.InferenceSession(IDENTITY_MODEL, providers=["CPUExecutionProvider"])
    np.testing.assert_array_equal(session.run(None, {"x": np.float32([2.5])})[0], [2.5])


def test_every_offered_provider_is_tried():
    found = usable_providers()
    assert [p.name for p in found] == onnxruntime.get_available_providers()
    assert Provider("CPUExecutionProvider", True) in found


def test_a_session_that_fell_back_to_the_cpu_is_not_counted(monkeypatch):
    class Fallen:
        def __init__(self, *arguments, **settings):
            pass

        def run(self, names, inputs):
            return [inputs["x"]]

        def get_providers(self):
            return ["CPUExecutionProvider"]

    monkeypatch.setattr(onnxruntime, "InferenceSession", Fallen)
    found = providers._try("CUDAExecutionProvider")
    assert not found.usable
    assert found.problem == "its libraries or device are missing; it ran on CPUExecutionProvider"


@pytest.mark.parametrize("kind", [RuntimeError, ValueError, EPFail, Fail, RuntimeException])
def test_a_provider_that_fails_gives_its_reason(monkeypatch, kind):
    def fail(*arguments, **settings):
        raise kind("libcudart.so.13 not found\nmore")

    monkeypatch.setattr(onnxruntime, "InferenceSession", fail)
    found = providers._try("CUDAExecutionProvider")
    assert found == Provider("CUDAExecutionProvider", False, "libcudart.so.13 not found")


@pytest.mark.parametrize(
    ("code", "problem"),
    [
        ("raise SystemExit('libcuda broke')", "libcuda broke"),
        ("import os; os._exit(139)", "exit code 139"),
    ],
)
def test_a_runtime_that_breaks_its_process_is_an_error(monkeypatch, code, problem):
    real = providers.subprocess.run
    broken = SimpleNamespace(
        run=lambda command, **settings: real([sys.executable, "-c", code], **settings),
        TimeoutExpired=providers.subprocess.TimeoutExpired,
    )
    monkeypatch.setattr(providers, "subprocess", broken)
    with pytest.raises(DependencyError, match=f"cannot be used: {problem}"):
        usable_providers()


def test_a_runtime_that_hangs_is_an_error(monkeypatch):
    monkeypatch.setattr(providers, "PROBE_SECONDS", 0.01)
    with pytest.raises(DependencyError, match="did not open a model of one node"):
        usable_providers()

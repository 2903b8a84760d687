"""Sessions that run where they were asked to, or not at all."""

import sys
from types import SimpleNamespace

import onnx
import onnxruntime
import pytest

from graphadapt.environment.providers import IDENTITY_MODEL
from graphadapt.errors import DependencyError
from graphadapt.export import session as module
from graphadapt.export.session import CPU, open_session

CUDA = "CUDAExecutionProvider"


def test_a_session_on_the_cpu_has_the_threads_asked_for():
    session = open_session(IDENTITY_MODEL, (CPU,), 2)
    options = session.get_session_options()
    assert session.get_providers() == [CPU]
    assert options.intra_op_num_threads == 2
    assert options.get_session_config_entry("session.force_spinning_stop") == "1"


def test_a_provider_that_is_not_installed_is_named():
    with pytest.raises(DependencyError, match=r"has no NoSuchProvider; it has .*CPUExecution"):
        open_session(IDENTITY_MODEL, ("NoSuchProvider",))


def test_a_silent_fall_back_to_the_cpu_is_an_error(monkeypatch):
    loaded = []
    runtime = SimpleNamespace(
        __version__="1",
        get_available_providers=lambda: [CUDA, CPU],
        preload_dlls=lambda: loaded.append(True),
        GraphOptimizationLevel=onnxruntime.GraphOptimizationLevel,
        SessionOptions=lambda: SimpleNamespace(add_session_config_entry=lambda *_: None),
        InferenceSession=lambda *_, **__: SimpleNamespace(get_providers=lambda: [CPU]),
    )
    monkeypatch.setattr(module, "onnx_runtime", lambda: runtime)
    with pytest.raises(DependencyError, match=f"{CUDA} was asked for but did not start; .*{CPU}"):
        open_session(b"", (CUDA, CPU))
    assert loaded == [True]
    assert open_session(b"", (CPU,)).get_providers() == [CPU]


def test_a_provider_may_be_known_only_once_its_libraries_are_loaded(monkeypatch, capsys):
    known = [CPU]

    def preload():
        known.insert(0, CUDA)
        print("a library was not found")

    runtime = SimpleNamespace(
        __version__="1",
        get_available_providers=lambda: known,
        preload_dlls=preload,
        GraphOptimizationLevel=onnxruntime.GraphOptimizationLevel,
        SessionOptions=lambda: SimpleNamespace(add_session_config_entry=lambda *_: None),
        InferenceSession=lambda *_, **__: SimpleNamespace(get_providers=lambda: known),
    )
    monkeypatch.setattr(module, "onnx_runtime", lambda: runtime)
    assert open_session(b"", (CUDA, CPU)).get_providers() == [CUDA, CPU]
    printed = capsys.readouterr()
    assert (printed.out, printed.err) == ("", "a library was not found\n")


def test_a_model_that_this_runtime_cannot_open_says_why():
    newer = onnx.load_from_string(IDENTITY_MODEL)
    newer.ir_version = 9999
    version = onnxruntime.__version__
    with pytest.raises(
        DependencyError, match=rf"ONNX Runtime {version} cannot open the model: .*IR"
    ):
        open_session(newer.SerializeToString())
    with pytest.raises(DependencyError, match="cannot open the model: "):
        open_session(b"no model at all")


def test_a_missing_runtime_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(DependencyError, match=r"install graphadapt\[serve\]"):
        open_session(IDENTITY_MODEL)

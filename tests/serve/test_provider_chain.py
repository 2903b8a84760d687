"""What a session says of itself decides, and strict mode passes nothing over."""

from pathlib import Path
from types import SimpleNamespace

import onnxruntime
import pytest

from graphadapt.environment.providers import IDENTITY_MODEL
from graphadapt.errors import ConfigError, DependencyError
from graphadapt.export import session as session_module
from graphadapt.export.session import CPU, CUDA, TENSORRT, SessionSettings
from graphadapt.serve import provider_chain as module
from graphadapt.serve.provider_chain import device_options, open_chain, provider_chain
from graphadapt.serve.shape_profile import ShapeProfile


class Runtime:
    """An ONNX Runtime of a machine where some of its providers start and others do not.

    As the real one, it opens a session on those behind a provider that cannot start, and may know
    of providers only once their libraries are loaded.
    """

    __version__ = "9.9"
    GraphOptimizationLevel = onnxruntime.GraphOptimizationLevel

    def __init__(self, available, starting, raising=(), *, hidden=(), refuses_graphs=False):
        self.available, self.starting, self.raising = available, starting, raising
        self.hidden, self.refuses_graphs = hidden, refuses_graphs
        self.opened, self.asked = [], []

    def get_all_providers(self):
        return [TENSORRT, CUDA, CPU]

    def get_available_providers(self):
        return [name for name in self.available if name not in self.hidden]

    def preload_dlls(self):
        print("libcudart was not found")
        self.hidden = ()

    def SessionOptions(self):  # noqa: N802
        return SimpleNamespace(add_session_config_entry=lambda *_: None)

    def InferenceSession(self, model, options, *, providers, provider_options, enable_fallback):  # noqa: N802
        assert enable_fallback == 0
        self.asked.append(options)
        if providers[0] in self.raising:
            raise RuntimeError(f"{providers[0]}: no device\nstack")
        captures = any(each.get("enable_cuda_graph") == "1" for each in provider_options)
        if self.refuses_graphs and captures:
            raise RuntimeError("a node has not been partitioned to CUDA")
        self.opened.append((providers, provider_options))
        running = [name for name in providers if name in self.starting]
        return SimpleNamespace(get_providers=lambda: running)


@pytest.fixture
def machine(monkeypatch, tmp_path):
    monkeypatch.setenv("GRAPHADAPT_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("NVIDIA_TF32_OVERRIDE", raising=False)

    def make(*args, **settings):
        runtime = Runtime(*args, **settings)
        monkeypatch.setattr(session_module, "onnx_runtime", lambda: runtime)
        monkeypatch.setattr(module, "onnx_runtime", lambda: runtime)
        return runtime

    return make


def test_the_first_that_starts_serves(machine):
    machine([CUDA, CPU], {CUDA, CPU})
    opened = open_chain(b"", (CUDA, CPU))
    assert opened.providers == (CUDA, CPU)
    assert opened.passed_over == ()


@pytest.mark.parametrize("raising", [(), (CUDA,)])
def test_one_that_does_not_start_is_passed_over_with_its_reason(machine, raising):
    machine([CUDA, CPU], {CPU}, raising)
    opened = open_chain(b"", (CUDA, CPU))
    assert opened.providers == (CPU,)
    assert len(opened.passed_over) == 1
    assert CUDA in opened.passed_over[0]
    assert "did not start" in opened.passed_over[0]


def test_one_that_is_not_built_in_is_passed_over(machine):
    machine([CPU], {CPU})
    opened = open_chain(b"", (TENSORRT, CUDA, CPU))
    assert opened.providers == (CPU,)
    for name, reason in zip((TENSORRT, CUDA), opened.passed_over, strict=True):
        assert f"has no {name}" in reason


def test_a_device_keeps_the_rest_of_the_chain_behind_it(machine):
    runtime = machine([CUDA, CPU], {CUDA, CPU})
    open_chain(b"", (CUDA,), graphs=True)
    assert runtime.opened == [([CUDA, CPU], [{"use_tf32": "0", "enable_cuda_graph": "1"}, {}])]


@pytest.mark.parametrize("chain", [(TENSORRT,), (TENSORRT, CUDA), (TENSORRT, CPU)])
def test_tensorrt_keeps_cuda_behind_it_and_neither_captures(machine, chain):
    runtime = machine([TENSORRT, CUDA, CPU], {TENSORRT, CUDA, CPU})
    opened = open_chain(b"", chain, graphs=True, half=True)
    assert (opened.providers[0], opened.records) == (TENSORRT, False)
    ((providers, (tensorrt, cuda, cpu)),) = runtime.opened
    assert providers == [TENSORRT, CUDA, CPU]
    assert tensorrt["trt_cuda_graph_enable"] == "0", "its one graph would be replayed for all"
    assert (cuda, cpu) == ({"use_tf32": "0", "enable_cuda_graph": "0"}, {})


def test_tensorrt_is_told_the_shapes_and_where_engines_lie(machine, tmp_path):
    runtime = machine([TENSORRT, CUDA, CPU], {TENSORRT, CUDA, CPU})
    profile = ShapeProfile({"x": (1, 9)}, {"x": (4, 9)}, {"x": (8, 9)})
    for model in (b"one", b"other"):
        open_chain(model, (TENSORRT,), half=True, profile=profile)
    (_, (first, *_)), (_, (second, *_)) = runtime.opened
    assert first["trt_profile_min_shapes"] == "x:1x9"
    assert first["trt_profile_opt_shapes"] == "x:4x9"
    assert first["trt_profile_max_shapes"] == "x:8x9"
    assert (first["trt_fp16_enable"], first["trt_engine_cache_enable"]) == ("1", "1")
    folders = {each["trt_engine_cache_path"] for each in (first, second)}
    assert len(folders) == 2, "engines are told apart by names of nodes, not by weights"
    assert all((tmp_path / "cache" / "tensorrt") in Path(each).parents for each in folders)


def test_tensorrt_computes_float32_only_without_tf32(machine, monkeypatch):
    runtime = machine([TENSORRT, CUDA, CPU], {TENSORRT, CUDA, CPU})
    opened = open_chain(b"", (TENSORRT, CUDA))
    assert opened.providers[0] == CUDA
    assert "set NVIDIA_TF32_OVERRIDE=0" in opened.passed_over[0]
    with pytest.raises(DependencyError, match="--precision fp16"):
        open_chain(b"", (TENSORRT,), strict=True)
    monkeypatch.setenv("NVIDIA_TF32_OVERRIDE", "0")
    assert open_chain(b"", (TENSORRT,)).providers[0] == TENSORRT
    assert runtime.opened[-1][1][0]["trt_fp16_enable"] == "0"


def test_cuda_captures_where_tensorrt_does_not_start(machine):
    runtime = machine([TENSORRT, CUDA, CPU], {CUDA, CPU}, (TENSORRT,))
    opened = open_chain(b"", (TENSORRT, CUDA), graphs=True)
    assert opened.providers == (CUDA, CPU)
    ((providers, (options, _)),) = runtime.opened
    assert (providers, options["enable_cuda_graph"]) == ([CUDA, CPU], "1")
    assert opened.records


@pytest.mark.parametrize(("version", "records"), [("1.29.1", False), ("1.30.0", True)])
def test_nothing_is_recorded_by_versions_that_replay_it_wrongly(machine, version, records):
    runtime = machine([CUDA, CPU], {CUDA, CPU})
    runtime.__version__ = version
    opened = open_chain(b"", (CUDA,), strict=True, graphs=True)
    assert (opened.providers, opened.records) == ((CUDA, CPU), records)
    assert runtime.opened[-1][1][0]["enable_cuda_graph"] == str(int(records))
    assert len(opened.passed_over) == (not records)
    if not records:
        assert "ONNX Runtime 1.29.1 would replay them wrongly" in opened.passed_over[0]


def test_a_gpu_that_cannot_record_a_model_still_serves(machine):
    runtime = machine([CUDA, CPU], {CUDA, CPU}, refuses_graphs=True)
    opened = open_chain(b"", (CUDA, CPU), graphs=True)
    assert (opened.providers, opened.records) == ((CUDA, CPU), False)
    assert "no CUDA graphs are recorded: " in opened.passed_over[0]
    assert "has not been partitioned" in opened.passed_over[0]
    assert runtime.opened[-1][1][0]["enable_cuda_graph"] == "0"


def test_libraries_are_loaded_before_providers_are_looked_for(machine, capsys):
    machine([CUDA, CPU], {CUDA, CPU}, hidden=[CUDA])
    assert open_chain(b"", (CUDA, CPU)).providers == (CUDA, CPU)
    assert capsys.readouterr().out == "", "results go there"


def test_each_provider_has_settings_of_its_own(machine):
    runtime = machine([CUDA, CPU], {CPU}, (CUDA,))
    settings = {CUDA: SessionSettings(threads=3), CPU: SessionSettings(threads=2)}
    open_chain(b"", (CUDA, CPU), settings)
    assert [each.intra_op_num_threads for each in runtime.asked] == [3, 2]


@pytest.mark.parametrize("available", [[CPU], [CUDA, CPU]])
def test_strict_mode_fails_rather_than_falls_back(machine, available):
    machine(available, {CPU})
    with pytest.raises(DependencyError, match=f"{CUDA}.*leave strict mode out to fall back"):
        open_chain(b"", (CUDA, CPU), strict=True)
    with pytest.raises(DependencyError, match=CUDA) as alone:
        open_chain(b"", (CUDA,), strict=True)
    assert "strict" not in str(alone.value), "there is nothing to fall back to"


def test_a_chain_that_ends_without_a_provider_says_why_of_each(machine):
    machine([CUDA, CPU], {CPU})
    with pytest.raises(DependencyError, match=rf"has no {TENSORRT}.*; {CUDA} was asked for but"):
        open_chain(b"", (TENSORRT, CUDA))


def test_a_slip_of_the_pen_is_never_passed_over(machine):
    machine([CPU], {CPU})
    with pytest.raises(DependencyError, match="has no CudaProvider"):
        open_chain(b"", ("CudaProvider", CPU))


def test_an_empty_chain_is_refused():
    with pytest.raises(ConfigError, match="name at least one"):
        open_chain(IDENTITY_MODEL, ())


def test_this_machine_answers_on_the_cpu():
    settings = SessionSettings(threads=2, arena=False, optimisation="basic")
    opened = open_chain(IDENTITY_MODEL, provider_chain(["gpu"]), {CPU: settings})
    options = opened.session.get_session_options()
    assert opened.providers[-1] == CPU
    assert options.intra_op_num_threads == 2
    assert not options.enable_cpu_mem_arena
    assert options.graph_optimization_level == onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC


@pytest.mark.parametrize(
    ("asked", "names"),
    [
        (None, (CPU,)),
        (["CPU"], (CPU,)),
        (["tensorrt", "gpu"], (TENSORRT, CUDA, CPU)),
        ([CUDA, "cuda", CPU], (CUDA, CPU)),
    ],
)
def test_short_names_stand_for_onnx_runtimes(asked, names):
    assert provider_chain(asked) == names


def test_float32_products_are_never_rounded_to_tf32_and_graphs_need_fixed_shapes():
    assert device_options((CUDA, CPU), graphs=True) == {
        CUDA: {"use_tf32": "0", "enable_cuda_graph": "1"}
    }
    assert device_options((CUDA,), graphs=False)[CUDA]["enable_cuda_graph"] == "0"
    assert device_options((CPU,), graphs=True) == {}
    behind = device_options((TENSORRT, CUDA), graphs=True)
    assert behind[CUDA]["enable_cuda_graph"] == behind[TENSORRT]["trt_cuda_graph_enable"] == "0"


@pytest.mark.parametrize("settings", [{"threads": 0}, {"threads": 1.5}, {"optimisation": "most"}])
def test_session_settings_that_cannot_work_are_refused(settings):
    with pytest.raises(ConfigError):
        SessionSettings(**settings)

"""Engines of one model never serve another, and are built anew where they cannot be kept."""

from graphadapt.serve import tensorrt as module
from graphadapt.serve.tensorrt import engine_folder, tensorrt_options


def test_engines_are_kept_by_content_and_by_who_built_them(monkeypatch, tmp_path):
    monkeypatch.setenv("GRAPHADAPT_CACHE", str(tmp_path))
    before = engine_folder(b"model")
    assert engine_folder(b"model") == before
    assert engine_folder(b"other") != before
    monkeypatch.setattr(module, "version", lambda name: "10.9")
    assert engine_folder(b"model") != before
    assert engine_folder(b"model").name.endswith("-10.9-10.9-10.9")


def test_where_nothing_can_be_kept_engines_are_built_with_every_start(monkeypatch, tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("no folder")
    monkeypatch.setenv("GRAPHADAPT_CACHE", str(blocked))
    assert tensorrt_options(b"model", half=True) == {"trt_fp16_enable": "1"}
    monkeypatch.setenv("GRAPHADAPT_CACHE", str(tmp_path / "new"))
    options = tensorrt_options(b"model", half=False)
    assert options.pop("trt_fp16_enable") == "0"
    folder = str(engine_folder(b"model"))
    assert options == {
        "trt_engine_cache_enable": "1",
        "trt_engine_cache_path": folder,
        "trt_timing_cache_enable": "1",
        "trt_timing_cache_path": folder,
    }
    assert engine_folder(b"model").is_dir()

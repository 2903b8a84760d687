"""The Triton kernels in Triton's interpreter, through its compiler, and on a GPU if there is one.

The interpreter is chosen by an environment variable before Triton is imported, for the whole
process: so its claims run in a process of their own.
"""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from graphadapt.errors import DependencyError
from graphadapt.graphs import triton_bridge
from graphadapt.graphs.message_passing import message_kernels

CLAIMS = Path(__file__).with_name("triton_claims.py")
HAS_TRITON = importlib.util.find_spec("triton") is not None
needs_triton = pytest.mark.skipif(not HAS_TRITON, reason="needs Triton: pip install triton")
needs_gpu = pytest.mark.skipif(
    not triton_bridge.triton_supports("cuda") or not torch.cuda.is_available(),
    reason="needs a GPU that Triton compiles for",
)


def run_claims(environment):
    command = [
        sys.executable,
        "-m",
        "pytest",
        str(CLAIMS),
        "-q",
        "--tb=short",
        "-p",
        "no:cacheprovider",
    ]
    done = subprocess.run(
        command, env=environment, cwd=CLAIMS.parents[2], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    assert " passed" in done.stdout
    assert "skipped" not in done.stdout


@needs_triton
def test_the_claims_hold_in_the_interpreter():
    run_claims({**os.environ, "TRITON_INTERPRET": "1", "CUDA_VISIBLE_DEVICES": ""})


@needs_gpu
def test_the_claims_hold_on_the_gpu():
    run_claims({name: v for name, v in os.environ.items() if name != "TRITON_INTERPRET"})


PROGRAMS = {
    "triton_message_programs": {
        "message_sum": "x bond:f32 source:i code:i offsets:i weight:f32 out num_nodes:n",
        "node_gradient": "x bond:f32 gradient target:i code:i offsets:i weight:f32 out num_nodes:n",
        "bond_gradient": (
            "x bond:f32 gradient source:i target:i code:i weight:f32 part:f32 num_edges:n"
        ),
        "weight_gradient": "x bond:f32 gradient source:i target:i code:i out:f32 num_edges:n",
    },
    "triton_segments": {"_segment_sum": "x offsets:i out"},
    "triton_norm_programs": {
        "statistic_parts": "x count_of:i mean_part:f32 square_part:f32",
        "join_parts": (
            "mean_part:f32 square_part:f32 count_of:i mean:f32 rate:f32 variance:f32 parts:n"
        ),
        "normalise": "x count_of:i mean:f32 rate:f32 weight:f32 bias:f32 out num_rows:n",
        "gradient_parts": "x count_of:i mean:f32 rate:f32 gradient bias_part:f32 weight_part:f32",
        "row_gradient": (
            "x count_of:i mean:f32 rate:f32 weight:f32 gradient bias_gradient:f32 "
            "weight_gradient:f32 out num_rows:n"
        ),
    },
}
"""Arguments of every program: what flows, or f32 tables, i indices, n numbers."""

CONSTANTS = {
    "WIDTH": 300,
    "IS_WEIGHTED": True,
    "NODES": 16,
    "EDGES": 32,
    "ROWS": 32,
    "COLUMNS": 64,
    "BLOCKS": 16,
    "CODES": 64,
    "PARTS": 64,
    "PART_ROWS": 256,
    "EPSILON": 1e-5,
}


ALL_PROGRAMS = [(module, name) for module, names in PROGRAMS.items() for name in names]


@needs_triton
@pytest.mark.parametrize(
    ("module", "program", "flow"),
    [
        *((*program, "bf16") for program in ALL_PROGRAMS),
        ("triton_message_programs", "bond_gradient", "fp32"),
    ],
)
def test_every_program_compiles_for_a_gpu_without_one(module, program, flow, monkeypatch, tmp_path):
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    from triton import language as tl
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource, compile

    function = getattr(importlib.import_module(f"graphadapt.graphs.{module}"), program)
    kinds = {"f32": "*fp32", "i": "*i64", "n": "i32", "": f"*{flow}"}
    signature = {}
    for argument in PROGRAMS[module][program].split():
        name, _, kind = argument.partition(":")
        signature[name] = kinds[kind]
    known = {**CONSTANTS, "SUM": tl.float32}
    known["PRODUCT"] = {"bf16": tl.bfloat16, "fp32": tl.float32}[flow]
    constants = {name: known[name] for name in function.arg_names if name.isupper()}
    assert [*signature, *constants] == function.arg_names
    source = ASTSource(function, signature | dict.fromkeys(constants, "constexpr"), constants)
    target = GPUTarget("cuda", 90, 32)
    compiled = compile(source, target, options={"num_warps": 4, "enable_fp_fusion": True})
    assert compiled.asm["cubin"]
    assert compiled.metadata.shared < 100_000
    assert "atom" not in compiled.asm["ptx"]


def test_a_cpu_has_no_triton_kernels_without_the_interpreter(monkeypatch):
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    with pytest.raises(DependencyError, match=r"'cpu' was given; set backbone.message_passing to"):
        triton_bridge.load_triton_kernels("cpu")
    with pytest.raises(DependencyError, match="TRITON_INTERPRET=1 runs its kernels on a CPU"):
        message_kernels("triton", "cpu")


def test_other_devices_have_none_either():
    with pytest.raises(
        DependencyError, match="Triton compiles for a GPU, and 'meta' was given; set"
    ):
        triton_bridge.load_triton_kernels("meta")


def test_a_missing_triton_is_named(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(DependencyError, match="Triton is not installed; install the version that"):
        triton_bridge.load_triton_kernels("cuda")


def test_a_broken_triton_is_named_and_auto_does_without(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    monkeypatch.setitem(sys.modules, "graphadapt.graphs.triton_kernels", None)
    assert not triton_bridge.triton_supports("cuda")
    with pytest.raises(DependencyError, match="cannot be imported, or compiles for no GPU as old"):
        triton_bridge.load_triton_kernels("cuda")


def test_a_gpu_that_is_too_old_is_not_supported(monkeypatch):
    monkeypatch.setattr(triton_bridge, "_imports", lambda: True)
    assert triton_bridge.triton_supports("cuda")
    assert not triton_bridge.triton_supports("cpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    for capability, supported in (((6, 1), False), ((9, 0), True)):
        monkeypatch.setattr(
            torch.cuda, "get_device_capability", lambda device, found=capability: found
        )
        assert triton_bridge.triton_supports("cuda") is supported

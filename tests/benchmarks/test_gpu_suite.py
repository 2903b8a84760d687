"""The GPU suite: its small mode on a CPU, what it holds kernels against, and what it needs."""

import json
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
import torch


@pytest.fixture(scope="module")
def arrays_file(run_benchmark, tmp_path_factory):
    path = tmp_path_factory.mktemp("gpu") / "arrays.npz"
    done = run_benchmark("gpu_suite", "--small", "--prepare", path)
    assert done.stdout.startswith(f"{path}: 0.")
    return path


def test_small_mode_runs_every_part_from_a_bare_checkout_without_rdkit_dgl_and_ogb(
    arrays_file, run_bare, tmp_path
):
    output = tmp_path / "found.json"
    done = run_bare("gpu_suite", "--small", "--arrays", arrays_file, "--output", output)
    document = json.loads(output.read_text("utf-8"))
    rows = document["rows"]
    assert [row for row in rows if "failed" in row] == [], done.stderr
    assert all(row["part_s"] > 0 for row in rows if "part_s" in row)
    assert sum(row["budget_s"] for row in rows if "budget_s" in row) < 480
    parts = {row["part"] for row in rows}
    assert not parts & {"compiled", "tensorrt"}, "they build for minutes"
    kernels = [row for row in rows if "kernel" in row]
    assert len(kernels) == 1 + 2 * 6
    assert [row for row in kernels if not row["holds"]] == []
    assert {row["ceiling"] for row in rows if "ceiling" in row} == {
        *("bfloat16 product", "float32 product", "tf32 product", "copy")
    }
    ways = [row for row in rows if "way" in row]
    assert [row for row in ways if "skipped" in row] == []
    assert len(ways) == 7
    assert sum("workers" in row["way"] for row in ways) == 2
    assert len([row for row in rows if "times" in row]) == 2 * 5
    epochs = {row["epoch_of"]: row for row in rows if "epoch_of" in row}
    assert len(epochs) == 3
    assert all(row["epoch_s"] > 0 for row in epochs.values())
    assert all(row["flop"] > 0 and row["bytes"] > 0 for row in rows if "work_of" in row)
    (replay,) = [row for row in rows if "replayed" in row]
    assert replay["holds"]
    assert output.with_suffix(".md").read_text("utf-8").strip() in done.stdout
    (answered,) = [row for row in rows if "provider" in row]
    assert answered["skipped"] == "no bundle was given to --prepare"


def test_captured_and_compiled_steps_are_timed_in_turns(arrays_file, run_bare, tmp_path):
    output = tmp_path / "found.json"
    run_bare(
        *("gpu_suite", "--small", "--arrays", arrays_file),
        *("--parts", "compiled", "--output", output),
    )
    rows = json.loads(output.read_text("utf-8"))["rows"]
    assert [row for row in rows if "failed" in row or "skipped" in row] == []
    assert [row["way"].rpartition("everywhere, ")[2] for row in rows if "way" in row] == [
        *("captured", "compiled", "compiled, captured")
    ]
    assert len([row for row in rows if "times" in row]) == 2
    assert [row["recorded_of"] for row in rows if "recorded_of" in row] == [
        row["way"] for row in rows if "way" in row
    ]


@pytest.mark.filterwarnings("ignore")  # the compiler has many
def test_the_network_is_what_is_compiled_and_its_steps_are_the_same(
    tiny_store, tmp_path, monkeypatch
):
    from gpu import compiled as compiled_steps
    from gpu.compiled import CAPTURED, COMPILED, training_of
    from gpu.plan import SuitePlan

    compiled = []

    def compiler(graph, inputs):
        compiled.append(graph)
        return graph.forward

    # DGL's kernels, which the compiler cannot see into, are not those of a GPU
    settings = {**compiled_steps.ADAPTERS, "backbone.message_passing": "tensor"}
    monkeypatch.setattr(compiled_steps, "ADAPTERS", settings)
    plan = replace(SuitePlan(device=torch.device("cpu")).smaller(), compiler=compiler)
    plan = replace(plan, precision="float32")
    losses = []
    for name in (CAPTURED, COMPILED):
        training = training_of(name, plan, tiny_store, tmp_path)
        torch.manual_seed(0)
        losses.append(training.trainer.take_step(0)[0].item())
        assert bool(compiled) == (name == COMPILED)
    assert losses[1] == pytest.approx(losses[0], rel=1e-5)


def test_a_part_that_fails_is_noted_and_the_next_one_runs(tmp_path, monkeypatch, capsys):
    import gpu_suite

    def failing(suite):
        yield {"ceiling": "copy", "bytes_per_s": 1.0}
        raise RuntimeError("CUDA error: out of luck\nmore")

    def stubborn(suite):
        try:
            time.sleep(60)
        except Exception:
            yield {"ceiling": "copy", "bytes_per_s": 9.0}

    parts = {
        "first": (9, failing),
        "slow": (0.01, stubborn),
        "last": (9, lambda suite: iter([{"ceiling": "copy", "bytes_per_s": 2.0}])),
    }
    monkeypatch.setattr(gpu_suite, "PARTS", parts)
    plan = gpu_suite.SuitePlan(device=torch.device("cpu")).smaller()
    suite = gpu_suite.Suite(plan, None, tmp_path)
    rows = gpu_suite.run_parts(suite, list(parts), tmp_path / "found.json", [])
    assert json.loads((tmp_path / "found.json").read_text())["rows"] == rows
    failures = {row["part"]: row["failed"] for row in rows if "failed" in row}
    assert failures == {
        "first": "RuntimeError: CUDA error: out of luck",
        "slow": "TimeoutError: it took more than 0 s",
    }
    assert [row["bytes_per_s"] for row in rows if "ceiling" in row] == [1.0, 2.0]


def test_where_a_part_spoils_the_gpu_another_process_goes_on(arrays_file, tmp_path, monkeypatch):
    import gpu_suite

    def failing(suite):
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    script, output = gpu_suite.__file__, tmp_path / "found.json"
    monkeypatch.setattr(sys, "argv", [script, "--small", "--arrays", str(arrays_file)])
    monkeypatch.setitem(gpu_suite.PARTS, "kernels", (9, failing))
    monkeypatch.setattr(gpu_suite, "is_usable", lambda device: False)
    plan = gpu_suite.SuitePlan(device=torch.device("cpu")).smaller()
    suite = gpu_suite.Suite(plan, None, tmp_path)
    rows = gpu_suite.run_parts(suite, ["kernels", "ceilings", "onnx"], output, [])
    assert [row["part"] for row in rows if "part_s" in row] == ["kernels", "ceilings", "onnx"]
    assert rows[0]["failed"].startswith("RuntimeError: CUDA error")
    assert len([row for row in rows if "ceiling" in row]) == 4
    assert json.loads(output.read_text("utf-8"))["rows"] == rows


def test_an_inner_limit_is_an_error_there_and_the_outer_one_goes_on():
    from gpu.limits import at_most, seconds_left

    assert seconds_left() == float("inf")
    with at_most(9):
        with pytest.raises(TimeoutError, match="more than 0"), at_most(0.01):
            time.sleep(60)
        assert 0 < seconds_left() <= 9
        with at_most(60):
            assert seconds_left() <= 9
    assert seconds_left() == float("inf")


def sleep_and_swallow(seconds):
    from gpu.limits import at_most

    try:
        with at_most(seconds):
            time.sleep(60)
    except Exception as error:
        return error


@pytest.mark.parametrize("inner", [5, 0.5])
def test_an_outer_limit_rings_through_inner_ones_and_their_handlers(inner):
    from gpu.limits import at_most

    with pytest.raises(TimeoutError, match="more than 0"), at_most(0.02):
        sleep_and_swallow(inner)


def test_a_way_that_fails_leaves_the_others_their_times(capsys):
    import gpu_suite
    from gpu.steps import EXAMPLE, TimedWays
    from gpu.training import OURS

    class Way:
        def __init__(self, good=99):
            self.good = good

        def step(self):
            self.good -= 1
            if self.good < 0:
                raise RuntimeError("a worker was killed\nmore")

    def unmade():
        raise SystemExit("not installed")

    plan = gpu_suite.SuitePlan(device=torch.device("cpu"), blocks=3, repeats=2, steps=1)
    ways = TimedWays(plan)
    ways.prepare(OURS, Way, 3)
    ways.prepare("unmade", unmade, 1)
    ways.prepare("slow", lambda: time.sleep(0), 1)
    ways.prepare("killed", lambda: Way(4), 1)
    ways.prepare(EXAMPLE, Way, 1)
    ways.time()
    rows = list(ways.rows())
    assert {row["way"]: row["skipped"] for row in rows if "skipped" in row} == {
        "unmade": "SystemExit: not installed",
        "slow": "AttributeError: 'NoneType' object has no attribute 'step'",
        "killed": "RuntimeError: a worker was killed",
    }
    timed = [row for row in rows if "median_s" in row]
    assert [(row["way"], row["n"]) for row in timed] == [(OURS, 6), (EXAMPLE, 6)]
    found = ways.ratios((OURS,), ("unmade", "killed", EXAMPLE))
    assert [(row["ours"], row["peer"]) for row in found] == [(OURS, EXAMPLE)]


def test_a_gpu_is_kept_busy_while_calls_are_queued(monkeypatch):
    from gpu.clock import device_seconds

    said = []

    class Event:
        def __init__(self, enable_timing):
            assert enable_timing

        def record(self):
            said.append("mark")

        def elapsed_time(self, end):
            return 5.0

    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: said.append("wait"))
    monkeypatch.setattr(torch.cuda, "_sleep", lambda cycles: said.append(cycles))
    work = lambda: said.append("work")  # noqa: E731
    seconds = device_seconds(work, torch.device("cuda"), repeats=2, warmup=1)
    assert seconds == 5e-3
    cycles = said.pop(4)
    assert 0 < cycles <= 2e9 * 0.3
    assert said == ["work", "wait", "work", "wait", *["mark", "work", "mark"] * 2, "wait"]


def test_a_wrong_kernel_is_found():
    from gpu.kernels import Case, checked

    x = torch.randn(40, 8)
    right = Case("sum", lambda x: x.sin(), lambda x: x.sin(), {"x": x}, 1)
    assert checked(right, 1e-5)["holds"]
    for wrong in (lambda x: x.sin() * 1.001, lambda x: x.sin() + 0.001 * x, lambda x: x / 0):
        found = checked(right._replace(found=wrong), 1e-5)
        assert not found["holds"]


def test_the_file_holds_what_was_drawn(arrays_file):
    from gpu.arrays import Arrays

    arrays = Arrays.read(arrays_file)
    assert len(arrays.rows) == 64
    assert arrays.rows.max() < arrays.columns.molecules == 48
    assert arrays.columns.atom_offsets[-1] == len(arrays.columns.atoms)
    assert arrays.columns.bond_offsets[-1] == len(arrays.columns.bonds)
    assert arrays.columns.bonds.dtype == np.int16
    assert arrays.bundles == ()


def test_tasks_of_one_factor_agree_and_others_do_not():
    from gpu.arrays import FACTORS, drawn_labels

    labels = drawn_labels(20_000, 2 * FACTORS, np.random.default_rng(0))
    assert np.isnan(labels).mean() == pytest.approx(0.5, abs=0.01)
    for other, least, most in ((FACTORS, 0.3, 1.0), (1, -0.05, 0.05)):
        both = labels[~np.isnan(labels[:, [0, other]]).any(axis=1)]
        assert least < np.corrcoef(both[:, 0], both[:, other])[0, 1] < most


def test_a_steps_work_is_counted():
    from gpu.work import work_of

    a, b = torch.randn(4, 5), torch.randn(5, 6)
    found = work_of(lambda: torch.mm(a, b).t().relu())
    assert found == {
        "flop": 2 * 4 * 5 * 6,
        "bytes": 4 * (20 + 30 + 24) + 4 * (24 + 24),
        "kernels": 2,
    }

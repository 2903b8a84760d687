"""The GPU suite: its small mode on a CPU, what it holds kernels against, and what it needs."""

import importlib.util
import json
import subprocess
import sys
import time

import numpy as np
import pytest
import torch

HAS_GEOMETRIC = importlib.util.find_spec("torch_geometric") is not None
needs_geometric = pytest.mark.skipif(
    not HAS_GEOMETRIC, reason="PyTorch Geometric is not installed; pip install torch_geometric"
)

BLOCKER = """
import runpy, sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("rdkit", "dgl", "ogb", "pyarrow", "matplotlib"):
            raise ModuleNotFoundError(f"{name} is blocked", name=name)
sys.meta_path.insert(0, Blocked())
sys.argv = sys.argv[1:]
sys.path.insert(0, sys.argv[0].rpartition("/")[0])
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.fixture(autouse=True)
def scripts(monkeypatch, repository):
    monkeypatch.syspath_prepend(repository / "benchmarks")


@pytest.fixture(scope="module")
def arrays_file(run_benchmark, tmp_path_factory):
    path = tmp_path_factory.mktemp("gpu") / "arrays.npz"
    done = run_benchmark("gpu_suite", "--small", "--prepare", path)
    assert done.stdout.startswith(f"{path}: 0.")
    return path


@needs_geometric
def test_small_mode_runs_every_part_without_rdkit_dgl_and_ogb(arrays_file, repository, tmp_path):
    output = tmp_path / "found.json"
    script = repository / "benchmarks" / "gpu_suite.py"
    command = [sys.executable, "-c", BLOCKER, script, "--small", "--arrays", arrays_file]
    done = subprocess.run(
        [*map(str, command), "--output", str(output)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    document = json.loads(output.read_text("utf-8"))
    rows = document["rows"]
    assert [row for row in rows if "failed" in row] == [], done.stderr
    assert all(row["part_s"] > 0 for row in rows if "part_s" in row)
    assert sum(row["budget_s"] for row in rows if "budget_s" in row) < 480
    kernels = [row for row in rows if "kernel" in row]
    assert len(kernels) == 1 + 2 * 6
    assert [row for row in kernels if not row["holds"]] == []
    assert {row["ceiling"] for row in rows if "ceiling" in row} == {
        *("bfloat16 product", "float32 product", "tf32 product", "copy")
    }
    ways = [row for row in rows if "way" in row]
    assert [row for row in ways if "skipped" in row] == []
    assert len(ways) == 5
    assert len([row for row in rows if "times" in row]) == 2 * 3
    epochs = {row["epoch_of"]: row for row in rows if "epoch_of" in row}
    assert len(epochs) == 3
    assert all(row["epoch_s"] > 0 for row in epochs.values())
    assert all(row["flop"] > 0 and row["bytes"] > 0 for row in rows if "work_of" in row)
    (replay,) = [row for row in rows if "replayed" in row]
    assert replay["holds"]
    assert output.with_suffix(".md").read_text("utf-8").strip() in done.stdout
    assert "CUDAExecutionProvider | no bundle" in done.stdout.replace("|  |", "|")


def test_a_part_that_fails_is_noted_and_the_next_one_runs(tmp_path, monkeypatch, capsys):
    import gpu_suite

    def failing(suite):
        yield {"ceiling": "copy", "bytes_per_s": 1.0}
        raise RuntimeError("CUDA error: out of luck\nmore")

    parts = {
        "first": (9, failing),
        "slow": (0.01, lambda suite: (time.sleep(s) for s in [60])),
        "last": (9, lambda suite: iter([{"ceiling": "copy", "bytes_per_s": 2.0}])),
    }
    monkeypatch.setattr(gpu_suite, "PARTS", parts)
    plan = gpu_suite.SuitePlan(device=torch.device("cpu")).smaller()
    suite = gpu_suite.Suite(plan, None, tmp_path)
    rows = gpu_suite.run_parts(suite, list(parts), tmp_path / "found.json")
    assert json.loads((tmp_path / "found.json").read_text())["rows"] == rows
    failures = {row["part"]: row["failed"] for row in rows if "failed" in row}
    assert failures == {
        "first": "RuntimeError: CUDA error: out of luck",
        "slow": "TimeoutError: it took more than 0 s",
    }
    assert [row["bytes_per_s"] for row in rows if "ceiling" in row] == [1.0, 2.0]


def test_a_wrong_kernel_is_found():
    from gpu_kernels import Case, checked

    x = torch.randn(40, 8)
    right = Case("sum", lambda x: x.sin(), lambda x: x.sin(), {"x": x}, 1)
    assert checked(right, 1e-5)["holds"]
    for wrong in (lambda x: x.sin() * 1.001, lambda x: x.sin() + 0.001 * x, lambda x: x / 0):
        found = checked(right._replace(found=wrong), 1e-5)
        assert not found["holds"]


def test_the_file_holds_what_was_drawn(arrays_file):
    from gpu_arrays import Arrays

    arrays = Arrays.read(arrays_file)
    assert len(arrays.rows) == 64
    assert arrays.rows.max() < arrays.columns.molecules == 48
    assert arrays.columns.atom_offsets[-1] == len(arrays.columns.atoms)
    assert arrays.columns.bond_offsets[-1] == len(arrays.columns.bonds)
    assert arrays.columns.bonds.dtype == np.int16
    assert arrays.feeds == ()


def test_tasks_of_one_factor_agree_and_others_do_not():
    from gpu_arrays import FACTORS, drawn_labels

    labels = drawn_labels(20_000, 2 * FACTORS, np.random.default_rng(0))
    assert np.isnan(labels).mean() == pytest.approx(0.5, abs=0.01)
    for other, least, most in ((FACTORS, 0.3, 1.0), (1, -0.05, 0.05)):
        both = labels[~np.isnan(labels[:, [0, other]]).any(axis=1)]
        assert least < np.corrcoef(both[:, 0], both[:, other])[0, 1] < most


def test_a_steps_work_is_counted():
    from gpu_work import work_of

    a, b = torch.randn(4, 5), torch.randn(5, 6)
    found = work_of(lambda: torch.mm(a, b).t().relu())
    assert found == {
        "flop": 2 * 4 * 5 * 6,
        "bytes": 4 * (20 + 30 + 24) + 4 * (24 + 24),
        "kernels": 2,
    }

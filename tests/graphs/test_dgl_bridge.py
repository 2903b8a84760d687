"""DGL's import beside a current torch, tried in processes of its own."""

import ast
import os
import re
import subprocess
import sys

import pytest

from graphadapt.graphs.dgl_bridge import dgl_supports, dgl_version, load_dgl

WORKS = """
import sys, os
from graphadapt.graphs import message_passing
from graphadapt.backbone import network
assert "dgl" not in sys.modules, "imported before it was asked for"
dgl = message_passing.load_dgl()
import torch
graph = dgl.graph((torch.tensor([0, 1]), torch.tensor([1, 2])))
print(dgl.ops.copy_u_sum(graph, torch.tensor([[1.0], [2.0], [4.0]])).flatten().tolist())
print(dgl.backend.backend_name, sorted(os.listdir(os.environ["HOME"])))
"""

AFTER_OGB = """
import sys
import ogb.graphproppred
assert "dgl" not in sys.modules
from graphadapt.graphs.dgl_bridge import dgl_supports, load_dgl
dgl = load_dgl()
parts = [name.split(".")[1] for name in sys.modules if name.startswith("dgl.")]
missing = sorted(set(parts) - set(vars(dgl)))
import torch
graph = dgl.heterograph({("a", "b", "c"): (torch.tensor([0, 1]), torch.tensor([1, 1]))})
x = torch.tensor([[1.0], [2.0]], requires_grad=True)
dgl.ops.copy_u_sum(graph, x).sum().backward()
print(missing, x.grad.flatten().tolist(), dgl_supports("cpu"))
"""

FAILS = """
from graphadapt.errors import DependencyError
from graphadapt.graphs.dgl_bridge import dgl_supports, dgl_version, load_dgl
from graphadapt.graphs.message_passing import message_kernels
for ask in (load_dgl, dgl_version, lambda: message_kernels("dgl", "cpu")):
    try:
        ask()
    except DependencyError as error:
        print(error)
print(dgl_supports("cpu"), message_kernels("auto", "cpu").name)
"""


def run(code, tmp_path, **environment):
    """Run Python with warnings as errors, giving its lines of output."""
    # the last of them is PyTorch Geometric's, which ogb imports where it is installed
    warnings = ("-W", "error", "-W", "ignore:`torch.jit.script` is deprecated:DeprecationWarning")
    done = subprocess.run(
        [sys.executable, "-P", *warnings, "-c", code],
        env={**os.environ, "HOME": str(tmp_path), **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_dgl_imports_quietly_computes_and_writes_nothing_at_home(tmp_path):
    lines = run(WORKS, tmp_path, DGLBACKEND="mxnet")
    assert lines == ["[0.0, 1.0, 2.0]", "pytorch []"]


def test_ogbs_own_failed_import_of_dgl_does_no_harm(tmp_path):
    assert run(AFTER_OGB, tmp_path)[-1] == "['graphbolt'] [1.0, 1.0] True"


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (
            "raise OSError('libcudart.so.12: cannot open\\nshared object file')",
            "DGL is installed but cannot be imported beside torch .*: libcudart.* open shared",
        ),
        (
            "raise ModuleNotFoundError(\"No module named 'dgl'\", name='dgl')",
            "DGL is not installed: install it with pip install 'graphadapt.train.', or set",
        ),
    ],
)
def test_a_failing_import_is_one_clear_line_and_auto_does_without(tmp_path, body, expected):
    package = tmp_path / "broken" / "dgl"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(body, encoding="utf-8")
    *errors, last = run(FAILS, tmp_path, PYTHONPATH=str(tmp_path / "broken"))
    assert len(errors) == 3
    assert len(set(errors)) == 1
    assert errors[0].endswith("to 'tensor'")
    assert re.match(expected, errors[0])
    assert last == "False tensor"


def test_a_stray_backslash_in_a_docstring_of_dgl_is_no_warning(tmp_path):
    (tmp_path / "dgl.py").write_text('"""\\Phi."""\n__version__ = "9"\n', encoding="utf-8")
    code = "from graphadapt.graphs.dgl_bridge import dgl_version; print(dgl_version())"
    assert run(code, tmp_path, PYTHONPATH=str(tmp_path)) == ["9"]


def test_only_the_bridge_imports_dgl(repository):
    importers = set()
    for folder in ("graphadapt", "export", "serve", "benchmarks", "examples"):
        for path in (repository / folder).rglob("*.py"):
            if "dgl" in imported_names(path):
                importers.add(path.relative_to(repository).as_posix())
    assert importers == {"graphadapt/graphs/dgl_bridge.py"}


def imported_names(path):
    """First segments of what a module imports, ``import_module("...")`` included."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {item.name for item in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module or "")
        elif isinstance(node, ast.Call) and "import_module" in ast.unparse(node.func):
            names |= {str(arg.value) for arg in node.args if isinstance(arg, ast.Constant)}
    return {name.split(".")[0] for name in names}


def test_this_machines_dgl_says_what_it_is():
    assert dgl_version() == load_dgl().__version__
    assert dgl_supports("cpu")
    assert not dgl_supports("meta")

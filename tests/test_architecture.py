"""The rules of the code base, held against the code itself."""

import ast
import doctest
import importlib
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import click
import numpy
import pytest
import torch
from click.testing import CliRunner

from graphadapt.cli import COMMANDS, main

ROOT = Path(__file__).resolve().parents[1]

LAYERS = (
    ("errors",),
    ("presets", "typed_tables"),
    ("training_config",),
    ("__init__", "config", "progress"),
    ("molecules",),
    ("data",),
    ("graphs",),
    ("backbone",),
    ("relation", "adapters"),
    ("prior", "readout"),
    ("routing",),
    ("model",),
    ("assemble", "freeze", "objective", "own_backbone"),
    ("trainer",),
    ("run", "pretraining"),
    ("report", "environment"),
    ("export",),
    ("serve",),
    ("quickstart",),
    ("cli",),
    ("__main__",),
)
"""Bottom first. A module imports from layers below its own, or from its own folder."""

TORCH_FREE = (
    "graphadapt",
    "graphadapt.cli",
    "graphadapt.cli.corpus",
    "graphadapt.cli.doctor",
    "graphadapt.cli.evaluate",
    "graphadapt.cli.inspect",
    "graphadapt.cli.predict",
    "graphadapt.cli.prepare",
    "graphadapt.cli.pretrain",
    "graphadapt.cli.train",
    "graphadapt.cli.tune",
    "graphadapt.cli.verify",
    "graphadapt.config",
    "graphadapt.data.dataset",
    "graphadapt.data.prepare",
    "graphadapt.data.sampler",
    "graphadapt.data.tables",
    "graphadapt.pretraining.config",
    "graphadapt.pretraining.structures",
    "graphadapt.environment.packages",
    "graphadapt.environment.providers",
    "graphadapt.export.bundle_summary",
    "graphadapt.export.contract",
    "graphadapt.export.onnx_check",
    "graphadapt.export.rounding",
    "graphadapt.export.triton",
    "graphadapt.export.verify",
    "graphadapt.molecules",
    "graphadapt.relation.build",
    "graphadapt.report.store_summary",
    "graphadapt.report.table",
)
"""Beside every module of ``molecules`` and ``serve``, what must load without torch."""

BLOCKER = """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "dgl", "ogb", "torchdata", "safetensors"):
            raise ModuleNotFoundError(f"{name} is blocked", name=name)
sys.meta_path.insert(0, Blocked())
"""

VAGUE = {"utils", "util", "common", "helpers", "helper", "misc", "core", "base", "tools", "stuff"}
LONGEST_FILE, LONGEST_FUNCTION = 400, 60


class Import(NamedTuple):
    module: str
    name: str | None
    line: int


class Source(NamedTuple):
    """One file of the package under the name it is installed as."""

    name: str
    path: Path
    text: str
    tree: ast.Module

    def __repr__(self) -> str:
        return self.name

    @property
    def top(self) -> str:
        return [*self.name.split("."), "__init__"][1]

    def imports(self) -> Iterator[Import]:
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    yield Import(alias.name, None, node.lineno)
            elif isinstance(node, ast.ImportFrom):
                for alias in node.names:
                    yield Import(node.module or "", alias.name, node.lineno)

    def constant(self, name: str) -> object:
        """Value of a literal that the module assigns at its top level, or None."""
        for node in self.tree.body:
            targets = node.targets if isinstance(node, ast.Assign) else []
            if isinstance(node, ast.AnnAssign):
                targets = [node.target]
            if any(isinstance(t, ast.Name) and t.id == name for t in targets):
                return ast.literal_eval(node.value)
        return None


def read(name: str, path: Path) -> Source:
    text = path.read_text("utf-8")
    return Source(name, path, text, ast.parse(text))


def package_sources() -> Iterator[Source]:
    for folder, prefix in (("graphadapt", ""), ("export", "graphadapt."), ("serve", "graphadapt.")):
        for path in sorted((ROOT / folder).rglob("*.py")):
            dotted = prefix + ".".join(path.relative_to(ROOT).with_suffix("").parts)
            yield read(dotted.removesuffix(".__init__"), path)


SOURCES = {source.name: source for source in package_sources()}
ELSEWHERE = [
    read(str(path.relative_to(ROOT)), path)
    for folder in ("tests", "benchmarks", "examples")
    for path in sorted((ROOT / folder).rglob("*.py"))
]
each_module = pytest.mark.parametrize("source", SOURCES.values(), ids=SOURCES)


def imported_sources(source: Source) -> Iterator[tuple[Source, Import]]:
    """Modules of the package that a module imports, wherever in it."""
    for found in source.imports():
        inner = f"{found.module}.{found.name}"
        target = SOURCES.get(inner) or SOURCES.get(found.module)
        if target is not None:
            yield target, found


def layer_of(source: Source) -> int:
    for level, names in enumerate(LAYERS):
        if source.top in names:
            return level
    raise AssertionError(f"{source.name} has no layer; add {source.top!r} to LAYERS")


@each_module
def test_imports_point_down_the_layers(source):
    for target, found in imported_sources(source):
        if target.top in (source.top, "__init__"):
            continue
        assert layer_of(target) < layer_of(source), (
            f"{source.name}:{found.line} imports {target.name}, which is not below it"
        )


def test_no_module_imports_itself_in_a_circle():
    ahead = {
        name: {t.name for t, _ in imported_sources(source) if t.name != name}
        for name, source in SOURCES.items()
    }
    while free := [name for name, targets in ahead.items() if not targets & ahead.keys()]:
        for name in free:
            del ahead[name]
    assert not ahead, f"in or above a circle: {sorted(ahead)}"


@each_module
def test_every_module_says_its_one_job(source):
    assert ast.get_docstring(source.tree), f"{source.name} has no docstring"


def rank(name: str) -> tuple[int, str]:
    """Constants first, then classes, then functions, as ruff sorts them."""
    return (0 if name.isupper() else 1 if name[0].isupper() else 2), name


@each_module
def test_all_lists_the_public_names_in_order(source):
    listed = source.constant("__all__")
    assert isinstance(listed, list), f"{source.name} has no __all__"
    assert listed == sorted(listed, key=rank)
    defined = {
        node.name
        for node in source.tree.body
        if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef)
    }
    assigned = {
        name.id
        for node in source.tree.body
        if isinstance(node, ast.Assign | ast.AnnAssign)
        for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
        for name in ast.walk(target)
        if isinstance(name, ast.Name)
    }
    public = {name for name in defined if not name.startswith("_")}
    assert public <= set(listed), f"{source.name} hides {sorted(public - set(listed))}"
    missing = set(listed) - defined - assigned
    assert not missing, f"{source.name} lists {sorted(missing)}, which it does not define"


@each_module
def test_only_listed_names_are_imported_elsewhere(source):
    for target, found in imported_sources(source):
        if found.name is None or f"{found.module}.{found.name}" in SOURCES:
            continue
        assert found.name in target.constant("__all__"), (
            f"{source.name}:{found.line} imports {found.name}, which {target.name} does not list"
        )


@pytest.mark.parametrize("name", [name for name, source in SOURCES.items() if ">>>" in source.text])
def test_docstring_examples_run(name):
    module = importlib.import_module(name)
    failed, tried = doctest.testmod(module, extraglobs={"np": numpy, "torch": torch})
    assert tried > 0
    assert failed == 0


def test_the_package_list_is_complete():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    listed = settings["tool"]["setuptools"]["packages"]
    real = {n for n, source in SOURCES.items() if source.path.name == "__init__.py"}
    assert listed == sorted(listed)
    assert set(listed) == real


def test_export_and_serve_are_imported_by_their_installed_names_only():
    for source in (*SOURCES.values(), *ELSEWHERE):
        for found in source.imports():
            assert found.module.partition(".")[0] not in ("export", "serve"), (
                f"{source.name}:{found.line} imports a bare {found.module!r}"
            )


@pytest.mark.parametrize("name", ["export", "serve"])
def test_a_bare_import_is_refused_with_the_right_name(name):
    done = subprocess.run(
        [sys.executable, "-c", f"import {name}"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode != 0
    assert f"installed as graphadapt.{name}" in done.stderr


def test_what_serves_and_reads_loads_without_torch():
    folders = ("graphadapt.molecules", "graphadapt.serve")
    names = {*TORCH_FREE, *(name for name in SOURCES if name.startswith(folders))}
    script = BLOCKER + "import importlib\n"
    script += "".join(f"importlib.import_module({name!r})\n" for name in sorted(names))
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_one_module_imports_dgl():
    guilty = [
        source.name
        for source in SOURCES.values()
        if any(found.module.partition(".")[0] == "dgl" for found in source.imports())
        or 'import_module("dgl' in source.text
    ]
    assert guilty == ["graphadapt.graphs.dgl_bridge"]


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_has_help_and_stands_in_the_readme(name):
    assert f"graphadapt {name}" in (ROOT / "README.md").read_text("utf-8")
    result = CliRunner().invoke(main, [name, "--help"], prog_name="graphadapt")
    assert result.exit_code == 0, result.output
    command = main.get_command(click.Context(main), name)
    assert isinstance(command, click.Command)
    assert (command.help or "").strip()
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert parameter.help, f"{name} {parameter.opts[0]} has no help"


def test_every_command_file_is_a_command_or_serves_one():
    files = {path.stem for path in (ROOT / "graphadapt" / "cli").glob("*.py")}
    assert set(COMMANDS) <= files


@pytest.mark.parametrize(
    "path",
    [s.path for s in (*SOURCES.values(), *ELSEWHERE)],
    ids=lambda p: str(p.relative_to(ROOT)),
)
def test_names_of_files_say_a_job(path):
    assert not VAGUE & {part.removesuffix(".py") for part in path.relative_to(ROOT).parts}


@pytest.mark.parametrize("source", [*SOURCES.values(), *ELSEWHERE], ids=lambda s: s.name)
def test_files_and_functions_stay_short(source):
    assert len(source.text.splitlines()) <= LONGEST_FILE
    for node in ast.walk(source.tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            assert length <= LONGEST_FUNCTION, f"{node.name} has {length} lines"


@each_module
def test_errors_are_caught_narrowly_and_nothing_is_left_to_do(source):
    for node in ast.walk(source.tree):
        if isinstance(node, ast.ExceptHandler):
            caught = ast.unparse(node.type) if node.type is not None else "everything"
            wide = {"everything", "Exception", "BaseException"}
            assert caught not in wide, f"{source.name}:{node.lineno} catches {caught}"
    for word in ("TODO", "FIXME", "XXX", "NotImplementedError"):
        assert word not in source.text, f"{source.name} says {word}"


def test_the_tests_mirror_the_folders():
    folders = {source.top for source in SOURCES.values() if "." in source.name}
    for path in (ROOT / "tests").iterdir():
        if path.is_dir() and any(path.glob("test_*.py")):
            assert path.name in folders | {"benchmarks", "examples"}, (
                f"tests/{path.name} mirrors nothing"
            )

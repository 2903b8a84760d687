"""The command line as a whole: lazy, one line for a user's mistake, results apart from progress."""

import errno
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import click
import pytest
from click.testing import CliRunner

from graphadapt import __version__, cli
from graphadapt.cli import COMMANDS, main
from graphadapt.cli.settings import parse_settings
from graphadapt.errors import CheckpointError, ConfigError, DataError, DependencyError


@pytest.fixture
def command(monkeypatch):
    """Put a body of ours behind `graphadapt doctor`."""

    def put(body):
        stand_in = SimpleNamespace(doctor=click.command("doctor")(body))
        monkeypatch.setattr(cli.importlib, "import_module", lambda name: stand_in)
        return CliRunner().invoke(main, ["doctor"])

    return put


def test_the_version_is_that_of_the_package():
    result = CliRunner().invoke(main, ["--version"])
    assert result.output == f"graphadapt, version {__version__}\n"


def test_help_lists_every_command_with_its_line():
    result = CliRunner().invoke(main, ["-h"])
    assert result.exit_code == 0
    for name, line in COMMANDS.items():
        assert name in result.output
        assert line in result.output


def test_help_imports_no_command_and_no_numpy():
    script = (
        "import sys\nfrom graphadapt.cli import main\n"
        "main(['--help'], standalone_mode=False)\n"
        "assert not {'numpy', 'torch', 'rdkit', 'graphadapt.cli.train'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["trian"], r"No such command 'trian'.*; see `graphadapt --help`"),
        (["--nope"], r"No such option.*--nope.*; see `graphadapt --help`"),
        (["train"], r"Missing option '-o' / '--output'; see `graphadapt train --help`"),
        (["evaluate", "nowhere"], r"Invalid value for 'RUN': Directory 'nowhere' does not exist"),
        (["predict", ".", "--threads", "0"], r"Invalid value for '--threads': 0 is not in .*"),
    ],
)
def test_a_wrong_call_is_one_line_and_exit_1(arguments, line):
    result = CliRunner().invoke(main, arguments, prog_name="graphadapt")
    assert result.exit_code == 1
    assert result.stdout == ""
    assert re.fullmatch(rf"Error: {line}.*\n", result.stderr)


def test_no_arguments_show_the_help():
    assert "Commands:" in CliRunner().invoke(main, []).output


def test_a_file_that_cannot_be_written_is_one_line(command, tmp_path):
    (tmp_path / "file").touch()
    result = command(lambda: (tmp_path / "file" / "folder").mkdir())
    assert result.exit_code == 1
    assert result.stderr == f"Error: {tmp_path}/file/folder: Not a directory\n"


def test_a_full_disk_is_one_line_though_no_file_is_named(command):
    def body():
        raise OSError(errno.ENOSPC, "No space left on device")

    result = command(body)
    assert result.exit_code == 1
    assert result.stderr == "Error: writing: No space left on device\n"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_results_that_find_no_room_are_one_line():
    script = "from graphadapt.cli import main\nmain(['--help'])"
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-c", script], stdout=full, stderr=subprocess.PIPE, text=True
        )
    assert done.returncode == 1
    assert done.stderr == "Error: writing: No space left on device\n"


def test_an_error_of_several_lines_becomes_one(command):
    def body():
        raise CheckpointError("weights do not fit:\n\tsize mismatch\n\tand another")

    result = command(body)
    assert result.stderr == "Error: weights do not fit: \tsize mismatch \tand another\n"


@pytest.mark.parametrize("error", [ConfigError, DataError, DependencyError])
def test_a_mistake_of_the_user_is_one_line_and_exit_1(command, error):
    def body():
        raise error("rank=9 does not fit; use 1 to 3")

    result = command(body)
    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr == "Error: rank=9 does not fit; use 1 to 3\n"


def test_a_fault_of_the_program_is_not_dressed_up(command):
    def body():
        raise KeyError("a bug")

    assert isinstance(command(body).exception, KeyError)


def test_a_package_that_is_missing_is_named(monkeypatch):
    def absent(name):
        raise ModuleNotFoundError("No module named 'torch'", name="torch")

    monkeypatch.setattr(cli.importlib, "import_module", absent)
    result = CliRunner().invoke(main, ["train"])
    assert result.exit_code == 1
    assert result.stderr == (
        "Error: this command needs the package 'torch'; pip install 'graphadapt[train]'\n"
    )


def test_a_package_that_is_missing_inside_a_command_is_named(command):
    def body():
        raise ModuleNotFoundError("No module named 'onnx.helper'", name="onnx.helper")

    result = command(body)
    assert result.exit_code == 1
    assert "needs the package 'onnx'; pip install 'graphadapt[export]'" in result.stderr


def test_a_module_of_ours_that_is_missing_is_a_fault_of_the_program(command):
    def body():
        raise ModuleNotFoundError("No module named 'graphadapt.x'", name="graphadapt.x")

    assert isinstance(command(body).exception, ModuleNotFoundError)


def test_the_module_is_a_program():
    done = subprocess.run(
        [sys.executable, "-m", "graphadapt", "--version"], capture_output=True, text=True
    )
    assert done.stdout == f"graphadapt, version {__version__}\n"


@pytest.mark.parametrize(
    ("pair", "value"),
    [
        ("a.b=3", 3),
        ("a.b=0.5", 0.5),
        ("a.b=true", True),
        ("a.b=['x', 'y']", ["x", "y"]),
        ("a.b='quoted'", "quoted"),
        ("a.b=plain text", "plain text"),
        ("a.b=", ""),
        ("a.b=x=y", "x=y"),
    ],
)
def test_settings_are_toml_values_or_text(pair, value):
    assert parse_settings([pair]) == {"a.b": value}


def test_a_setting_without_a_value_is_refused():
    with pytest.raises(ConfigError, match=r"'trainer\.epochs' has no value"):
        parse_settings(["trainer.epochs"])

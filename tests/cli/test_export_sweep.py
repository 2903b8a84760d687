"""``graphadapt export --sweep``: the whole trade-off, written whole or not at all."""

import json
import os
import re
import sys
from dataclasses import replace

import pytest
from click.testing import CliRunner

from graphadapt.cli import main
from graphadapt.export import sweep
from graphadapt.freeze import Selection
from graphadapt.report.freeze_gap import FreezeGap
from graphadapt.report.trade_off import TradeOff
from graphadapt.run import Run


def export(*arguments):
    return CliRunner().invoke(main, ["export", *map(str, arguments)])


def test_the_sweep_writes_a_table_a_picture_and_numbers(tiny_run, tmp_path, monkeypatch):
    from graphadapt.report import trade_off

    monkeypatch.setattr(trade_off, "ladder", lambda _: (Selection(top_m=1), Selection()))
    monkeypatch.setattr(sweep, "_ROUNDS", 2)
    result = export(tiny_run, "-o", tmp_path / "sweep", "--sweep")
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert "ms, batch 32" in lines[0]
    assert [line.split()[0] for line in lines[-2:]] == ["top_m=1", "all"]
    names = sorted(path.name for path in (tmp_path / "sweep").iterdir())
    assert names == ["trade_off.json", "trade_off.md", "trade_off.png"]
    one, everything = json.loads((tmp_path / "sweep" / "trade_off.json").read_text("utf-8"))
    assert one["parameters"] * 4 == everything["parameters"]
    assert all(each["latency"]["1"] > 0 for each in (one, everything))
    assert f"a picture and the numbers are in {tmp_path / 'sweep'}" in result.stderr
    tables = (tmp_path / "sweep" / "trade_off.md").read_text("utf-8")
    assert all(f"| {task} " in tables for task in ("aromatic", "greasy", "potency"))
    (tmp_path / "sweep" / "mine.txt").write_text("x")
    result = export(tiny_run, "-o", tmp_path / "sweep", "--sweep")
    assert "holds something other than a trade-off" in result.stderr


@pytest.mark.usefixtures("no_work")
def test_where_a_sweep_cannot_be_written_no_work_begins(tiny_run, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("x")

    def refused(place):
        result = export(tiny_run, "-o", place, "--sweep")
        assert (result.exit_code, result.stderr.count("\n")) == (1, 1)
        return result.stderr

    assert "file is a file; give a folder" in refused(tmp_path / "file")
    assert re.search("cannot be written: .*file is a file", refused(tmp_path / "file" / "sweep"))
    with monkeypatch.context() as patch:
        patch.setattr("os.access", lambda place, mode, **_: mode == os.R_OK)
        assert "is read-only for this user" in refused(tmp_path / "deep" / "sweep")
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "matplotlib.figure", None)
        assert "a picture needs matplotlib" in refused(tmp_path / "sweep")
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "onnxruntime", None)
        assert "ONNX Runtime is not installed" in refused(tmp_path / "sweep")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_sweep_of_a_run_without_adapters_is_one_line(tiny_run, tmp_path, monkeypatch):
    def bare(folder, weights):
        run = Run.open(folder, weights)
        run.model.routing = None
        return run

    monkeypatch.setattr("graphadapt.cli.export.open_trained", bare)
    result = export(tiny_run, "-o", tmp_path / "sweep", "--sweep")
    assert (result.exit_code, result.stderr.count("\n")) == (1, 1), result.output
    assert "a run without adapters has none to select from; export it as it is" in result.stderr
    assert not list(tmp_path.iterdir())


def test_a_sweep_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    gap = FreezeGap(part="valid", soft={"ap": 0.5}, frozen={"ap": 0.4}, tasks={"t": {"ap": 0.1}})
    found = [TradeOff(rule="all", kept=1.0, parameters=4, readout_parameters=2, gap=gap)]
    sweep.write_sweep(tmp_path / "sweep", found, "first")
    before = {path.name: path.read_bytes() for path in (tmp_path / "sweep").iterdir()}
    assert set(before) == {"trade_off.json", "trade_off.md", "trade_off.png"}

    def fail(*_, **__):
        raise OSError(28, "No space left on device", "trade_off.png")

    monkeypatch.setattr(sweep, "draw_trade_off", fail)
    with pytest.raises(OSError, match="No space left"):
        sweep.write_sweep(tmp_path / "sweep", [replace(found[0], rule="other")], "second")
    assert {path.name: path.read_bytes() for path in (tmp_path / "sweep").iterdir()} == before
    assert [path.name for path in tmp_path.iterdir()] == ["sweep"]

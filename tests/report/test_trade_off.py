"""The sweep over selections: what it counts, and that its ends are known."""

import pytest

from graphadapt.errors import ConfigError
from graphadapt.freeze import Selection
from graphadapt.report.trade_off import ladder, sweep_selections, task_gap_table, trade_off_table
from graphadapt.report.trade_off_picture import draw_trade_off
from graphadapt.run import Run


@pytest.fixture(scope="module")
def run(tiny_run):
    return Run.open(tiny_run)


@pytest.fixture(scope="module")
def found(run):
    rules = (Selection(top_m=1), Selection(mass=0.9), Selection())
    return [each for each, _ in sweep_selections(run, rules=rules, shown=False)]


def test_everything_kept_costs_nothing_but_the_norms(found):
    everything = found[-1]
    assert everything.rule == "all"
    # four adapters of rank 2 at one site of 16 to 32, and at a readout of 32 to 32
    assert everything.kept == pytest.approx(4)
    assert everything.parameters == 4 * 2 * (16 + 32)
    assert everything.readout_parameters == 4 * 2 * (32 + 32)
    assert set(everything.gap.gap) == {"rocauc", "ap", "rmse", "cliff_rmse"}


def test_one_adapter_keeps_one_at_each_site(found):
    one = found[0]
    assert (one.rule, one.kept) == ("top_m=1", 1.0)
    assert one.parameters == 2 * (16 + 32)
    assert one.readout_parameters <= 3 * 2 * (32 + 32)
    assert found[0].parameters < found[-1].parameters


def test_the_ladder_goes_from_one_to_all():
    rules = ladder(12)
    assert [rule.top_m for rule in rules if rule.top_m] == [1, 2, 3, 4, 6, 8]
    assert rules[-1] == Selection()
    assert [rule.mass for rule in rules if rule.mass] == [0.5, 0.8, 0.9, 0.95, 0.99]
    assert [rule.top_m for rule in ladder(1) if rule.top_m] == []


def test_one_row_a_rule(found):
    lines = trade_off_table(found).splitlines()
    assert len(lines) >= 1 + len(found)
    assert "rmse gap" in lines[0]
    assert any(line.startswith("top_m=1 ") for line in lines)


def test_every_task_has_its_gap_under_every_rule(found):
    lines = task_gap_table(found, "rmse").splitlines()
    assert lines[0].split() == ["rmse", "gap", "top_m=1", "mass=0.9", "all"]
    assert [line.split()[0] for line in lines[1:] if "potency" in line] == ["potency"]
    values = [float(text) for text in lines[-1].split()[1:]]
    gaps = [each.gap.tasks["potency"]["rmse"] for each in found]
    assert values == pytest.approx(gaps, abs=1e-4)


def test_numbers_are_plain_for_json(found):
    plain = found[0].to_dict()
    assert plain["gap"]["gap"] == found[0].gap.gap
    assert plain["latency"] == {}


def test_the_picture_is_drawn_whole_or_not_at_all(found, tmp_path):
    timed = [type(each)(**{**vars(each), "latency": {"1": 0.5, "32": 2.0}}) for each in found]
    for name, rows in (("plain.png", found), ("timed.svg", timed)):
        draw_trade_off(tmp_path / name, rows, "run $1$")
        assert (tmp_path / name).stat().st_size > 1000
    with pytest.raises(ConfigError, match="is no picture that can be drawn"):
        draw_trade_off(tmp_path / "trade_off.docx", found, "run")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["plain.png", "timed.svg"]


def test_a_run_without_adapters_has_none_to_select_from(tiny_run):
    bare = Run.open(tiny_run)
    bare.model.routing = None
    with pytest.raises(ConfigError, match="without adapters has none to select from"):
        next(sweep_selections(bare))

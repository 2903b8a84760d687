"""The picture is drawn for few and for many tasks, with related tasks side by side."""

import re
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graphadapt.errors import ConfigError
from graphadapt.relation.matrix import Relation
from graphadapt.report.picture import draw_run, task_order


def blocks(groups):
    """Weight 0.9 inside each group of task numbers, 0.1 elsewhere."""
    count = sum(map(len, groups))
    weights = np.full((count, count), 0.1, np.float32)
    for group in groups:
        weights[np.ix_(group, group)] = 0.9
    np.fill_diagonal(weights, 0.0)
    return weights


def relation(weights):
    return Relation.from_weights(weights, "labels", [f"task {i}" for i in range(len(weights))])


def size_of(path):
    header = path.read_bytes()[:24]
    assert header[:8] == b"\x89PNG\r\n\x1a\n"
    return struct.unpack(">II", header[16:24])


def test_groups_end_up_side_by_side():
    groups = [[0, 3, 6], [1, 4], [2, 5, 7]]
    place = np.argsort(task_order(blocks(groups)))
    for group in groups:
        assert np.ptp(place[group]) == len(group) - 1


def test_a_chain_of_tasks_is_laid_out_as_a_chain():
    hidden = [3, 0, 4, 1, 2]
    weights = np.zeros((5, 5))
    for a, b, weight in zip(hidden, hidden[1:], [0.9, 0.8, 0.7, 0.6], strict=False):
        weights[a, b] = weights[b, a] = weight
    assert task_order(weights).tolist() in (hidden, hidden[::-1])


def test_unrelated_tasks_keep_their_order():
    assert task_order(np.zeros((4, 4))).tolist() == [0, 1, 2, 3]


@settings(max_examples=25)
@given(st.integers(1, 12), st.integers(0, 1000))
def test_every_task_stands_somewhere_once(count, seed):
    weights = np.random.default_rng(seed).random((count, count)).clip(0.5) - 0.5
    weights = np.triu(weights, 1) + np.triu(weights, 1).T
    assert sorted(task_order(weights).tolist()) == list(range(count))


@pytest.mark.parametrize(("count", "adapters"), [(1, 1), (3, 4), (30, 12), (130, 40)])
def test_a_picture_of_any_number_of_tasks_fits_a_screen(tmp_path, count, adapters):
    random = np.random.default_rng(0)
    weights = blocks([list(range(count))]) if count > 1 else np.zeros((1, 1), np.float32)
    gates = {"inner": random.dirichlet(np.ones(adapters), count)}
    draw_run(tmp_path / "run.png", {"prior": relation(weights)}, gates, "a run")
    width, height = size_of(tmp_path / "run.png")
    assert 500 < width < 4000
    assert 500 < height < 2000


def test_relations_that_differ_and_models_without_adapters_are_drawn_too(tmp_path):
    relations = {
        "prior": relation(blocks([[0, 1], [2]])),
        "sampler": relation(np.zeros((3, 3), np.float32)),
        "regulariser": relation(blocks([[0, 1], [2]])),
    }
    draw_run(tmp_path / "two.png", relations, {}, "no adapters")
    draw_run(tmp_path / "one.png", {"prior": relations["prior"]}, {}, "no adapters")
    assert size_of(tmp_path / "two.png")[0] > 1.5 * size_of(tmp_path / "one.png")[0]


def texts(path):
    return re.findall(r"<!-- (.*?) -->", path.read_text("utf-8"))


def test_long_site_names_stand_in_lines_and_no_kind_is_said_twice(tmp_path):
    sites = [f"virtual_node.updates.{layer}.expand" for layer in range(9)]
    gates = dict.fromkeys(sites, np.full((3, 4), 0.25))
    first, other = relation(blocks([[0, 1], [2]])), relation(np.zeros((3, 3), np.float32))
    draw_run(tmp_path / "r.svg", {"labels": first, "sampler": other}, gates, "9 sites")
    said = texts(tmp_path / "r.svg")
    assert "relation: labels" in said
    assert "relation: labels (sampler)" in said
    assert [f"updates.{layer}.expand" in said for layer in range(9)] == [True] * 9
    assert said.count("routing weight") == 2  # one for each row


def test_names_are_not_read_as_formulas(tmp_path):
    weights = blocks([[0], [1], [2]])
    names = ["a$b^{c", "$x$", "毒性"]
    given = {"prior": Relation.from_weights(weights, "labels", names)}
    draw_run(tmp_path / "r.svg", given, {"$1$": np.ones((3, 1))}, "C:\\new$folder$")
    assert {"a$b^{c", "$x$", "$1$", "C:\\new$folder$"} <= set(texts(tmp_path / "r.svg"))


def test_a_picture_that_fails_leaves_the_old_one(tmp_path, monkeypatch):
    path = tmp_path / "r.png"
    old = b"\x89PNG, old"
    path.write_bytes(old)

    def fail(_, place, **settings):
        place.write_bytes(b"half")
        raise OSError("no space left")

    monkeypatch.setattr("matplotlib.figure.Figure.savefig", fail)
    with pytest.raises(OSError, match="no space left"):
        draw_run(path, {"prior": relation(blocks([[0, 1]]))}, {}, "a run")
    assert [(each.name, each.read_bytes()) for each in tmp_path.iterdir()] == [("r.png", old)]


@pytest.mark.parametrize("ending", ["svg", "pdf"])
def test_vector_formats_work(tmp_path, ending):
    path = tmp_path / "new folder" / f"run.{ending}"
    draw_run(path, {"prior": relation(blocks([[0, 1]]))}, {"r": np.ones((2, 1))}, "a run")
    assert path.stat().st_size > 1000


def test_another_ending_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"run\.gif is no picture that can be drawn"):
        draw_run(tmp_path / "run.gif", {"prior": relation(np.zeros((2, 2), np.float32))}, {}, "")

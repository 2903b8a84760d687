"""Every example in its small mode, as a reader runs it."""

import csv
import re
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest


@pytest.fixture
def run_example(repository, tmp_path, monkeypatch, capsys):
    def run(name, *arguments):
        script = repository / "examples" / f"{name}.py"
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", [str(script), "--small", *map(str, arguments)])
        runpy.run_path(str(script), run_name="__main__")
        return capsys.readouterr().out

    return run


def rows_after(said, first_word):
    """Cells of the lines below the one that begins so."""
    lines = said.splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith(first_word))
    return [re.split(r"\s{2,}", line.strip()) for line in lines[start + 1 :]]


def test_own_assays_make_a_csv_and_answer_from_a_pruned_bundle(run_example, tmp_path):
    said = run_example("own_assays", "--folder", "made")
    with (tmp_path / "made" / "assays.csv").open(newline="") as file:
        assert next(csv.reader(file)) == ["smiles", "mu", "delta", "kappa"]
    assert (tmp_path / "made" / "bundle" / "model.onnx").is_file()
    *answers, broken = rows_after(said, "molecule ")
    assert len(answers) == 3
    assert all(np.isfinite(float(cell)) for row in answers for cell in row[1:3])
    assert broken[1:3] == ["-", "-"]
    assert "is not SMILES" in broken[3]


@pytest.mark.parametrize("example", ["own_assays", "own_backbone"])
def test_an_example_writes_over_nothing(run_example, tmp_path, capsys, example):
    (tmp_path / "made").mkdir()
    with pytest.raises(SystemExit):
        run_example(example, "--folder", "made")
    assert "made exists already; name a new one with --folder" in capsys.readouterr().err


def test_own_assays_take_a_table_of_mixed_kinds(run_example, repository):
    said = run_example("own_assays", "--csv", repository / "tests" / "molecules.csv")
    assert "binary" in said
    assert "regression" in said
    assert "is not SMILES" in said


def test_own_backbone_shows_that_adding_and_freezing_change_nothing(run_example):
    said = run_example("own_backbone", "--folder", "made")
    assert "updates.0, updates.1, updates.2 and the readout" in said
    moved = [float(found) for found in re.findall(r"moves? an answer by (\S+)", said)]
    assert len(moved) == 2
    assert max(moved) < 1e-5
    before, after = map(float, re.search(r"loss (\S+) to (\S+)", said).groups())
    assert after < before
    (mean,) = [row for row in rows_after(said, "task ") if row[0] == "mean"]
    assert np.isfinite(float(mean[2]))


def test_relation_matrix_of_the_bundled_targets_holds_on_unseen_cells(run_example, tmp_path):
    said = run_example("relation_matrix", "--folder", "made")
    figures = {row[0]: row[-1] for row in rows_after(said, "relation ")[:4]}
    assert float(figures["labels"]) > max(0.5, float(figures["shuffled"]))
    assert figures["uniform"] == figures["identity"] == "-"
    assert (tmp_path / "made" / "relations.png").stat().st_size > 0
    assert "are now related by 0.80" in said


def test_relation_matrix_of_a_store(run_example, tiny_store):
    said = run_example("relation_matrix", "--store", tiny_store, "--folder", "made")
    assert "of 3 tasks" in said


def test_every_example_is_tried_here(repository):
    tried = set(re.findall(r'run_example\("(\w+)"', Path(__file__).read_text("utf-8")))
    assert {path.stem for path in (repository / "examples").glob("*.py")} == tried

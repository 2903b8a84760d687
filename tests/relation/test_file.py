"""The user's own relation as a CSV file."""

import numpy as np
import pytest

from graphadapt.errors import DataError
from graphadapt.relation.controls import uniform_relation
from graphadapt.relation.file import read_relation, write_relation
from graphadapt.relation.matrix import Relation

NAMES = ["NR-AR", "NR-ER", "SR-p53"]
WEIGHTS = np.array([[0, 0.5, 0.25], [0.5, 0, 0.1], [0.25, 0.1, 0]], np.float32)

BARE = "NR-AR,NR-ER,SR-p53\n1,0.5,0.25\n0.5,1,0.1\n0.25,0.1,1\n"
NAMED = ",NR-AR,NR-ER,SR-p53\nNR-AR,1,0.5,0.25\nNR-ER,0.5,,0.1\nSR-p53,0.25,0.1,0\n"
TITLED = "task" + NAMED
MOVED = ",SR-p53,NR-AR,NR-ER\nNR-ER,0.1,0.5,0\nSR-p53,0,0.25,0.1\nNR-AR,0.25,0,0.5\n"
MORE = ",x,NR-AR,NR-ER,SR-p53\nx,0,1,1,1\nNR-AR,1,0,0.5,0.25\nNR-ER,1,0.5,0,0.1\n" + (
    "SR-p53,1,0.25,0.1,0\n"
)
SPACED = "\ufeffNR-AR, NR-ER ,SR-p53\r\n 0,0.5,0.25\r\n0.5,0,0.1\r\n\r\n0.25,0.1,0\r\n"


@pytest.mark.parametrize("text", [BARE, NAMED, TITLED, MOVED, MORE, SPACED])
def test_rows_and_columns_are_found_by_name(tmp_path, text):
    path = tmp_path / "relation.csv"
    path.write_bytes(text.encode())
    relation = read_relation(path, NAMES)
    assert np.array_equal(relation.weights, WEIGHTS)
    assert (relation.kind, relation.task_names) == ("file", tuple(NAMES))


def test_the_run_may_use_some_tasks_in_its_own_order(tmp_path):
    path = tmp_path / "relation.csv"
    path.write_text(BARE)
    relation = read_relation(path, ["SR-p53", "NR-AR"])
    assert np.array_equal(relation.weights, np.array([[0, 0.25], [0.25, 0]], np.float32))


def test_what_is_written_is_read_back_exactly(tmp_path):
    random = np.random.default_rng(0).random((3, 3), np.float32)
    upper = np.triu(random, 1)
    relation = Relation.from_weights(upper + upper.T, "labels", ['a,"b', "c", "ü"])
    write_relation(relation, tmp_path / "relation.csv")
    found = read_relation(tmp_path / "relation.csv", relation.task_names)
    assert np.array_equal(found.weights, relation.weights)


def test_a_single_task_is_a_matrix_too(tmp_path):
    write_relation(uniform_relation(["only"]), tmp_path / "relation.csv")
    assert not read_relation(tmp_path / "relation.csv", ["only"]).weights.any()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty; it needs a header and one row a task"),
        ("NR-AR,NR-ER,SR-p35\n0,0,0\n0,0,0\n0,0,0\n", r"'SR-p53'; did you mean 'SR-p35'\?"),
        ("a,b,c\n0,0,0\n0,0,0\n0,0,0\n", "named 'NR-AR'; there are 'a', 'b', 'c'"),
        ("NR-AR,NR-ER,SR-p53\n0,0\n0,0,0\n0,0,0\n", "row 1 has 2 cells, the header 3"),
        ("NR-AR,NR-ER,SR-p53\n0,0,0\n", "has 3 columns but 1 rows"),
        ("NR-AR,NR-AR,SR-p53\n0,0,0\n0,0,0\n0,0,0\n", "names 'NR-AR' twice"),
        (NAMED.replace("\nNR-ER", "\nNR-EP"), "row 'NR-EP' has no column of its own"),
        (NAMED.replace("\nNR-ER", "\nNR-AR"), "has no column of its own, or two rows"),
        (BARE.replace("0.25", "high"), "'high' between 'NR-AR' and 'SR-p53' is not a number"),
        (BARE.replace("0.25", ""), "'' between 'NR-AR' and 'SR-p53' is not a number"),
        (BARE.replace("0.25", "-0.25"), r"-0.25 between .* is outside \[0, 1\]; write 0"),
        (BARE.replace("0.25", "nan"), r"nan between .* is outside \[0, 1\]"),
        (BARE.replace("1,0.5,0.25", "1,0.5,0.3"), "to 'SR-p53' is 0.3, but back is 0.25"),
    ],
)
def test_a_file_that_cannot_work_is_refused_with_the_place(tmp_path, text, message):
    path = tmp_path / "relation.csv"
    path.write_text(text)
    with pytest.raises(DataError, match=message):
        read_relation(path, NAMES)


def test_an_absent_file_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"none\.csv cannot be read"):
        read_relation(tmp_path / "none.csv", NAMES)


def test_a_file_that_is_no_text_is_refused(tmp_path):
    (tmp_path / "relation.csv").write_bytes(b"\xff\xfe\x00a")
    with pytest.raises(DataError, match="cannot be read"):
        read_relation(tmp_path / "relation.csv", NAMES)

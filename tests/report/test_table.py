"""Tables line up, whatever they hold."""

import math

import numpy as np
import pytest

from graphadapt.report.table import format_cell, format_table

ROWS = [["CHEMBL204", 1200, 0.5], ["a|b", 7, math.nan], ["", None, 12.25]]
HEADER = ["task", "cells", "rmse"]


def test_numbers_stand_to_the_right_and_text_to_the_left():
    assert format_table(HEADER, ROWS).splitlines() == [
        "task       cells    rmse",
        "CHEMBL204  1,200   0.500",
        "a|b            7       -",
        "               -  12.250",
    ]


def test_markdown_has_a_rule_and_escapes_pipes():
    assert format_table(HEADER, ROWS, digits=1, markdown=True).splitlines() == [
        "| task      | cells | rmse |",
        "| --------- | ----: | ---: |",
        "| CHEMBL204 | 1,200 |  0.5 |",
        r"| a\|b      |     7 |    - |",
        "|           |     - | 12.2 |",
    ]


@pytest.mark.parametrize("markdown", [False, True])
def test_a_table_without_rows_is_its_header(markdown):
    lines = format_table(["x", "y"], [], markdown=markdown).splitlines()
    assert len(lines) == (2 if markdown else 1)
    assert "x" in lines[0]
    assert "y" in lines[0]


def test_every_markdown_line_has_the_same_width():
    lines = format_table(["a", "b"], [["x", 1], ["y", 22222]], markdown=True).splitlines()
    assert len({len(line) for line in lines}) == 1


@pytest.mark.parametrize(
    ("cell", "text"),
    [
        (None, "-"),
        (float("nan"), "-"),
        (np.float32("nan"), "-"),
        (1234567, "1,234,567"),
        (np.int64(1234567), "1,234,567"),
        (np.uint8(7), "7"),
        (0.12345, "0.123"),
        (np.float32(0.12345), "0.123"),
        ("x", "x"),
    ],
)
def test_a_cell_is_shown_as_promised(cell, text):
    assert format_cell(cell) == text


def test_a_row_of_another_length_is_an_error():
    with pytest.raises(ValueError, match="a row of 1 cells does not fit 2 columns"):
        format_table(["a", "b"], [["x"], ["y", 1]])


def test_numbers_of_numpy_line_up_like_pythons():
    array = np.array([[3, 12]])
    assert format_table(["a", "b"], array.tolist()) == format_table(["a", "b"], list(array))

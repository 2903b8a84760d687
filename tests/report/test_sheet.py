"""Panels never overlap, titles never leave their panel."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphadapt.report.sheet import (
    BELOW,
    GAP,
    HEADING,
    LETTER,
    LINE,
    MARGIN,
    WIDEST,
    lay_out,
    shortened,
    wrapped,
)


def test_one_row_is_laid_out_as_by_hand():
    sheet = lay_out([3.0, 1.5], 3.0, [1, 2], names=1.0)
    first, second = sheet.places
    assert (first.x, second.x) == pytest.approx((MARGIN + 1, MARGIN + 1 + 3 + GAP))
    assert first.y == second.y == pytest.approx(BELOW)
    assert (first.first, second.first, second.row) == (True, False, 0)
    assert sheet.width == pytest.approx(MARGIN + 1 + 3 + GAP + 1.5 + MARGIN)
    assert sheet.height == pytest.approx(HEADING + 2 * LINE + 0.1 + 3 + BELOW)
    assert sheet.share(0, sheet.height, sheet.width, 0) == (0, 1, 1, 0)


@given(
    st.lists(st.floats(0.5, 25), min_size=1, max_size=25),
    st.floats(1, 12),
    st.floats(0, 3),
    st.data(),
)
def test_panels_stay_on_the_sheet_and_apart(widths, height, names, data):
    lines = data.draw(st.lists(st.integers(1, 4), min_size=len(widths), max_size=len(widths)))
    sheet = lay_out(widths, height, lines, names)
    assert [place.width for place in sheet.places] == widths
    for place, title in zip(sheet.places, lines, strict=True):
        assert 0 < place.x <= place.x + place.width <= sheet.width
        assert BELOW - 1e-9 <= place.y <= place.y + height + title * LINE <= sheet.height
    for one, other in zip(sheet.places, sheet.places[1:], strict=False):
        if one.row == other.row:
            assert one.y == other.y
            assert one.x + one.width < other.x
        else:
            assert other.first
            assert other.y + height + LINE < one.y - BELOW + LINE + 1e-9


def test_a_full_row_is_followed_by_another():
    sheet = lay_out([WIDEST / 2] * 3, 3.0, [1, 1, 1], names=1.0)
    assert [place.row for place in sheet.places] == [0, 1, 2]
    assert [p.row for p in lay_out([30.0, 1.0], 3.0, [1, 1], names=0.0).places] == [0, 1]
    assert [p.row for p in lay_out([10.0, 10.0], 12.0, [1, 1], names=1.0).places] == [0, 0]


@pytest.mark.parametrize(
    ("text", "letters", "lines"),
    [
        ("readout", 20, ["readout"]),
        ("virtual_node.updates.0.expand", 20, ["virtual_node.", "updates.0.expand"]),
        ("relation: labels (prior, sampler)", 20, ["relation: labels", "(prior, sampler)"]),
        ("a_name_without_a_break", 10, ["a_name_wit", "hout_a_bre", "ak"]),
        ("", 10, []),
    ],
)
def test_titles_break_after_dots_and_blanks(text, letters, lines):
    assert wrapped(text, letters * LETTER) == lines


@given(st.text("ab. ", max_size=60), st.integers(4, 20))
def test_no_line_is_too_long_and_no_letter_is_lost(text, letters):
    lines = wrapped(text, (letters + 0.5) * LETTER)
    assert all(len(line) <= letters for line in lines)
    assert "".join(lines).replace(" ", "") == text.replace(" ", "")


def test_long_names_keep_their_ends():
    assert shortened("x" * 40) == "x" * 40
    short = shortened("CYP3A4 inhibition in human liver microsomes (pIC50)")
    assert len(short) == 40
    assert short.startswith("CYP3A4")
    assert short.endswith("(pIC50)")

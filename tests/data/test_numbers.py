import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graphadapt.data.numbers import CellReader


@settings(deadline=None)
@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False)))
def test_every_float32_is_read_back(values):
    read, unread = CellReader().read([repr(value) for value in values])
    assert unread == []
    assert read.tolist() == values


@pytest.mark.parametrize("text", ["", "  ", "nan", "NaN", "NA", "n/a", "NULL", "None", "<NA>"])
def test_these_texts_mean_no_value(text):
    values, unread = CellReader().read([text])
    assert math.isnan(values[0])
    assert unread == []


@pytest.mark.parametrize("text", ["high", "inf", "-inf", "1e40", "1_000", "1,5", ">10", "0x1"])
def test_these_texts_are_no_number_and_are_reported(text):
    values, unread = CellReader().read(["1", text])
    assert values[0] == 1
    assert math.isnan(values[1])
    assert unread == [1]


def test_truth_values_are_one_and_zero():
    values, unread = CellReader().read(["True", "false", "TRUE"])
    assert values.tolist() == [1, 0, 1]
    assert unread == []


def test_more_texts_than_it_remembers_are_all_read(monkeypatch):
    monkeypatch.setattr("graphadapt.data.numbers._MEMORY", 7)
    texts = [str(number) for number in range(50)] + ["x"]
    values, unread = CellReader().read(texts)
    np.testing.assert_array_equal(values[:50], np.arange(50))
    assert unread == [50]

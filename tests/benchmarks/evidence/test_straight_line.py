import pytest
from hypothesis import given
from hypothesis import strategies as st


@given(
    start=st.floats(0, 100),
    slope=st.floats(0.01, 10),
    x=st.lists(st.integers(1, 1000), min_size=2, max_size=6, unique=True),
)
def test_a_straight_line_is_found_again(start, slope, x):
    from evidence.straight_line import straight_line

    found = straight_line(x, [start + slope * each for each in x])
    assert found.slope == pytest.approx(slope, rel=1e-6)
    assert found.start == pytest.approx(start, abs=1e-6 * (start + 1000 * slope))
    assert found.furthest < 1e-9


def test_distance_from_the_line_is_a_share_of_the_value():
    from evidence.straight_line import straight_line

    found = straight_line([1, 10, 100], [1.0, 20.0, 100.0])
    shares = [abs((found.start + found.slope * x) / y - 1) for x, y in ((1, 1), (10, 20))]
    assert found.furthest == pytest.approx(max(shares))
    assert 0.2 < found.furthest < 0.5


def test_the_distance_from_a_line_is_a_share_of_the_value():
    from evidence.straight_line import straight_line

    line = straight_line([1, 1], [1.0, 3.0])
    assert line.start + line.slope == pytest.approx(1.2)  # least (c - 1)² + (c / 3 - 1)²
    assert line.furthest == pytest.approx(0.6)

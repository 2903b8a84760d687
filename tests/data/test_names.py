import pytest

from graphadapt.data.names import choose_names, listed_names, require_name
from graphadapt.errors import DataError


def test_a_known_name_passes():
    require_name("a", ["a", "b"], "task")


def test_a_misspelt_name_is_answered_with_the_nearest():
    with pytest.raises(DataError, match=r"no task is named 'NR-ARR'; did you mean 'NR-AR'\?"):
        require_name("NR-ARR", ["NR-AR", "SR-p53"], "task")


def test_a_strange_name_is_answered_with_all():
    with pytest.raises(DataError, match="no task is named 'zzz'; there are 'one', 'two'"):
        require_name("zzz", ["one", "two"], "task")


def test_long_lists_are_cut_with_a_count():
    assert listed_names(str(n) for n in range(20)).endswith("'11' and 8 more")
    assert listed_names([]) == "none"


def test_choosing_keeps_the_order_asked_for():
    assert choose_names(["c", "a"], ["a", "b", "c"], "task") == [2, 0]


def test_choosing_twice_is_refused():
    with pytest.raises(DataError, match="task 'a' is asked for twice"):
        choose_names(["a", "a"], ["a"], "task")

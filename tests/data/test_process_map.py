import os
from itertools import count, islice

import pytest

from graphadapt.data.process_map import available_cores, process_map
from graphadapt.errors import ConfigError


def test_one_process_is_a_plain_map():
    assert list(process_map(abs, [-1, 2, -3], 1)) == [1, 2, 3]


def test_two_processes_keep_the_order_and_take_jobs_as_needed():
    taken = []

    def jobs():
        for number in count():
            taken.append(number)
            yield -number

    results = process_map(abs, jobs(), 2)
    assert list(islice(results, 30)) == list(range(30))
    assert len(taken) < 30 + 2 * 5
    results.close()


def test_an_error_in_a_worker_reaches_the_caller():
    with pytest.raises(ValueError, match="invalid literal"):
        list(process_map(int, ["1", "x"], 2))


def test_a_worker_that_dies_is_reported():
    with pytest.raises(ConfigError, match="one of processes=2 died"):
        list(process_map(os._exit, [3], 2))


def test_fewer_than_one_process_is_refused():
    with pytest.raises(ConfigError, match="processes=0 cannot work"):
        process_map(abs, [1], 0)
    assert available_cores() >= 1

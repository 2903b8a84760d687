"""Calls come back in order, few are ahead, and what fails stops the rest."""

import threading
import time

import pytest

from graphadapt.errors import ConfigError
from graphadapt.serve.workers import Call, Workers


def test_results_stand_in_the_order_of_the_calls():
    def slow_first(number):
        time.sleep(0.02 if number == 0 else 0)
        return number

    workers = Workers(3)
    calls = (Call(lambda number=number: slow_first(number)) for number in range(40))
    assert list(workers.each(calls)) == list(range(40))


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_only_a_few_calls_are_ahead_of_the_results(threads):
    taken = []

    def calls():
        for number in range(200):
            taken.append(number)
            yield Call(lambda: None)

    for done, _ in enumerate(Workers(threads).each(calls()), start=1):
        assert len(taken) - done <= 4 * threads


def test_a_call_that_is_alone_stays_in_the_callers_thread():
    here = threading.current_thread().name
    name = lambda: threading.current_thread().name  # noqa: E731
    assert list(Workers(2).each([Call(name, alone=True)])) == [here]
    assert list(Workers(1).each([Call(name)] * 2)) == [here] * 2
    assert all(each.startswith("graphadapt") for each in Workers(2).each([Call(name)] * 3))


def test_an_error_comes_out_and_what_has_not_begun_is_dropped():
    ran = []

    def work(number):
        if number == 0:
            raise RuntimeError("broken")
        time.sleep(0.05)
        ran.append(number)

    workers = Workers(2)
    calls = (Call(lambda number=number: work(number)) for number in range(100))
    with pytest.raises(RuntimeError, match="broken"):
        list(workers.each(calls))
    workers.close()
    assert len(ran) <= 8


def test_closing_the_iterator_drops_what_has_not_begun():
    ran = []
    workers = Workers(2)
    results = workers.each(Call(lambda: (time.sleep(0.01), ran.append(1))) for _ in range(100))
    next(results)
    results.close()
    workers.close()
    assert len(ran) <= 12


def test_closing_the_workers_answers_what_is_in_flight():
    workers = Workers(2)
    results = workers.each(
        Call(lambda number=number: (time.sleep(0.05), number)[1]) for number in range(6)
    )
    first = next(results)
    workers.close()
    assert [first, *results] == list(range(6))


@pytest.mark.parametrize("threads", [1, 2])
def test_closed_workers_take_nothing_new(threads):
    workers = Workers(threads)
    workers.close()
    with pytest.raises(ConfigError, match="was closed and answers no more"):
        list(workers.each([Call(lambda: 1)]))


def test_several_threads_share_the_workers():
    workers, found = Workers(2), {}

    def ask(start):
        calls = [Call(lambda number=number: number) for number in range(start, start + 30)]
        found[start] = list(workers.each(calls))

    threads = [threading.Thread(target=ask, args=(100 * place,)) for place in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {100 * p: list(range(100 * p, 100 * p + 30)) for p in range(6)}


def test_no_thread_is_refused():
    with pytest.raises(ConfigError, match="threads=0 cannot answer"):
        Workers(0)

"""Who records is alone; everyone else passes side by side."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from graphadapt.serve.capture_gate import CaptureGate

LONG = 10


def test_many_pass_at_once():
    gate, together = CaptureGate(), threading.Barrier(3)

    def enter():
        with gate.shared():
            together.wait(LONG)

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda _: enter(), range(3)))


def test_who_is_alone_meets_nobody():
    gate, inside, most = CaptureGate(), [], []

    def enter(number):
        with gate.alone() if number % 5 == 0 else gate.shared():
            inside.append(number)
            if number % 5 == 0:
                most.append(list(inside))
            inside.remove(number)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(enter, range(400)))
    assert len(most) == 80
    assert all(len(present) == 1 for present in most)


def test_who_waits_to_be_alone_is_let_in_before_those_that_come_later():
    gate, order = CaptureGate(), []
    first, asked = threading.Event(), threading.Event()

    def alone():
        asked.set()
        with gate.alone():
            order.append("alone")

    def later():
        with gate.shared():
            order.append("later")

    with ThreadPoolExecutor(2) as pool:
        with gate.shared():
            recording = pool.submit(alone)
            assert asked.wait(LONG)
            while not gate._barred:
                first.wait(0.001)
            following = pool.submit(later)
            assert not first.wait(0.02)
            assert order == []
        recording.result(LONG)
        following.result(LONG)
    assert order == ["alone", "later"]


def test_an_error_leaves_the_gate_open():
    gate = CaptureGate()
    for enter in (gate.alone, gate.shared, gate.alone):
        with pytest.raises(ValueError, match="within"), enter():
            raise ValueError("within")
    with gate.alone():
        pass

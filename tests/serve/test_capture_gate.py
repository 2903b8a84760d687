"""Who records is alone; everyone else passes side by side."""

import threading
import time
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
    gate, inside, met = CaptureGate(), [], []

    def enter(number):
        with gate.alone() if number % 5 == 0 else gate.shared():
            inside.append(number)
            time.sleep(1e-3)  # lets the others in, if the gate does
            if number % 5 == 0:
                met.append(list(inside))
            inside.remove(number)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(enter, range(200)))
    assert len(met) == 40
    assert all(len(present) == 1 for present in met)


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


def test_a_wait_that_is_interrupted_leaves_the_gate_open(monkeypatch):
    gate, waits = CaptureGate(), iter((None, KeyboardInterrupt))

    def wait_for(_):
        if (error := next(waits)) is not None:
            raise error

    with monkeypatch.context() as patch:
        patch.setattr(gate._changed, "wait_for", wait_for)
        with pytest.raises(KeyboardInterrupt), gate.alone():
            pass
    with gate.alone():
        pass


def test_an_error_leaves_the_gate_open():
    gate = CaptureGate()
    for enter in (gate.alone, gate.shared, gate.alone):
        with pytest.raises(ValueError, match="within"), enter():
            raise ValueError("within")
    with gate.alone():
        pass

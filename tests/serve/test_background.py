"""Pieces are used up in order; what fails comes out, and nothing follows it."""

import threading
import time

import pytest

from graphadapt.serve.background import in_background


def put_all(use, pieces):
    with in_background(use, most=4) as background:
        for piece in pieces:
            background.put(piece)


def test_pieces_are_used_up_in_order_by_another_thread():
    seen, names = [], set()

    def use(piece):
        names.add(threading.current_thread().name)
        seen.append(piece)

    with in_background(use, most=2) as background:
        for piece in range(50):
            background.put(piece)
    assert seen == list(range(50))
    assert threading.current_thread().name not in names


def test_few_pieces_wait():
    used, given_pieces = [], 0
    with in_background(lambda piece: (time.sleep(0.002), used.append(piece)), 3) as background:
        for piece in range(30):
            background.put(piece)
            given_pieces += 1
            assert given_pieces - len(used) <= 5


def test_an_error_comes_out_and_nothing_follows_it():
    used = []

    def use(piece):
        if piece == 2:
            raise OSError(28, "no room")
        used.append(piece)

    with pytest.raises(OSError, match="no room"):
        put_all(use, range(100))
    assert used == [0, 1]


def test_an_error_of_the_last_piece_comes_out_too():
    def use(piece):
        raise OSError(28, "no room")

    with pytest.raises(OSError, match="no room"):
        put_all(use, [1])


def test_an_interrupted_block_drops_what_waits_and_ends_the_thread():
    used, go = [], threading.Event()

    def use(piece):
        go.wait(5)
        used.append(piece)

    def pieces():
        yield from range(4)
        threading.Timer(0.05, go.set).start()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        put_all(use, pieces())
    assert used == [0]
    assert not [t for t in threading.enumerate() if t.name.startswith("graphadapt-background")]

"""Progress goes to standard error only, as lines where there is no terminal."""

import io
import re

import pytest

from graphadapt import progress
from graphadapt.progress import Progress, track


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def clock(monkeypatch):
    """A clock that moves only when told."""
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_items_pass_in_order_and_the_end_is_reported(capsys):
    assert list(track(iter("abc"), 3, "Reading")) == ["a", "b", "c"]
    out, err = capsys.readouterr()
    assert out == ""
    assert err == "Reading: 3/3 in 0 s\n"


def test_a_line_appears_every_ten_seconds_with_the_latest_status(capsys, clock):
    with Progress(100, "Training") as bar:
        for _ in range(24):
            clock[0] += 1
            bar.update(2, f"loss {clock[0]:.0f}")
    assert capsys.readouterr().err.splitlines() == [
        "Training: 20/100 in 10 s  loss 110",
        "Training: 40/100 in 20 s  loss 120",
        "Training: 48/100 in 24 s  loss 124",
    ]


def test_a_status_stays_until_there_is_a_new_one(capsys):
    with Progress(2, "Work") as bar:
        bar.update(status="half")
        bar.update()
    assert capsys.readouterr().err == "Work: 2/2 in 0 s  half\n"


def test_hidden_progress_says_nothing_but_counts(capsys):
    with Progress(2, "Work", shown=False) as bar:
        bar.update(2)
    assert bar.done == 2
    assert list(track([1, 2], 2, "Work", shown=False)) == [1, 2]
    assert capsys.readouterr() == ("", "")


def test_work_that_fails_is_not_reported_as_finished(capsys):
    with pytest.raises(KeyError), Progress(2, "Work"):
        raise KeyError
    assert capsys.readouterr().err == ""


def test_a_terminal_gets_a_bar_with_place_and_status(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    with Progress(4, "Epoch 1/2") as bar:
        bar.update(3, "800 molecules/s")
        bar.update(1)
    text = terminal.getvalue()
    assert "Epoch 1/2" in text
    assert "4/4" in text
    assert "800 molecules/s" in text


def test_a_bar_is_drawn_ten_times_a_second_at_most_and_at_the_end(monkeypatch, clock):
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    with Progress(1000, "Reading") as bar:
        for _ in range(500):
            clock[0] += 0.01
            bar.update()
    looks = re.findall(r"(\d+)/1000", terminal.getvalue())
    assert 40 <= len(looks) <= 52
    assert looks[-1] == "500"


def test_work_is_shown_while_it_is_under_way_not_before(capsys, clock):
    seen = []
    for item in track([1, 2, 3], 3, "Slow"):
        seen.append((item, capsys.readouterr().err))
        clock[0] += 11
    assert seen[1] == (2, "Slow: 1/3 in 11 s\n")


@pytest.mark.parametrize("stream", [io.StringIO, Terminal])
def test_work_of_unknown_length_counts_without_a_total(stream, monkeypatch, clock):
    errors = stream()
    monkeypatch.setattr(progress.sys, "stderr", errors)
    with Progress(None, "predict") as bar:
        clock[0] += 11
        bar.update(1000, "3 failed")
        bar.update(5)
    assert errors.getvalue().splitlines() == [
        "predict: 1000 in 11 s  3 failed",
        "predict: 1005 in 11 s  3 failed",
    ]

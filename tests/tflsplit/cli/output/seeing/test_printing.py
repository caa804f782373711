"""Answers as they come: a line each, or one that counts."""

import io
import itertools
import types

import pytest

from broker.messages.results import Refusal, Result, Score, Times
from tflsplit.cli.output.seeing import printing

TIMES = Times(0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0)


class Screen(io.StringIO):
    def __init__(self, *, terminal):
        super().__init__()
        self.isatty = lambda: terminal


def settled(number, answer=None, own_s=None):
    answer = answer or Result("cam", 1, number, "op1", "ab", TIMES, (Score("cat", 0.5),))
    return types.SimpleNamespace(answer=answer, sequence=number, latency_s=0.0345, own_s=own_s)


@pytest.fixture
def clock(monkeypatch):
    """Each look at the time is so many seconds after the one before."""

    def every(step_s):
        looks = itertools.count()
        monkeypatch.setattr(printing.time, "monotonic", lambda: next(looks) * step_s)

    return every


def test_few_answers_have_a_line_each(clock):
    clock(1.0)
    screen = Screen(terminal=True)
    shown_here = printing.Answers(screen)
    for number in range(9):
        shown_here.settled(settled(number))
    shown_here.settled(settled(9, Refusal("cam", 1, 9, "no room", 0.0)))
    shown_here.settled(settled(10, own_s=0.1))  # the device had answered before

    lines = screen.getvalue().splitlines()
    assert len(lines) == 10
    assert lines[0].endswith("frame 0: cat 0.50 (34 ms)")
    assert lines[9].endswith("frame 9: refused: no room (34 ms)")


def test_many_become_a_count_with_a_bar_whose_last_stands(clock):
    clock(0.01)
    screen = Screen(terminal=True)
    shown_here = printing.Answers(screen, expected=200)
    for number in range(200):
        shown_here.settled(settled(number))
    shown_here.close()

    shown = screen.getvalue().split("\r\x1b[K")
    assert len(shown) < 40
    assert shown[-1].startswith("[####################] 200 of 200, 100/s, last frame 199:")
    assert shown[-1].endswith("\n")


def test_a_pipe_gets_every_line_and_nothing_that_a_terminal_obeys(clock):
    clock(0.001)
    screen = Screen(terminal=False)
    shown_here = printing.Answers(screen)
    bad = Result("cam", 1, 3, "op1", "ab", TIMES, (Score("\x1b[2Jcat", 0.5),))
    for number in range(50):
        shown_here.settled(settled(number, bad))
    shown_here.close()

    assert len(screen.getvalue().splitlines()) == 50
    assert "\x1b" not in screen.getvalue()


def test_what_is_logged_stands_above_the_count(clock):
    clock(0.001)
    screen, log = Screen(terminal=True), io.StringIO()
    shown_here = printing.Answers(screen)
    for number in range(50):
        shown_here.settled(settled(number))
    before = len(screen.getvalue())
    shown_here.write_above(log, "broker lost\n")

    assert log.getvalue() == "broker lost\n"
    assert screen.getvalue()[before:].startswith("\r\x1b[K\r\x1b[K")


def test_a_cloud_names_the_device():
    screen = Screen(terminal=False)
    answer = types.SimpleNamespace(results=[Result("cam", 1, 3, "op1", "ab", TIMES, (Score("cat", 0.5),)).as_json()])
    printing.Answers(screen).answered("cam", answer)

    assert screen.getvalue().strip().endswith("cam, frame 3: cat 0.50")

"""Health names the first promise that is broken, and since when. Clock, edge and transport are stand-ins."""

from types import SimpleNamespace

import pytest

from broker.messages import acks, results
from broker.transport.protocol import ConnectionState
from edge_runtime.accelerators.service import Condition
from edge_runtime.monitoring.health import EdgeHealth

ACCEPTED = acks.Acknowledgement("cam1", 1, 1)


class Machine:
    """An edge and its connection, as much of them as health looks at, and the time."""

    def __init__(self, *, spool_frames=None, rate_fps=None):
        self.now_s = 1000.0
        spool = None if spool_frames is None else SimpleNamespace(frames=spool_frames, is_full=False)
        self.edge = SimpleNamespace(
            summary=SimpleNamespace(frames=0, refusing=None),
            condition=Condition("cpu", "cpu", None),
            cut=SimpleNamespace(id="op002", position=3),
            settings=SimpleNamespace(resend_after_s=5.0, rate_fps=rate_fps, window=8),
            outstanding=0,
            spool=spool,
        )
        self.transport = SimpleNamespace(state=ConnectionState.ONLINE, refused=0, last_failure=None)
        self.health = EdgeHealth(lambda: self.now_s)
        self.health.attach(self.edge, self.transport)

    def frame(self, *, answered, refused=None):
        self.edge.summary.frames += 1
        self.edge.outstanding += 1
        self.health.alive()
        if answered:
            self.edge.outstanding -= 1
            self.edge.summary.refusing = refused
            answer = ACCEPTED if refused is None else results.Refusal("cam1", 1, 1, refused, 0.0)
            self.health.settled(SimpleNamespace(answer=answer))

    def seconds(self, count, *, answered, frames=True, refused=None):
        """One frame a second."""
        for _ in range(count):
            self.now_s += 1
            if frames:
                self.frame(answered=answered, refused=refused)
            else:
                self.health.alive()

    @property
    def found(self):
        made = self.health.judge()
        return made.state, made.why, made.facts["since_s"]


def test_a_machine_whose_frames_are_answered_is_well():
    machine = Machine()
    machine.seconds(100, answered=True)

    assert machine.found == ("ok", None, None)
    assert machine.health.judge().is_ready


def test_a_cloud_that_died_is_named_with_the_time_of_the_last_answer():
    machine = Machine()
    machine.seconds(20, answered=True)
    machine.seconds(10, answered=False)
    assert machine.found[0] == "ok"  # a cloud that restarts takes as long
    machine.edge.outstanding = machine.edge.settings.window
    machine.seconds(132, answered=False, frames=False)
    state, why, since_s = machine.found

    assert state == "not ready"
    assert "no answer came" in why
    assert since_s == 141  # the first frame that waits came a second after the last answer
    assert machine.health.judge().is_live  # a restart would not help


def test_a_cloud_that_refuses_every_frame_is_no_cloud_that_answers():
    machine = Machine()
    machine.seconds(20, answered=True)
    machine.seconds(11, answered=True, refused="another package")
    assert machine.found[0] == "ok"  # one that is exchanged may refuse for as long
    machine.seconds(1, answered=True, refused="another package")
    assert machine.found == ("not ready", "no result came for 11 s, frames are refused: another package", 11)
    machine.seconds(1, answered=True)

    assert machine.found == ("ok", None, None)


def test_a_frame_that_is_refused_between_others_is_no_broken_promise():
    machine = Machine()
    for _ in range(20):
        machine.seconds(1, answered=True, refused="this one")
        machine.seconds(1, answered=True)

    assert machine.found == ("ok", None, None)


def test_attempts_at_a_broker_that_is_away_do_not_begin_its_absence_anew():
    machine = Machine()
    machine.seconds(5, answered=True)
    for state in (ConnectionState.WAITING, ConnectionState.CONNECTING, ConnectionState.WAITING):
        machine.transport.state = state
        machine.seconds(2, answered=False)

    assert machine.found[1:] == ("the connection to the broker is waiting", 5)


def test_why_a_broker_is_away_is_said():
    machine = Machine()
    machine.transport.last_failure = "Connection refused"
    machine.seconds(5, answered=True)
    assert machine.found == ("ok", None, None)
    machine.transport.state = ConnectionState.WAITING

    assert machine.found[1] == "the connection to the broker is waiting: Connection refused"


def test_frames_of_an_earlier_run_that_nobody_answers_are_noticed():
    machine = Machine(spool_frames=711)
    machine.seconds(11, answered=False, frames=False)

    assert "no answer came" in machine.found[1]


def test_a_device_that_was_revoked_is_told_from_a_cloud_that_is_away():
    machine = Machine(spool_frames=0)
    machine.seconds(20, answered=True)
    machine.transport.refused = 3
    machine.seconds(4, answered=False)
    state, why, since_s = machine.found

    assert (state, since_s) == ("not ready", 3)
    assert why == "the broker refused 3 messages, no answer came: may this device publish there?"


def test_refusals_of_long_ago_are_forgotten_with_the_next_answer():
    machine = Machine()
    machine.transport.refused = 3
    machine.seconds(1, answered=True)
    machine.frame(answered=False)

    assert machine.found[0] == "ok"


@pytest.mark.parametrize(("rate_fps", "patience_s"), [(None, 30), (10.0, 30), (0.05, 100)])
def test_a_source_that_gives_nothing_is_named_by_its_rate(rate_fps, patience_s):
    machine = Machine(rate_fps=rate_fps)
    machine.seconds(5, answered=True)
    machine.seconds(patience_s, answered=True, frames=False)
    assert machine.found[0] == "ok"
    machine.seconds(1, answered=True, frames=False)

    assert machine.found == ("not ready", f"the source gave no input for {patience_s + 1} s", patience_s + 1)


def test_the_first_broken_link_is_named_and_not_what_follows_from_it():
    machine = Machine(spool_frames=0)
    machine.seconds(5, answered=True)
    machine.edge.spool.is_full = True
    machine.seconds(60, answered=False)
    assert "no answer" in machine.found[1]
    machine.transport.state = ConnectionState.WAITING
    assert machine.found[1:] == ("the connection to the broker is waiting", 0)
    machine.now_s += 7

    assert machine.found[1:] == ("the connection to the broker is waiting", 7)


def test_a_full_spool_whose_frames_are_answered_is_not_well_either():
    machine = Machine(spool_frames=9)
    machine.seconds(5, answered=True)
    machine.edge.spool.is_full = True

    assert machine.found[:2] == ("not ready", "the spool is full")

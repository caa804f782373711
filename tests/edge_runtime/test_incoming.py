"""Which thread sees to what comes in for an edge."""

import queue
import threading

import pytest
import waiting

from broker.transport.protocol import Message
from edge_runtime import incoming

SOON_S = waiting.WAIT_S


class Inbox:
    """As much of a transport as is needed; None in it ends a wait at once."""

    def __init__(self):
        self.waiting, self.acknowledged = queue.SimpleQueue(), []

    def receive(self, timeout_s):
        try:
            return self.waiting.get(timeout=timeout_s) if timeout_s else self.waiting.get_nowait()
        except queue.Empty:
            return None

    def acknowledge(self, message):
        self.acknowledged.append(message)


class Run:
    def __init__(self, *, may_share=True):
        self.inbox, self.taken, self.failures = Inbox(), queue.SimpleQueue(), queue.SimpleQueue()
        self.incoming = incoming.Incoming(
            self.inbox, self.take, lambda now_s: None, self.failures.put, may_share=may_share
        )

    def take(self, message):
        if message.payload == b"broken":
            raise ValueError("broken")
        self.taken.put((message.payload, threading.current_thread().name))

    def come(self, payload):
        self.inbox.waiting.put(Message("t", payload))


@pytest.fixture
def now_s(monkeypatch):
    """Stands still, for all that asks how late it is."""
    monkeypatch.setattr(incoming.time, "monotonic", lambda: 100.0)


@pytest.mark.usefixtures("now_s")
def test_between_frames_that_follow_soon_the_compute_thread_takes_what_has_come():
    run = Run()
    assert not run.incoming.look()  # the first one
    run.come(b"one")
    run.come(b"two")

    assert run.incoming.look()
    ours = threading.current_thread().name
    assert [run.taken.get_nowait() for _ in range(2)] == [(b"one", ours), (b"two", ours)]
    assert [each.payload for each in run.inbox.acknowledged] == [b"one", b"two"]


@pytest.mark.usefixtures("now_s")
def test_a_full_window_is_waited_for_where_answers_come():
    run = Run()
    run.incoming.look()
    run.incoming.look()
    run.come(b"one")
    run.incoming.wait()

    assert run.taken.get_nowait() == (b"one", threading.current_thread().name)


@pytest.mark.usefixtures("now_s")
def test_what_may_not_be_shared_is_left_to_its_own_thread():
    run = Run(may_share=False)
    assert not any(run.incoming.look() for _ in range(3))
    run.incoming.open()
    run.come(b"one")

    assert run.taken.get(timeout=SOON_S) == (b"one", "edge-results")
    run.incoming.close()


def test_where_the_compute_thread_is_late_the_other_one_sees_to_it():
    run = Run()
    run.incoming.open()
    while not run.incoming.look():  # until it was soon enough, and nobody else is at it
        pass
    run.come(b"one")

    assert run.taken.get(timeout=SOON_S) == (b"one", "edge-results")
    run.incoming.close()


@pytest.mark.usefixtures("now_s")
def test_a_failure_is_told_and_nothing_is_taken_after_it():
    run = Run()
    run.incoming.open()
    run.come(b"broken")

    assert str(run.failures.get(timeout=SOON_S)) == "broken"
    run.come(b"one")
    run.incoming.look()
    run.incoming.look()
    run.incoming.close()
    assert run.taken.empty()

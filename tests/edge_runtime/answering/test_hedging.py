"""Answers that are overdue are computed on the device too; the first one counts, and both are counted."""

import threading

import memory_cloud
import numpy as np
import running_edge
import watching
from moving_edge import INPUTS, LATE, SOON, Stays
from waiting import WAIT_S, wait_for

from broker.messages import results
from broker.transport import memory
from edge_runtime import loop
from edge_runtime.adapting import adaptation, candidates
from edge_runtime.answering.on_device import OnDevice
from edge_runtime.delivery.observer import Why
from edge_runtime.delivery.publisher import Publisher
from edge_runtime.delivery.settings import Delivery
from tflsplit import errors
from tflsplit.graph.interpreter import Interpreter
from tflsplit.switching.choices import Choice, Present
from tflsplit.switching.controller import Tuning
from tflsplit.switching.goal import Goal


class Hedged(running_edge.RunningEdge):
    """Device n of deployment d, whose answers are overdue after `hedge` of 100 s, and a cloud of a test."""

    def __init__(self, stack, package, *, hedge, head=None, rest=None, repeats=1, **changes):
        self.network = memory.MemoryBroker()
        self.ghost = stack.enter_context(memory_cloud.ghost_on(self.network))
        online = stack.enter_context(memory.MemoryTransport(self.network, client_id="edge"))
        online.connect()
        choices = [Choice("op000", 0.0, 6_000, 100.0, 0.04), Choice("output", 0.06, 0.0, 0.0, 0.0)]
        controller = Stays(choices, Present(1 / 50e6, 0.002), Goal(), Tuning(hedge=hedge, probing=None), start="op000")
        opened = stack.enter_context(candidates.opened(package, choices, batch=changes.get("batch", 1)))
        here = OnDevice(package, opened[0].chain, hedges=True)
        self.mover = adaptation.Adaptation(opened, controller, "op000", on_device=here)
        self.watcher = watching.Watching()
        self.package = package
        settings = running_edge.settings(**{"count": 4} | changes)
        more = {"observers": [self.watcher], "adaptation": self.mover}
        edge = loop.Edge(package, self.mover.first, online, settings, **more)
        if head is not None:
            opened[0].head.run = head(opened[0].head.run)
        if rest is not None:
            hedging = edge._answers._hedging
            hedging._rest = rest(hedging._rest)
        super().__init__(edge, online, np.tile(INPUTS, (repeats, 1)))
        stack.enter_context(self)

    def check_own(self):
        """Each answer of the device is the whole model's."""
        spec = self.package.manifest.outputs[0]
        with Interpreter(self.package.model_bytes()) as whole:
            expected = [np.float32(spec.scale) * whole.run(row[None])[0].astype(np.float32).ravel() for row in INPUTS]
        for own in self.watcher.own:
            assert own.result.is_of_device
            assert np.allclose(dict(own.result.values)["c"], expected[own.result.sequence % len(INPUTS)], rtol=1e-6)


def test_overdue_answers_are_the_devices_and_the_clouds_are_taken_all_the_same(stack, tiny_package):
    edge = Hedged(stack, tiny_package, hedge=SOON)
    waiting = edge.ghost.frames(4)
    wait_for(lambda: len(edge.watcher.own) == 4)
    for frame in waiting:
        edge.ghost.answer(frame)
    edge.thread.join(WAIT_S)

    summary = edge.edge.summary
    edge.check_own()
    assert (summary.frames, summary.results, summary.unanswered, summary.duplicates) == (4, 4, 0, 0)
    assert (summary.hedged, summary.hedged_first, summary.answered_here) == (4, 4, 4)
    assert [own.result.sequence for own in edge.watcher.own] == [0, 1, 2, 3]
    assert {(own.why, own.cut, own.is_sent) for own in edge.watcher.own} == {(Why.OVERDUE, "op000", True)}
    # Their latency is that of the first answer, once.
    assert len(summary.latency_s) == 4
    assert [settled.own_s for settled in edge.watcher.settlements] == [own.latency_s for own in edge.watcher.own]
    assert {frame.cut for frame in waiting} == {tiny_package.cut("op000").position}
    assert edge.values()["hedged_frames_total",] == edge.values()["hedged_first_frames_total",] == 4
    assert edge.values()["answered_here_frames_total",] == 4
    assert "4 answered here, 4 hedged (4 first)" in summary.in_words()


def test_each_input_of_an_overdue_batch_is_answered(stack, tiny_package):
    edge = Hedged(stack, tiny_package, hedge=SOON, batch=3, count=5)
    first, second = edge.ghost.frames(2)
    wait_for(lambda: len(edge.watcher.own) == 5)
    for frame in (first, second):
        edge.ghost.answer(frame)
    edge.thread.join(WAIT_S)

    summary = edge.edge.summary
    edge.check_own()
    assert (summary.frames, summary.results, summary.hedged, summary.hedged_first) == (2, 2, 2, 2)
    assert [own.result.sequence for own in edge.watcher.own] == [0, 1, 2, 3, 4]
    assert [own.result.first for own in edge.watcher.own] == [0, 0, 0, 3, 3]
    assert len(summary.latency_s) == 5


def test_answers_that_come_in_time_are_not_computed_again(stack, tiny_package):
    edge = Hedged(stack, tiny_package, hedge=LATE)
    edge.ghost.answer_frames(4)
    edge.thread.join(WAIT_S)

    assert (edge.edge.summary.hedged, edge.edge.summary.answered_here, edge.watcher.own) == (0, 0, [])
    assert [settled.own_s for settled in edge.watcher.settlements] == [None] * 4


def test_a_clouds_answer_that_comes_while_the_device_computes_is_the_first(stack, tiny_package):
    began, may_end = threading.Event(), threading.Event()

    def slowed(rest):
        def slow(boundary, sending):
            began.set()
            assert may_end.wait(WAIT_S)
            return rest(boundary, sending)

        return slow

    edge = Hedged(stack, tiny_package, hedge=SOON, rest=slowed, count=1)
    frame = edge.ghost.frame()
    assert began.wait(WAIT_S)
    edge.ghost.answer(frame)
    wait_for(lambda: edge.edge.summary.results == 1)
    may_end.set()
    edge.thread.join(WAIT_S)

    assert (edge.edge.summary.hedged, edge.edge.summary.hedged_first, edge.watcher.own) == (1, 0, [])
    assert edge.watcher.settlements[0].own_s is None


def test_a_frame_is_hedged_while_the_head_is_busy_with_the_next(stack, tiny_package):
    may_go_on = threading.Event()

    def stuck(run):
        calls = iter(range(10))

        def head(arrays):
            if next(calls) == 1:
                assert may_go_on.wait(WAIT_S)
            return run(arrays)

        return head

    edge = Hedged(stack, tiny_package, hedge=SOON, head=stuck, count=2)
    first = edge.ghost.frame()
    wait_for(lambda: len(edge.watcher.own) == 1)
    assert edge.edge.summary.frames == 1
    may_go_on.set()
    for frame in (first, edge.ghost.frame()):
        edge.ghost.answer(frame)
    edge.thread.join(WAIT_S)

    assert edge.edge.summary.results == 2


def test_a_refused_frame_is_answered_by_the_device(stack, tiny_package):
    edge = Hedged(stack, tiny_package, hedge=LATE, count=1, drain_s=0.2)
    edge.ghost.refuse(edge.ghost.frame(), "failed")
    wait_for(lambda: edge.watcher.own)
    edge.thread.join(WAIT_S)

    edge.check_own()
    assert (edge.edge.summary.refused, edge.edge.summary.hedged_first) == (1, 1)
    assert not edge.watcher.own[0].is_sent


def test_a_frame_that_finds_no_room_is_answered_by_the_device_at_once(stack, tiny_package, monkeypatch):
    monkeypatch.setattr(Publisher, "try_send", lambda *args, **more: False)
    edge = Hedged(stack, tiny_package, hedge=LATE, delivery=Delivery.LATEST, max_age_s=1e6)
    edge.thread.join(WAIT_S)

    assert {(own.why, own.is_sent) for own in edge.watcher.own} == {(Why.OVERDUE, False)}
    assert (edge.edge.summary.hedged_first, edge.edge.summary.dropped) == (4, {"no_room": 4})
    assert edge.mover._in_flight._sent == {}  # none is waited for


def test_with_latest_no_answer_of_the_device_is_too_old(stack, tiny_package):
    edge = Hedged(stack, tiny_package, hedge=SOON, delivery=Delivery.LATEST, max_age_s=1e-9, count=None)
    wait_for(lambda: edge.edge.summary.dropped["expired"] > 2)
    edge.edge.stop()
    edge.thread.join(WAIT_S)

    assert not edge.watcher.own
    assert edge.edge.summary.answered_here == 0


def test_with_latest_frames_are_answered_here_while_as_many_as_may_be_are_out_and_none_is_answered(stack, tiny_package):
    endless = {"repeats": 1000, "rate_fps": 100.0, "count": None, "drain_s": 0.1}
    edge = Hedged(stack, tiny_package, hedge=LATE, delivery=Delivery.LATEST, max_age_s=1e6, window=2, **endless)
    waiting = edge.ghost.frames(2)
    wait_for(lambda: len(edge.watcher.own) > 3)
    sent, kept = edge.edge.summary.frames, edge.edge.summary.dropped["offline"]
    for frame in waiting:
        edge.ghost.answer(frame)
    wait_for(lambda: edge.edge.summary.frames > 2)
    edge.edge.stop()
    edge.thread.join(WAIT_S)

    assert sent == 2
    assert kept > 2
    assert {(own.why, own.is_sent) for own in edge.watcher.own} == {(Why.AWAY, False)}


def test_boundaries_beyond_what_a_window_holds_are_not_kept(stack, tiny_package, monkeypatch):
    monkeypatch.setattr("edge_runtime.answering.hedging.MAX_BYTES", 0)
    edge = Hedged(stack, tiny_package, hedge=SOON)
    edge.ghost.answer_frames(4)
    edge.thread.join(WAIT_S)

    assert edge.edge.summary.hedge_left_out == edge.values()["hedge_left_out_frames_total",] == 4
    assert edge.edge.summary.hedged == 0


def test_a_rest_that_fails_ends_the_edge_with_its_error(stack, tiny_package, monkeypatch):
    failures = []
    monkeypatch.setattr(threading, "excepthook", lambda told: failures.append(told.exc_value))
    edge = Hedged(stack, tiny_package, hedge=LATE, count=1)

    def broken(boundary, sending):
        raise errors.DeviceError("for a test")

    edge.edge._answers._hedging._rest = broken
    edge.ghost.refuse(edge.ghost.frame(), "failed")
    edge.thread.join(WAIT_S)

    assert [str(failure) for failure in failures] == ["for a test"]


def test_results_of_the_device_say_so():
    times = results.Times(*[0.0] * len(results.Times.__slots__))
    here, there = (results.Result("n", 7, 0, cut, "9f", times) for cut in ("output", "op000"))

    assert (here.is_of_device, there.is_of_device) == (True, False)

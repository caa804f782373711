"""Every counter of an edge moves for the reason that its help names, and by as much."""

import contextlib
import pathlib
import threading

import memory_cloud
import numpy as np
import pytest
from waiting import WAIT_S, wait_for

from broker.messages import results, topics
from broker.transport import memory
from broker.transport.protocol import ConnectionState
from edge_runtime import head, loop
from edge_runtime.delivery.durable import spool
from edge_runtime.delivery.settings import Delivery, Settings
from edge_runtime.monitoring.metrics import EdgeMetrics
from edge_runtime.sources import frames
from tflsplit import errors
from tflsplit.observing import catalogue
from tflsplit.observing.metrics import Kind

INPUTS = np.random.default_rng(0).integers(-128, 128, (40, 4), dtype=np.int8)
RESULTS = topics.topic("d", "n", topics.Kind.RESULTS)

# Counters whose reason takes other means than one edge over a broker in memory, and the file that has them.
ELSEWHERE = {
    "accelerator_failures_total": ("edge_runtime/accelerators/test_in_service.py", "accelerator.failures == 1"),
    "accelerator_reopenings_total": ("edge_runtime/accelerators/test_in_service.py", "accelerator.reopenings == 3"),
    "fallback_frames_total": ("edge_runtime/accelerators/test_in_service.py", "accelerator.frames_on_fallback"),
    "stream_restarts_total": ("edge_runtime/test_stream.py", "edge.summary.restarts) == (30, 1)"),
    "cut_switches_total": ("edge_runtime/adapting/test_adaptation.py", '"cut_switches_total", "test"'),
    "answered_here_frames_total": ("edge_runtime/adapting/test_adaptation.py", '"answered_here_frames_total",'),
    "hedged_frames_total": ("edge_runtime/answering/test_hedging.py", '"hedged_frames_total",'),
    "hedged_first_frames_total": ("edge_runtime/answering/test_hedging.py", '"hedged_first_frames_total",'),
    "gated_frames_total": ("edge_runtime/answering/test_gate.py", '"gated_frames_total", "audited"'),
    "audits_total": ("edge_runtime/answering/test_gate.py", '"audits_total", "yes"'),
    "hedge_left_out_frames_total": ("edge_runtime/answering/test_hedging.py", '"hedge_left_out_frames_total",'),
    "cuts_not_ready_total": ("edge_runtime/adapting/test_adaptation.py", '"cuts_not_ready_total",'),
    "head_loads_total": ("edge_runtime/adapting/test_moving_devices.py", '"head_loads_total",'),
    "head_load_wait_seconds_total": ("edge_runtime/adapting/test_moving_devices.py", '"head_load_wait_seconds_total",'),
    "probes_total": ("edge_runtime/adapting/test_adaptation.py", '"probes_total",'),
    "probe_bytes_total": ("edge_runtime/adapting/test_adaptation.py", '"probe_bytes_total",'),
    "broker_resent_total": ("broker/mqtt/test_transport.py", "counters.resent"),
}


class Edge:
    """Device n of deployment d, whose counters can be read, and a cloud that answers what a test says. While two frames
    have no answer it waits."""

    def __init__(self, package, tmp_path, **changes):
        self.package, self.tmp_path = package, tmp_path
        self.network = memory.MemoryBroker()
        self._stack = contextlib.ExitStack()
        self.enter = self._stack.enter_context
        self.ghost = self.enter(memory_cloud.ghost_on(self.network))
        self.online = self.enter(memory.MemoryTransport(self.network, client_id="edge"))
        self.online.connect()
        self.settings = {"deployment": "d", "device": "n", "boot": 7, "drain_s": 0.1, "window": 2} | changes

    @contextlib.contextmanager
    def running(self, *, is_spooled=False):
        kept = None
        if is_spooled:
            place = self.tmp_path / "spool"
            kept = self.enter(spool.open_spool(place, spool.Limits(), deployment="d", device="n"))
        opened = self.enter(head.Head(self.package, self.package.cut("op000")))
        self.head = opened
        self.edge = loop.Edge(self.package, opened, self.online, Settings(**self.settings), spool=kept)
        self.watch = EdgeMetrics()
        self.watch.attach(self.edge, self.online)
        source = frames.from_arrays((INPUTS,), self.package.manifest, name="test")
        thread = threading.Thread(target=self._run, args=(source,))
        thread.start()
        try:
            yield
        finally:
            self.edge.stop()
            thread.join(WAIT_S)

    def _run(self, source):
        with contextlib.suppress(errors.TflsplitError):  # a head that fails ends it, after the count
            self.edge.run(source)

    def close(self):
        self._stack.close()

    def values(self):
        return {
            (family.metric.name, *sample.labels): sample.value
            for family in self.watch.families()
            for sample in family.samples
            if family.metric.kind is Kind.COUNTER
        }

    def say(self, payload):
        self.ghost._transport.publish(RESULTS, payload)

    def refuse(self, frame, refused):
        self.ghost.refuse(frame, refused)


def answered_twice(edge):
    first, _ = edge.ghost.frames(2)
    edge.ghost.answer(first)
    edge.ghost.answer(first)


def answered(edge):
    edge.ghost.answer_frames(2)


def refused(edge):
    for frame in edge.ghost.frames(2):
        edge.refuse(frame, "failed")


def busy(edge):
    edge.refuse(edge.ghost.frame(), results.BUSY)


def sent_again(edge):
    first, _ = edge.ghost.frames(2)
    again = edge.ghost.frame()
    while again.sequence != first.sequence:
        again = edge.ghost.frame()


def come_back(edge):
    edge.network.cut("edge")
    assert edge.online.wait_for(ConnectionState.WAITING, WAIT_S)
    edge.network.restore("edge")


def nonsense(edge):
    edge.ghost.frame()
    edge.say(b"no answer")


def answer_of_nobody(edge):
    edge.ghost.frame()
    edge.say(results.Refusal("n", None, None, "it was damaged", 0.0, "bad_frame").as_json())


def answer_of_another(edge):
    frame = edge.ghost.frame()
    edge.say(results.Refusal("n", frame.boot + 1, frame.sequence, "for a test", 0.0, "failed").as_json())


# A counter with its labels, what makes it move, by how much (None: at least by one), and the edge's settings.
CASES = {
    ("frames_total",): (lambda edge: edge.ghost.frames(2), 2, {}),
    ("inputs_total",): (lambda edge: edge.ghost.frames(2), 2, {}),
    ("results_total",): (answered, 2, {}),
    ("refused_frames_total",): (refused, 2, {}),
    ("busy_answers_total",): (busy, 1, {}),
    ("duplicate_answers_total",): (answered_twice, 1, {}),
    ("resent_frames_total",): (sent_again, None, {"resend_after_s": 0.05}),
    ("dropped_total", "bad_result"): (nonsense, 1, {}),
    ("dropped_total", "refusal_of_a_damaged_frame"): (answer_of_nobody, 1, {}),
    ("dropped_total", "answer_to_another_run"): (answer_of_another, 1, {}),
    ("dropped_total", "busy"): (busy, 1, {"delivery": Delivery.LATEST, "max_age_s": WAIT_S}),
    ("dropped_total", "expired"): (
        lambda edge: edge.ghost.frames(2),
        None,
        {"delivery": Delivery.LATEST, "max_age_s": 0.2},
    ),
    ("broker_reconnects_total",): (come_back, 1, {}),
    ("broker_published_total",): (answered, None, {}),
    ("broker_acknowledged_total",): (answered, None, {}),
    ("broker_received_total",): (answered, 2, {}),
}


@pytest.fixture
def edge_with(tiny_package, tmp_path):
    with contextlib.ExitStack() as stack:

        def made(**changes):
            edge = Edge(tiny_package, tmp_path, **changes)
            stack.callback(edge.close)
            return edge

        yield made


@pytest.mark.parametrize("key", CASES, ids=".".join)
def test_a_counter_moves_for_its_reason_and_for_no_less(edge_with, key):
    move, by, settings = CASES[key]
    edge = edge_with(**settings)
    with edge.running():
        move(edge)
        wait_for(lambda: edge.values().get(key, 0) >= (by or 1))
    assert by is None or edge.values()[key] == by


def test_frames_of_an_earlier_run_are_counted_as_replayed_and_their_results_have_no_latency(edge_with):
    first = edge_with()
    with first.running(is_spooled=True):
        first.ghost.frames(2)
    kept = first.values()["frames_total",]
    first.close()
    second = edge_with(boot=8)
    with second.running(is_spooled=True):
        second.ghost.answer_frames(kept + 1)
        wait_for(lambda: second.values()["results_total",] == kept + 1)

    assert second.values()["replayed_frames_total",] == kept
    assert second.values()["untimed_results_total",] == kept


def test_an_input_whose_head_fails_is_counted_as_such(edge_with, monkeypatch):
    edge = edge_with()

    def fails(_self, *_arrays):
        raise errors.DeviceError("this head fails")

    monkeypatch.setattr(head.Head, "run", fails)
    with edge.running():
        wait_for(lambda: edge.values().get(("dropped_total", "head_failed")) == 1)


def test_a_message_that_the_connection_gave_up_is_counted_by_its_reason(edge_with):
    edge = edge_with()
    with edge.running():
        edge.ghost.frames(2)
        edge.network.cut("edge")
        wait_for(lambda: edge.online.state is not ConnectionState.ONLINE)
        edge.online.try_publish(topics.topic("d", "n", topics.Kind.TELEMETRY), b"{}")
        edge.online.close(timeout_s=0)

    assert edge.values()["broker_dropped_total", "closed"] >= 1


def test_every_counter_has_a_test_that_makes_it_move():
    tried = {key[0] for key in CASES} | set(ELSEWHERE)
    tried |= {"replayed_frames_total", "untimed_results_total", "broker_dropped_total"}

    assert {metric.name for metric in catalogue.EDGE if metric.kind is Kind.COUNTER} == tried
    for file, words in ELSEWHERE.values():
        assert words in (pathlib.Path(__file__).parents[2] / file).read_text("utf-8"), file

"""Every counter of a cloud moves for the reason that its help names, and by as much."""

import dataclasses
import pathlib
import threading
import time
from contextlib import contextmanager

import numpy as np
import pytest
from waiting import WAIT_S, wait_for

from broker.cloud import engine, metrics, subscriber
from broker.messages import chunks, dead_letters, results, topics, wire
from broker.transport import memory
from broker.transport.protocol import Limits, Message
from tflsplit.coding import feature_codec
from tflsplit.observing import catalogue
from tflsplit.observing.metrics import Kind

# Counters whose reason takes other means than one cloud over a broker in memory, and the file that has them.
ELSEWHERE = {
    "frames_left_to_others_total": ("broker/cloud/test_subscriber.py", "left_to_others == 1"),
    "workers_replaced_total": ("broker/cloud/workers/test_pool.py", "workers_replaced"),
    "requeued_frames_total": ("broker/cloud/workers/test_pool.py", "requeued"),
    "answers_forgotten_total": ("broker/cloud/test_reply_cache.py", "forgotten == 2"),
    "births_forgotten_total": ("broker/cloud/test_exactness.py", "forgotten == 1"),
    "rate_limited_frames_total": ("broker/cloud/test_subscriber.py", "summary.rate_limited"),
    "masks_left_out_total": ("edge_runtime/test_masks.py", "masks_left_out == 3"),
    "states_forgotten_total": ("broker/cloud/turns/test_streams.py", "states_forgotten == 1"),
    "devices_left_out_total": ("broker/fleet/test_totals.py", "devices_left_out_total"),
    "bad_telemetry_total": ("broker/fleet/test_series.py", "bad_telemetry_total"),
    "broker_resent_total": ("broker/mqtt/test_transport.py", "counters.resent"),
}

TOPIC = topics.topic("d", "n", topics.Kind.FEATURES)


class Cloud:
    """A cloud of deployment d, whose counters can be read, and a device that talks to it."""

    def __init__(self, package):
        self.package = package
        self.network = memory.MemoryBroker()
        self.online = memory.MemoryTransport(self.network, client_id="cloud")
        self.device = memory.MemoryTransport(self.network, client_id="device")
        for transport in (self.online, self.device):
            transport.connect()
        self.engine = engine.Inline.of(package)
        self.cloud = subscriber.Cloud(self.engine, self.online, "d")
        self.cloud.subscribe()
        self.watch = metrics.CloudMetrics()
        self.watch.attach([package], self.engine, [metrics.Served(self.cloud, self.online)])

    @contextmanager
    def running(self):
        thread = threading.Thread(target=self.cloud.run)
        thread.start()
        try:
            yield
        finally:
            self.cloud.stop()
            thread.join(WAIT_S)
            self.engine.close()
            for transport in (self.online, self.device):
                transport.close()

    def values(self):
        return {
            (family.metric.name, *sample.labels[1:]): sample.value
            for family in self.watch.families()
            for sample in family.samples
            if family.metric.kind is Kind.COUNTER
        }

    def frame(self, sequence=0, *, fill=0, **changes):
        cut = self.package.cut("op000")
        digest = bytes.fromhex(self.package.digest)[: wire.PACKAGE_BYTES]
        frame = wire.Frame(digest, cut.position, 7, sequence, 0, 0, cut.boundary)
        arrays = tuple(np.full(spec.shape, fill, spec.dtype) for spec in cut.boundary)
        return wire.encode(dataclasses.replace(frame, **changes), arrays, feature_codec.Plain())

    def send(self, *encoded):
        for each in encoded:
            self.device.publish(TOPIC, each)

    def parts(self, sequence=0, **changes):
        return chunks.split(self.frame(sequence, **changes), 80)


def limited(made, **limits):
    made.cloud._reassembler._limits = chunks.Limits(**limits)


def closed_when_answered(made):
    answer = made.engine.submit
    made.engine.submit = lambda job, done: (made.online.close(), answer(job, done))
    made.send(made.frame())


def come_back(made):
    made.network.cut("cloud")
    made.network.restore("cloud")


def contradicting(made):
    first, *_ = made.parts()
    other, *_ = made.parts(fill=1, captured_ns=5)
    made.send(first, other)


# A counter with its labels, what makes it move, and by how much; others may move as well.
CASES = {
    ("frames_total",): (lambda made: made.send(made.frame(0), made.frame(1)), 2),
    ("results_total",): (lambda made: made.send(made.frame(0), made.frame(1), b"no frame"), 2),
    ("duplicate_frames_total",): (lambda made: made.send(*[made.frame()] * 3), 2),
    ("refused_frames_total", "bad_topic"): (lambda made: made.cloud._take(Message("odd/topic", b"")), 1),
    ("refused_frames_total", "bad_frame"): (lambda made: made.send(b"no frame"), 1),
    ("refused_frames_total", "wrong_package"): (lambda made: made.send(made.frame(package=b"p" * 16)), 1),
    ("refused_frames_total", "wrong_cut"): (lambda made: made.send(made.frame(cut=60_000)), 1),
    ("results_by_exactness_total", "unknown"): (lambda made: made.send(made.frame()), 1),
    ("dead_letters_total",): (lambda made: made.send(b"no frame"), 1),
    ("dead_letters_left_out_total",): (lambda made: made.send(*[b"no frame"] * (dead_letters.BURST + 50)), None),
    ("unpublished_results_total",): (closed_when_answered, 1),
    ("chunked_frames_total",): (lambda made: made.send(*made.parts()), 1),
    ("duplicate_chunks_total",): (lambda made: made.send(made.parts()[0], made.parts()[0]), 1),
    ("chunked_frames_given_up_total", "contradicted"): (contradicting, 1),
    ("chunked_frames_given_up_total", "evicted"): (
        lambda made: (limited(made, frames=1), made.send(made.parts(0)[0], made.parts(1)[0])),
        1,
    ),
    ("chunked_frames_given_up_total", "expired"): (
        lambda made: (limited(made, age_s=0.0), made.send(made.parts(0)[0])),
        1,
    ),
    ("broker_reconnects_total",): (come_back, 1),
    ("broker_published_total",): (lambda made: made.send(made.frame()), 1),
    ("broker_acknowledged_total",): (lambda made: made.send(made.frame()), 1),
    ("broker_received_total",): (lambda made: made.send(made.frame()), 1),
}


@pytest.mark.parametrize("key", CASES, ids=".".join)
def test_a_counter_moves_for_its_reason_and_for_no_less(tiny_package, key):
    move, by = CASES[key]
    made = Cloud(tiny_package)
    with made.running():
        before = made.values()[key]
        move(made)
        wait_for(lambda: made.values()[key] - before >= (by or 1))
    if by is not None:
        assert made.values()[key] - before == by


def test_a_message_that_finds_no_room_is_counted_as_such(tiny_package):
    made = Cloud(tiny_package)
    room = Limits().inbox_messages
    for sequence in range(room + 3):
        made.device.publish(TOPIC, made.frame(sequence), qos=0)
    wait_for(lambda: made.values()["broker_dropped_total", "inbox_full"] == 3)
    with made.running():
        wait_for(lambda: made.values()["results_total",] == room)


def test_every_counter_has_a_test_that_makes_it_move():
    tried = {key[0] for key in CASES} | set(ELSEWHERE) | {"broker_dropped_total"}

    assert {metric.name for metric in catalogue.CLOUD if metric.kind is Kind.COUNTER} == tried
    for file, words in ELSEWHERE.values():
        assert words in (pathlib.Path(__file__).parents[2] / file).read_text("utf-8"), file


def test_the_time_in_the_queue_is_by_a_clock_that_nobody_sets(tiny_package, monkeypatch):
    made = Cloud(tiny_package)
    made.device.subscribe(topics.topic("d", "n", topics.Kind.RESULTS))
    answer = made.engine.submit
    wall = time.time

    def set_back(job, done):
        monkeypatch.setattr(time, "time", lambda: wall() + 3600.0)
        answer(job, done)

    made.engine.submit = set_back
    with made.running():
        made.send(made.frame())
        said = made.device.receive(WAIT_S)

    assert results.parse(said.payload).times.queue_ms < WAIT_S * 1e3

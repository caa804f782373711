"""What a device that floods costs the others: their p95 beside it, and without it on a cloud that they load themselves.

Sixteen devices send at random moments as much as a cloud was seen to do at most: its tails take 20 ms, or 40 on each of
two workers, over a Mosquitto with the numbers of `tflsplit broker init`, all at QoS 1. Then another device sends too:
100 times as often as one of them, or as fast as its answers come with 8 frames on their way, the window of an edge that
empties its spool. There is nothing left to take, and their queue grows with each frame of another.

Where they load it to 45 or 80 % either fills what they leave. A tail that has begun is not broken off, so the ratio
cannot be 1: whoever comes finds one running, of which half is left on average. Simulated with frames at random moments,
an order that always lets the others go first, and never leaves a tail idle, comes to 1.21 at 45 % and 1.07 at 80 % with
one tail at a time, to 1.34 and 1.12 with two. Less at 45 % would need a worker kept idle for them.

Processes and broker are real; a tail sleeps, so that no core is what they wait for. Each figure has a cloud of its own,
which has served for a moment before anything is measured, and each round sends at the same moments in all three cases.
Few seconds near a full load differ much from one another, so all loads stand below in model time (`flooding.py`): a
minute for each of nine seeds, and the queueing alone.
"""

import contextlib
import functools
import multiprocessing
import os
import random
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import flooding
import harness
import models
import slow_peer
from harness import Outcome, Samples, Table

from broker.cloud import answerer, engine, subscriber, tail
from broker.cloud.workers import pool, process
from broker.messages import results, topics, wire
from broker.messages.topics import Kind
from broker.mqtt import online, transport
from broker.transport import address, protocol
from broker.transport.address import Credentials
from tflsplit.coding import feature_codec
from tflsplit.graph.cuts import Cut
from tflsplit.package import reading, verify

TARGET = 1.2
_DEPLOYMENT, _FLOOD = "bench", "flood"
_NAMES = [f"cam-{number}" for number in range(16)]
_LOAD = 1.0
_TAILS_MS = {0: 20, 2: 40}  # by the number of workers
_TIMES, _WINDOW = 100, 8
_FLOODS = {flooding.AT_A_RATE: None, flooding.WINDOW: _WINDOW}
_BROKER = ("set_tcp_nodelay true", "max_inflight_messages 1280", "max_queued_messages 2000")
_WARM_S, _CAPACITY_S, _PATIENCE_S, _LOOK_S = 3.0, 5.0, 30.0, 0.001


def run(folder: Path, *, is_quick: bool) -> list[Outcome | Table]:
    with harness.pinned(harness.EDGE_CORE):
        real = _measured(folder, is_quick=is_quick)
    return [*real, Table("In model time", flooding.COLUMNS, tuple(flooding.rows(1 if is_quick else 9)))]


def _measured(folder: Path, *, is_quick: bool) -> list[Outcome]:
    opened, cut = models.converted(folder)
    for_s, rounds = (6.0, 1) if is_quick else (10.0, 3)
    found: list[Outcome] = []
    for workers in _TAILS_MS:
        how = f"{workers} workers" if workers else "in process"
        with _served(opened, cut, workers, 0.0, "") as port:
            capacity_per_s = _capacity(_Frames(opened, cut), port)
        print(f"{how}: {capacity_per_s:.1f} frames a second at most", flush=True)
        taken: dict[str, list[float]] = {name: [] for name in ("without", *_FLOODS)}
        for number in range(rounds):
            for name, values in taken.items():
                per_s = _LOAD * capacity_per_s
                with _served(opened, cut, workers, _TIMES * per_s / len(_NAMES), name) as port:
                    values.append(_p95(_Frames(opened, cut), port, per_s, for_s, number))
                shown = f"{how}, {_LOAD:.0%}, round {number + 1} of {rounds}, {name}: {values[-1] * 1e3:.1f} ms"
                print(shown, flush=True)
        rival = Samples("without", "s", tuple(taken["without"]))
        for name in _FLOODS:
            what = f"p95 of devices that load a cloud to {_LOAD:.0%}, {how}; the flood: {name}"
            found.append(Outcome(what, Samples("beside it", "s", tuple(taken[name])), rival, TARGET))
    return found


class _Frames:
    """Frames of one run of a device, or of several that look like one."""

    def __init__(self, opened: reading.Package, cut: Cut) -> None:
        self.boot = random.getrandbits(63)
        self._digest, self._cut = bytes.fromhex(opened.digest)[: wire.PACKAGE_BYTES], cut
        self._arrays = verify.random_samples(cut.boundary, 1)[0]

    def encoded(self, number: int) -> bytes:
        made = wire.Frame(self._digest, self._cut.position, self.boot, number, 0, 0, self._cut.boundary)
        return wire.encode(made, self._arrays, feature_codec.Plain())


class _Sent:
    """When frames were sent, and how long each took; answers may come twice."""

    def __init__(self, boot: int) -> None:
        self.boot = boot
        self.latencies_s: dict[int, float] = {}
        self._began_s: dict[int, float] = {}

    @property
    def unanswered(self) -> int:
        return len(self._began_s) - len(self.latencies_s)

    def begin(self) -> int:
        number = len(self._began_s)
        self._began_s[number] = time.monotonic()
        return number

    def take(self, payload: bytes) -> None:
        now_s, answer = time.monotonic(), results.parse(payload)
        if answer.boot != self.boot:
            return
        assert isinstance(answer, results.Result), answer
        self.latencies_s.setdefault(answer.sequence, now_s - self._began_s[answer.sequence])


def _capacity(frames: _Frames, port: int) -> float:
    """Frames a second where some always wait."""
    with _client("devices", port) as device:
        device.subscribe(topics.topic(_DEPLOYMENT, _NAMES[0], Kind.RESULTS))
        for number in range(_WINDOW):
            device.publish(topics.topic(_DEPLOYMENT, _NAMES[0], Kind.FEATURES), frames.encoded(number))
        began_s, answered = time.monotonic(), 0
        while (took_s := time.monotonic() - began_s) < _CAPACITY_S:
            message = device.receive(_PATIENCE_S)
            if message is None:
                raise SystemExit(f"no answer for {_PATIENCE_S:g} s")
            device.acknowledge(message)
            answered += 1
            device.publish(topics.topic(_DEPLOYMENT, _NAMES[0], Kind.FEATURES), frames.encoded(_WINDOW + answered))
    return answered / took_s


def _p95(frames: _Frames, port: int, rate_per_s: float, for_s: float, seed: int) -> float:
    """Of all frames of the devices that do not flood."""
    moments, sent, measured_from = random.Random(seed), _Sent(frames.boot), 0
    with _client("devices", port) as devices:
        for device in _NAMES:
            devices.subscribe(topics.topic(_DEPLOYMENT, device, Kind.RESULTS))
        has_sent = threading.Event()

        def send() -> None:
            nonlocal measured_from
            due_s = began_s = time.monotonic()
            while due_s < began_s + _WARM_S + for_s:
                due_s += moments.expovariate(rate_per_s)
                time.sleep(max(0.0, due_s - time.monotonic()))
                topic = topics.topic(_DEPLOYMENT, moments.choice(_NAMES), Kind.FEATURES)
                number = sent.begin()
                if due_s < began_s + _WARM_S:
                    measured_from = number + 1
                devices.publish(topic, frames.encoded(number))
            has_sent.set()

        threading.Thread(target=send, name="sender", daemon=True).start()
        give_up_s = time.monotonic() + _WARM_S + for_s + _PATIENCE_S
        while not has_sent.is_set() or sent.unanswered:
            if time.monotonic() > give_up_s:
                raise SystemExit(f"{sent.unanswered} frames without an answer after {_PATIENCE_S:g} s")
            message = devices.receive(0.2)
            if message is not None:
                devices.acknowledge(message)
                sent.take(message.payload)
    measured = [latency_s for number, latency_s in sent.latencies_s.items() if number >= measured_from]
    return statistics.quantiles(measured, n=100, method="inclusive")[94]


@contextlib.contextmanager
def _client(name: str, port: int) -> Iterator[transport.MqttTransport]:
    limits = protocol.Limits(window=64, inbox_messages=10_000)
    with transport.MqttTransport(address.Address("127.0.0.1", port), client_id=name, limits=limits) as made:
        made.connect()
        yield made


@contextlib.contextmanager
def _served(opened, cut, workers: int, flood_per_s: float, flood: str) -> Iterator[int]:
    """A broker, whose port this is, with a cloud and maybe a device that floods."""
    with contextlib.ExitStack() as stack:
        times = stack.enter_context(tempfile.TemporaryDirectory(prefix="tflsplit-bench-"))
        port = stack.enter_context(harness.mosquitto(*_BROKER)).port
        stack.enter_context(_child(_serve, str(opened.path), port, workers, times))
        if flood in _FLOODS:
            stack.enter_context(_child(_send_all, (str(opened.path), cut.id), port, _FLOODS[flood], flood_per_s))
        yield port


def _send_all(what: tuple[str, str], port: int, window: int | None, per_s: float, is_ready) -> None:
    """Frames of a package and a cut: with so many on their way, else at a rate."""
    opened = reading.open_package(Path(what[0]))
    frames, number, answered = _Frames(opened, opened.cut(what[1])), 0, 0
    with _client(_FLOOD, port) as device:
        device.subscribe(topics.topic(_DEPLOYMENT, _FLOOD, Kind.RESULTS))
        is_ready.set()
        began_s = time.monotonic()
        while True:
            may_send = number - answered < window if window else time.monotonic() >= began_s + number / per_s
            if may_send:
                topic = topics.topic(_DEPLOYMENT, _FLOOD, Kind.FEATURES)
                device.publish(topic, frames.encoded(number))
                number += 1
            message = device.receive(0.0 if may_send else _LOOK_S)
            if message is not None:
                device.acknowledge(message)
                answered += 1


def _serve(path: str, port: int, workers: int, times: str, is_ready) -> None:
    os.sched_setaffinity(0, {harness.CLOUD_CORE})
    opened, pause_ms = reading.open_package(Path(path)), _TAILS_MS[workers]
    if workers:
        for number in range(workers):
            (Path(times) / f"{pause_ms}-{number}").touch()
        command = (sys.executable, slow_peer.__file__, "worker", times)
        chosen: engine.Engine = pool.Workers(
            [opened], workers, make_worker=functools.partial(process.WorkerProcess, command)
        )
    else:
        chosen = engine.Inline(slow_peer.Slow(answerer.Answerer([tail.Tails(opened)]), pause_ms / 1000))
    where = address.Address("127.0.0.1", port)
    with online.connected((where,), Credentials(), (_DEPLOYMENT, "cloud"), 1, is_cloud=True) as connected:
        cloud = subscriber.Cloud(chosen, connected, _DEPLOYMENT)
        cloud.subscribe()
        is_ready.set()
        cloud.run()


@contextlib.contextmanager
def _child(work, *arguments) -> Iterator[None]:
    """A process of its own, for this one measures; it gets an event to set once it is at work."""
    spawn = multiprocessing.get_context("spawn")
    is_ready = spawn.Event()
    started = spawn.Process(target=work, args=(*arguments, is_ready))
    started.start()
    try:
        if not is_ready.wait(_PATIENCE_S):
            raise SystemExit(f"{work.__name__} is not ready after {_PATIENCE_S:g} s")
        yield
    finally:
        started.kill()
        started.join()

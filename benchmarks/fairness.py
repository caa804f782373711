"""What a device that floods costs the others: their p95 with it and without it, on a cloud that is half busy.

Sixteen devices send 1.4 frames a second each, at random moments, to a cloud whose tails take 20 ms (two workers: 40),
over a Mosquitto with the numbers of `tflsplit broker init`. Then another device sends 100 a second besides, twice what
the cloud can do, all at QoS 1. A tail that has begun is not broken off, so the ratio cannot be 1: whoever comes
finds one running, of which half is left on average.
"""

import contextlib
import functools
import multiprocessing
import random
import statistics
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import harness
import models
import slow_peer
from harness import Outcome, Samples

from broker.cloud import answerer, engine, subscriber, tail
from broker.cloud.workers import pool, process
from broker.messages import results, topics, wire
from broker.messages.topics import Kind
from broker.mqtt import online, transport
from broker.transport import address, protocol
from broker.transport.address import Credentials
from tflsplit.coding import feature_codec
from tflsplit.package import reading, verify

TARGET = 1.2
_DEPLOYMENT, _FLOOD = "bench", "flood"
_NAMES = [f"cam-{number}" for number in range(16)]
_PER_S, _FLOOD_PER_S = 1.4, 100.0
_TAILS_MS = {0: 20, 2: 40}  # by the number of workers
_BROKER = ("set_tcp_nodelay true", "max_inflight_messages 1280", "max_queued_messages 2000")
_PATIENCE_S = 20.0


def run(folder: Path, *, is_quick: bool) -> list[Outcome]:
    opened, cut = models.converted(folder)
    for_s, rounds = (8.0, 1) if is_quick else (15.0, 5)
    found = []
    for workers in _TAILS_MS:
        alone, beside = [], []
        with harness.mosquitto(*_BROKER) as broker, _cloud(opened.path, broker.port, workers, folder):
            for _ in range(rounds):
                alone.append(_p95(opened, cut, broker.port, for_s))
                with _flood(opened, cut, broker.port):
                    beside.append(_p95(opened, cut, broker.port, for_s))
        how = f"{workers} workers" if workers else "in process"
        ours, rival = (Samples(name, "s", tuple(each)) for name, each in (("beside it", beside), ("without", alone)))
        found.append(Outcome(f"p95 beside a device that floods, {how}", ours, rival, TARGET))
    return found


def _p95(opened, cut, port: int, for_s: float) -> float:
    """Of all frames of the devices that do not flood."""
    rate, sent_s, latencies_s = len(_NAMES) * _PER_S, {}, []
    arrays, moments, boot = verify.random_samples(cut.boundary, 1)[0], random.Random(1), random.getrandbits(63)
    with _client("devices", port) as devices:
        for device in _NAMES:
            devices.subscribe(topics.topic(_DEPLOYMENT, device, Kind.RESULTS))
        may_end = threading.Event()

        def send() -> None:
            due_s = began_s = time.monotonic()
            while due_s < began_s + for_s:
                due_s += moments.expovariate(rate)
                time.sleep(max(0.0, due_s - time.monotonic()))
                device, number = moments.choice(_NAMES), len(sent_s)
                sent_s[number] = time.monotonic()
                devices.publish(
                    topics.topic(_DEPLOYMENT, device, Kind.FEATURES), _frame(opened, cut, arrays, boot, number)
                )
            may_end.set()

        sender = threading.Thread(target=send, name="sender", daemon=True)
        sender.start()
        while not may_end.is_set() or len(latencies_s) < len(sent_s):
            message = devices.receive(_PATIENCE_S)
            if message is None:
                raise SystemExit(f"{len(latencies_s)} of {len(sent_s)} frames answered")
            devices.acknowledge(message)
            answer = results.parse(message.payload)
            assert isinstance(answer, results.Result)
            latencies_s.append(time.monotonic() - sent_s[answer.sequence])
        sender.join()
    return statistics.quantiles(latencies_s, n=100, method="inclusive")[94]


def _frame(opened, cut, arrays, boot: int, number: int) -> bytes:
    digest = bytes.fromhex(opened.digest)[: wire.PACKAGE_BYTES]
    made = wire.Frame(digest, cut.position, boot, number, 0, 0, cut.boundary)
    return wire.encode(made, arrays, feature_codec.Plain())


@contextlib.contextmanager
def _client(name: str, port: int) -> Iterator[transport.MqttTransport]:
    limits = protocol.Limits(window=64, inbox_messages=10_000)
    with transport.MqttTransport(address.Address("127.0.0.1", port), client_id=name, limits=limits) as made:
        made.connect()
        yield made


@contextlib.contextmanager
def _flood(opened, cut, port: int) -> Iterator[None]:
    """In a process of its own, for this one measures."""
    spawn = multiprocessing.get_context("spawn")
    has_begun = spawn.Event()
    sending = spawn.Process(target=_send_all, args=(str(opened.path), cut.id, port, has_begun), daemon=True)
    sending.start()
    has_begun.wait(_PATIENCE_S)
    try:
        yield
    finally:
        sending.kill()
        sending.join()


def _send_all(path: str, cut_id: str, port: int, has_begun) -> None:
    opened = reading.open_package(Path(path))
    cut = opened.cut(cut_id)
    arrays, boot = verify.random_samples(cut.boundary, 1)[0], random.getrandbits(63)
    with _client(_FLOOD, port) as device:
        began_s, number = time.monotonic(), 0
        while True:
            device.publish(topics.topic(_DEPLOYMENT, _FLOOD, Kind.FEATURES), _frame(opened, cut, arrays, boot, number))
            number += 1
            time.sleep(max(0.0, began_s + number / _FLOOD_PER_S - time.monotonic()))
            if number == _FLOOD_PER_S:
                has_begun.set()


@contextlib.contextmanager
def _cloud(path: Path, port: int, workers: int, folder: Path) -> Iterator[None]:
    spawn = multiprocessing.get_context("spawn")
    is_ready = spawn.Event()
    serving = spawn.Process(target=_serve, args=(str(path), port, workers, str(folder), is_ready))
    serving.start()
    is_ready.wait(_PATIENCE_S)
    try:
        yield
    finally:
        serving.terminate()
        serving.join()


def _serve(path: str, port: int, workers: int, folder: str, is_ready) -> None:
    opened, pause_ms = reading.open_package(Path(path)), _TAILS_MS[workers]
    if workers:
        times = Path(folder) / "times"
        times.mkdir()
        for number in range(workers):
            (times / f"{pause_ms}-{number}").touch()
        command = (sys.executable, slow_peer.__file__, "worker", str(times))
        chosen: engine.Engine = pool.Workers(
            [opened], workers, make_worker=functools.partial(process.WorkerProcess, command)
        )
    else:
        chosen = engine.Inline(slow_peer.Slow(answerer.Answerer([tail.Tails(opened)]), pause_ms / 1000))
    where = address.Address("127.0.0.1", port)
    with online.connected(where, Credentials(), (_DEPLOYMENT, "cloud"), 1, is_cloud=True) as connected:
        cloud = subscriber.Cloud(chosen, connected, _DEPLOYMENT)
        cloud.subscribe()
        is_ready.set()
        cloud.run()

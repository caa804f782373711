"""What one slow worker of three does to the others' frames: 200 ms for each frame where they take 2 ms.

Frames at a steady pace, the longest wait but 1 %. The pull queue of `tflsplit cloud --workers 3` against an ideal one:
the same arrivals, given to whoever has been free longest, in no time. For the record beside it, three clouds of which a
broker gives each a third (`--share`): the slow one's third waits behind it.
"""

import contextlib
import functools
import heapq
import statistics
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import harness
import models
from harness import Outcome, Samples, Table

from broker.cloud import answerer
from broker.cloud.workers import pool, process
from broker.messages import results, topics, wire
from broker.mqtt import transport
from broker.transport import address
from tflsplit.coding import feature_codec
from tflsplit.package import verify

TARGET = 1.5
PAUSES_MS = (200, 2, 2)
_FRAMES, _PER_S = 300, 100.0
_PEER = Path(__file__).with_name("slow_peer.py")
_PATIENCE_S = 120.0


def run(folder: Path, *, is_quick: bool) -> list[Outcome | Table]:
    opened, cut = models.converted(folder)
    pulled, ideal = [], []
    for number in range(1 if is_quick else 5):
        harness.wait_for_calm()
        taken = _pulled(opened, cut, folder / f"times-{number}")
        pulled.append(_p99(taken))
        ideal.append(_p99(_ideal()))
    shared = _shared(opened, cut)
    rows = [
        ("pull queue, three workers", f"{statistics.median(pulled) * 1e3:.0f}", "0"),
        ("ideal pull queue", f"{statistics.median(ideal) * 1e3:.0f}", "0"),
        ("three clouds of one group", f"{_p99(shared) * 1e3:.0f}", str(_FRAMES - len(shared))),
    ]
    return [
        Outcome(
            "p99 with one slow worker of three",
            Samples("pull queue", "s", tuple(pulled)),
            Samples("ideal pull queue", "s", tuple(ideal)),
            TARGET,
        ),
        Table("One slow worker of three", ("", "p99, ms", f"unanswered of {_FRAMES}"), tuple(rows)),
    ]


def _p99(latencies_s: list[float]) -> float:
    return statistics.quantiles(latencies_s, n=100, method="inclusive")[98]


def _frame(opened, cut, arrays, number: int) -> bytes:
    digest = bytes.fromhex(opened.digest)[: wire.PACKAGE_BYTES]
    return wire.encode(wire.Frame(digest, cut.position, 1, number, 0, 0, cut.boundary), arrays, feature_codec.Plain())


def _paced() -> Iterator[int]:
    began_s = time.monotonic()
    for number in range(_FRAMES):
        time.sleep(max(0.0, began_s + number / _PER_S - time.monotonic()))
        yield number


def _pulled(opened, cut, times: Path) -> list[float]:
    times.mkdir()
    for number, pause_ms in enumerate(PAUSES_MS):
        (times / f"{pause_ms}-{number}").touch()
    arrays = verify.random_samples(cut.boundary, 1)[0]
    latencies_s: list[float] = []
    is_done = threading.Event()

    def done_after(submitted_s: float):
        def done(_: answerer.Answer) -> None:
            latencies_s.append(time.monotonic() - submitted_s)
            if len(latencies_s) == _FRAMES:
                is_done.set()

        return done

    begin = functools.partial(process.WorkerProcess, (sys.executable, str(_PEER), "worker", str(times)))
    with contextlib.closing(
        pool.Workers([opened], len(PAUSES_MS), warm=[(opened, cut.id)], make_worker=begin)
    ) as engine:
        for number in _paced():
            job = answerer.Job("bench", _frame(opened, cut, arrays, number), time.time() * 1e3)
            engine.submit(job, done_after(time.monotonic()))
        if not is_done.wait(_PATIENCE_S):
            raise SystemExit("frames without an answer")
    return latencies_s


def _ideal() -> list[float]:
    """Whoever has been free longest takes the frame that has waited longest."""
    free_at_s = [(0.0, pause_ms / 1000) for pause_ms in PAUSES_MS]
    heapq.heapify(free_at_s)
    latencies_s = []
    for number in range(_FRAMES):
        arrived_s = number / _PER_S
        free_s, takes_s = heapq.heappop(free_at_s)
        done_s = max(arrived_s, free_s) + takes_s
        latencies_s.append(done_s - arrived_s)
        heapq.heappush(free_at_s, (done_s, takes_s))
    return latencies_s


def _shared(opened, cut) -> list[float]:
    """Latencies of what was answered by three clouds of one group."""
    arrays = verify.random_samples(cut.boundary, 1)[0]
    with harness.mosquitto("set_tcp_nodelay true") as broker, contextlib.ExitStack() as stack:
        for number, pause_ms in enumerate(PAUSES_MS):
            command = [sys.executable, str(_PEER), "cloud", str(opened.path), str(broker.port), str(pause_ms)]
            cloud = stack.enter_context(harness.process([*command, f"cloud-{number}"]))
            cloud.stdout.readline()
        edge = stack.enter_context(transport.MqttTransport(address.Address("127.0.0.1", broker.port), client_id="edge"))
        edge.connect()
        edge.subscribe(topics.topic("bench", "edge", topics.Kind.RESULTS))
        time.sleep(1.0)  # the clouds subscribe after they said that they are ready
        sent_s: list[float] = []

        def send() -> None:
            for number in _paced():
                sent_s.append(time.monotonic())
                edge.publish(topics.topic("bench", "edge", topics.Kind.FEATURES), _frame(opened, cut, arrays, number))

        sender = threading.Thread(target=send, name="sender", daemon=True)
        sender.start()
        latencies_s = []
        # The slow one needs 200 ms for each of its frames; it is given half as long again.
        give_up_s = time.monotonic() + _FRAMES / 3 * 0.2 * 1.5
        while len(latencies_s) < _FRAMES and time.monotonic() < give_up_s:
            message = edge.receive(1.0)
            if message is not None:
                latencies_s.append(time.monotonic() - sent_s[int(results.parse(message.payload).sequence)])
                edge.acknowledge(message)
        sender.join()
    return latencies_s

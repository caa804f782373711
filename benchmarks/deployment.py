"""A running deployment to measure, and its two halves without one.

The cloud is the installed command; the edge is its documented Python call in a process of its own that notes the time
of every result. Each has a core, so that head and tail run at the same time where there are two.
"""

import contextlib
import multiprocessing
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

import harness

from broker.messages import topics
from broker.mqtt import transport
from broker.transport import address
from edge_runtime import head, loop
from edge_runtime.delivery import observer
from edge_runtime.delivery.durable import spool as delivery_spool
from edge_runtime.delivery.settings import Settings
from edge_runtime.sources import frames
from tflsplit.graph.cuts import Cut
from tflsplit.graph.interpreter import Interpreter
from tflsplit.graph.tensors import Array
from tflsplit.package import reading, verify

DEPLOYMENT, _CLOUD = "bench", "cloud"
_PATIENCE_S = 60.0


@dataclass(frozen=True, slots=True)
class Load:
    """What an edge is to send: `count` frames of a source, `window` of them unanswered at most; kept in a folder if
    `spool` names one, with the disk waited for or not as `sync` says."""

    source: Path
    count: int
    qos: int = 1
    window: int = 1
    spool: Path | None = None
    sync: str = "frame"


@dataclass(frozen=True, slots=True)
class Answer:
    """When a result came (monotonic), how long after its frame was captured, and the edge's CPU time until then."""

    at_s: float
    latency_s: float
    edge_cpu_s: float


@contextlib.contextmanager
def cloud(
    opened: reading.Package, port: int, tflsplit: Sequence[str] = (harness.TFLSPLIT,)
) -> Iterator["subprocess.Popen[str]"]:
    """`tflsplit cloud` on its core, online."""
    command = [*tflsplit, "cloud", str(opened.path), "--broker", f"mqtt://127.0.0.1:{port}"]
    command += ["--deployment", DEPLOYMENT, "--name", _CLOUD]
    with harness.process(command, core=harness.CLOUD_CORE) as serving:
        with transport.MqttTransport(address.Address("127.0.0.1", port), client_id="bench-watch") as watch:
            watch.connect()
            watch.subscribe(topics.topic(DEPLOYMENT, _CLOUD, topics.Kind.STATUS))
            if watch.receive(_PATIENCE_S) is None:
                raise SystemExit("the cloud did not come online")
        yield serving


def stream(opened: reading.Package, cut: Cut, port: int, load: Load) -> list[Answer]:
    """Answers in the order they came, from an edge on its core that sends as fast as it may."""
    spawning = multiprocessing.get_context("spawn")  # a forked child would share our threads' locks
    ours, theirs = spawning.Pipe()
    edge = spawning.Process(target=_edge, args=(theirs, opened.path, cut.id, port, load))
    with harness.pinned(harness.EDGE_CORE):
        edge.start()
    try:
        if not ours.poll(_PATIENCE_S):
            raise SystemExit("the edge did not finish")
        answers: list[Answer] = ours.recv()
    finally:
        edge.kill()
        edge.join()
    if len(answers) != load.count:
        raise SystemExit(f"{load.count} frames sent, {len(answers)} answered")
    return answers


def _edge(report: "Connection[list[Answer], None]", path: Path, cut_id: str, port: int, load: Load) -> None:
    answers: list[Answer] = []

    class Noting(observer.Observer):
        def settled(self, settled: observer.Settled) -> None:
            answers.append(Answer(time.monotonic(), settled.latency_s, time.process_time()))

    opened = reading.open_package(path)
    settings = Settings(
        deployment=DEPLOYMENT,
        device="edge",
        boot=time.time_ns(),  # the cloud answers a frame that it saw before from memory
        qos=load.qos,
        window=load.window,
        count=load.count,
    )
    with (
        head.Head(opened, opened.cut(cut_id)) as ready,
        transport.MqttTransport(address.Address("127.0.0.1", port), client_id="bench-edge") as online,
        _spool(load) as kept,
    ):
        online.connect()
        loop.Edge(opened, ready, online, settings, spool=kept, observers=(Noting(),)).run(
            frames.open_source(str(load.source), opened.manifest)
        )
    report.send(answers)


@contextlib.contextmanager
def _spool(load: Load) -> "Iterator[delivery_spool.Spool | None]":
    if load.spool is None:
        yield None
        return
    with delivery_spool.open_spool(
        load.spool, delivery_spool.limits(sync=load.sync), deployment=DEPLOYMENT, device="edge"
    ) as opened:
        yield opened


def head_and_tail(opened: reading.Package, cut: Cut, source: Path, *, count: int, core: int) -> list[float]:
    """Seconds of head and tail called one after the other in this process, on one core, for each of `count` inputs."""
    rows = [taken.arrays for taken in frames.open_source(str(source), opened.manifest).inputs()]
    first, second = verify.open_pair(opened, cut)
    with harness.pinned(core), first, second:
        return [harness.seconds(lambda row=row: second.run(*first.run(*row))) for row in _repeated(rows, count)]


def half_alone(opened: reading.Package, cut: Cut, side: str, *, count: int, core: int) -> list[float]:
    """Seconds of the "head" or the "tail" called `count` times in this process, on one core."""
    model = opened.head_bytes(cut) if side == "head" else opened.tail_bytes(cut)
    with harness.pinned(core), Interpreter(model) as half:
        rows = verify.random_samples(half.inputs, 16)
        return [harness.seconds(lambda row=row: half.run(*row)) for row in _repeated(rows, count)]


def _repeated(rows: Sequence[tuple[Array, ...]], count: int) -> Iterator[tuple[Array, ...]]:
    return (rows[number % len(rows)] for number in range(count))

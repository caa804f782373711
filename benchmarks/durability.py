"""What a broker that survives `kill -9` costs, and what one client can make the others pay for it.

A device sends frames of 12.5 KB at QoS 1 over mutual TLS, up to 64 unanswered, each answered with 600 bytes at QoS 1 by
another process: alone; beside a device whose 130 frames a second nobody answers; and beside 60 durable sessions of
readers who are away, each with a full queue. Mosquitto writes its whole state after each change, or every ten seconds
as `tflsplit broker init` has it: what a crash takes of the last ones is said again (docs/brokers.md).

And what is lost at other intervals: twenty devices (`benchmarks/crowd`) send 200 frames a second for some 40 s and on,
while the broker is killed with SIGKILL three times at random moments; `tflsplit cloud` and a reader with a name,
`tflsplit results --name`, are processes as anybody runs them. Every answer is looked at, at the device and the reader.
"""

import contextlib
import dataclasses
import multiprocessing
import random
import re
import statistics
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import harness
from crowd import material, running
from harness import Outcome, Table

from broker.deploy import folder as deployments
from broker.messages import topics
from broker.mqtt import transport
from broker.transport import credentials, protocol

_DEPLOYMENT, _DEVICE, _OTHER = "bench", "edge", "other"
_FEATURES, _RESULTS = (topics.topic(_DEPLOYMENT, _DEVICE, kind) for kind in (topics.Kind.FEATURES, topics.Kind.RESULTS))
_FLOOD = topics.topic(_DEPLOYMENT, _OTHER, topics.Kind.FEATURES)
_WAYS = {"after each change": ("true", 1), "every 10 s": ("false", 10)}
_SESSIONS, _WAITING = 60, 2000
_FLOOD_PERIOD_S = 1 / 130
_WINDOW = 64
_FRAME_BYTES, _RESULT_BYTES = 12_500, 600
_PATIENCE_S = 60.0
_INTERVALS_S = (1, 10, 30, 300)
_DEVICES, _RATE_PER_S, _KILLS, _BEFORE_S = 20, 10.0, 3, 40.0


def run(folder: Path, *, is_quick: bool) -> list[Outcome | Table]:
    for_s, rounds = (3.0, 1) if is_quick else (12.0, 3)
    rows = []
    for number, (name, way) in enumerate(_WAYS.items()):
        with _secured(folder / f"durability-{number}", way) as (clients, pid):
            measured = [[_frames_a_second(clients, pid, for_s) for _ in range(rounds)]]
            with _flood(clients):
                measured.append([_frames_a_second(clients, pid, for_s) for _ in range(rounds)])
            _leave_results_waiting(clients)
            measured.append([_frames_a_second(clients, pid, for_s) for _ in range(rounds)])
        rows.append((name, *map(_shown, measured)))
    columns = ("saved", "alone", "beside 130 frames/s", f"beside {_SESSIONS} full queues")
    written = Table("Frames a second, and MB that the broker writes a second", columns, tuple(rows))
    return [written, _through_kills(folder, _INTERVALS_S[1:2] if is_quick else _INTERVALS_S)]


def _through_kills(folder: Path, intervals_s: Sequence[int]) -> Table:
    package, rows = material.package(folder), []
    for interval_s in intervals_s:
        found = running.measured(
            *(folder / f"kills-{interval_s}", package, _DEVICES, _RATE_PER_S),
            kills=_KILLS,
            interval_s=interval_s,
            steady_s=_BEFORE_S,
        )
        wrong = found.counts["wrong"] + found.wrong
        counted = (found.frames, found.counts["unanswered"], wrong, found.lost, found.doubled)
        rows.append((f"{interval_s} s", *(f"{count:,}" for count in counted)))
        print(rows[-1], flush=True)
    columns = ("saved every", "frames", "unanswered", "wrong", "lost at the reader", "doubled there")
    return Table(f"Through {_KILLS} times SIGKILL of the broker", columns, tuple(rows))


@contextlib.contextmanager
def _secured(path: Path, way: tuple[str, int]) -> Iterator[tuple[Path, int]]:
    """The folders of credentials of a deployment whose broker runs, and the broker's pid."""
    wanted = deployments.Wanted((_DEVICE, _OTHER))
    deployments.init(path, wanted, deployment=_DEPLOYMENT, hosts=("localhost",), port=_port())
    config = path / "server" / "mosquitto.conf"
    on_changes, interval = way
    text = re.sub(r"autosave_on_changes \w+", f"autosave_on_changes {on_changes}", config.read_text())
    config.write_text(re.sub(r"autosave_interval \d+", f"autosave_interval {interval}", text))
    with harness.process([harness.TFLSPLIT, "broker", "run", str(path)]):
        with _client(path / "clients", "cloud"):
            pid = int((path / "server" / "mosquitto.pid").read_text())
        yield path / "clients", pid


def _port() -> int:
    """A range that this machine gives to no outgoing connection, so that nobody takes it before the broker does."""
    return random.randrange(20_000, 30_000)


@contextlib.contextmanager
def _client(clients: Path, name: str, **options: object) -> Iterator[transport.MqttTransport]:
    bundle = credentials.open_bundle(clients / name)
    limits = dataclasses.replace(protocol.Limits(), window=_WINDOW)
    given = {"client_id": name, "credentials": bundle.credentials, "limits": limits} | options
    with transport.MqttTransport(bundle.address, **given) as online:
        online.connect(timeout_s=_PATIENCE_S, keep_trying=True)
        yield online


def _frames_a_second(clients: Path, pid: int, for_s: float) -> tuple[float, float]:
    """And MB that the broker writes to its disk a second."""
    may_end = multiprocessing.get_context("spawn").Event()
    cloud = multiprocessing.get_context("spawn").Process(target=_answer, args=(clients, may_end), daemon=True)
    cloud.start()
    with _client(clients, _DEVICE) as edge:
        edge.subscribe(_RESULTS)
        edge.publish(_FEATURES, bytes(_FRAME_BYTES))  # kept for nobody until the cloud has subscribed
        while edge.receive(0.2) is None:
            edge.publish(_FEATURES, bytes(_FRAME_BYTES))
        sent = answered = 0
        started_s, written = time.monotonic(), _written(pid)
        while (took_s := time.monotonic() - started_s) < for_s:
            while sent - answered < _WINDOW:
                edge.publish(_FEATURES, bytes(_FRAME_BYTES))
                sent += 1
            message = edge.receive(_PATIENCE_S)
            if message is None:
                raise SystemExit(f"{answered} of {sent} frames answered")
            edge.acknowledge(message)
            answered += 1
        megabytes = (_written(pid) - written) / 1e6
        may_end.set()
    cloud.join()
    return answered / took_s, megabytes / took_s


def _written(pid: int) -> int:
    found = re.search(r"^write_bytes: (\d+)", Path(f"/proc/{pid}/io").read_text(), re.MULTILINE)
    assert found is not None  # every Linux has it
    return int(found[1])


def _answer(clients: Path, may_end) -> None:
    with _client(clients, "cloud") as cloud:
        cloud.subscribe(_FEATURES)
        while not may_end.is_set():
            message = cloud.receive(0.2)
            if message is not None:
                cloud.publish(_RESULTS, bytes(_RESULT_BYTES))
                cloud.acknowledge(message)


@contextlib.contextmanager
def _flood(clients: Path) -> Iterator[None]:
    may_end = threading.Event()

    def send() -> None:
        with _client(clients, _OTHER) as device:
            while not may_end.wait(_FLOOD_PERIOD_S):
                device.publish(_FLOOD, bytes(_FRAME_BYTES))

    sending = threading.Thread(target=send)
    sending.start()
    yield
    may_end.set()
    sending.join()


def _leave_results_waiting(clients: Path) -> None:
    for number in range(_SESSIONS):
        with _client(clients, "consumer", client_id=f"reader-{number}", session_expiry_s=3600) as reader:
            reader.subscribe(_RESULTS)
    with _client(clients, "cloud") as cloud:
        for _ in range(_WAITING):
            cloud.publish(_RESULTS, bytes(_RESULT_BYTES))
        cloud.flush(_PATIENCE_S)


def _shown(measured: list[tuple[float, float]]) -> str:
    rates = [rate for rate, _ in measured]
    written = statistics.median(megabytes for _, megabytes in measured)
    return f"{statistics.median(rates):,.0f} ({min(rates):,.0f} to {max(rates):,.0f}), {written:,.1f} MB/s"

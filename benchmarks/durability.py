"""What a broker that survives `kill -9` costs: frames a second through what `tflsplit broker init` writes.

Frames of 12.5 KB at QoS 1 over mutual TLS, up to 64 unanswered, each answered with 600 bytes at QoS 1 by another
process. Mosquitto writes its whole state after every `autosave_interval` changes; 1 is what `init` writes, and a crash
may take the changes since the last save. A reader of results that is away, for whom 2,000 of them wait, makes that
state larger.
"""

import contextlib
import dataclasses
import multiprocessing
import random
import re
import statistics
import time
from collections.abc import Iterator
from pathlib import Path

import harness
from harness import Outcome, Table

from broker.deploy import folder as deployments
from broker.messages import topics
from broker.mqtt import transport
from broker.transport import credentials, protocol

_DEPLOYMENT, _DEVICE = "bench", "edge"
_FEATURES, _RESULTS = (topics.topic(_DEPLOYMENT, _DEVICE, kind) for kind in (topics.Kind.FEATURES, topics.Kind.RESULTS))
_INTERVALS = (1, 10, 100)
_WAITING = 2000
_WINDOW = 64
_FRAME_BYTES, _RESULT_BYTES = 12_500, 600
_PATIENCE_S = 60.0


def run(folder: Path, *, is_quick: bool) -> list[Outcome | Table]:
    frames, rounds = (300, 1) if is_quick else (1500, 3)
    rows = []
    for interval in _INTERVALS:
        with _secured(folder / f"durability-{interval}", interval) as clients:
            alone = [_frames_a_second(clients, frames) for _ in range(rounds)]
            _leave_results_waiting(clients)
            beside = [_frames_a_second(clients, frames // 3) for _ in range(rounds)]
        rows.append((str(interval), _shown(alone), _shown(beside), str(interval - 1)))
    columns = ("autosave_interval", "frames a second", f"with {_WAITING:,} results waiting", "changes a crash may take")
    return [Table("Saving every change, or fewer", columns, tuple(rows))]


@contextlib.contextmanager
def _secured(path: Path, interval: int) -> Iterator[Path]:
    """The folders of credentials of a deployment whose broker runs."""
    deployments.init(path, deployments.Wanted((_DEVICE,)), deployment=_DEPLOYMENT, hosts=("localhost",), port=_port())
    config = path / "server" / "mosquitto.conf"
    config.write_text(re.sub(r"autosave_interval \d+", f"autosave_interval {interval}", config.read_text()))
    with harness.process([harness.TFLSPLIT, "broker", "run", str(path)]):
        yield path / "clients"


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


def _frames_a_second(clients: Path, count: int) -> float:
    cloud = multiprocessing.get_context("spawn").Process(target=_answer, args=(clients, count), daemon=True)
    cloud.start()
    with _client(clients, _DEVICE) as edge:
        edge.subscribe(_RESULTS)
        edge.publish(_FEATURES, bytes(_FRAME_BYTES))  # kept for nobody until the cloud has subscribed
        while edge.receive(0.2) is None:
            edge.publish(_FEATURES, bytes(_FRAME_BYTES))
        sent = answered = 1
        started_s = time.monotonic()
        while answered < count:
            while sent < count and sent - answered < _WINDOW:
                edge.publish(_FEATURES, bytes(_FRAME_BYTES))
                sent += 1
            message = edge.receive(_PATIENCE_S)
            if message is None:
                raise SystemExit(f"{answered} of {count} frames answered")
            edge.acknowledge(message)
            answered += 1
        took_s = time.monotonic() - started_s
    cloud.join()
    return (count - 1) / took_s


def _answer(clients: Path, count: int) -> None:
    with _client(clients, "cloud") as cloud:
        cloud.subscribe(_FEATURES)
        for _ in range(count):
            message = cloud.receive(_PATIENCE_S)
            if message is None:
                return
            cloud.publish(_RESULTS, bytes(_RESULT_BYTES))
            cloud.acknowledge(message)


def _leave_results_waiting(clients: Path) -> None:
    with _client(clients, "consumer", session_expiry_s=3600) as reader:
        reader.subscribe(_RESULTS)
    with _client(clients, "cloud") as cloud:
        for _ in range(_WAITING):
            cloud.publish(_RESULTS, bytes(_RESULT_BYTES))
        cloud.flush(_PATIENCE_S)


def _shown(rates: list[float]) -> str:
    return f"{statistics.median(rates):,.0f} ({min(rates):,.0f} to {max(rates):,.0f})"

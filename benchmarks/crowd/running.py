"""One run of a fleet: a deployment as `tflsplit broker init` makes it, its processes, devices, and what came of it."""

import contextlib
import functools
import json
import os
import random
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import harness
import numpy as np
import psutil

from broker.deploy import folder as deployments
from broker.deploy import mosquitto
from broker.transport import credentials
from crowd import evaluation, generator, material, rolling
from crowd.broker import Broker
from crowd.evaluation import SETTLED_S, Disturbed
from crowd.generator import Wanted
from crowd.rolling import Rolled, Rollout
from tflsplit.package import signing
from tflsplit.package.reading import Package

DEPLOYMENT, READER = "fleet", "archive"
# Undisturbed, before a kill and after the last one.
_STEADY_S, _AFTER_S, _WARM_S, _PATIENCE_S = 20.0, 25.0, 3.0, 600.0
_LEAST_GAP_S = 2.0  # between kills
_RECORDED = "recorded"  # a device beside the others, which a real edge is


@dataclass(frozen=True, slots=True)
class Cost:
    """Of a process while nothing disturbs: processor seconds a second, and MiB."""

    cpu: float
    mib: float


@dataclass(frozen=True, slots=True)
class Found:
    """Times in s. `steady` and `whole` are `PERCENTILES` of the latencies in the undisturbed time and of all; `back`
    those of how long devices were away after the kill, and `starts_s` how long the broker was. `lost`, `doubled` and
    `wrong` are results at the named reader, `counts` are the devices' own. `connecting_s` is processor time from the
    first CONNECT until all were online."""

    devices: int
    offered_per_s: float
    answered_per_s: float
    online_s: float
    connecting_s: dict[str, float]
    steady: tuple[float, ...]
    whole: tuple[float, ...]
    back: tuple[float, ...]
    starts_s: float | None
    frames: int
    counts: dict[str, int]
    lost: int
    doubled: int
    wrong: int
    costs: dict[str, Cost]
    written_bytes_per_s: float
    stored_bytes: int
    save_s: float  # processor time of one save of all that
    others: float  # cores that were busy with what is none of this, while nothing disturbed
    # Of several brokers one is killed: `PERCENTILES` of the devices of the rest, before that and after it.
    apart: tuple[tuple[float, ...], ...] = ()
    rollout: Rolled | None = None


@dataclass(frozen=True, slots=True)
class _Course:
    """How long nothing disturbs, and how long after each kill the next one follows, or the end. A rollout begins before
    the first kill, and the end waits for its end."""

    steady_s: float
    gaps_s: Sequence[float]
    begin_rollout: Callable[[], Rollout] | None


def measured(
    folder: Path,
    package: Package,
    devices: int,
    rate_per_s: float,
    *,
    kills: int = 1,
    interval_s: int | None = None,
    steady_s: float | None = None,
    cloud: Sequence[str] = (),
    brokers: int = 1,
    update: Package | None = None,
    patience_s: float = _PATIENCE_S,
) -> Found:
    """A run in a new `folder`; `interval_s` is how often the broker saves, where not as it is configured, `cloud` are
    more options of the cloud. After `steady_s`, in which it saves once and more, the broker is killed so many times, at
    random moments. Of several `brokers` that is the first, and costs are of that one. `update` is rolled out to all
    devices from `rolling.BEFORE_S` before the first kill on, when some are switched off."""
    folder.mkdir()
    names = tuple(f"device-{number}" for number in range(devices))
    home = folder / "broker"
    wanted = deployments.Wanted((*names, _RECORDED))
    port, *ports = [free_port() for _ in range(brokers)]
    others = [("localhost", each) for each in ports]
    book = deployments.init(home, wanted, deployment=DEPLOYMENT, hosts=("localhost",), port=port, others=others)
    if interval_s is not None:
        config = home / "server" / "mosquitto.conf"
        config.write_text(re.sub(r"autosave_interval \d+", f"autosave_interval {interval_s}", config.read_text()))
    clients, printed = home / "clients", folder / evaluation.PRINTED
    if steady_s is None:
        steady_s = max(_STEADY_S, mosquitto.save_interval_s(devices) + 2 * SETTLED_S + 1.0)
    gaps_s = [random.uniform(_LEAST_GAP_S, _AFTER_S) for _ in range(kills - 1)] + [_AFTER_S] * (kills > 0)
    versions = [package] if update is None else [package, update]
    key = folder / "key.pem"
    trusted = (tuple(str(each.path) for each in versions), str(signing.make(key)))
    given = Wanted(*trusted, DEPLOYMENT, names, rate_per_s, _WARM_S, patience_s, str(clients))
    (folder / generator.WANTED).write_text(json.dumps(asdict(given)))
    with contextlib.ExitStack() as stack:
        who = credentials.open_bundle(clients / "operator")
        places = zip(book.servers, who.addresses, strict=True)
        started = [Broker(home / each.folder, where, who.credentials) for each, where in places]
        broker, *_ = map(stack.enter_context, started)
        serving = [harness.TFLSPLIT, "cloud", *given.packages, "--credentials", str(clients / "cloud"), *cloud]
        processes = {"cloud": stack.enter_context(_process(serving, folder / "cloud.log"))}
        edge = (clients / _RECORDED, clients / "consumer", folder.parent)
        told = [material.recorded(each, *edge) for each in versions]
        (folder / generator.TOLD).write_text(json.dumps(told))
        reading = [harness.TFLSPLIT, "results", "--credentials", str(clients / "consumer"), "--name", READER]
        processes["reader"] = stack.enter_context(_process(reading, folder / "reader.log", printed))
        sending = [sys.executable, "-m", "crowd.generator", str(folder)]
        processes["devices"] = stack.enter_context(_process(sending, folder / "devices.log"))
        pace = {"rate_per_s": rate_per_s, "for_s": rolling.BEFORE_S + sum(gaps_s)}
        begin = update and functools.partial(Rollout, folder, update, clients / "operator", key, **pace)
        return _watched(folder, given, broker, processes, _Course(steady_s, gaps_s, begin))


class _Usage:
    """Processor time of all processes from now on."""

    def __init__(self, pids: dict[str, int]) -> None:
        self._pids = pids
        self._began_s = time.monotonic()
        self._before = {name: harness.cpu_s(pid) for name, pid in pids.items()}
        self._busy_s = _busy_s()

    def taken(self) -> dict[str, float]:
        return {name: harness.cpu_s(pid) - self._before[name] for name, pid in self._pids.items()}

    def costs(self) -> dict[str, Cost]:
        for_s, taken = time.monotonic() - self._began_s, self.taken()
        return {
            name: Cost(taken[name] / for_s, psutil.Process(pid).memory_info().rss / 2**20)
            for name, pid in self._pids.items()
        }

    def others(self) -> float:
        ours_s = sum(self.taken().values())
        return max(0.0, _busy_s() - self._busy_s - ours_s) / (time.monotonic() - self._began_s)


def _busy_s() -> float:
    """Of all cores together, what another machine took of them included."""
    times = psutil.cpu_times()
    return float(sum(times) - times.idle - times.iowait - times.guest - times.guest_nice)


def _watched(
    folder: Path,
    wanted: Wanted,
    broker: Broker,
    processes: dict[str, subprocess.Popen[str]],
    course: _Course,
) -> Found:
    devices = processes["devices"]
    _told(devices, generator.MADE)
    pids = {"broker": broker.pid, **{name: each.pid for name, each in processes.items()}}
    connecting = _Usage(pids)
    online_s = float(_told(devices, generator.ONLINE))
    connecting_s = connecting.taken()
    until_s = time.monotonic() + wanted.warm_s + SETTLED_S
    save_s = broker.save_s()
    time.sleep(max(0.0, until_s - time.monotonic()))
    usage, began_s, written = _Usage(pids), time.monotonic(), broker.written_bytes
    time.sleep(course.steady_s - 2 * SETTLED_S)
    ended_s, costs, others = time.monotonic(), usage.costs(), usage.others()
    written_per_s = (broker.written_bytes - written) / (ended_s - began_s)
    stored_bytes = broker.stored_bytes
    time.sleep(SETTLED_S)
    disturbed = _disturbed(devices, broker, pids, course)
    _tell(devices, generator.END)
    devices.wait(_PATIENCE_S)
    sent = json.loads((folder / generator.SENT).read_text())
    at_reader = evaluation.read(folder, sent, wanted)
    with np.load(folder / generator.RECORD) as arrays:
        record = dict(arrays)
    killed_s, back = disturbed.killed_s, evaluation.away(record, disturbed, len(wanted.names))
    is_steady = (record["due_s"] >= began_s) & (record["due_s"] < ended_s)
    apart: tuple[tuple[float, ...], ...] = ()
    if killed_s is not None:
        apart = evaluation.apart(record, wanted, broker.where, (began_s, killed_s), ended_s - began_s)
    return Found(
        devices=len(wanted.names),
        offered_per_s=len(wanted.names) * wanted.rate_per_s,
        answered_per_s=float(np.sum((record["answered_s"] >= began_s) & (record["answered_s"] < ended_s)))
        / (ended_s - began_s),
        online_s=online_s,
        connecting_s=connecting_s,
        steady=evaluation.of_chosen(record, is_steady),
        whole=evaluation.of_chosen(record, record["due_s"] > 0),
        back=back,
        starts_s=None if killed_s is None else disturbed.there_s - killed_s,
        frames=len(record["due_s"]),
        counts=json.loads((folder / generator.COUNTS).read_text()),
        lost=at_reader[0],
        doubled=at_reader[1],
        wrong=at_reader[2],
        costs=costs,
        written_bytes_per_s=written_per_s,
        stored_bytes=stored_bytes,
        save_s=save_s,
        others=others,
        apart=apart,
        rollout=evaluation.rolled(record, sent, disturbed, back),
    )


def _disturbed(devices: subprocess.Popen[str], broker: Broker, pids: dict[str, int], course: _Course) -> Disturbed:
    with contextlib.ExitStack() as stack:
        rollout = rollout_s = killed_s = there_s = rolled = None
        if course.begin_rollout is not None:
            _tell(devices, generator.OFF)
            rollout_s, rollout = time.monotonic(), stack.enter_context(course.begin_rollout())
            usage = _Usage(pids | {"rollout": rollout.pid})
            time.sleep(rolling.BEFORE_S)
            rolled = {"cores": sum(each.cpu for each in usage.costs().values())}
        for gap_s in course.gaps_s:
            killed_s, there_s = broker.kill_and_start()
            time.sleep(gap_s)
        if rollout is not None:
            _tell(devices, generator.ON)
            rolled |= rollout.ended()
        return Disturbed(killed_s, there_s, rollout_s, rolled, time.monotonic())


def _tell(devices: subprocess.Popen[str], word: str) -> None:
    """Until it is done."""
    assert devices.stdin is not None
    devices.stdin.write(f"{word}\n")
    devices.stdin.flush()
    _told(devices, word)


def _told(process: subprocess.Popen[str], event: str) -> str:
    """What stands behind the line of an event, for which this waits."""
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line.startswith(event):
        raise SystemExit(f"devices: {line or process.poll()!r} instead of {event!r}")
    return line.removeprefix(event).strip()


@contextlib.contextmanager
def _process(command: Sequence[str], log: Path, output: Path | None = None) -> Iterator[subprocess.Popen[str]]:
    """Its standard output goes to a file, or to whoever reads it."""
    with contextlib.ExitStack() as stack:
        printed = stack.enter_context(output.open("w")) if output else subprocess.PIPE
        told = stack.enter_context(log.open("w"))
        path = os.pathsep.join((str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")))
        env = {**harness.environment(), "PYTHONPATH": path}
        started = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=printed, stderr=told, text=True, env=env)
        try:
            yield started
        finally:
            started.kill()
            started.wait()
            for stream in (started.stdin, started.stdout):
                if stream is not None:
                    stream.close()


def free_port() -> int:
    """In a range that this machine gives to no outgoing connection: nobody takes it while the broker is dead."""
    while True:
        port = random.randrange(20_000, 30_000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port

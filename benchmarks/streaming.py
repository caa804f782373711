"""How near a stream comes to what can be reached, and what a frame costs its edge and its cloud.

MobileNetV2, edge and cloud as processes on a core each, a window of 8 frames, QoS 1, a Mosquitto on loopback with
`set_tcp_nodelay`, on the cloud's core, whose half is the shorter one, and before it where this user may give that
priority: else it waits for head and tail to use up their turns, and the scheduler is measured. Rivals are the pairs of
scripts of `benchmarks/bare/pair.py`, which do the same work on a frame: by sockets, and by paho's public interface with
TCP_NODELAY. All in turn. Processor time, switches of threads and system calls are of whole processes, over all their
threads; where it says "beyond", without what each of them spent in its own interpreter meanwhile
(`benchmarks/bare/invoked.py`). A cloud has been online for so long that it says nothing again
(`broker.transport.repeats`: the results of its first ten seconds come twice). At 448 pixels the rate is compared with 1
/ max(head, tail), each timed alone on its core. System calls are counted by perf, in a run of their own, where this
user may; else they are left out.

The scripts by sockets are the floor: they do nothing but the work. What ours takes more than the scripts by paho goes
into some three times as many Python functions, for what those leave out: checks of all that comes, what is kept to be
sent again, a window for each device, fair turns, answers to frames that come twice, counters. After an inference
nothing of it is in the processor's caches, so it weighs more the longer head and tail run, and each as a share of them
less.
"""

import contextlib
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import deployment
import harness
import models
from bare import invoked
from harness import Outcome, Samples, Table

from broker.mqtt import transport
from broker.transport import address, repeats
from edge_runtime import head, loop
from edge_runtime.delivery import observer
from edge_runtime.delivery.settings import Settings
from edge_runtime.sources import frames
from tflsplit.package import reading

RATE_TARGET, COST_TARGET = 0.95, 1.3
# Half of what a frame took when a network thread and a thread for results handed it on: 7 and 6, 18 and 16.
MOST_SWITCHES, MOST_CALLS = {"edge": 3.5, "cloud": 3.0}, {"edge": 9.0, "cloud": 8.0}
LARGE_SIDE, WINDOW = 448, 8
_KINDS = {"tflsplit": "tflsplit", "paho": "scripts by paho", "raw": "scripts by sockets"}
_SIDES = {"edge": "head", "cloud": "tail"}
_BARE = Path(__file__).parent / "bare"
_PACES = {"full speed": None, "30 frames/s": 30.0}
_WARM_UP, _PATIENCE_S = 50, 120.0


@dataclass(frozen=True, slots=True)
class Run:
    """Of one stream: frames a second, and of each side for each frame; `beyond_s` is the part of `cpu_s` that is not
    the interpreter's, `calls` are empty where they were not counted."""

    rate: float
    cpu_s: dict[str, float]
    beyond_s: dict[str, float]
    switches: dict[str, float]
    calls: dict[str, float]


def run(folder: Path, *, is_quick: bool) -> list[Outcome | Table]:
    rounds = 2 if is_quick else 5
    counts = {"full speed": 200 if is_quick else 600, "30 frames/s": 60 if is_quick else 150}
    with harness.mosquitto("set_tcp_nodelay true") as broker:
        os.sched_setaffinity(broker.pid, {harness.CLOUD_CORE})
        with contextlib.suppress(PermissionError):
            os.sched_setscheduler(broker.pid, os.SCHED_RR, os.sched_param(2))
        small = _told(folder, models.SIDE) | {"port": broker.port}
        outcomes: list[Outcome | Table] = []
        rows = []
        for pace, rate in _PACES.items():
            told = small | {"rate": rate, "count": counts[pace]}
            found = _in_turn(told, rounds)
            counted = {kind: _stream(told, kind, counts_calls=True).calls for kind in _KINDS}
            if rate is None:
                outcomes += [_rate(found), *_costs(found), *_counts(found, counted)]
            rows += [_row(pace, kind, found[kind], counted[kind]) for kind in _KINDS]
        outcomes.append(_large(_told(folder, LARGE_SIDE) | {"port": broker.port}, rounds, counts["full speed"] // 2))
    columns = ("pace", "who", "frames/s")
    for side in _SIDES:
        columns += (f"{side}: CPU, ms", "beyond", "switches", "system calls")
    return [*outcomes, Table("What a frame takes, medians", columns, tuple(rows))]


def _told(folder: Path, side: int) -> dict[str, object]:
    opened, cut = models.converted(folder, side)
    told = {"package": str(opened.path), "cut": cut.id, "inputs": str(models.stored_inputs(folder, side))}
    for name, model in {"edge": opened.head_bytes(cut), "cloud": opened.tail_bytes(cut)}.items():
        path = folder / f"{name}_{side}.tflite"
        path.write_bytes(model)
        told[name] = str(path)
        told[f"{name}_invoked"] = str(folder / f"{name}.invoked")
    return told | {"qos": 1, "window": WINDOW, "warm": _WARM_UP}


def _in_turn(told: dict, rounds: int) -> dict[str, list[Run]]:
    found: dict[str, list[Run]] = {kind: [] for kind in _KINDS}
    for _ in range(rounds):
        harness.wait_for_calm(patience_s=3.0)
        for kind, runs in found.items():
            runs.append(_stream(told, kind))
    return found


def _stream(told: dict, kind: str, *, counts_calls: bool = False) -> Run:
    count = told["count"]
    with _cloud(told, kind) as cloud, harness.process(_command(told, "edge", kind), core=harness.EDGE_CORE) as edge:
        pids, calls = {"edge": edge.pid, "cloud": cloud.pid}, dict[str, float]()
        with contextlib.ExitStack() as counting:
            counters = {side: counting.enter_context(_Calls(pid)) for side, pid in pids.items() if counts_calls}
            _line(edge)  # it is warm
            for each in counters.values():
                each.begin()
            before, began_s = _spent(told, pids), time.monotonic()
            _line(edge)
            took_s, after = time.monotonic() - began_s, _spent(told, pids)
            calls = {side: found for side, each in counters.items() if (found := each.end()) is not None}
    cpu_s, beyond_s, switches = (
        {side: (after[side][which] - before[side][which]) / count for side in pids} for which in range(3)
    )
    return Run(count / took_s, cpu_s, beyond_s, switches, {side: each / count for side, each in calls.items()})


def _line(edge: "subprocess.Popen[str]") -> None:
    assert edge.stdout is not None
    if not edge.stdout.readline():
        raise SystemExit("the edge did not finish")


def _spent(told: dict, pids: dict[str, int]) -> dict[str, tuple[float, float, int]]:
    found = {}
    for side, pid in pids.items():
        cpu_s = harness.cpu_s(pid)
        found[side] = (cpu_s, cpu_s - invoked.spent_s(told[f"{side}_invoked"]), harness.switches(pid))
    return found


class _Calls:
    """Counts the system calls of a process and the threads that it starts from now on, by perf."""

    def __init__(self, pid: int) -> None:
        (told, self._tell), (self._hear, heard) = os.pipe(), os.pipe()
        command = ["perf", "stat", "-x", ",", "-e", "raw_syscalls:sys_enter", "-p", str(pid), "-D", "-1"]
        command += ["--control", f"fd:{told},{heard}"]
        self._perf = None
        if shutil.which("perf") is not None:
            self._perf = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, pass_fds=(told, heard))
        os.close(told)
        os.close(heard)

    def begin(self) -> None:
        with contextlib.suppress(BrokenPipeError):  # it may not count, and has gone
            os.write(self._tell, b"enable\n")
            os.read(self._hear, 16)

    def end(self) -> float | None:
        """None where they cannot be counted."""
        if self._perf is None:
            return None
        self._perf.send_signal(signal.SIGINT)
        told = self._perf.communicate()[1].strip().splitlines()
        count = told[-1].split(",")[0] if told else ""
        return float(count) if count.isdigit() else None

    def __enter__(self) -> "_Calls":
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._tell)
        os.close(self._hear)


@contextlib.contextmanager
def _cloud(told: dict, kind: str) -> Iterator["subprocess.Popen[str]"]:
    if kind == "tflsplit":
        tflsplit = (sys.executable, str(_BARE / "invoked.py"), told["cloud_invoked"])
        with deployment.cloud(reading.open_package(Path(told["package"])), told["port"], tflsplit) as serving:
            time.sleep(repeats.SUBSCRIBED_S + 1.0)
            yield serving
        return
    with harness.process(_command(told, "cloud", kind), core=harness.CLOUD_CORE) as serving:
        _line(serving)
        yield serving


def _command(told: dict, role: str, kind: str) -> list[str]:
    if kind == "tflsplit":
        return [sys.executable, __file__, json.dumps(told)]
    about = {"role": role, "by": kind, "model": told[role], "invoked": told[f"{role}_invoked"]}
    return [sys.executable, str(_BARE / "pair.py"), json.dumps(told | about)]


def _rate(found: dict[str, list[Run]]) -> Outcome:
    ours, raw = (Samples(_KINDS[kind], "1/s", tuple(run.rate for run in found[kind])) for kind in ("tflsplit", "raw"))
    return Outcome(f"frames a second, {models.SIDE} x {models.SIDE}", ours, raw, RATE_TARGET, is_floor=True)


def _costs(found: dict[str, list[Run]]) -> Iterator[Outcome]:
    for side, half in _SIDES.items():
        for what, of in (("", "cpu_s"), (f" beyond the {half}", "beyond_s")):
            both = (
                Samples(_KINDS[kind], "s", tuple(getattr(run, of)[side] for run in found[kind]))
                for kind in ("tflsplit", "paho")
            )
            yield Outcome(f"processor time of the {side}{what}", *both, COST_TARGET)


def _counts(found: dict[str, list[Run]], counted: dict[str, dict[str, float]]) -> Iterator[Outcome]:
    for side, most in MOST_SWITCHES.items():
        ours = Samples("tflsplit", "", tuple(run.switches[side] for run in found["tflsplit"]))
        yield Outcome(f"switches of a frame, {side}", ours, harness.limit(most, ""), 1.0)
    for side, taken in counted["tflsplit"].items():
        most = harness.limit(MOST_CALLS[side], "")
        yield Outcome(f"system calls of a frame, {side}", Samples("tflsplit", "", (taken,)), most, 1.0)


def _large(told: dict, rounds: int, count: int) -> Outcome:
    reached, allowed = [], []
    for _ in range(rounds):
        harness.wait_for_calm(patience_s=3.0)
        before = _slower_s(told)
        reached.append(_stream(told | {"rate": None, "count": count}, "tflsplit").rate)
        allowed.append(2 / (before + _slower_s(told)))
    return Outcome(
        f"frames a second, {LARGE_SIDE} x {LARGE_SIDE}",
        Samples("tflsplit", "1/s", tuple(reached)),
        Samples("1 / max(head, tail)", "1/s", tuple(allowed)),
        RATE_TARGET,
        is_floor=True,
    )


def _slower_s(told: dict) -> float:
    opened = reading.open_package(Path(told["package"]))
    halves = {"head": harness.EDGE_CORE, "tail": harness.CLOUD_CORE}
    return max(
        statistics.median(deployment.half_alone(opened, opened.cut(told["cut"]), half, count=100, core=core))
        for half, core in halves.items()
    )


def _row(pace: str, kind: str, runs: list[Run], calls: dict[str, float]) -> tuple[str, ...]:
    cells = [pace, _KINDS[kind], f"{statistics.median(run.rate for run in runs):,.0f}"]
    for side in _SIDES:
        cpu_s, beyond_s, switches = (
            statistics.median(getattr(run, of)[side] for run in runs) for of in ("cpu_s", "beyond_s", "switches")
        )
        cells += [f"{cpu_s * 1e3:.2f}", f"{beyond_s * 1e3:.2f}", f"{switches:.1f}"]
        cells.append(f"{calls[side]:.1f}" if side in calls else "")
    return tuple(cells)


def _edge(told: dict) -> None:
    invoked.note(told["edge_invoked"])
    answered = 0

    class Counting(observer.Observer):
        def settled(self, settled: observer.Settled) -> None:
            nonlocal answered
            answered += 1
            if answered in (told["warm"], told["warm"] + told["count"]):
                print(answered, flush=True)

    opened = reading.open_package(Path(told["package"]))
    settings = Settings(
        deployment=deployment.DEPLOYMENT,
        device="edge",
        qos=told["qos"],
        window=told["window"],
        count=told["warm"] + told["count"],
        rate_fps=told["rate"],
    )
    with (
        head.Head(opened, opened.cut(told["cut"])) as ready,
        transport.MqttTransport(address.Address("127.0.0.1", told["port"]), client_id="bench-edge") as online,
    ):
        online.connect()
        source = frames.open_source(told["inputs"], opened.manifest)
        loop.Edge(opened, ready, online, settings, observers=(Counting(),)).run(source)
        threading.Event().wait(_PATIENCE_S)  # whoever started this ends it


if __name__ == "__main__":
    _edge(json.loads(sys.argv[1]))

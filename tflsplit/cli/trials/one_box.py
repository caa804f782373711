"""All machines of a placement on this one: a broker and a process for each, every result compared with the whole.

They share this machine's processors, so without a pace their times are not those of machines apart.
"""

import contextlib
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from broker.local import server
from broker.messages import results, topics
from broker.mqtt.transport import MqttTransport
from broker.transport.address import Address
from tflsplit import errors, strict_json
from tflsplit.cli.trials import replay_stage
from tflsplit.graph import indices
from tflsplit.graph.interpreter import Interpreter
from tflsplit.graph.tensors import Array
from tflsplit.package import verify
from tflsplit.placement import folder, planfile, recovery
from tflsplit.placement.folder import Shared

_DEPLOYMENT = "one-box"
_INPUTS = 8  # that differ; more frames take them again
_SILENCE_S = 120.0
_LOOK_S = 0.2


@dataclass(frozen=True, slots=True)
class Tried:
    """`wrong` are results that are not the whole model's. Times are of the run with all frames; `latency_ms` of one
    with a frame at a time. `busy_ms` is what each machine computed for a frame."""

    frames: int
    results: int
    wrong: int
    in_order: bool
    paced: bool
    frames_per_s: float
    latency_ms: float
    busy_ms: Mapping[str, float]
    expected: Mapping[str, object]

    @property
    def of_slowest(self) -> float:
        """Frames a second beside those that the slowest machine's computing allows."""
        return self.frames_per_s * max(self.busy_ms.values()) / 1e3

    def as_json(self) -> dict[str, object]:
        fields = {name: getattr(self, name) for name in self.__slots__ if name != "expected"}
        return {**fields, "of_slowest": self.of_slowest, "predicted": dict(self.expected)}


@dataclass(slots=True)
class _Run:
    found: list[results.Result]
    summaries: dict[str, Mapping[str, Any]]


def run(bundle: Path, *, frames: int, pace: str | None) -> Tried:
    """Random inputs through all workers. Without a `pace` each machine is as quick as was stated, if it was.

    DeviceError where a worker fails or a broker is not installed.
    """
    shared = folder.open_folder(bundle)
    pace = pace or (planfile.STATED if shared.plan.cluster is not None else None)
    with tempfile.TemporaryDirectory(prefix="tflsplit-run-chain-") as place, server.run(port=0) as serving:
        source, wanted = _inputs(shared, Path(place) / "inputs.npz")
        alone = _run(shared, serving.address, source, frames=min(frames, 10), pace=pace, more=("--window", "1"))
        piped = _run(shared, serving.address, source, frames=frames, pace=pace)
    found = [*alone.found, *piped.found]
    first = piped.summaries[shared.plan.machines[shared.plan.source]]
    orders = ([each.sequence for each in run.found] for run in (alone, piped))
    sent_s = [each.times.sent_ms / 1e3 for each in piped.found]
    return Tried(
        frames=frames,
        results=len(piped.found),
        wrong=sum([each.data for each in result.outputs] != wanted[result.sequence % _INPUTS] for result in found),
        in_order=all(order == sorted(order) for order in orders),
        paced=pace is not None,
        frames_per_s=(len(sent_s) - 1) / (sent_s[-1] - sent_s[0]) if sent_s[-1] > sent_s[0] else first["frames_per_s"],
        latency_ms=alone.summaries[shared.plan.machines[shared.plan.source]]["latency_ms"]["p50"],
        busy_ms={name: told["compute_ms"] / told["frames"] for name, told in piped.summaries.items() if told["frames"]},
        expected=shared.plan.expected,
    )


def _inputs(shared: Shared, path: Path) -> tuple[Path, list[list[bytes]]]:
    """A file of inputs, and the bytes of the whole model's outputs for each."""
    package = shared.package
    sizes = indices.table_sizes(package.graph)
    samples = verify.random_samples(package.manifest.inputs, _INPUTS, table_sizes=sizes)
    columns: dict[str, Any] = {
        spec.name: np.concatenate(arrays)
        for spec, arrays in zip(package.manifest.inputs, zip(*samples, strict=True), strict=True)
    }
    np.savez(path, **columns)
    with Interpreter(package.model_bytes()) as whole:
        return path, [_bytes(whole.run(*sample)) for sample in samples]


def _bytes(arrays: Sequence[Array]) -> list[bytes]:
    return [array.tobytes() for array in arrays]


def _run(
    shared: Shared, broker: Address, source: Path, *, frames: int, pace: str | None, more: Sequence[str] = ()
) -> _Run:
    plan = shared.plan
    deployment, first = f"{_DEPLOYMENT}-{len(more)}", plan.machines[plan.source]
    common = ("--broker", f"mqtt://{broker}", "--deployment", deployment, "--json")
    common = (*common, *(("--pace", pace) if pace else ()))
    with contextlib.ExitStack() as stack:
        watch = stack.enter_context(MqttTransport(broker, client_id=deployment))
        watch.connect()
        watch.subscribe(topics.topic(deployment, first, topics.Kind.RESULTS))
        started = {}
        for machine in sorted(recovery.used(plan.placement())):
            name = plan.machines[machine]
            given = ("--source", str(source), "--count", str(frames), "--raw-outputs", "--no-replan", *more)
            words = (*common, *(given if name == first else ("--once",)))
            command = replay_stage.command_of("-m", "tflsplit.cli.main", "worker", str(shared.path), "--name", name)
            started[name] = stack.enter_context(_started([*command, *words]))
        found = _follow(watch, started, frames)
        return _Run(found, {name: _summary(name, process) for name, process in started.items()})


@contextlib.contextmanager
def _started(command: Sequence[str]) -> Iterator["subprocess.Popen[str]"]:
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def _follow(watch: MqttTransport, started: Mapping[str, "subprocess.Popen[str]"], frames: int) -> list[results.Result]:
    """The first result of each frame, as they come."""
    found: dict[int, results.Result] = {}
    moved_s = time.monotonic()
    while len(found) < frames:
        message = watch.receive(_LOOK_S)
        if message is not None:
            watch.acknowledge(message)
            told = results.parse(message.payload)
            if isinstance(told, results.Result):
                found.setdefault(told.sequence, told)
                moved_s = time.monotonic()
            continue
        for name, process in started.items():
            if process.poll() not in (None, 0) or time.monotonic() - moved_s > _SILENCE_S:
                raise _failure(name, process)
    return list(found.values())


def _summary(name: str, process: "subprocess.Popen[str]") -> Mapping[str, Any]:
    out, _ = process.communicate(timeout=_SILENCE_S)
    if process.returncode:
        raise _failure(name, process)
    found: Mapping[str, Any] = strict_json.parse(out)
    return found


def _failure(name: str, process: "subprocess.Popen[str]") -> errors.DeviceError:
    process.kill()
    said = (process.stderr.read() if process.stderr and not process.stderr.closed else "").strip().splitlines()
    return errors.DeviceError(f"worker {name}: {said[-1] if said else 'no frame was answered for too long'}")

"""The machines of one placement on this one: a worker in each namespace, paced by waiting, and a broker at the switch.

What is waited for is no work for this machine, so two processors are enough for many slow machines.
"""

import contextlib
import os
import re
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from broker.links import lan
from broker.links.lan import Lan
from broker.local import server
from broker.messages import results, topics
from broker.mqtt.transport import MqttTransport
from broker.transport.address import Address
from tflsplit import errors, strict_json
from tflsplit.cli.trials import replay_stage
from tflsplit.placement import recovery
from tflsplit.placement.folder import Shared
from tflsplit.placement.machines import Cluster

_DEPLOYMENT = "emulation"
# Workers must not take each other's start for a loss, on a machine that has other things to do.
_PATIENCE_S = 300.0
_PATIENT = ("--no-replan", "--wait", "300s", "--lost-after", "300s", "--resend-after", "3600s")
# Who waits, for its pace or for a message, has to wake in time; root, who may make namespaces, may have this.
_NICE = -15
_PEAK = re.compile(r"VmHWM:\s+(\d+) kB")


@dataclass(slots=True)
class Ran:
    """What was seen of one placement with `window` frames on their way: answers by frame, each worker's summary by
    machine, and the most memory that its process had."""

    window: int
    answers: dict[int, results.Result] = field(default_factory=dict)
    summaries: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    peak_bytes: dict[str, int] = field(default_factory=dict)


@contextlib.contextmanager
def joined(cluster: Cluster) -> Iterator[tuple[Lan, Address]]:
    """The machines' links as stated, and the broker. DeviceError where that needs what is not here."""
    medium = cluster.medium
    if medium.delay_s:
        raise errors.SettingsError(
            f"a delay of {medium.delay_s * 1e3:g} ms is not emulated; distribute without --delay"
        )
    rates_bps = [each.bandwidth_bps for each in cluster.machines] if medium.is_shared else cluster.bandwidths_bps
    with (
        lan.joined(rates_bps, medium_bps=medium.bandwidth_bps if medium.is_shared else None) as net,
        server.run(net.outside, port=0, allow_remote=True) as serving,
    ):
        os.setpriority(os.PRIO_PROCESS, serving.pid, _NICE)
        yield net, serving.address


def run(shared: Shared, net: Lan, broker: Address, source: Path, *, frames: int, window: int) -> Ran:
    """The placement of that folder with its inputs repeated. DeviceError where a worker fails."""
    plan, ran = shared.plan, Ran(window)
    used = sorted(recovery.used(plan.placement()) - {plan.source})
    deployment = f"{_DEPLOYMENT}-{shared.digest[:8]}"
    at = ("--broker", f"mqtt://{broker}", "--deployment", deployment)
    with contextlib.ExitStack() as stack:
        watch = stack.enter_context(MqttTransport(broker, client_id=f"emulation-{shared.digest[:8]}"))
        watch.connect()
        watch.subscribe(topics.topic(deployment, plan.machines[plan.source], topics.Kind.RESULTS))
        given = ("--source", str(source), "--count", str(frames), "--window", str(window), "--raw-outputs", *_PATIENT)
        started = {}
        for machine in (*used, plan.source):
            words = (*at, *(given if machine == plan.source else ("--once",)))
            command = _worker(net, machine, str(shared.path), "--name", plan.machines[machine], *words)
            started[plan.machines[machine]] = stack.enter_context(_started(command))
        _follow(watch, started, frames, ran)
        for name, process in started.items():
            ran.summaries[name] = _summary(name, process)
    return ran


def _worker(net: Lan, machine: int, bundle: str, *words: str) -> list[str]:
    command = replay_stage.command_of("-m", "tflsplit.cli.main", "worker", bundle, "--pace", "stated", "--json", *words)
    return net.inside(machine, "nice", "-n", str(_NICE), *command)


@contextlib.contextmanager
def _started(command: Sequence[str]) -> Iterator["subprocess.Popen[str]"]:
    # Not in our group: Ctrl-C is for us, who end the workers before their namespaces go.
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def _follow(watch: MqttTransport, started: Mapping[str, "subprocess.Popen[str]"], frames: int, ran: Ran) -> None:
    """Until all frames have their results, or a worker is gone."""
    moved_s = time.monotonic()
    while len(ran.answers) < frames:
        message = watch.receive(0.2)
        if message is not None:
            watch.acknowledge(message)
            found = results.parse(message.payload)
            if isinstance(found, results.Result) and found.sequence not in ran.answers:
                ran.answers[found.sequence] = found
                moved_s = time.monotonic()
                ran.peak_bytes.update({name: _peak(process.pid) for name, process in started.items()})
            continue
        gone = next((name for name, process in started.items() if process.poll() not in (None, 0)), None)
        if gone is not None or time.monotonic() - moved_s > _PATIENCE_S:
            name = gone or next(iter(started))
            started[name].kill()
            said = started[name].communicate()[1].strip().splitlines()
            raise errors.DeviceError(f"worker {name}: {said[-1] if said else 'no frame was answered for too long'}")


def _summary(name: str, process: "subprocess.Popen[str]") -> Mapping[str, Any]:
    try:
        out, said = process.communicate(timeout=_PATIENCE_S)
    except subprocess.TimeoutExpired as cause:
        raise errors.DeviceError(f"worker {name} did not end when its frames were over") from cause
    if process.returncode:
        lines = said.strip().splitlines()
        raise errors.DeviceError(f"worker {name}: {lines[-1] if lines else process.returncode}")
    found: Mapping[str, Any] = strict_json.parse(out)
    return found


def _peak(pid: int) -> int:
    with contextlib.suppress(OSError):
        found = _PEAK.search(Path(f"/proc/{pid}/status").read_text())
        return int(found[1]) * 1024 if found else 0
    return 0

"""The machines of one placement on this one: a worker in each namespace, paced by waiting, and a broker at the switch.

What is waited for is no work for this machine, so two processors are enough for many slow machines.
"""

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from broker.links import lan
from broker.links.lan import Lan
from broker.local import server
from broker.messages.results import Result
from broker.mqtt.transport import MqttTransport
from broker.transport.address import Address
from tflsplit import errors
from tflsplit.cli.trials.sharing.processes import Processes, Way
from tflsplit.placement import planfile
from tflsplit.placement.folder import Shared
from tflsplit.placement.machines import Cluster

_DEPLOYMENT = "emulation"
# Workers must not take each other's start for a loss, on a machine that has other things to do.
_PATIENCE_S = 300.0
_PATIENT = ("--no-replan", "--wait", "300s", "--lost-after", "300s", "--resend-after", "3600s")
# Who waits, for its pace or for a message, has to wake in time; root, who may make namespaces, may have this.
_NICE = -15


@dataclass(slots=True)
class Ran:
    """What was seen of one placement with `window` frames on their way: answers by frame, each worker's summary by
    machine, and the most memory that its process had."""

    window: int
    answers: dict[int, Result] = field(default_factory=dict)
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
    deployment = f"{_DEPLOYMENT}-{shared.digest[:8]}"
    given = ("--source", str(source), "--count", str(frames), "--window", str(window), "--raw-outputs", *_PATIENT)

    def inside(machine: int, command: Sequence[str]) -> list[str]:
        return net.inside(machine, "nice", "-n", str(_NICE), *command)

    with MqttTransport(broker, client_id=deployment) as listener:
        listener.connect()
        way = Way(deployment, f"mqtt://{broker}", listener, inside, _PATIENCE_S)
        with Processes(shared, way, ("--pace", planfile.STATED), given) as workers:
            workers.follow(lambda: len(workers.heard.results) >= frames)
            answers = {each.sequence: each for each in workers.heard.results}
            return Ran(window, answers, dict(workers.summaries()), dict(workers.peak_bytes))

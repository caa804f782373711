"""The machines of one placement on this one: a worker in each namespace, paced by waiting.

What is waited for is no work for this machine, so two processors are enough for many slow machines.
"""

import contextlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from broker.links import lan
from broker.links.lan import Lan
from broker.local import server
from broker.messages.results import Result
from broker.mqtt.transport import MqttTransport
from tflsplit import errors
from tflsplit.cli.trials.sharing.processes import Inside, Processes, Way
from tflsplit.placement import planfile
from tflsplit.placement.folder import Shared
from tflsplit.placement.machines import Cluster
from tflsplit.values.classes import dataclass, field

_DEPLOYMENT = "emulation"
_PORT = 7447
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
def joined(cluster: Cluster) -> Iterator[Way]:
    """The machines' links as stated, and how workers meet there: at a broker, on a link of its own, where the medium is
    relayed, else directly. DeviceError where that needs what is not here."""
    medium = cluster.medium
    if medium.delay_s:
        raise errors.SettingsError(
            f"a delay of {medium.delay_s * 1e3:g} ms is not emulated; distribute without --delay"
        )
    rates_bps = [each.bandwidth_bps for each in cluster.machines] if medium.is_shared else cluster.bandwidths_bps
    with (
        lan.joined(
            rates_bps,
            medium_bps=medium.bandwidth_bps if medium.is_shared else None,
            outside_bps=medium.bandwidth_bps if medium.is_relayed else None,
        ) as net,
        (_at_broker if medium.is_relayed else _directly)(net) as way,
    ):
        yield way


@contextlib.contextmanager
def _at_broker(net: Lan) -> Iterator[Way]:
    with (
        server.run(net.outside, port=0, allow_remote=True) as serving,
        MqttTransport(serving.address, client_id=_DEPLOYMENT) as listener,
    ):
        os.setpriority(os.PRIO_PROCESS, serving.pid, _NICE)
        listener.connect()
        yield Way(_DEPLOYMENT, lambda _: serving.url, listener, _inside(net), _PATIENCE_S)


@contextlib.contextmanager
def _directly(net: Lan) -> Iterator[Way]:
    from broker.zenoh.transport import ZenohTransport

    def url(machine: int) -> str:
        own = net.addresses[machine]
        others = ",".join(f"{each}:{_PORT}" for each in (net.outside, *net.addresses) if each != own)
        return f"zenoh://{others}?listen={own}:{_PORT}"

    with ZenohTransport(f"zenoh://?listen={net.outside}:{_PORT}", deployment=_DEPLOYMENT, name=_DEPLOYMENT) as listener:
        listener.connect()
        yield Way(_DEPLOYMENT, url, listener, _inside(net), _PATIENCE_S)


def _inside(net: Lan) -> Inside:
    return lambda machine, command: net.inside(machine, "nice", "-n", str(_NICE), *command)


def run(shared: Shared, way: Way, source: Path, *, frames: int, window: int) -> Ran:
    """The placement of that folder with its inputs repeated. DeviceError where a worker fails."""
    given = ("--source", str(source), "--count", str(frames), "--window", str(window), "--raw-outputs", *_PATIENT)
    with Processes(shared, way, ("--pace", planfile.STATED), given) as workers:
        workers.follow(lambda: len(workers.heard.results) >= frames)
        answers = {each.sequence: each for each in workers.heard.results}
        return Ran(window, answers, dict(workers.summaries()), dict(workers.peak_bytes))

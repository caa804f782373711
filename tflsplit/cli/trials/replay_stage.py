"""Broker, link and cloud on this machine, and the edges that come and go, for a replay.

The link is shaped to what was stated: by a relay between the edges and the broker, or by the kernel, with each edge in
a network namespace of its own behind it.
"""

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from enum import Enum
from pathlib import Path

from broker.links import namespace
from broker.links.relay import Relay
from broker.links.shaping import Shape
from broker.local import server
from broker.messages import topics
from broker.mqtt import transport
from broker.transport.address import Address
from tflsplit import errors, strict_json
from tflsplit.package.reading import Package
from tflsplit.planning.candidates import Candidate
from tflsplit.timings import links
from tflsplit.timings.links import Link
from tflsplit.values.classes import dataclass

DEPLOYMENT = "replay"
_PATIENCE_S = 60.0
# The kernel kills the processes started here when this process is killed: else they would wait for their broker for
# ever. A process whose parent died before it made that request ends at once.
_ENDS_WITH_US = ("setpriv", "--pdeathsig", "KILL", "--", "sh", "-c", '[ "$PPID" = "$0" ] && exec "$@"')


class Shaping(Enum):
    """How the link is imitated. The relay works everywhere and loses no packets; the namespace needs root."""

    RELAY = "relay"
    NAMESPACE = "namespace"


@dataclass(frozen=True, slots=True)
class Way:
    """How edges reach `broker`: they connect to `entrance`, and `inside` gives the command that starts them there."""

    broker: Address
    entrance: Address
    inside: Callable[..., list[str]]
    lost_packets: Callable[[], int]


class Stage:
    """A running broker, link and cloud, with which edges are run one after the other."""

    def __init__(self, package: Package, way: Way, source: Path) -> None:
        self._package = package
        self._way = way
        self._source = source

    @property
    def lost_packets(self) -> int:
        """Packets that the link has lost since it was made."""
        return self._way.lost_packets()

    def probe(self) -> Link:
        """The shaped link, as `tflsplit probe` measures it."""
        with running("probe", "--echo", "--device", "echo", *at(self._way.broker)):
            await_online(self._way.broker, "echo")
            found = self._output_of("probe", "--json")
        return links.from_json(strict_json.parse(found), name="tflsplit probe")

    def run(self, candidate: Candidate, frames: int) -> Mapping[str, Mapping[str, float]]:
        """The summary of an edge that sent this number of frames, one at a time."""
        given = ["--cut", candidate.cut.id, "--count", str(frames), "--window", "1", "--source", str(self._source)]
        if candidate.input_codec is not None:
            given += ["--input-codec", candidate.input_codec]
        name = ("--device", f"edge-{os.urandom(4).hex()}", "--resend-after", str(_PATIENCE_S), "--json")
        found: Mapping[str, Mapping[str, float]] = strict_json.parse(
            self._output_of("edge", str(self._package.path), *given, *name)
        )
        return found

    def _output_of(self, *arguments: str) -> str:
        """The output of a command that runs at the edge's end of the link."""
        command = self._way.inside(*_tflsplit(*arguments, *at(self._way.entrance)))
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            lines = done.stderr.strip().splitlines()
            raise errors.DeviceError(f"tflsplit {arguments[0]} failed: {lines[-1] if lines else done.returncode}")
        return done.stdout


@contextlib.contextmanager
def stage(package: Package, stated: Link, source: Path, shaping: Shaping = Shaping.RELAY) -> Iterator[Stage]:
    """Starts broker and cloud, with a link shaped to `stated` between them and the edges. Edges read `source`.

    SettingsError for what a relay cannot imitate, DeviceError where no namespace can be made.
    """
    check(stated, shaping)
    make = _over_relay if shaping is Shaping.RELAY else _over_namespace
    with make(stated) as way, running("cloud", str(package.path), *at(way.broker)):
        await_online(way.broker, "cloud")
        yield Stage(package, way, source)


def check(stated: Link, shaping: Shaping) -> None:
    """SettingsError for what a relay cannot imitate, DeviceError where no namespace can be made."""
    if shaping is Shaping.NAMESPACE:
        namespace.check_possible()
    elif stated.loss:
        raise errors.SettingsError(
            f"link {stated.name}: a relay of TCP loses nothing; "
            "replay it with --shaping namespace, which needs root, or without --loss"
        )


@contextlib.contextmanager
def _over_relay(stated: Link) -> Iterator[Way]:
    shape = Shape(bandwidth_bps=stated.bandwidth_bps, delay_s=stated.rtt_s / 2)
    with server.run(port=0) as serving, Relay(serving.address, up=shape, down=shape) as relay:
        yield Way(serving.address, relay.address, lambda *command: list(command), lambda: 0)


@contextlib.contextmanager
def _over_namespace(stated: Link) -> Iterator[Way]:
    shaped = namespace.shaped(rate_bps=stated.bandwidth_bps, loss=stated.loss, delay_s=stated.rtt_s / 2)
    # The address exists on this link only, so nobody else can reach the broker.
    with shaped as network, server.run(network.outside, port=0, allow_remote=True) as serving:
        yield Way(serving.address, serving.address, network.inside, network.lost_packets)


def at(address: Address) -> tuple[str, ...]:
    """The options that say which broker."""
    return ("--broker", f"mqtt://{address}", "--deployment", DEPLOYMENT)


def command_of(*arguments: str) -> list[str]:
    """A Python process that ends with this one."""
    guard = (*_ENDS_WITH_US, str(os.getpid())) if shutil.which("setpriv") else ()
    return [*guard, sys.executable, *arguments]


def _tflsplit(*arguments: str) -> list[str]:
    return command_of("-m", "tflsplit.cli.main", *arguments)


@contextlib.contextmanager
def running(*arguments: str) -> Iterator["subprocess.Popen[bytes]"]:
    """A command of ours, until the block ends."""
    started = subprocess.Popen(_tflsplit(*arguments), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield started
    finally:
        started.terminate()
        try:
            started.wait(_PATIENCE_S)
        except subprocess.TimeoutExpired:
            started.kill()
            started.wait()


def await_online(address: Address, device: str) -> None:
    """DeviceError if nobody of that name comes."""
    with transport.MqttTransport(address, client_id=f"replay-watch-{os.urandom(4).hex()}") as watch:
        watch.connect()
        watch.subscribe(topics.topic(DEPLOYMENT, device, topics.Kind.STATUS))
        while (message := watch.receive(_PATIENCE_S)) is not None:
            if strict_json.parse(message.payload).get("state") == "online":
                return
    raise errors.DeviceError(f"{device} did not come online within {_PATIENCE_S:g} s")

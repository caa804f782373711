"""Broker, relay and cloud as processes on this machine, and the edges that come and go, for a replay.

The relay stands between the edges and the broker and is shaped to the link that was stated.
"""

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from broker import embedded, mqtt, topics
from broker.address import Address
from broker.relay import Relay
from broker.shape import Shape
from tflsplit import errors, links
from tflsplit.candidates import Candidate
from tflsplit.links import Link
from tflsplit.package import Package

DEPLOYMENT = "replay"
_PATIENCE_S = 60.0
_TFLSPLIT = (sys.executable, "-m", "tflsplit.cli.main")


class Stage:
    """Broker, relay and cloud, running; edges come and go."""

    def __init__(self, package: Package, relay: Relay, broker: Address, source: Path) -> None:
        self._package = package
        self._relay = relay
        self._broker = broker
        self._source = source

    def probe(self) -> Link:
        """What the shaped link is, measured as `tflsplit probe` does."""
        with _running("probe", "--echo", "--device", "echo", *_at(self._broker)):
            _await_online(self._broker, "echo")
            found = _output_of("probe", "--json", *_at(self._relay.address))
        return links.from_json(json.loads(found), name="tflsplit probe")

    def run(self, candidate: Candidate, frames: int) -> Mapping[str, Mapping[str, float]]:
        """The summary of an edge that sent so many frames, one at a time."""
        given = ["--cut", candidate.cut.id, "--count", str(frames), "--window", "1", "--source", str(self._source)]
        if candidate.input_codec is not None:
            given += ["--input-codec", candidate.input_codec]
        name = ("--device", f"edge-{os.urandom(4).hex()}", "--resend-after", str(_PATIENCE_S), "--json")
        found: Mapping[str, Mapping[str, float]] = json.loads(
            _output_of("edge", str(self._package.path), *given, *name, *_at(self._relay.address))
        )
        return found


@contextlib.contextmanager
def stage(package: Package, stated: Link, source: Path) -> Iterator[Stage]:
    """Everything but the edge, in front of a link shaped to `stated`. `source` is what edges take their inputs from."""
    if stated.loss:
        raise errors.SettingsError(f"link {stated.name}: a relay of TCP loses nothing; replay it without --loss")
    half_s = stated.rtt_s / 2
    way = Shape(bandwidth_bps=stated.bandwidth_bps, delay_s=half_s)
    with (
        embedded.run(port=0) as serving,
        Relay(serving.address, up=way, down=way) as relay,
        _running("cloud", str(package.path), *_at(serving.address)),
    ):
        _await_online(serving.address, "cloud")
        yield Stage(package, relay, serving.address, source)


def _at(address: Address) -> tuple[str, ...]:
    return ("--broker", f"mqtt://{address}", "--deployment", DEPLOYMENT)


@contextlib.contextmanager
def _running(*arguments: str) -> Iterator[None]:
    started = subprocess.Popen((*_TFLSPLIT, *arguments), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield
    finally:
        started.terminate()
        try:
            started.wait(_PATIENCE_S)
        except subprocess.TimeoutExpired:
            started.kill()
            started.wait()


def _output_of(*arguments: str) -> str:
    done = subprocess.run((*_TFLSPLIT, *arguments), capture_output=True, text=True, check=False)
    if done.returncode != 0:
        said = done.stderr.strip().splitlines()
        raise errors.DeviceError(f"tflsplit {arguments[0]} failed: {said[-1] if said else done.returncode}")
    return done.stdout


def _await_online(address: Address, device: str) -> None:
    with mqtt.MqttTransport(address, client_id=f"replay-watch-{os.urandom(4).hex()}") as watch:
        watch.connect()
        watch.subscribe(topics.topic(DEPLOYMENT, device, topics.Kind.STATUS))
        while (message := watch.receive(_PATIENCE_S)) is not None:
            if json.loads(message.payload).get("state") == "online":
                return
    raise errors.DeviceError(f"{device} did not come online within {_PATIENCE_S:g} s")

"""Expected against observed: cuts run over a link that is shaped to stated numbers, and what the planner says of them.

A broker and a relay of our own, `tflsplit cloud` beside the broker, and for each cut `tflsplit edge` behind the relay.
What the planner is given is measured on the same machine and over the same shaped link.
"""

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from broker import embedded, mqtt, topics
from broker.address import Address
from broker.relay import Relay
from broker.shape import Shape
from edge_runtime import pixelcosts, profile
from tflsplit import candidates, cost, errors, links
from tflsplit.candidates import Candidate, Picture, Ways
from tflsplit.links import Link
from tflsplit.measurements import Origin, Profile
from tflsplit.package import Package
from tflsplit.scenario import Scenario, Workload

DEPLOYMENT = "replay"
STORED_ONLY = Ways(raw=False, int8=True, jpeg=False)
_PATIENCE_S = 60.0
# One frame at a time, so that latencies are those of a frame and not of a queue.
_WORKLOAD = Workload(window=1)
_TFLSPLIT = (sys.executable, "-m", "tflsplit.cli.main")


@dataclass(frozen=True, slots=True)
class Row:
    """One way of running the model, by its candidate's id; in seconds."""

    id: str
    layer: str | None
    payload_bytes: int
    predicted_p50_s: float
    predicted_p95_s: float
    measured_p50_s: float
    measured_p95_s: float
    frames: int

    @property
    def error(self) -> float:
        """Of the prediction, as a share of what was measured; positive where it was too slow."""
        return self.predicted_p50_s / self.measured_p50_s - 1

    def as_json(self) -> dict[str, object]:
        return {
            "cut": self.id,
            "layer": self.layer,
            "payload_bytes": self.payload_bytes,
            "predicted_ms": {"p50": self.predicted_p50_s * 1e3, "p95": self.predicted_p95_s * 1e3},
            "measured_ms": {"p50": self.measured_p50_s * 1e3, "p95": self.measured_p95_s * 1e3},
            "error": self.error,
            "frames": self.frames,
        }


@dataclass(frozen=True, slots=True)
class Report:
    """`pick` is the cut that the planner would take, `stated` the link asked for, `link` what was measured of it."""

    stated: Link
    link: Link
    rows: tuple[Row, ...]

    @property
    def pick(self) -> Row:
        return min(self.rows, key=lambda row: row.predicted_p50_s)

    @property
    def best(self) -> Row:
        return min(self.rows, key=lambda row: row.measured_p50_s)

    @property
    def regret(self) -> float:
        """How much slower the pick was than the best cut that was tried, as a share."""
        return self.pick.measured_p50_s / self.best.measured_p50_s - 1

    def as_json(self) -> dict[str, object]:
        return {
            "link": {
                "stated": {"bandwidth_bps": self.stated.bandwidth_bps, "rtt_s": self.stated.rtt_s},
                "measured": {"bandwidth_bps": self.link.bandwidth_bps, "rtt_s": self.link.rtt_s},
            },
            "pick": self.pick.id,
            "best": self.best.id,
            "regret": self.regret,
            "cuts": [row.as_json() for row in self.rows],
        }


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


def predict(
    package: Package, edge: Profile, cloud: Profile, link: Link, ways: Ways = STORED_ONLY
) -> dict[str, cost.Cost]:
    """What the planner's cost function says of every way of running the model, one frame at a time."""
    scenario = Scenario(link, _WORKLOAD)
    found = candidates.gather(package.cuts, edge, cloud, ways)
    return {candidate.id: cost.of(candidate, scenario) for candidate in found if not candidate.missing}


def ways_of(package: Package, source: Path, qualities: Sequence[int]) -> Ways:
    """Raw and JPEG beside int8, as large as the source's pictures are; int8 alone where it has none."""
    pixels = pixelcosts.open_pixels(str(source), package)
    if pixels is None:
        return STORED_ONLY
    sizes = tuple(
        Picture(quality, pixelcosts.mean_bytes(package, pixels, quality), Origin.MEASURED) for quality in qualities
    )
    return Ways(jpeg=bool(sizes), pictures=sizes)


def replay(
    package: Package,
    profiles: tuple[Profile, Profile],
    stated: Link,
    wanted: Callable[[Mapping[str, cost.Cost]], Sequence[str]],
    folder: Path,
    *,
    source: Path | None = None,
    frames: int = 30,
    qualities: Sequence[int] = (75,),
    on_step: Callable[[str], None] = lambda said: None,
) -> Report:
    """Run over the shaped link what `wanted` chooses of the candidates that can be run, by their ids.

    `profiles` are the edge's and the cloud's; files made here go to `folder`. `qualities` are those of pictures sent as
    JPEG.
    """
    source = source or random_source(package, folder)
    ways = ways_of(package, source, qualities)
    with stage(package, stated, source) as running:
        on_step("probe the shaped link")
        link = running.probe()
        predicted = predict(package, *profiles, link, ways)
        rows = []
        for name in wanted(predicted):
            on_step(f"run {name}")
            rows.append(row(predicted[name], running.run(predicted[name].candidate, frames), frames))
    return Report(stated, link, tuple(rows))


def row(predicted: cost.Cost, summary: Mapping[str, Mapping[str, float]], frames: int) -> Row:
    described, measured = predicted.candidate, summary["latency_ms"]
    return Row(
        id=described.id,
        layer=described.cut.layer,
        payload_bytes=round(described.payload_bytes),
        predicted_p50_s=predicted.latency.p50_s,
        predicted_p95_s=predicted.latency.p95_s,
        measured_p50_s=measured["p50"] / 1e3,
        measured_p95_s=measured["p95"] / 1e3,
        frames=frames,
    )


def random_source(package: Package, folder: Path) -> Path:
    """A file of random inputs in `folder`, for want of real ones."""
    columns = profile.random_columns(package)
    path = folder / ("inputs.npy" if len(columns) == 1 else "inputs.npz")
    if len(columns) == 1:
        np.save(path, columns[0])
    else:
        np.savez(path, *columns)  # `frames` takes them in this order
    return path


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

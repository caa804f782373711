"""Frames a second through Mosquitto by our transport, and into the cloud loop, against a bare paho pair.

Frames of 12,544 bytes of int8, as fast as they can be sent. The pair is what paho's documentation shows, a publisher
and a subscriber that counts; it looks at nothing and publishes nothing back. Ours does the same: a transport that
publishes, another one that receives, counts and acknowledges. The cloud loop does much more: the tail is empty (the cut
`output`, whose tail has no operator), so all of its time is checking, decoding, answering and publishing a JSON result
for each frame, and the edge takes the results in. It stands beside a second pair that answers each message with 600
bytes of nothing, as much as a cloud publishes, and has no target: a pair that does nothing with a frame is no measure
for what a cloud has to do with it. All in turn, over the same broker, at QoS 0 and 1, plain and with client
certificates.
"""

import contextlib
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import harness
import models
from harness import Outcome, Samples

from broker.deploy import folder as deploy

TARGET = 0.8
_MEASURED_S, _WARM_UP_S = 3.0, 1.0
_DEPLOYMENT, _DEVICE, _CLOUD = "bench", "edge", "cloud"
_PEERS = Path(__file__).with_name("throughput_peers.py")


def run(folder: Path, *, is_quick: bool) -> list[Outcome]:
    rounds = 2 if is_quick else 5
    told = {"package": str(_package(folder)), "deployment": _DEPLOYMENT, "device": _DEVICE, "cloud": _CLOUD}
    told |= {"warm_up_s": _WARM_UP_S, "measured_s": _MEASURED_S}
    outcomes = []
    with harness.mosquitto("set_tcp_nodelay true") as plain, _secured() as clients:
        for kind, where in (
            ("plain", {"port": plain.port, "clients": None}),
            ("client certificates", {"port": 0, "clients": str(clients)}),
        ):
            for qos in (0, 1):
                outcomes += _compare(kind, told | where | {"qos": qos}, rounds)
    return outcomes


def _compare(kind: str, told: dict[str, object], rounds: int) -> list[Outcome]:
    runs = {
        "transport alone": ("publisher", "receiver", False),
        "paho to paho": ("paho_publisher", "paho_subscriber", False),
        "edge to cloud": ("edge", "cloud", False),
        "paho to paho that answers": ("paho_publisher", "paho_subscriber", True),
    }
    found: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        harness.wait_for_calm()
        for name, (sender, receiver, answers) in runs.items():
            found[name].append(_rate(told | {"answers": answers}, sender, receiver))
    alone, pair, cloud, answering = (Samples(name, "1/s", tuple(rates)) for name, rates in found.items())
    what = f"12.5 KB frames at QoS {told['qos']}, {kind}"
    return [
        Outcome(what, alone, pair, TARGET if kind == "plain" else None, is_floor=True),
        Outcome(what, cloud, answering),
    ]


def _rate(told: dict[str, object], sender: str, receiver: str) -> float:
    def command(role: str) -> list[str]:
        return [sys.executable, str(_PEERS), json.dumps(told | {"role": role})]

    with harness.process(command(receiver)) as counting:
        assert counting.stdout is not None
        counting.stdout.readline()  # it is ready
        with harness.process(command(sender)):
            return float(counting.stdout.readline())


def _package(folder: Path) -> Path:
    """A head as a model of its own: its cut `output` is as large as a frame, and leaves nothing to the tail."""
    opened, cut = models.converted(folder)
    path = folder / "empty_tail.tflsplit"
    if not path.exists():
        command = [harness.TFLSPLIT, "convert", str(opened.path / str(opened.file(cut, "head"))), "-o", str(path)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return path


@contextlib.contextmanager
def _secured() -> Iterator[Path]:
    """The folder of clients' credentials of a Mosquitto as `tflsplit broker init` configures it, which is running."""
    with tempfile.TemporaryDirectory(prefix="tflsplit-bench-") as name:
        path = Path(name) / "broker"
        wanted = deploy.Wanted((_DEVICE,), clouds=(_CLOUD,))
        port = harness.free_port()
        deploy.init(path, wanted, deployment=_DEPLOYMENT, hosts=("localhost",), port=port)
        with harness.process([harness.TFLSPLIT, "broker", "run", str(path)]) as broker:
            harness.wait_until_open(port, broker)
            yield path / "clients"

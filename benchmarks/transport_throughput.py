"""Frames a second from an edge's transport through Mosquitto into the cloud loop, against a bare paho pair.

Frames of 12,544 bytes of int8, as fast as they can be sent. The tail is empty: the cut `output`, whose tail has no
operator, so the cloud checks, decodes, answers and publishes a JSON result for each frame. The pair is what paho's
documentation shows, a publisher and a subscriber that counts; it looks at nothing and publishes nothing back. A second
pair answers each message with 600 bytes of nothing, which is as much as a cloud publishes. All in turn, over the same
broker, at QoS 0 and 1, plain and with client certificates.
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
    ours, pair, answering = [], [], []
    for _ in range(rounds):
        harness.wait_for_calm()
        pair.append(_rate(told | {"answers": False}, "paho_publisher", "paho_subscriber"))
        ours.append(_rate(told, "edge", "cloud"))
        answering.append(_rate(told | {"answers": True}, "paho_publisher", "paho_subscriber"))
    cloud = Samples("edge to cloud", "1/s", tuple(ours))
    what = f"12.5 KB frames at QoS {told['qos']}, {kind}"
    target = TARGET if kind == "plain" else None
    return [
        Outcome(what, cloud, Samples("paho to paho", "1/s", tuple(pair)), target, is_floor=True),
        Outcome(what, cloud, Samples("paho to paho that answers", "1/s", tuple(answering))),
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

"""What a deployment adds to one frame: from its capture at the edge until its result is back there.

One frame in flight, MobileNetV2 cut at 12,544 bytes, edge and cloud as processes on a core each and a Mosquitto between
them on loopback, against head and tail called one after the other in one process, in turn; medians of each round. With
Mosquitto's `set_tcp_nodelay true` and with the configuration it is installed with, where Nagle's algorithm can hold
small packets back for 40 ms. Inputs are in the model's stored type; in one row they are pictures to be preprocessed.
"""

import statistics
from dataclasses import replace
from pathlib import Path

import deployment
import harness
import models
from deployment import Load
from harness import Outcome, Samples

TARGET = 1.3
STALL_S = 0.040
_WARM_UP = 20
_BROKERS = {"set_tcp_nodelay true": ("set_tcp_nodelay true",), "stock Mosquitto": ()}


def run(folder: Path, *, is_quick: bool) -> list[Outcome | harness.Table]:
    opened, cut = models.converted(folder)
    stored = Load(models.stored_inputs(folder), count=_WARM_UP + (50 if is_quick else 200))
    loads = {"QoS 0": replace(stored, qos=0), "QoS 1": stored}
    pictures = {"QoS 1, uint8 pictures": replace(stored, source=models.pictures(folder))}
    outcomes: list[Outcome | harness.Table] = []
    for broker, lines in _BROKERS.items():
        with harness.mosquitto(*lines) as serving, deployment.cloud(opened, serving.port):
            kinds = loads | pictures if lines else loads
            rounds = [_round(opened, cut, serving.port, kinds) for _ in range(2 if is_quick else 5)]
        outcomes += [_outcome(f"{kind}, {broker}", kind, rounds) for kind in kinds]
        outcomes.append(_stalls(broker, rounds, loads))
    return outcomes


def _round(opened, cut, port, loads):
    """Latencies by kind of load; under "bare", those of head and tail in one process, on the core where they are
    shorter: what else runs on the other would make ours look better than it is."""
    harness.wait_for_calm()
    source, count = loads["QoS 1"].source, loads["QoS 1"].count
    bare = [
        deployment.head_and_tail(opened, cut, source, count=count, core=core)[_WARM_UP:]
        for core in (harness.EDGE_CORE, harness.CLOUD_CORE)
    ]
    taken = {"bare": min(bare, key=statistics.median)}
    for kind, load in loads.items():
        taken[kind] = [answer.latency_s for answer in deployment.stream(opened, cut, port, load)[_WARM_UP:]]
    return taken


def _outcome(what: str, kind: str, rounds) -> Outcome:
    return Outcome(
        f"one frame in flight, {what}",
        Samples("capture to result, p50", "s", tuple(statistics.median(taken[kind]) for taken in rounds)),
        Samples("head + tail in one process, p50", "s", tuple(statistics.median(taken["bare"]) for taken in rounds)),
        None if "pictures" in kind else TARGET,
    )


def _stalls(broker: str, rounds, loads) -> Outcome:
    """The p99 of all frames beyond head and tail: a stall of Nagle's algorithm would be 40 ms in every one."""
    beyond = [
        latency - statistics.median(taken["bare"]) for taken in rounds for kind in loads for latency in taken[kind]
    ]
    return Outcome(
        f"longest wait but 1 % beyond head + tail, {broker}",
        Samples("p99", "s", (statistics.quantiles(beyond, n=100)[98],)),
        harness.limit(STALL_S, "s"),
        1.0,
    )

"""How near uneven machines come to all their speed together, what keeps them from it, and how long planning takes.

Times of frames follow from stated machines: VGG-16's speed on the CPU of Coral's board, times 4, 2, 1 and 1, and 100
Mbit/s on a link each. The overhead of a piece is once the one that is assumed where nobody measured it, and once what
`tflsplit profile` measures on this machine; that and planning are in seconds of processor time.
"""

import dataclasses
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from harness import Outcome, Samples, Table, limit

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "support"))

import darknet
import int8_networks
import resnet

from edge_runtime.profiling import piece_cost
from tflsplit.graph import flatgraph
from tflsplit.placement import cost, machines, placement
from tflsplit.placement.machines import Cluster
from tflsplit.placement.rewriting.network import Network
from tflsplit.placement.searching import schemes, search

_SPEED, _BPS = 3.4e9, 100e6
_UNEVEN = (4.0, 2.0, 1.0, 1.0)
_OVER_EVENLY, _PLANNING_S = 1.10, 60.0
_SHARED: dict[str, Callable[[], bytes]] = {"VGG-16": lambda: darknet.int8("vgg16"), "ResNet50": resnet.int8}
_PLANNED: dict[str, Callable[[], bytes]] = {
    "ResNet101": int8_networks.residual,
    "MobileNetV2": int8_networks.mobile,
}
_COUNTS = (6, 16, 32, 64)


def run(folder: Path, *, is_quick: bool) -> list[Outcome | Table]:
    return [*_evenly(), *_planning(_COUNTS[:1] if is_quick else _COUNTS)]


def _evenly() -> list[Outcome | Table]:
    found: list[Outcome | Table] = []
    rows = []
    for name, made in _SHARED.items():
        network = Network(flatgraph.read(made()))
        (shape,) = (network.shapes[tensor] for tensor in network.graph.inputs)
        timed = piece_cost.time_pieces(network, (np.zeros(shape, np.int8),), threads=1, clock=time.process_time)
        for origin, piece_s in (("assumed", machines.ASSUMED_PIECE_S), ("measured here", timed.p50_s)):
            cluster = _cluster(_UNEVEN, piece_s)
            scheduled = placement.schedule(network, search.search(network, cluster).placement)
            alone = placement.schedule(network, schemes.of(network, cluster)[schemes.ONE_MACHINE])
            parts = cost.balance(scheduled, alone, cluster)
            evenly_s = parts.work_s + parts.exchange_s
            rows.append(
                (
                    name,
                    f"{piece_s * 1e3:.3f} ms, {origin}",
                    str(len(scheduled.steps)),
                    *(f"{seconds * 1e3:.1f}" for seconds in dataclasses.astuple(parts)),
                    f"{parts.over_evenly:.3f}",
                )
            )
            latency = Samples("planned", "s", (cost.of(scheduled, cluster).latency_s,))
            evenly = Samples("all work over all speed, and the exchange", "s", (evenly_s,))
            found.append(
                Outcome(f"{name} on speeds 4:2:1:1, overhead of a piece {origin}", latency, evenly, _OVER_EVENLY)
            )
    head = ("network", "overhead of a piece", "stages", "work ms", "exchange", "computed again", "overhead", "waiting")
    note = "Waiting: shares are whole pixels, and machines without a share of a stage compute nothing."
    return [
        *found,
        Table("Uneven machines, 4:2:1:1: what a frame's time is made of", (*head, "over evenly"), tuple(rows), note),
    ]


def _planning(counts: tuple[int, ...]) -> list[Outcome | Table]:
    found: list[Outcome | Table] = []
    rows = []
    for name, made in _PLANNED.items():
        network = Network(flatgraph.read(made()))
        for count in counts:
            for how, speeds in (
                ("even", (1.0,) * count),
                ("uneven", tuple(_UNEVEN[each % 4] for each in range(count))),
            ):
                network.pieces.clear()
                cluster, began_s = _cluster(speeds, machines.ASSUMED_PIECE_S), time.process_time()
                placed = search.search(network, cluster).placement
                took_s = time.process_time() - began_s
                used = sum(any(stage.makes[each] for stage in placed.stages) for each in range(count))
                costs = cost.of(placement.schedule(network, placed), cluster)
                rows.append((name, str(count), how, f"{took_s:.1f}", f"{costs.latency_s * 1e3:.1f}", str(used)))
                what = f"{name}, {count} {how} machines: planned, processor time"
                found.append(Outcome(what, Samples("search", "s", (took_s,)), limit(_PLANNING_S, "s"), 1.0))
    head = ("network", "machines", "speeds", "planned in s", "a frame, ms", "machines used")
    return [*found, Table("Planning for many machines", head, tuple(rows), "Uneven: 4:2:1:1, again and again.")]


def _cluster(speeds: tuple[float, ...], piece_s: float) -> Cluster:
    alike = machines.even(len(speeds), _SPEED, _BPS)
    uneven = tuple(
        dataclasses.replace(each, macs_per_s=each.macs_per_s * times, piece_s=piece_s)
        for each, times in zip(alike.machines, speeds, strict=True)
    )
    return dataclasses.replace(alike, machines=uneven)

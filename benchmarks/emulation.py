"""docs/measurements/emulation.md: real workers on emulated machines and links, and what the planner predicts of them.

    python benchmarks/emulation.py ROWS.jsonl [--page] > docs/measurements/emulation.md

Needs root, and takes half an hour on a calm machine; rows that are in the file already are not measured again, and with
`--page` none is. Each machine is a worker in a network namespace behind a link that the kernel shapes, and waits until
it has taken as long for a piece as the stated machine would. Where there are more machines than processors here, all
paces and links are slowed by the same factor and times divided by it, so that what programs do besides has its share of
a processor.
"""

import dataclasses
import json
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import harness

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "support"))

import darknet
import int8_networks
import resnet
import tiny_models
import whole_pixels

from tflsplit.api import distributing
from tflsplit.cli.trials.emulation import comparison
from tflsplit.graph import flatgraph
from tflsplit.package.reading import Package
from tflsplit.placement import cost, machines, placement
from tflsplit.placement.distribution import Distribution
from tflsplit.placement.machines import Cluster
from tflsplit.placement.placement import Move, Schedule
from tflsplit.placement.rewriting.network import Network
from tflsplit.placement.searching import schemes

_SPEED = 3.4e9
_MEMORY = 1.15  # of a machine's even share of weights and features, where it is bounded
NETWORKS: dict[str, Callable[[], bytes]] = {
    "YOLOv2": lambda: darknet.int8("yolo_v2"),
    "VGG-16": lambda: darknet.int8("vgg16"),
    "Extraction": lambda: darknet.int8("extraction"),
    "AlexNet": lambda: darknet.int8("alexnet"),
    "ResNet50": resnet.int8,
}


@dataclass(frozen=True, slots=True)
class Case:
    network: str
    machines: int = 6
    bandwidth_bps: float = 100e6
    is_shared: bool = False
    is_bounded: bool = False
    window: int = 1
    frames: int = 3
    beside: tuple[str, ...] = comparison.BESIDE
    speeds: tuple[float, ...] = ()  # of each machine, times the usual one; empty: all alike
    over: str = "zenoh"

    @property
    def key(self) -> str:
        how = "one medium" if self.is_shared else "own links"
        bound = f", {_MEMORY:g} of an even share of the memory" if self.is_bounded else ""
        many = f", {self.window} frames on their way" if self.window > 1 else ""
        uneven = f", speeds {':'.join(f'{each:g}' for each in self.speeds)}" if self.speeds else ""
        broker = ", at a broker" if self.over == "mqtt" else ""
        rate = f"{self.bandwidth_bps / 1e6:g} Mbit/s"
        return f"{self.network}, N = {self.machines}, {rate}, {how}{uneven}{bound}{many}{broker}"


# Exchanges in a row, of a network so small that all it takes is what they take besides their bytes.
_EXCHANGES, _ROWS = 16, "rows"
_NO_TIME = 1e15

_ALONE = (schemes.ONE_MACHINE,)
_UNEVEN = (4.0, 2.0, 1.0, 1.0)
CASES = (
    *(Case(name, is_shared=True, is_bounded=True) for name in ("YOLOv2", "VGG-16")),
    Case("VGG-16"),
    *(Case(name, frames=15) for name in ("ResNet50", "Extraction", "AlexNet")),
    Case("YOLOv2", is_bounded=True),
    Case("VGG-16", 8, window=16, frames=24, beside=_ALONE),
    Case("VGG-16", 8, 1e9, window=16, frames=24, beside=_ALONE),
    Case("ResNet50", 8, window=16, frames=24, beside=_ALONE),
    *(Case(name, bandwidth_bps=10e6, beside=_ALONE) for name in ("VGG-16", "ResNet50", "Extraction", "AlexNet")),
    *(Case(name, 4, speeds=_UNEVEN, frames=5, beside=()) for name in ("VGG-16", "ResNet50", "YOLOv2")),
    *(Case(name, over="mqtt", frames=10, beside=_ALONE) for name in ("ResNet50", "VGG-16")),
)
# Least to measure first, for who has not the time for all.
_FIRST = ("ResNet50", "VGG-16")
# What was asked for: of which case, over which way, at least how many times; for many frames a share of N.
TARGETS = (
    (CASES[0], comparison.CHANNELS, 2.5),
    (CASES[1], comparison.CHANNELS, 3.5),
    (CASES[2], schemes.ONE_MACHINE, 4.0),
    (CASES[3], schemes.ONE_MACHINE, 3.5),
    (CASES[7], schemes.ONE_MACHINE, 0.85 * 8),
    (CASES[8], schemes.ONE_MACHINE, 0.85 * 8),
)


def measured(case: Case, folder: Path) -> dict:
    """What came out, as JSON has it."""
    package = tiny_models.write_package(folder / "net.tflsplit", NETWORKS[case.network](), labels=())
    cluster = planned = _cluster(case)
    if case.is_bounded:
        cluster = planned = _bounded(package, cluster)
    if case.speeds:
        planned = _with_messages(cluster, exchange_s(case, folder))
    objective = "throughput" if case.window > 1 else "latency"
    found = distributing.distribute(package, machines=planned, objective=objective)
    shared = distributing.write(dataclasses.replace(found, cluster=cluster), package, folder / "shared")
    ran = comparison.run(shared, frames=case.frames, window=case.window, beside=case.beside).as_json()
    ran["placements"][comparison.THIS]["latency_ms"]["predicted"] = found.costs.latency_s * 1e3
    ran |= {"used": len(found.used), "machine": harness.machine()}
    return ran | (_beside_evenly(found, package, planned) if case.speeds else {})


def _beside_evenly(found: Distribution, package: Package, planned: Cluster) -> dict[str, float]:
    balance, exchanges = found.balance, sum(map(bool, _exchanges(found.schedule)))
    least_s = balance.work_s * whole_pixels.least(Network(package.graph), planned)
    return {
        "evenly_ms": (balance.work_s + balance.exchange_s) * 1e3,
        "exchange_ms": balance.exchange_s * 1e3,
        "messages_ms": planned.medium.delay_s * exchanges * 1e3,
        "least_ms": (least_s + balance.exchange_s) * 1e3,
    }


def exchange_s(case: Case, folder: Path) -> float:
    """What an exchange between that many machines takes besides its bytes, emulated: with its machines' piece."""
    net = int8_networks.Network()
    tensor = net.input(16, 16, 4)
    for _ in range(_EXCHANGES):
        tensor = net.conv(tensor, 4)
    package = tiny_models.write_package(folder / "small.tflsplit", net.bytes(tensor), labels=())
    alike = dataclasses.replace(_cluster(dataclasses.replace(case, speeds=())))
    quick = tuple(dataclasses.replace(each, macs_per_s=_NO_TIME, piece_s=0.0) for each in alike.machines)
    cluster = dataclasses.replace(alike, machines=quick)
    shared = distributing.write(distributing.distribute(package, machines=cluster), package, folder / "small")
    row = comparison.run(shared, frames=40, beside=(_ROWS,)).rows[_ROWS]
    network = Network(package.graph)
    made = _exchanges(placement.schedule(network, schemes.of(network, cluster)[_ROWS]))
    return (row.latency_s - row.costs.latency_s) / sum(map(bool, made))


def _exchanges(schedule: Schedule) -> list[tuple[Move, ...]]:
    """What is moved at one time, in order."""
    return [*(moves for step in schedule.steps for moves in (step.moves, step.sums)), schedule.last]


def _with_messages(cluster: Cluster, delay_s: float) -> Cluster:
    """Planned for what exchanges take, pieces with them."""
    machines = tuple(dataclasses.replace(each, piece_s=0.0) for each in cluster.machines)
    return dataclasses.replace(cluster, machines=machines, medium=dataclasses.replace(cluster.medium, delay_s=delay_s))


def _cluster(case: Case) -> Cluster:
    cluster = machines.even(case.machines, _SPEED, case.bandwidth_bps, is_shared=case.is_shared)
    speeds = case.speeds or (1.0,) * case.machines
    uneven = tuple(
        dataclasses.replace(each, macs_per_s=each.macs_per_s * times)
        for each, times in zip(cluster.machines, speeds, strict=True)
    )
    medium = dataclasses.replace(cluster.medium, is_relayed=machines.TRANSPORTS[case.over])
    return dataclasses.replace(cluster, machines=uneven, medium=medium)


def _bounded(package, cluster: Cluster) -> Cluster:
    network = Network(flatgraph.read(package.model_bytes()))
    alone = schemes.of(network, cluster)[schemes.ONE_MACHINE]
    most = _MEMORY * cost.of(placement.schedule(network, alone), cluster).memory_bytes[0] / len(cluster.machines)
    bounded = tuple(dataclasses.replace(each, memory_bytes=most) for each in cluster.machines)
    return dataclasses.replace(cluster, machines=bounded)


def page(rows: dict[str, dict]) -> list[str]:
    lines = [
        "# Sharing, emulated",
        "",
        "Written by `benchmarks/emulation.py` (`make bench-emulation`, needs root).",
        *_INTRODUCTION.strip().splitlines(),
        "",
        "## What was asked for",
        "",
        "| so many times as fast, or as many frames a second | asked | emulated | predicted | |",
        "|---|---|---|---|---|",
    ]
    lines += [_target(*each, rows) for each in TARGETS if each[0].key in rows]
    lines += ["", "## Uneven machines", "", *_UNEVENLY.strip().splitlines(), ""]
    lines += [
        "| | evenly ms | of it exchanges | of these messages | least ms, whole pixels | predicted ms | emulated ms "
        "| over evenly | |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    lines += [_evenly(case, rows[case.key]) for case in CASES if case.speeds and case.key in rows]
    lines += ["", "## One frame at a time", "", *_HEAD]
    lines += [line for case in CASES if case.window == 1 and case.key in rows for line in _rows(case, rows[case.key])]
    lines += ["", "## Many frames on their way", "", *_MANY.strip().splitlines(), "", *_HEAD]
    lines += [line for case in CASES if case.window > 1 and case.key in rows for line in _rows(case, rows[case.key])]
    lines += ["", "## Whether it gains at 10 Mbit/s", ""]
    lines += [f"- {_verdict(case, rows[case.key])}" for case in CASES if case.bandwidth_bps < 1e8 and case.key in rows]
    lines += ["", "## Beside the papers", "", *_PAPERS.strip().splitlines(), ""]
    missing = [case.key for case in CASES if case.key not in rows]
    if missing:
        lines += ["Not measured yet: " + "; ".join(missing) + ".", ""]
    last = list(rows.values())[-1]["machine"]
    return [*lines, "Measured on: " + "; ".join(f"{name} {value}" for name, value in last.items())]


_INTRODUCTION = """
A machine computes 3.4e9 multiply-accumulates a second (VGG-16 on the CPU of Coral's board) and has 100 Mbit/s unless
stated. Every machine is a real `tflsplit worker` in a network namespace of its own, on a link that the kernel shapes
(tc tbf); they talk directly (Zenoh), or, where it says so, at Mosquitto on a link like theirs. Each computes, and then
waits until it has taken as long as the stated machine would. *Emulated* are times of that; *exact* are bytes, memory,
multiply-accumulates and wrong results, which were counted; *predicted* are the planner's. Where there are more machines
than processors, paces and links were slowed by one factor and times divided by it. Weights are random, and all results
were compared with the whole model's. *One medium*: what anybody sends passes one link of that rate, as on Wi-Fi with an
access point that repeats nothing; *own links*: each machine has one to a switch, both ways. Output channels alone have
no limit of memory.
"""
_UNEVENLY = """
*Evenly* is all work over all machines' speed, and the time that the placement's exchanges take: their bytes, and the
messages, of which each exchange has as long as one takes between as many machines here, measured before (a network of
tiny layers, in rows). The planner is told that time in place of the overhead of a piece. Asked: at most 1.10 times
evenly. *Least* has the same exchanges, and each layer as long as the slowest machine takes in the best tiles of whole
pixels: the 7 x 7 of a last map take 1.14 times as long as in proportion to 4:2:1:1, 14 x 14 take 1.06
(`benchmarks/whole_pixels.py`).
"""
_PAPERS = """
- DeeperThings (Stahl and others, IJPP 2021), six Raspberry Pis at 100 Mbit/s: fused layers are up to 1.52 times as fast
  as output channels alone, with up to 28.8 % fewer bytes. Float32, another engine (Darknet, NNPACK); no figure for each
  network was found. Compare "over output channels".
- DeepThings (TCAD 2018): 1.7 to 3.5 times as fast as one device with 2 to 6 devices, for YOLOv2's first 16 layers.
  Compare "over one machine".
"""
_MANY = """
Emulated milliseconds are those of a frame that waits behind the others on their way, predicted ones of one
alone. The rate is that of the last 24 frames, and may be a little over what a long run gives.
"""
_HEAD = (
    "| | placement | ms, emulated | predicted | frames/s, emulated | predicted | MB exchanged, exact "
    "| largest memory MB, exact | largest process MB, measured | wrong, exact | computing late |",
    "|---|---|---|---|---|---|---|---|---|---|---|",
)


def _rows(case: Case, found: dict) -> list[str]:
    lines = []
    for name, row in found["placements"].items():
        took, rate = row["latency_ms"], row["frames_per_s"]
        process = max(row["process_memory_per_machine"].values(), default=0)
        used = f", {found['used']} machines used" if name == comparison.THIS else ""
        cells = (
            case.key if name == comparison.THIS else "",
            name.replace("_", " ") + used,
            f"{took['emulated']:.0f}",
            f"{took['predicted']:.0f}",
            f"{rate['emulated']:.2f}",
            f"{rate['predicted']:.2f}",
            f"{row['bytes_exchanged'] / 1e6:.2f}",
            f"{max(row['memory_per_machine'].values()) / 1e6:.1f}",
            f"{process / 1e6:.0f}",
            f"{row['wrong']} of {row['results']}",
            f"{row['late']:.1%}",
        )
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _target(case: Case, over: str, least: float, rows: dict[str, dict]) -> str:
    found = rows[case.key]
    ours, other = found["placements"][comparison.THIS], found["placements"][over]
    gain = found["over_output_channels" if over == comparison.CHANNELS else "over_one_machine"]
    which = "frames_per_s" if case.window > 1 else "latency_ms"
    predicted = ours[which]["predicted"] / other[which]["predicted"]
    predicted = predicted if case.window > 1 else 1 / predicted
    verdict = "met" if gain >= least else "falls short"
    return (
        f"| {case.key}: over {over.replace('_', ' ')} | at least {least:g} | **{gain:.2f}** | {predicted:.2f} "
        f"| {verdict} |"
    )


def _evenly(case: Case, found: dict) -> str:
    took = found["placements"][comparison.THIS]["latency_ms"]
    over = took["emulated"] / found["evenly_ms"]
    verdict = "met" if over <= 1.1 else "falls short"
    times = [found[each] for each in ("evenly_ms", "exchange_ms", "messages_ms", "least_ms")]
    cells = (*(f"{each:.0f}" for each in (*times, took["predicted"], took["emulated"])), f"**{over:.2f}**", verdict)
    return f"| {case.key} | {' | '.join(cells)} |"


def _verdict(case: Case, found: dict) -> str:
    if found["used"] == 1:
        return f"{case.network}: one machine is the planner's choice"
    return f"{found['answer'].replace(found['package'], case.network)}; {found['used']} machines used"


def main() -> None:
    path = Path(sys.argv[1])
    rows = {}
    if path.exists():
        rows = {each["key"]: each for each in map(json.loads, path.read_text().splitlines())}
    for case in sorted(CASES, key=lambda case: case.network not in _FIRST or case.window > 1):
        if case.key in rows or "--page" in sys.argv:
            continue
        print(case.key, file=sys.stderr, flush=True)
        with tempfile.TemporaryDirectory(prefix="tflsplit-bench-") as folder:
            rows[case.key] = {"key": case.key} | measured(case, Path(folder))
        with path.open("a") as stream:
            stream.write(json.dumps(rows[case.key]) + "\n")
    print("\n".join(page({case.key: rows[case.key] for case in CASES if case.key in rows})))


if __name__ == "__main__":
    main()

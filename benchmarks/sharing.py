"""What sharing a network over six machines costs, against DeeperThings' optimum and against simple ways.

Bytes and memory are counted, in int8, over the whole network with its input and result; the rival is the optimum that
was published for the layers shared by weights, in float32. Times follow from stated machines: VGG-16's speed on the CPU
of Coral's board, and 100 Mbit/s, on a link each or on one medium that all share. Nothing of that depends on this
machine but how long the search takes. What a process really takes is measured beside the memory that is counted: all
pieces of a machine open, and each run once.
"""

import dataclasses
import subprocess
import sys
import tempfile
from pathlib import Path

from harness import Outcome, Samples, Table

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "support"))

import darknet

from tflsplit.graph import flatgraph
from tflsplit.placement import cost, machines, placement, published
from tflsplit.placement.cost import Costs
from tflsplit.placement.machines import Cluster
from tflsplit.placement.placement import Placement
from tflsplit.placement.rewriting import pieces
from tflsplit.placement.rewriting.network import Network
from tflsplit.placement.searching import schemes, search
from tflsplit.placement.searching.search import Objective

# The first layer that was deployed as shared by weights.
STARTS = {"yolo_v2": 12, "vgg16": 7, "extraction": 4, "alexnet": 2}
_MACHINES, _SPEED, _BPS = 6, 3.4e9, 100e6
_BOUNDS = {1.15: 0.25, 1.5: 0.15}
# How much quicker than sharing by output channels alone, on one medium; and than one machine.
_OVER_CHANNELS = {"yolo_v2": 2.5, "vgg16": 3.5}
_OVER_ONE = {"vgg16": 4.0}
# Of which memory is measured, and beside which schemes.
_MEASURED = ("alexnet", "vgg16")
_SHOWN = (schemes.ONE_MACHINE, "rows", "output_channels")
# What is written to is private; pages of the files stay clean. The interpreter's own code is loaded before.
_CHILD = """
import os, pathlib, sys
import numpy as np
from tflsplit.graph.interpreter import Interpreter

def private():
    lines = open("/proc/self/smaps_rollup").read().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("Private_Dirty:"))

def opened(file):
    made = Interpreter(pathlib.Path(file))
    made.run(*(np.zeros(spec.shape, spec.dtype) for spec in made.inputs))
    return made

with opened(min(sys.argv[1:], key=os.path.getsize)):
    pass
before = private()
held = [opened(file) for file in sys.argv[1:]]
print(private() - before)
"""


def run(folder: Path, *, is_quick: bool) -> list[Outcome | Table]:
    found: list[Outcome | Table] = []
    rows, taken = [], []
    for name in ["alexnet"] if is_quick else STARTS:
        network = Network(flatgraph.read(darknet.int8(name)))
        even = machines.even(_MACHINES, _SPEED, _BPS)
        simple = schemes.of(network, even)
        alone = _costs(network, simple[schemes.ONE_MACHINE], even)
        whole_bytes = alone.memory_bytes[0]
        optimum = published.fusing(getattr(darknet, name)()[STARTS[name] :], _MACHINES)[1]
        for factor, target in _BOUNDS.items():
            bounded = _bounded(even, factor * whole_bytes / _MACHINES)
            least = _costs(network, search.search(network, bounded, Objective.BYTES).placement, bounded)
            quick = _costs(network, search.search(network, bounded).placement, bounded)
            found.append(_of_bytes(name, factor, least.bytes_exchanged, optimum, target))
            rows.append(_row(name, factor, least, quick, alone))
        found += _quicker(network, name, alone)
        if name in _MEASURED:
            taken += _memory(name, network, even, alone)
    columns = ("network", "memory", "fewest MB", "then ms", "quickest ms", "then MB", "one machine ms")
    found.append(Table("six machines, own links: the fewest bytes and the shortest time", columns, tuple(rows)))
    columns = ("network", "how", "counted MB", "measured MB", "pieces")
    found.append(
        Table("the machine of six that takes most: counted, and private memory of its process", columns, tuple(taken))
    )
    return found


def _memory(name: str, network: Network, even: Cluster, alone: Costs) -> list[tuple[str, ...]]:
    bounded = _bounded(even, 1.15 * alone.memory_bytes[0] / _MACHINES)
    ways = {each: placed for each, placed in schemes.of(network, even).items() if each in _SHOWN}
    ways["ours, 1.15 of a sixth"] = search.search(network, bounded).placement
    rows = []
    for how, placed in ways.items():
        scheduled = placement.schedule(network, placed)
        counted = cost.of(scheduled, even).memory_bytes
        machine = counted.index(max(counted))
        models = [pieces.model(network, piece) for step in scheduled.steps for piece in step.run_by(machine)]
        rows.append((name, how, f"{counted[machine] / 1e6:.2f}", f"{_taken(models) / 1e6:.2f}", str(len(models))))
    return rows


def _taken(models: list[bytes]) -> int:
    """Private bytes of a process that has run all of them, less those of one that has run a tiny part."""
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder, f"{number}.tflite") for number in range(len(models))]
        for file, data in zip(files, models, strict=True):
            file.write_bytes(data)
        done = subprocess.run(
            [sys.executable, "-c", _CHILD, *map(str, files)], check=True, capture_output=True, text=True
        )
    return int(done.stdout)


def _of_bytes(name: str, factor: float, exchanged: float, optimum: float, target: float) -> Outcome:
    return Outcome(
        f"{name}: bytes exchanged by six machines, each with at most {factor:g} of a sixth of weights and features",
        Samples("int8, the whole network", "MB", (exchanged / 1e6,)),
        Samples("published optimum, float32, from the deployed layer on", "MB", (optimum / 1e6,)),
        target,
    )


def _quicker(network: Network, name: str, alone: Costs) -> list[Outcome]:
    found = []
    for is_shared in (False, True):
        cluster = machines.even(_MACHINES, _SPEED, _BPS, is_shared=is_shared)
        bounded = _bounded(cluster, 1.15 * alone.memory_bytes[0] / _MACHINES)
        ours = _costs(network, search.search(network, bounded).placement, bounded).latency_s
        channels = _costs(network, schemes.of(network, cluster)["output_channels"], cluster).latency_s
        how = "one medium" if is_shared else "own links"
        for rival, took_s, target in (
            ("output channels alone", channels, _OVER_CHANNELS.get(name) if is_shared else None),
            ("one machine", alone.latency_s, None if is_shared else _OVER_ONE.get(name)),
        ):
            found.append(
                Outcome(
                    f"{name}: time of {rival} over ours (1.15 of a sixth of the memory), {how}, computed",
                    Samples(rival, "s", (took_s,)),
                    Samples("ours", "s", (ours,)),
                    target,
                    is_floor=True,
                )
            )
    return found


def _row(name: str, factor: float, least: Costs, quick: Costs, alone: Costs) -> tuple[str, ...]:
    figures = (least.bytes_exchanged / 1e6, least.latency_s * 1e3, quick.latency_s * 1e3, quick.bytes_exchanged / 1e6)
    return (name, f"{factor:g}", *(f"{each:.2f}" for each in figures), f"{alone.latency_s * 1e3:.2f}")


def _bounded(cluster: Cluster, most: float) -> Cluster:
    return dataclasses.replace(
        cluster, machines=tuple(dataclasses.replace(each, memory_bytes=most) for each in cluster.machines)
    )


def _costs(network: Network, placed: Placement, cluster: Cluster) -> Costs:
    return cost.of(placement.schedule(network, placed), cluster)

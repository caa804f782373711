"""How long planning takes, and the slowest stage of ResNet50 on three Edge TPUs against Coral's own two algorithms.

The Edge TPUs are *estimated*, not measured: operators at the rate that Inception v1, which fits the on-chip memory, has
on Coral's benchmark page (1.5 GMAC in 3.4 ms), 8 MB on chip, the rest streamed at 400 MB/s, features over USB 3.
ResNet50 is counted from its published shapes, int8, 224 pixels, every place between two operators being a cut.
"""

import itertools
import sys
from pathlib import Path

import harness
from harness import Outcome, Samples, Table

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "support"))

import invented

from tflsplit.chains import chain as chains
from tflsplit.chains import coral_algorithms, explanation, partitioner
from tflsplit.chains.chain import Chain, Hop, Partition, Stage
from tflsplit.planning import breakeven, candidates, decision
from tflsplit.planning.scenario import Scenario, Workload
from tflsplit.timings import presets

LIMIT_S = 0.050
CUTS = 200
_MACS_PER_S = 1.5e9 / 3.4e-3
_USB = Hop(0.0, 400e6 * 8)
# (blocks, narrow channels, side) of each of the four groups.
_GROUPS = ((3, 64, 56), (4, 128, 28), (6, 256, 14), (3, 512, 7))


def run(folder: Path, *, is_quick: bool) -> list[Outcome | Table]:
    runs = 3 if is_quick else 20
    return [
        _timed("chain of 3 stages, least latency and least slowest stage", _search, runs),
        _timed("all candidates costed, compared and ranked, break-even values found", _decide, runs),
        *_on_three_tpus(),
    ]


def _timed(what: str, work, runs: int) -> Outcome:
    times = Samples(f"{CUTS} cuts", "s", tuple(harness.seconds(work) for _ in range(runs)))
    return Outcome(what, times, harness.limit(LIMIT_S, "s"), 1.0)


def _search() -> None:
    steps = [0.001 + number * 7919 % 13 / 1e4 for number in range(CUTS - 1)]
    stages = tuple(
        Stage(f"s{speed}", tuple(itertools.accumulate((step / speed for step in steps), initial=0.0)))
        for speed in (1, 3, 9)
    )
    wire = tuple(1e4 + number * 104729 % 90_000 for number in range(CUTS))
    hops = {(0, 1): Hop(0.001, 1e9), (1, 2): Hop(0.02, 5e7)}
    made = Chain(tuple(map(str, range(CUTS))), wire, (0.0,) * CUTS, stages, hops)
    partitioner.fastest(made)
    partitioner.smoothest(made)


def _decide() -> None:
    cuts = invented.cuts([1000 + number * 104729 % 90_000 for number in range(CUTS)])
    edge = invented.edge(cuts, [number * 0.5 for number in range(CUTS)], preprocess=1.0)
    cloud = invented.cloud(cuts, [(CUTS - number) * 0.1 for number in range(CUTS)])
    found, scenario = candidates.gather(cuts, edge, cloud), Scenario(presets.named("4g"), Workload(rate_fps=1.0))
    decision.decide(found, scenario, decision.Goal())
    breakeven.find(found, scenario, decision.Goal())


def _on_three_tpus() -> list[Outcome | Table]:
    chain = resnet50(3)
    ours = partitioner.smoothest(chain)
    found = {
        "this project": ours,
        "Coral, equal parameters": coral_algorithms.by_parameter_count(chain),
        "libcoral, bisection": coral_algorithms.by_bisection(chain),
        "one Edge TPU": chains.whole(chain, 0),
    }
    gain = explanation.slowest(chain, ours)
    table = Table(
        "ResNet50, int8, on three Edge TPUs (estimated)",
        ("partition", "slowest stage", "latency", "megabytes a piece", "streamed", "cut after operators"),
        tuple(_row(chain, name, made) for name, made in found.items()),
        f"Why it helps: {gain.text()}.",
    )
    slowest = Samples("slowest stage", "s", (ours.slowest_s,))
    return [
        Outcome(f"ResNet50 against {name}", slowest, Samples(name, "s", (made.slowest_s,)), 1.0)
        for name, made in found.items()
        if "oral" in name
    ] + [table]


def _row(chain: Chain, name: str, made: Partition) -> tuple[str, ...]:
    return (
        name,
        f"{made.slowest_s * 1e3:.2f} ms",
        f"{made.latency_s * 1e3:.2f} ms",
        " / ".join(f"{piece.parameter_bytes / 1e6:.2f}" for piece in made.pieces),
        " / ".join(f"{piece.stream_s * 1e3:.2f} ms" for piece in made.pieces),
        ", ".join(map(str, made.cuts)),
    )


def resnet50(tpus: int) -> Chain:
    """Places between operators; a boundary inside a block carries the shortcut's tensor too."""
    macs, weights, boundary = [], [], [224 * 224 * 3]

    def operator(work: int, size: int, crossing: int) -> None:
        macs.append(work)
        weights.append(size)
        boundary.append(crossing)

    operator(112 * 112 * 64 * 147, 64 * 147, 112 * 112 * 64)
    operator(0, 0, 56 * 56 * 64)
    channels, side_in = 64, 56
    for blocks, narrow, side in _GROUPS:
        for block in range(blocks):
            wide, area = narrow * 4, side * side
            entering = side_in * side_in * channels
            shortcut = area * wide
            if block == 0:
                operator(area * channels * wide, channels * wide, entering + shortcut)
            else:
                shortcut = entering
            operator(area * channels * narrow, channels * narrow, area * narrow + shortcut)
            operator(area * narrow * narrow * 9, narrow * narrow * 9, area * narrow + shortcut)
            operator(area * narrow * wide, narrow * wide, area * wide + shortcut)
            operator(0, 0, area * wide)
            channels, side_in = wide, side
    operator(0, 0, channels)
    operator(channels * 1000, channels * 1000, 1000)
    compute_s = tuple(itertools.accumulate((work / _MACS_PER_S for work in macs), initial=0.0))
    return Chain(
        places=tuple(map(str, range(len(boundary)))),
        wire_bytes=tuple(map(float, boundary)),
        parameter_bytes=tuple(map(float, itertools.accumulate(weights, initial=0))),
        stages=tuple(Stage(f"tpu{number}", compute_s, cache=chains.EDGE_TPU) for number in range(tpus)),
        hops={(at, at + 1): _USB for at in range(tpus - 1)},
    )

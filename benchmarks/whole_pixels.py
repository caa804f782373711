"""How near uneven machines can come to their speed together where each makes whole pixels of a map, in a rectangle.

    python benchmarks/whole_pixels.py

says it of maps of some sizes, for speeds of 4:2:1:1.
"""

import functools

from tflsplit.placement.machines import Cluster
from tflsplit.placement.rewriting.network import Network

# Larger maps are taken as if their pixels could be divided: it hardly matters there, and looking at them takes long.
_LARGEST = 28
_SPEEDS = (4.0, 2.0, 1.0, 1.0)


def least(network: Network, cluster: Cluster) -> float:
    """How many times as long as all multiply-accumulates over all machines' speed, each layer in the best tiles for it
    and as long as its slowest machine. Channels can be shared more finely, at the price of an exchange of all."""
    speeds = tuple(machine.macs_per_s for machine in cluster.machines)
    total = taken = 0.0
    for operator, rule in zip(network.graph.operators, network.rules, strict=True):
        if rule is None:
            continue
        macs, shape = rule.macs(network.wholes[operator.outputs[0]]), network.shapes[operator.outputs[0]]
        total += macs
        taken += macs * (over_evenly(*shape[1:3], speeds) if len(shape) == 4 else 1.0)
    return taken / total


def over_evenly(rows: int, columns: int, speeds: tuple[float, ...]) -> float:
    """How many times as long the slowest machine takes for its rectangle of a map as all would in proportion."""
    if max(rows, columns) > _LARGEST:
        return 1.0
    return _slowest(rows, columns, tuple(sorted(speeds))) * sum(speeds) / (rows * columns)


@functools.lru_cache(None)
def _slowest(rows: int, columns: int, speeds: tuple[float, ...]) -> float:
    """Of all ways to cut a map in two, and the parts again; up to four rectangles always come of such cuts."""
    best = rows * columns / max(speeds)
    for chosen in range(1, 2 ** len(speeds) - 1):
        these = tuple(speed for place, speed in enumerate(speeds) if chosen >> place & 1)
        others = tuple(speed for place, speed in enumerate(speeds) if not chosen >> place & 1)
        for extent, is_rows in ((rows, True), (columns, False)):
            for cut in range(1, extent):
                one, other = (
                    ((cut, columns), (rows - cut, columns)) if is_rows else ((rows, cut), (rows, columns - cut))
                )
                first = _slowest(*one, these)
                if first < best:
                    best = min(best, max(first, _slowest(*other, others)))
    return best


if __name__ == "__main__":
    for size in (7, 14, 28):
        print(f"{size} x {size}: {over_evenly(size, size, _SPEEDS):.3f} times as long as in proportion")

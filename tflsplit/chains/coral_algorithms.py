"""How Coral's tools cut a model for several Edge TPUs, written anew from their public description, to compare with.

Both give the accelerators pieces in order, and consider neither links nor which accelerator is faster.
"""

from collections.abc import Callable

import numpy as np

from tflsplit.chains import chain as chains
from tflsplit.chains.chain import Chain, Partition

# libcoral's own default; the search ends when the bounds are this close.
BISECTION_ENDS_S = 0.001


def by_parameter_count(chain: Chain) -> Partition:
    """`edgetpu_compiler --num_segments`: each piece but the last has at most an equal share of the weights' bytes."""
    weights = chain.parameter_bytes
    # A byte more than an equal share, as theirs.
    target = weights[-1] // len(chain.stages) + 1
    return _longest_pieces(chain, lambda _, start, stop: weights[stop] - weights[start] <= target)


def by_bisection(chain: Chain) -> Partition:
    """libcoral's `partition_with_profiling`: halve the bounds on the slowest piece until they are 1 ms apart.

    The bounds begin as the fastest and slowest piece of the split by parameters. For each target, every piece but the
    last is the longest that takes no longer.
    """
    best, places = by_parameter_count(chain), np.ogrid[: len(chain.places), : len(chain.places)]
    stage_s = [chains.piece(chain, stage, stage, *places).stage_s for stage in range(len(chain.stages))]
    times = [piece.stage_s for piece in best.pieces]
    low_s, high_s = min(times), max(times)
    while high_s - low_s > BISECTION_ENDS_S:
        target_s = (low_s + high_s) / 2
        found = _longest_pieces(chain, lambda stage, *piece, limit_s=target_s: stage_s[stage][piece] <= limit_s)
        last_s = found.pieces[-1].stage_s
        if _slowest_s(found) < _slowest_s(best):
            best = found
        if last_s < target_s:
            high_s = target_s
        else:
            high_s, low_s = min(high_s, last_s), target_s
    return best


def _longest_pieces(chain: Chain, is_within: Callable[[int, int, int], bool]) -> Partition:
    """Each stage takes the longest piece for which `is_within(stage, start, stop)`, at least one step; the last stage
    takes the rest."""
    last, count = len(chain.places) - 1, len(chain.stages)
    places = [0]
    for stage in range(count - 1):
        start, latest = places[-1], last - (count - 1 - stage)
        allowed = (stop for stop in range(start + 1, latest + 1) if is_within(stage, start, stop))
        places.append(max(allowed, default=start + 1))
    return chains.partition(chain, list(zip(range(count), places, [*places[1:], last], strict=True)))


def _slowest_s(partition: Partition) -> float:
    return float(max(piece.stage_s for piece in partition.pieces))

"""How Coral's tools cut a model for several Edge TPUs, written anew from their public description, to compare with.

Both give each accelerator the next piece in order and look at nothing else: not at links, nor at which is faster.
"""

from tflsplit.chains import chain as chains
from tflsplit.chains.chain import Chain, Partition

# libcoral's own default; the search ends when the bounds are this close.
BISECTION_ENDS_S = 0.001


def by_parameter_count(chain: Chain) -> Partition:
    """`edgetpu_compiler --num_segments`: equal bytes of weights, each piece closed just before it would have more.

    The last takes the rest. A piece has one step at least.
    """
    last, count = len(chain.places) - 1, len(chain.stages)
    # A byte more than an equal share, as theirs.
    target = chain.parameter_bytes[last] // count + 1
    stops = []
    start = 0
    for piece in range(count - 1):
        stop = start + 1
        while stop + 1 <= last - (count - 1 - piece) and _weights(chain, start, stop + 1) <= target:
            stop += 1
        stops.append(stop)
        start = stop
    return _in_order(chain, [*stops, last])


def by_bisection(chain: Chain) -> Partition:
    """libcoral's `partition_with_profiling`: halve the bounds on the slowest piece until they are 1 ms apart.

    The bounds begin as the fastest and slowest piece of the split by parameters. For each target every piece but the
    last takes the longest run that stays within it; the last takes the rest.
    """
    best = by_parameter_count(chain)
    times = [piece.stage_s for piece in best.pieces]
    low_s, high_s = min(times), max(times)
    while high_s - low_s > BISECTION_ENDS_S:
        target_s = (low_s + high_s) / 2
        found = _greedy(chain, target_s)
        last_s = found.pieces[-1].stage_s
        if _slowest_s(found) < _slowest_s(best):
            best = found
        if last_s < target_s:
            high_s = target_s
        else:
            high_s, low_s = min(high_s, last_s), target_s
    return best


def _greedy(chain: Chain, target_s: float) -> Partition:
    last, count = len(chain.places) - 1, len(chain.stages)
    stops = []
    start = 0
    for piece in range(count - 1):
        latest = last - (count - 1 - piece)
        stop = max(
            (stop for stop in range(start + 1, latest + 1) if _stage_s(chain, piece, start, stop) <= target_s),
            default=start + 1,
        )
        stops.append(stop)
        start = stop
    return _in_order(chain, [*stops, last])


def _stage_s(chain: Chain, stage: int, start: int, stop: int) -> float:
    return chains.compute_s(chain, stage, start, stop) + chains.stream_s(chain, stage, start, stop)


def _weights(chain: Chain, start: int, stop: int) -> float:
    return chain.parameter_bytes[stop] - chain.parameter_bytes[start]


def _slowest_s(partition: Partition) -> float:
    return max(piece.stage_s for piece in partition.pieces)


def _in_order(chain: Chain, stops: list[int]) -> Partition:
    starts = [0, *stops[:-1]]
    return chains.partition(
        chain, [(stage, start, stop) for stage, (start, stop) in enumerate(zip(starts, stops, strict=True))]
    )

"""Times how a side sends or receives features in fewer bits."""

from collections.abc import Callable, Sequence
from itertools import cycle

from edge_runtime.profiling import pixel_costs
from edge_runtime.profiling.overhead import Overhead
from tflsplit.graph.tensors import Array
from tflsplit.timings.profiles import BitsTiming, Side, Timing

_RUNS = 20


def time_bits(
    frame: Overhead,
    side: Side,
    boundaries: Sequence[tuple[Array, ...]],
    outputs: tuple[Array, ...],
    *,
    bits: int,
    clock: Callable[[], float],
) -> BitsTiming:
    """`frame` is of a cut in so many bits. `outputs` are the model's, for making results."""
    turns = cycle(boundaries)
    coded = frame.encode(boundaries[0])
    answers = frame.answer(coded, outputs)

    def at_edge() -> None:
        frame.encode(next(turns))
        frame.read(answers)

    def in_cloud() -> None:
        frame.answer(coded, outputs)

    work = at_edge if side is Side.EDGE else in_cloud
    return BitsTiming(bits, Timing(tuple(pixel_costs.timed(work, clock, _RUNS))))

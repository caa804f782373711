"""What a piece of a shared model costs besides its operators: the model in pieces on this machine, beside the whole.

Both go through what a worker runs, so copies of parts and the calls of interpreters are in it, and no messages.
"""

import itertools
from collections.abc import Callable, Sequence
from contextlib import ExitStack, nullcontext

from edge_runtime.profiling.measurement import Clock
from tflsplit.graph.interpreter import Interpreter
from tflsplit.graph.tensors import Array
from tflsplit.placement import letters, placement
from tflsplit.placement.placement import Placement
from tflsplit.placement.rewriting import pieces
from tflsplit.placement.rewriting.network import Network
from tflsplit.placement.running import Share
from tflsplit.placement.searching import search
from tflsplit.timings.profiles import Timing

# Weights are held twice meanwhile, however many pieces there are.
_PIECES, _ROUNDS = 8, 30


def time_pieces(network: Network, inputs: Sequence[Array], *, threads: int, clock: Clock) -> Timing | None:
    """Seconds of one piece; None for a model that has no place to part it."""
    places = search.places(network)
    count = min(_PIECES, len(places) - 1)
    if count < 2:
        return None
    ends = [places[each * (len(places) - 1) // count] for each in range(count + 1)]
    samples_s = []
    with ExitStack() as opened:
        parted = _runner(network, ends, inputs, threads, opened)
        whole = _runner(network, [0, network.count], inputs, threads, opened)
        for run in (whole, parted):
            run()
        for _ in range(_ROUNDS):
            taken_s = [_timed(run, clock) for run in (whole, parted)]
            samples_s.append(max(0.0, (taken_s[1] - taken_s[0]) / (count - 1)))
    return Timing(tuple(samples_s))


def _timed(run: Callable[[], None], clock: Clock) -> float:
    began_s = clock()
    run()
    return clock() - began_s


def _runner(
    network: Network, ends: Sequence[int], inputs: Sequence[Array], threads: int, opened: ExitStack
) -> Callable[[], None]:
    """Runs a frame through all pieces between these places, on one machine."""
    pairs = itertools.pairwise(ends)
    stages = [placement.whole_stage(network, *pair, 0, 1) for pair in pairs if network.made_within(*pair)]
    placed = Placement(1, tuple(stages))
    schedule = placement.schedule(network, placed)
    held = {
        number: opened.enter_context(Interpreter(pieces.model(network, piece), threads=threads))
        for number, step in enumerate(schedule.steps)
        for piece in step.run_by(0)
    }
    (program,) = letters.programs(network, placed, schedule)
    share = Share(network, placed, schedule, program, lambda number, _: nullcontext(held[number]))

    def run() -> None:
        frame = share.begin(inputs)
        while frame.task is not None:
            frame.step()

    return run

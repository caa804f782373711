"""Stages that exchange nothing between them made one: a machine then runs one piece instead of two, and waits once."""

from tflsplit.placement import placement
from tflsplit.placement.placement import Placement, Stage
from tflsplit.placement.rewriting.network import Network
from tflsplit.values.classes import replace


def joined(network: Network, placed: Placement) -> Placement:
    """The same parts on the same machines, in as few stages as that takes; what adds up sums stays apart."""
    scheduled = placement.schedule(network, placed)
    stages: list[Stage] = []
    for step in scheduled.steps:
        stage = step.stage
        if stages and not (step.moves or stage.adds or stages[-1].adds):
            stage = _one(network, stages.pop(), stage)
        stages.append(stage)
    made = replace(placed, stages=tuple(stages))
    # A piece needs the least box around all that it reads, which may be more than both have.
    return made if placement.schedule(network, made).bytes_exchanged <= scheduled.bytes_exchanged else placed


def _one(network: Network, first: Stage, second: Stage) -> Stage:
    later = network.needed_from[second.stop]
    makes = tuple(
        {tensor: box for tensor, box in before.items() if tensor in later} | dict(after)
        for before, after in zip(first.makes, second.makes, strict=True)
    )
    return Stage(first.start, second.stop, makes)

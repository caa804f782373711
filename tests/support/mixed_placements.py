"""Placements of stages of random lengths, each shared in a random way."""

from tflsplit.placement.placement import Placement, Stage
from tflsplit.placement.rewriting import partial_sums
from tflsplit.placement.searching.layouts import Layout


def _layout(count, random):
    groups = int(random.choice([each for each in range(1, count + 1) if count % each == 0]))
    if random.random() < 0.2:
        return Layout(((int(random.integers(count)),),))
    by_columns = 1 < groups < count and random.random() < 0.5
    return Layout(tuple(tuple(range(each, count, groups)) for each in range(groups)), by_columns)


def mixed(network, machines, random, longest):
    """Stages of random lengths, each in a random layout; sums are added up where they can be."""
    count, start, stages = len(machines), 0, []
    while start < network.count:
        operator = network.graph.operators[start]
        if partial_sums.over_rows(network, operator):
            source = Layout(tuple((each,) for each in range(count)))
            adds = source.parts(network.shapes[operator.inputs[0]], machines)
            stop = start + 1
        else:
            adds, stop = (), min(network.count, start + int(random.integers(1, longest + 1)))
        layout, makes = _layout(count, random), [{} for _ in range(count)]
        for tensor in network.made_within(start, stop):
            for machine, box in enumerate(layout.parts(network.shapes[tensor], machines)):
                if box is not None:
                    makes[machine][tensor] = box
        stages.append(Stage(start, stop, tuple(makes), adds))
        start = stop
    return Placement(count, tuple(stages), 0, count - 1)

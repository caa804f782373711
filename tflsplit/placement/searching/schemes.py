"""The simple ways to share a network, to score a search against: one machine, rows, grids, channels, layer by layer.

Input channels are shared wherever sums can be added up; the rest is then by output channels.
"""

import itertools
from collections.abc import Mapping

from tflsplit.placement.machines import Cluster
from tflsplit.placement.placement import Placement, Stage, whole_stage
from tflsplit.placement.rewriting.network import Network
from tflsplit.placement.searching import blocks
from tflsplit.placement.searching.blocks import Manner
from tflsplit.placement.searching.layouts import Layout

ONE_MACHINE = "one_machine"


def of(network: Network, cluster: Cluster) -> Mapping[str, Placement]:
    """By name. Each is of one kind throughout, and all machines take part."""
    count = len(cluster.machines)
    everyone = tuple(range(count))
    layouts = {"rows": Layout(tuple((each,) for each in everyone)), "output_channels": Layout((everyone,))}
    for groups in range(2, count):
        if count % groups == 0:
            grid = tuple(everyone[each::groups] for each in range(groups))
            layouts[f"grid_{groups}x{count // groups}"] = Layout(grid)
    staged = {
        name: blocks.stages(network, 0, network.count, layout, cluster.machines, manner=Manner.EACH)
        for name, layout in layouts.items()
    }
    staged["input_channels"] = tuple(
        part
        for stage in staged["output_channels"]
        for part in blocks.stages(
            network, stage.start, stage.stop, layouts["output_channels"], cluster.machines, manner=Manner.SUMS
        )
    )
    fastest = max(everyone, key=lambda each: cluster.machines[each].macs_per_s)
    staged[ONE_MACHINE] = (whole_stage(network, 0, network.count, fastest, count),)
    staged["layer_wise"] = _in_turn(network, count)
    return {name: Placement(count, stages, cluster.source, cluster.sink) for name, stages in staged.items()}


def _in_turn(network: Network, count: int) -> tuple[Stage, ...]:
    """Each operator with weights on the next machine, with those that follow it."""
    starts = [0, *(each.index for each in network.graph.operators if blocks.is_heavy(network, each))]
    edges = [*dict.fromkeys([0, *starts[2:]]), network.count]
    return tuple(
        whole_stage(network, start, stop, place % count, count)
        for place, (start, stop) in enumerate(itertools.pairwise(edges))
        if network.made_within(start, stop)
    )

"""The charts of a shared model's page, each a function from what was found to SVG text."""

from tflsplit.graph.flatgraph import Graph
from tflsplit.placement import cost, timeline
from tflsplit.placement.distribution import Distribution
from tflsplit.placement.placement import Step
from tflsplit.placement.rewriting import boxes
from tflsplit.placement.rewriting.boxes import Box
from tflsplit.report import figure

NETWORK_CAPTION = (
    "Stages of the network from left to right, and what part of each result a machine makes: the darker, the more of "
    "the stage's multiply-accumulates, in percent. Above stands how a stage is shared, below which operators it is."
)
TIMELINE_CAPTION = (
    "One frame over the machines, as the planner counts it: full bars compute, pale ones exchange. A stage begins when "
    "all have what they need of the one before."
)
LINKS_CAPTION = "What each machine sends and receives for one frame."
MEMORY_CAPTION = (
    "Weights, and the largest input and result of an operator, that each machine holds. What the interpreter needs "
    "besides comes on top."
)
SCHEMES_CAPTION = "One frame's latency, and what a frame takes when frames follow one another. This placement is green."
_PALE = 0.35
# So many stages have room for a number each.
_MOST_NUMBERS = 24


def network(found: Distribution, graph: Graph) -> str:
    """A field for each stage and machine."""
    steps = found.schedule.steps
    shares = [_shares(step, len(found.cluster.machines)) for step in steps]
    with figure.drawn(11.5, 1.5 + 0.36 * len(found.cluster.machines)) as canvas:
        axes = canvas.axes
        for place, stage in enumerate(shares):
            for machine, share in enumerate(stage):
                if share <= 0:
                    continue
                colour = figure.COLOURS[machine % len(figure.COLOURS)]
                axes.bar(place, 0.9, 0.94, bottom=machine - 0.45, color=colour, alpha=0.2 + 0.8 * share)
                if len(steps) <= _MOST_NUMBERS:
                    ink = "white" if share > 0.6 else "black"
                    axes.text(place, machine, f"{share:.0%}", ha="center", va="center", fontsize=7, color=ink)
        axes.set_xticks(range(len(steps)), [_operators(step) for step in steps], rotation=60, ha="right", fontsize=7)
        above = axes.secondary_xaxis("top")
        above.set_xticks(range(len(steps)), [manner(step, graph) for step in steps], rotation=45, ha="left", fontsize=7)
        above.tick_params(length=0)
        above.spines["top"].set_visible(False)
        axes.set_xlim(-0.6, len(steps) - 0.4)
        _machines_down(axes, found)
        axes.set_xlabel("operators")
    return canvas.svg


def manner(step: Step, graph: Graph) -> str:
    """How a stage is shared."""
    made = [parts for parts in step.stage.makes if parts]
    if step.stage.adds:
        return "sums"
    if len(made) == 1:
        return "whole"
    tensor = next(iter(made[0]))
    whole = boxes.whole(graph.tensors[tensor].shape)
    found = {_cut(whole, parts[tensor]) for parts in made if tensor in parts}
    kinds = set().union(*found)
    return "grid" if len(kinds) > 1 else next(iter(kinds), "whole")


def _cut(whole: Box, part: Box) -> frozenset[str]:
    last = len(whole) - 1
    cut = [axis for axis, (one, other) in enumerate(zip(whole, part, strict=True)) if one != other]
    return frozenset("channels" if axis == last else "rows" for axis in cut)


def frame(found: Distribution) -> str:
    """A bar for each piece and each exchange of a machine."""
    with figure.drawn(11.5, 1.2 + 0.42 * len(found.cluster.machines)) as canvas:
        axes = canvas.axes
        for span in timeline.spans(found.schedule, found.cluster):
            colour = figure.COLOURS[span.machine % len(figure.COLOURS)]
            took_ms = (span.stop_s - span.start_s) * 1e3
            look = {"color": colour, "alpha": _PALE, "height": 0.35} if span.is_exchange else {"color": colour}
            axes.barh(span.machine, took_ms, left=span.start_s * 1e3, edgecolor="white", linewidth=0.3, **look)
        _machines_down(axes, found)
        axes.set_xlabel("ms since the input is there")
        axes.set_xlim(0, found.costs.latency_s * 1e3)
    return canvas.svg


def links(found: Distribution) -> str:
    sent, received = cost.traffic(found.schedule.moves, len(found.cluster.machines))
    with figure.drawn(11.5, 1.2 + 0.36 * len(sent)) as canvas:
        axes = canvas.axes
        for offset, colour, name, values in ((-0.18, 0, "sent", sent), (0.18, 1, "received", received)):
            rows = [each + offset for each in range(len(values))]
            axes.barh(rows, values / 1e6, height=0.34, color=figure.COLOURS[colour], label=name)
        _machines_down(axes, found)
        axes.set_xlabel("MB a frame")
        figure.legend_above(axes)
    return canvas.svg


def memory(found: Distribution) -> str:
    """Stacked: weights, then features; a line where a machine's memory ends."""
    costs, machines = found.costs, found.cluster.machines
    features = [held - own for held, own in zip(costs.memory_bytes, costs.parameter_bytes, strict=True)]
    with figure.drawn(11.5, 1.2 + 0.3 * len(machines)) as canvas:
        axes, rows = canvas.axes, range(len(machines))
        weights_mb = [own / 1e6 for own in costs.parameter_bytes]
        axes.barh(rows, weights_mb, color=figure.COLOURS[0], height=0.6, label="weights")
        axes.barh(rows, [each / 1e6 for each in features], left=weights_mb, color=figure.COLOURS[1], label="features")
        limits = [machine.memory_bytes / 1e6 for machine in machines]
        for row, most in enumerate(limits):
            if most < float("inf"):
                axes.plot([most, most], [row - 0.4, row + 0.4], color=figure.COLOURS[3])
        _machines_down(axes, found)
        axes.set_xlabel("MB")
        figure.legend_above(axes)
    return canvas.svg


def schemes(found: Distribution) -> str:
    ways = {"this placement": found.costs, **found.schemes}
    with figure.drawn(11.5, 1.3 + 0.36 * len(ways)) as canvas:
        axes = canvas.axes
        for row, costs in enumerate(ways.values()):
            colour = figure.CHOICE if row == 0 else figure.COLOURS[0]
            axes.barh(row - 0.18, costs.latency_s * 1e3, height=0.34, color=colour)
            axes.barh(row + 0.18, costs.busy_s * 1e3, height=0.34, color=colour, alpha=_PALE)
        axes.set_yticks(range(len(ways)), [name.replace("_", " ") for name in ways])
        axes.set_ylim(len(ways) - 0.4, -0.6)
        axes.set_xlabel("ms: latency full, a frame of many pale")
    return canvas.svg


def _shares(step: Step, count: int) -> list[float]:
    """Each machine's part of a stage's multiply-accumulates, or of its pieces where it has none."""
    work = [float(sum(piece.macs for piece in step.run_by(each))) for each in range(count)]
    if not any(work):
        work = [float(bool(step.run_by(each))) for each in range(count)]
    return [each / (sum(work) or 1.0) for each in work]


def _operators(step: Step) -> str:
    first, last = step.stage.start, step.stage.stop - 1
    return f"{first}" if first == last else f"{first}-{last}"


def _machines_down(axes: object, found: Distribution) -> None:
    names = [machine.name for machine in found.cluster.machines]
    axes.set_yticks(range(len(names)), names)  # type: ignore[attr-defined]  # matplotlib's Axes
    axes.set_ylim(len(names) - 0.4, -0.6)  # type: ignore[attr-defined]

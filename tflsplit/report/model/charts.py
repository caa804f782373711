"""The drawings of a package's page, each a function to SVG text."""

from collections.abc import Sequence

from tflsplit.graph.cuts import Cut
from tflsplit.graph.flatgraph import Graph
from tflsplit.report import figure, strip
from tflsplit.report.model.mapping import Mapping
from tflsplit.report.model.stretches import Upto

NETWORK_CAPTION = (
    f"{strip.EXPLAINED}. Dashed lines are the useful cuts: each sends less than every one before it. The band below "
    "says what the Edge TPU can run, judged by rules and not by its compiler; behind the first operator that it "
    "cannot, all runs on the CPU."
)
PAYLOAD_CAPTION = (
    "Bytes that each cut sends, uncoded, in operator order. Useful cuts are green. Below the line a cut sends less "
    "than the model's input."
)
TIME_CAPTION = (
    "Median time of all operators up to each cut that was timed: a head's own, or what a tail is shorter than the "
    "whole model. Where the line is steep the time goes."
)
_LEAST_APART = 0.012  # of the width, for names of cuts that stand beside each other


def network(graph: Graph, shown: Sequence[Cut], mapping: Mapping) -> str:
    with strip.drawn(graph) as canvas:
        strip.band(canvas.axes, mapping.groups)
        last = float("-inf")
        for cut in shown:
            if cut.is_useful:
                is_apart = cut.position - last >= _LEAST_APART * len(graph.operators)
                strip.line(canvas.axes, cut.position, cut.id if is_apart else "", is_choice=False)
                last = cut.position if is_apart else last
    return canvas.svg


def payloads(shown: Sequence[Cut]) -> str:
    sent = [cut for cut in shown if cut.boundary]
    with figure.drawn(11.5, 3.6) as canvas:
        axes = canvas.axes
        for colour, label, is_useful in ((figure.CHOICE, "useful", True), (figure.COLOURS[4], "others", False)):
            bars = [(place, cut.payload_bytes) for place, cut in enumerate(sent) if cut.is_useful is is_useful]
            if bars:
                axes.bar(*zip(*bars, strict=True), color=colour, label=label)
        if sent[0].position == 0:
            axes.axhline(sent[0].payload_bytes, color=figure.COLOURS[3], linewidth=1, linestyle="--", label="input")
        figure.legend_above(axes)
        figure.scale(axes, "y", [cut.payload_bytes for cut in sent])
        axes.set_ylabel("bytes")
        step = max(1, len(sent) // 20)
        axes.set_xticks(range(0, len(sent), step), [cut.id for cut in sent[::step]], rotation=60, ha="right")
    return canvas.svg


def times(found: dict[str, list[Upto]]) -> str:
    """By the profile's name."""
    with figure.drawn(11.5, 3.4) as canvas:
        axes = canvas.axes
        for place, (name, points) in enumerate(found.items()):
            across, up = [each.position - 0.5 for each in points], [each.seconds * 1e3 for each in points]
            colour = figure.COLOURS[place * 3 % len(figure.COLOURS)]
            axes.plot(across, up, marker="o", markersize=3, linewidth=1.4, color=colour, label=name)
        figure.legend_above(axes)
        axes.set_ylim(bottom=0)
        axes.set_xlabel("operator, as Netron numbers them")
        axes.set_ylabel("ms up to there")
    return canvas.svg

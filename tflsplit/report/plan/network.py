"""The network of a plan's page: its operators in order, their work, the skip connections, and where the cut lies."""

import math

from tflsplit.graph import cuts
from tflsplit.graph.flatgraph import Graph
from tflsplit.planning.pipeline import Outcome
from tflsplit.report import figure

CAPTION = (
    "Operators of the int8 model from left to right, as high as the multiply-accumulates they take (logarithmic). Arcs "
    "are tensors that are needed again later; those that the cut's line crosses travel too. Left of it is the edge's."
)
_KINDS = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "ADD", "CONCATENATION", "MEAN", "SOFTMAX")


def drawing(outcome: Outcome) -> str:
    """A strip of operators with arcs for tensors that skip at least one."""
    graph = outcome.package.graph
    choice = outcome.decision.choice
    with figure.drawn(11.5, 3.8) as canvas:
        axes = canvas.axes
        seen: set[str] = set()
        for operator in graph.operators:
            kind = operator.name if operator.name in _KINDS else "other"
            colour = figure.COLOURS[_KINDS.index(kind) if kind in _KINDS else 7]
            height = 0.15 + math.log10(1 + cuts.macs(graph, operator)) / 9
            axes.bar(operator.index, height, width=0.85, color=colour, label=None if kind in seen else kind.lower())
            seen.add(kind)
        for start, stop in _skips(graph):
            _arc(axes, start, stop)
        if choice is not None:
            line = choice.cost.candidate.cut.position - 0.5
            axes.axvline(line, color=figure.CHOICE, linewidth=2)
            axes.annotate(
                choice.id,
                (line, 1.0),
                xycoords=("data", "axes fraction"),
                xytext=(4, -10),
                textcoords="offset points",
                color=figure.CHOICE,
                fontweight="bold",
            )
        axes.set_yticks([])
        axes.spines["left"].set_visible(False)
        axes.set_xlabel("operator, as Netron numbers them")
        axes.set_xlim(-1, len(graph.operators))
        axes.legend(ncols=8, loc="upper center", bbox_to_anchor=(0.5, -0.14), frameon=False)
    return canvas.svg


def _skips(graph: Graph) -> list[tuple[int, int]]:
    """(producer, last consumer) of each tensor that some operator between the two does not take."""
    produced = {index: operator.index for operator in graph.operators for index in operator.outputs}
    last: dict[int, int] = {}
    for operator in graph.operators:
        last.update((index, operator.index) for index in operator.inputs if index in produced)
    return [(produced[index], stop) for index, stop in last.items() if stop - produced[index] > 1]


def _arc(axes: object, start: int, stop: int) -> None:
    middle, height = (start + stop) / 2, 1.15 + 0.25 * math.log10(stop - start)
    steps = [place / 20 for place in range(21)]
    across = [start + (stop - start) * step for step in steps]
    above = [1.05 + (height - 1.05) * (1 - ((value - middle) / ((stop - start) / 2)) ** 2) for value in across]
    axes.plot(across, above, color="#57606a", linewidth=0.8)  # type: ignore[attr-defined]  # matplotlib's Axes

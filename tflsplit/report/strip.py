"""A network as a strip: its operators from left to right, as high as their work, with arcs for tensors that skip some,
and lines where it may be cut."""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from tflsplit.graph import cuts
from tflsplit.graph.flatgraph import Graph
from tflsplit.report import figure

EXPLAINED = (
    "Operators of the int8 model from left to right, as high as the multiply-accumulates they take (logarithmic). Arcs "
    "are tensors that are needed again later"
)
_KINDS = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "ADD", "CONCATENATION", "MEAN", "SOFTMAX")
_BAND = (-0.16, 0.1)  # where it begins below the operators, and how high it is


@contextmanager
def drawn(graph: Graph) -> Iterator[figure.Canvas]:
    """A canvas with the operators and the arcs; the legend is made at the end, of what else is drawn too."""
    with figure.drawn(11.5, 3.8) as canvas:
        axes = canvas.axes
        by_kind: dict[str, list[tuple[int, float]]] = {}
        for operator in graph.operators:
            kind = operator.name if operator.name in _KINDS else "other"
            height = 0.15 + math.log10(1 + cuts.macs(graph, operator)) / 9
            by_kind.setdefault(kind, []).append((operator.index, height))
        for kind, bars in by_kind.items():
            colour = figure.COLOURS[_KINDS.index(kind) if kind in _KINDS else 7]
            axes.bar(*zip(*bars, strict=True), width=0.85, color=colour, label=kind.lower())
        for start, stop in _skips(graph):
            _arc(axes, start, stop)
        axes.set_yticks([])
        axes.spines["left"].set_visible(False)
        axes.set_xlabel("operator, as Netron numbers them")
        axes.set_xlim(-1, len(graph.operators))
        yield canvas
        axes.legend(ncols=8, loc="upper center", bbox_to_anchor=(0.5, -0.14), frameon=False)


def band(axes: Any, groups: Mapping[str, tuple[str, Sequence[int]]]) -> None:
    """Below the operators: each of a group, whose name is its key, in the group's colour."""
    for name, (colour, indices) in groups.items():
        if indices:
            axes.bar(indices, [_BAND[1]] * len(indices), width=1.0, bottom=_BAND[0], color=colour, label=name)


def line(axes: Any, position: int, name: str, *, is_choice: bool = True) -> None:
    """A cut. One of several, none of which was chosen, is thin, and its name stands upright."""
    at, place = position - 0.5, {"xycoords": ("data", "axes fraction"), "textcoords": "offset points"}
    if is_choice:
        axes.axvline(at, color=figure.CHOICE, linewidth=2)
        axes.annotate(name, (at, 1.0), xytext=(4, -10), color=figure.CHOICE, fontweight="bold", **place)
        return
    axes.axvline(at, color=figure.CHOICE, linewidth=0.9, linestyle="--")
    upright = {"rotation": 90, "va": "top", "ha": "right", "fontsize": 7}
    axes.annotate(name, (at, 1.0), xytext=(-1, 0), color=figure.CHOICE, **upright, **place)


def _skips(graph: Graph) -> list[tuple[int, int]]:
    """(producer, last consumer) of each tensor that some operator between the two does not take."""
    produced = {index: operator.index for operator in graph.operators for index in operator.outputs}
    last: dict[int, int] = {}
    for operator in graph.operators:
        last.update((index, operator.index) for index in operator.inputs if index in produced)
    return [(produced[index], stop) for index, stop in last.items() if stop - produced[index] > 1]


def _arc(axes: Any, start: int, stop: int) -> None:
    middle, height = (start + stop) / 2, 1.15 + 0.25 * math.log10(stop - start)
    steps = [place / 20 for place in range(21)]
    across = [start + (stop - start) * step for step in steps]
    above = [1.05 + (height - 1.05) * (1 - ((value - middle) / ((stop - start) / 2)) ** 2) for value in across]
    axes.plot(across, above, color="#57606a", linewidth=0.8)

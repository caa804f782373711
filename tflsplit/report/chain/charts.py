"""The charts of a chain's page: each a function from the chain's outcome to SVG text."""

from tflsplit.chains.chain import Partition
from tflsplit.chains.comparison import Outcome
from tflsplit.report import figure

LATENCY_CAPTION = (
    "One frame through the machines in order, part by part: what a machine computes, what coding takes it, weights "
    "that are streamed because they do not fit its memory, and the links between. The pick's name is green."
)
BUSY_CAPTION = (
    "Milliseconds of each machine and link that a frame takes when frames follow one another; the longest bar of a "
    "partition is its slowest stage, and one over it the rate."
)
_LINKS = "links"


def latency(outcome: Outcome) -> str:
    """Stacked bars: partitions, and in each the machines' parts in the order that a frame meets them."""
    shown = outcome.shown
    with figure.drawn(11.5, 1.4 + 0.32 * len(shown)) as canvas:
        axes = canvas.axes
        seen: set[str] = set()
        for place, made in enumerate(shown.values()):
            left_ms = 0.0
            for label, seconds, colour, hatch in _segments(outcome, made):
                if seconds > 0:
                    once = None if label in seen else label
                    axes.barh(place, seconds * 1e3, left=left_ms, color=colour, hatch=hatch, label=once, height=0.7)
                    seen.add(label)
                left_ms += seconds * 1e3
        _name_bars(axes, tuple(shown))
        axes.set_xlabel("median latency, ms")
        figure.legend_above(axes, columns=6)
    return canvas.svg


def busy(outcome: Outcome) -> str:
    """Bars side by side: for each partition the machines and the links between."""
    shown = outcome.shown
    names = [stage.name for stage in outcome.chain.stages]
    columns = [*names, *(f"link to {name}" for name in names[1:])]
    height = 0.8 / len(columns)
    with figure.drawn(11.5, 1.4 + 0.16 * len(columns) * len(shown)) as canvas:
        axes = canvas.axes
        for place, column in enumerate(columns):
            seconds = [_busy_s(outcome, made, place) for made in shown.values()]
            axes.barh(
                [row - 0.4 + height * (place + 0.5) for row in range(len(shown))],
                [one * 1e3 for one in seconds],
                color=figure.COLOURS[place % len(names)],
                hatch="" if place < len(names) else "///",
                alpha=1.0 if place < len(names) else 0.6,
                label=column,
                height=height,
            )
        _name_bars(axes, tuple(shown))
        axes.set_xlabel("ms a frame")
        figure.legend_above(axes)
    return canvas.svg


def _segments(outcome: Outcome, made: Partition) -> list[tuple[str, float, str, str]]:
    """(label, seconds, colour, hatch) in the frame's order; a machine has one colour."""
    found = []
    for piece in made.pieces:
        name, colour = outcome.chain.stages[piece.stage].name, figure.COLOURS[piece.stage % len(figure.COLOURS)]
        found += [
            (_LINKS, piece.hop_s, "#c8ccd1", ""),
            (f"{name}: preprocess", piece.preprocess_s, colour, ".."),
            (f"{name}: run", piece.run_s, colour, ""),
            (f"{name}: coding", piece.coding_s, colour, "xx"),
            (f"{name}: streaming", piece.stream_s, colour, "///"),
        ]
    return [*found, (_LINKS, made.back_s, "#c8ccd1", "")]


def _busy_s(outcome: Outcome, made: Partition, place: int) -> float:
    """Of the machine with this number; beyond the machines, of the link to the second, the third and so on."""
    count = len(outcome.chain.stages)
    if place < count:
        return float(sum(piece.stage_s for piece in made.pieces if piece.stage == place))
    return float(sum(piece.hop_busy_s for piece in made.pieces if piece.stage == place - count + 1))


def _name_bars(axes: object, names: tuple[str, ...]) -> None:
    axes.set_yticks(range(len(names)), names)  # type: ignore[attr-defined]  # matplotlib's Axes
    axes.get_yticklabels()[0].set(color=figure.CHOICE, fontweight="bold")  # type: ignore[attr-defined]
    axes.set_ylim(len(names) - 0.4, -0.6)  # type: ignore[attr-defined]

"""The only door to matplotlib: figures drawn off screen and given as SVG text to stand inside a page."""

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from tflsplit import errors, extras

# Okabe and Ito's palette, which the colour-blind can tell apart.
COLOURS = (
    *("#0072B2", "#E69F00", "#009E73", "#D55E00", "#56B4E9", "#CC79A7", "#F0E442", "#999999", "#000000", "#8C6BB1"),
    "#7F4F24",
)
CHOICE = "#1A7F37"


class Canvas:
    """A figure being drawn; `svg` has its text once the block that made it has ended."""

    def __init__(self, figure: Any, axes: Any) -> None:
        self.figure = figure
        self.axes = axes
        self.svg = ""


def scale(axes: Any, which: str, values: Sequence[float]) -> None:
    """The axis "x" or "y" logarithmic where the values span a factor of ten or more, with plain
    numbers beside the ticks; else linear."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    above = [value for value in values if value > 0]
    if not above or min(values) <= 0 or max(above) < 10 * min(above):
        return
    getattr(axes, f"set_{which}scale")("log")
    axis = getattr(axes, f"{which}axis")
    axis.set_major_locator(LogLocator(subs=(1.0,) if max(above) > 1000 * min(above) else (1.0, 2.0, 5.0)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))
    axis.set_minor_formatter(NullFormatter())


def legend_above(axes: Any, *, columns: int = 10) -> None:
    """Where it covers nothing that is drawn."""
    axes.legend(ncols=columns, loc="lower left", bbox_to_anchor=(0.0, 1.0), frameon=False, borderaxespad=0.2)


@contextmanager
def drawn(width_in: float, height_in: float) -> Iterator[Canvas]:
    try:
        import matplotlib as mpl
        from matplotlib.figure import Figure
    except ImportError as missing:
        raise errors.DeviceError(extras.need("a report", "matplotlib")) from missing
    # Text stays text (small, searchable), and the same plan gives the same bytes.
    with mpl.rc_context(
        {"svg.fonttype": "none", "svg.hashsalt": "tflsplit", "font.size": 9, "font.family": "sans-serif"}
    ):
        figure = Figure(figsize=(width_in, height_in), layout="constrained")
        axes = figure.subplots()
        axes.spines[["top", "right"]].set_visible(False)
        canvas = Canvas(figure, axes)
        yield canvas
        text = io.StringIO()
        figure.savefig(text, format="svg", metadata={"Date": None})
        canvas.svg = text.getvalue()[text.getvalue().index("<svg") :]

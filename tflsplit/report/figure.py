"""The only door to matplotlib: figures drawn off screen and given as SVG text to stand inside a page."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tflsplit import errors

# Okabe and Ito's palette, which the colour-blind can tell apart.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#56B4E9", "#CC79A7", "#F0E442", "#999999", "#000000", "#8C6BB1")
CHOICE = "#1A7F37"


class Canvas:
    """A figure being drawn; `svg` has its text once the block that made it has ended."""

    def __init__(self, figure: Any, axes: Any) -> None:
        self.figure = figure
        self.axes = axes
        self.svg = ""


@contextmanager
def drawn(width_in: float, height_in: float) -> Iterator[Canvas]:
    try:
        import matplotlib as mpl
        from matplotlib.figure import Figure
    except ImportError as missing:
        raise errors.DeviceError("a report needs matplotlib: pip install 'tflsplit[report]'") from missing
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

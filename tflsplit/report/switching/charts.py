"""The charts of a comparison's page: each a function from the comparison to SVG text."""

from tflsplit.report import figure
from tflsplit.switching.comparison import ADAPTIVE, BEST_STATIC, ORACLE, Comparison
from tflsplit.switching.simulation import Run

CUTS_CAPTION = (
    "Which cut each frame took: above the moving cut, below an oracle that knows the trace and moves for nothing. "
    "The line is what the link could carry."
)
LATENCY_CAPTION = "Share of the camera's ticks that had their answer within so many milliseconds."
# Drawn points; a page with every frame of an hour would be megabytes.
_MOST_POINTS = 1500


def cuts(found: Comparison) -> str:
    """Two rows of coloured time, and the rate over them."""
    colours = {each.id: figure.COLOURS[place % len(figure.COLOURS)] for place, each in enumerate(found.choices)}
    with figure.drawn(11.5, 3.4) as canvas:
        axes = canvas.axes
        for row, name in enumerate((ORACLE, ADAPTIVE)):
            for cut, spans in _spans(found.runs[name]).items():
                axes.broken_barh(spans, (row * 1.1, 1.0), color=colours[cut], label=cut if row else None)
        axes.set_yticks([0.5, 1.6], [ORACLE, ADAPTIVE])
        axes.set_xlabel("s")
        rate = axes.twinx()
        rate.spines[["top"]].set_visible(False)
        times, rates = _rates(found)
        rate.step(times, rates, where="post", color="#1b1f24", linewidth=0.7)
        rate.set_ylabel("Mbit/s")
        rate.set_ylim(0, max(rates) * 1.05)
        figure.legend_above(axes)
    return canvas.svg


def latencies(found: Comparison) -> str:
    """One curve a policy."""
    with figure.drawn(11.5, 3.6) as canvas:
        axes = canvas.axes
        for place, (name, run) in enumerate(found.runs.items()):
            ordered = sorted(
                frame.latency_s * 1e3 for frame in run.frames for _ in range(frame.ticks(found.setting.fps))
            )
            step = max(1, len(ordered) // _MOST_POINTS)
            values = ordered[::step]
            shares = [index * step / len(ordered) for index in range(len(values))]
            width = 2.0 if name in {ORACLE, BEST_STATIC, ADAPTIVE} else 1.0
            axes.plot(values, shares, color=figure.COLOURS[place % len(figure.COLOURS)], label=name, linewidth=width)
        figure.scale(axes, "x", [frame.latency_s * 1e3 for frame in found.runs[ADAPTIVE].frames])
        axes.set_xlabel("latency, ms")
        axes.set_ylabel("share of ticks")
        figure.legend_above(axes, columns=5)
    return canvas.svg


def _spans(run: Run) -> dict[str, list[tuple[float, float]]]:
    """Cut → (start, length) of the times in which frames took it; short ones among many are left out of the drawing."""
    found: dict[str, list[tuple[float, float]]] = {}
    since_s, cut = 0.0, run.frames[0].choice.id
    for frame in run.frames[1:]:
        if frame.choice.id != cut:
            found.setdefault(cut, []).append((since_s, frame.taken_s - since_s))
            since_s, cut = frame.taken_s, frame.choice.id
    last = run.frames[-1]
    found.setdefault(cut, []).append((since_s, last.taken_s + last.latency_s - since_s))
    return found


def _rates(found: Comparison) -> tuple[list[float], list[float]]:
    last = found.runs[ADAPTIVE].frames[-1].taken_s
    step_s = max(1.0, last / _MOST_POINTS)
    times = [place * step_s for place in range(int(last / step_s) + 1)]
    carried = [found.trace.capacity_bits(now_s + step_s) - found.trace.capacity_bits(now_s) for now_s in times]
    return times, [bits / step_s / 1e6 for bits in carried]

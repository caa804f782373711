"""The charts of a plan's page, each a function from the plan to SVG text."""

import math

from tflsplit.planning import cost
from tflsplit.planning.decision import Decision, Judged
from tflsplit.planning.pipeline import Outcome
from tflsplit.planning.shortlist import Shortlist
from tflsplit.planning.tradeoff import Tradeoff
from tflsplit.report import figure
from tflsplit.values.classes import replace

LATENCY_CAPTION = (
    "Median latency of one frame, part by part, fastest first; the pick's name is green. At most the forty fastest are "
    "drawn, and the pick. Candidates that a stage cannot keep up with have no latency and are left out."
)
PARETO_CAPTION = (
    "Each candidate's median latency and bytes on the wire a frame, both ways. Larger points load the edge more. "
    "Nothing lies below and to the left of the line."
)
MAP_CAPTION = "The pick for each bandwidth and round trip, all else equal. The cross is this plan's link."
PAYLOAD_CAPTION = (
    "Bytes of each cut's boundary as the edge sends it, in operator order. Below the lines, a cut sends less than the "
    "raw input or its JPEG would be."
)
GATE_CAPTION = (
    "Shares of all frames, by SCORE: those whose boundary is sent, audits among them, and those answered right. "
    "Dots are SCOREs that get more right than any lower one."
)
_MOST_BARS = 40
_MAP_POINTS = (25, 17)
# A logarithmic axis has no 0.
_LEAST_RTT_S = 1e-4


def latency_parts(decision: Decision) -> str:
    """Stacked bars of the parts' medians, in ms."""
    shown = sorted(
        (entry for entry in decision.judged if math.isfinite(entry.cost.latency.p50_s)),
        key=lambda entry: entry.cost.latency.p50_s,
    )
    bars = [entry for place, entry in enumerate(shown) if place < _MOST_BARS or entry is decision.choice]
    with figure.drawn(11.5, 1.2 + 0.22 * max(1, len(bars))) as canvas:
        axes = canvas.axes
        offsets = [0.0] * len(bars)
        for part, colour in zip(cost.PARTS, figure.COLOURS, strict=True):
            widths = [entry.cost.parts[part].p50_s * 1e3 for entry in bars]
            if any(widths):
                axes.barh(range(len(bars)), widths, left=offsets, color=colour, label=part, height=0.75)
            offsets = [offset + width for offset, width in zip(offsets, widths, strict=True)]
        axes.set_yticks(range(len(bars)), [entry.id for entry in bars])
        for label, entry in zip(axes.get_yticklabels(), bars, strict=True):
            if entry is decision.choice:
                label.set(color=figure.CHOICE, fontweight="bold")
        axes.set_ylim(len(bars) - 0.4, -0.6)
        axes.set_xlabel("median latency, ms")
        figure.legend_above(axes)
    return canvas.svg


def pareto(decision: Decision) -> str:
    """Latency over bytes a frame, with the front as a line."""
    finite = [entry for entry in decision.judged if math.isfinite(entry.cost.latency.p50_s)]
    with figure.drawn(11.5, 4.5) as canvas:
        axes = canvas.axes
        for entry in finite:
            colour = figure.CHOICE if entry is decision.choice else figure.COLOURS[0 if entry.is_feasible else 7]
            size = 20 + 80 * min(1.0, entry.cost.edge_load)
            axes.scatter(*_point(entry), s=size, color=colour, alpha=0.7, linewidths=0)
        front = _staircase([entry for entry in finite if entry.is_feasible])
        axes.plot(*zip(*(_point(entry) for entry in front), strict=True), color=figure.COLOURS[3], linewidth=1)
        for entry in front:
            axes.annotate(entry.id, _point(entry), xytext=(4, 4), textcoords="offset points", fontsize=8)
        figure.scale(axes, "x", [_point(entry)[0] for entry in finite])
        figure.scale(axes, "y", [_point(entry)[1] for entry in finite])
        axes.set_xlabel("bytes on the wire a frame")
        axes.set_ylabel("median latency, ms")
    return canvas.svg


def _point(entry: Judged) -> tuple[float, float]:
    return entry.cost.bytes_per_frame, entry.cost.latency.p50_s * 1e3


def _staircase(entries: list[Judged]) -> list[Judged]:
    """Those that nothing beats in both latency and bytes, by bytes."""
    front: list[Judged] = []
    for entry in sorted(entries, key=_point):
        if not front or entry.cost.latency.p50_s < front[-1].cost.latency.p50_s:
            front.append(entry)
    return front


def best_map(outcome: Outcome) -> str:
    """The pick over bandwidth (0.1 to 1000 Mbit/s) and round trip (0.5 to 500 ms), and further where the link is."""
    link = outcome.scenario.link
    rtt_s = max(link.rtt_s, _LEAST_RTT_S)
    bandwidths = _geometric(min(1e5, link.bandwidth_bps / 2), max(1e9, link.bandwidth_bps * 2), _MAP_POINTS[0])
    round_trips = _geometric(min(5e-4, rtt_s / 2), max(0.5, rtt_s * 2), _MAP_POINTS[1])
    those = Shortlist(outcome.candidates)
    picks = [[_pick(outcome, those, bandwidth, rtt) for bandwidth in bandwidths] for rtt in round_trips]
    names = sorted({name for row in picks for name in row}, key=lambda name: _order(outcome, name))
    numbers = [[names.index(name) for name in row] for row in picks]
    with figure.drawn(11.5, 4.5) as canvas:
        from matplotlib.colors import ListedColormap
        from matplotlib.patches import Patch

        colours = [figure.COLOURS[place % len(figure.COLOURS)] for place in range(len(names))]
        axes = canvas.axes
        axes.pcolormesh(
            [value / 1e6 for value in bandwidths],
            [value * 1e3 for value in round_trips],
            numbers,
            cmap=ListedColormap(colours),
            vmin=-0.5,
            vmax=len(names) - 0.5,
            shading="nearest",
            edgecolors="face",  # else thin lines of background show between the cells
        )
        axes.plot(link.bandwidth_bps / 1e6, rtt_s * 1e3, "x", color="black", markersize=10)
        figure.scale(axes, "x", [value / 1e6 for value in bandwidths])
        figure.scale(axes, "y", [value * 1e3 for value in round_trips])
        axes.set_xlabel("bandwidth, Mbit/s")
        axes.set_ylabel("round trip, ms")
        handles = [Patch(color=colour, label=name) for colour, name in zip(colours, names, strict=True)]
        axes.legend(handles=handles, loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)
    return canvas.svg


def _geometric(low: float, high: float, count: int) -> list[float]:
    return [low * (high / low) ** (place / (count - 1)) for place in range(count)]


def _pick(outcome: Outcome, those: Shortlist, bandwidth_bps: float, rtt_s: float) -> str:
    # The probe's points are of the measured link; another one is known by its two figures only.
    link = replace(outcome.scenario.link, bandwidth_bps=bandwidth_bps, rtt_s=rtt_s, points=())
    found = those.pick(replace(outcome.scenario, link=link), outcome.decision.goal)
    return found.candidate.id if found else "nothing"


def _order(outcome: Outcome, name: str) -> int:
    return next((place for place, entry in enumerate(outcome.candidates) if entry.id == name), -1)


def payloads(outcome: Outcome) -> str:
    """Payload by cut, logarithmic, against the raw input and its JPEG."""
    sent_whole = [entry for entry in outcome.candidates if entry.input_codec is not None]
    cuts = [entry for entry in outcome.candidates if entry.input_codec is None and entry.cut.boundary]
    choice = outcome.decision.choice
    with figure.drawn(11.5, 3.6) as canvas:
        axes = canvas.axes
        colours = [figure.CHOICE if choice and entry.id == choice.id else figure.COLOURS[4] for entry in cuts]
        axes.bar(range(len(cuts)), [entry.payload_bytes for entry in cuts], color=colours)
        for entry, colour in zip(sent_whole, figure.COLOURS[3:], strict=False):
            label = f"{entry.id} ({entry.payload_origin.value})"
            axes.axhline(entry.payload_bytes, color=colour, linewidth=1, linestyle="--", label=label)
        if sent_whole:
            figure.legend_above(axes)
        figure.scale(axes, "y", [entry.payload_bytes for entry in (*cuts, *sent_whole)])
        axes.set_ylabel("bytes a frame")
        step = max(1, len(cuts) // 20)
        axes.set_xticks(range(0, len(cuts), step), [entry.id for entry in cuts[::step]], rotation=60, ha="right")
    return canvas.svg


def gate(found: Tradeoff) -> str:
    """The share that is sent and the share that is right over the score."""
    scores = [point.score for point in found.points]
    useful = [point for point in found.points if point.is_useful]
    with figure.drawn(11.5, 3.2) as canvas:
        axes = canvas.axes
        axes.plot(scores, [point.sent for point in found.points], color=figure.COLOURS[0], label="sent")
        axes.plot(scores, [point.right for point in found.points], color=figure.COLOURS[3], label=found.measure)
        axes.plot([point.score for point in useful], [point.right for point in useful], "o", color=figure.COLOURS[3])
        figure.legend_above(axes)
        axes.set_xlabel("SCORE")
        axes.set_ylabel("share of all frames")
        axes.set_ylim(0.0, 1.05)
    return canvas.svg

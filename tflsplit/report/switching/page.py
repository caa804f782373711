"""A moving cut over a trace as one HTML page: what it gained, where it stood, and why it moved."""

from collections.abc import Sequence

from tflsplit import text
from tflsplit.report import document
from tflsplit.report.switching import charts
from tflsplit.switching.comparison import ADAPTIVE, Comparison, Outcome

# A page for people; the JSON has all of them.
_SWITCHES_SHOWN = 200


def render(found: Comparison) -> str:
    """The page's text. DeviceError where matplotlib is not installed."""
    sections = [
        _answer(found),
        document.figure("The cut over time", charts.cuts(found), charts.CUTS_CAPTION),
        document.figure("Latency", charts.latencies(found), charts.LATENCY_CAPTION),
        "<h2>Beside other policies</h2>" + _policies(found.policies),
        "<h2>Beside every cut that stays</h2>" + _policies(found.statics),
        "<h2>Why it moved</h2>" + _switches(found),
    ]
    return document.render(f"A moving cut over {found.trace.name}", sections)


def _answer(found: Comparison) -> str:
    setting, ours = found.setting, found.policies[ADAPTIVE]
    how = (
        "Real processes over a link that was shaped; the oracle in model time."
        if found.is_real
        else "Model time: the profiles' mean times, and the trace's rate."
    )
    conditions = (
        f"{found.trace.mean_bps / 1e6:.3g} Mbit/s in the mean over {found.trace.duration_s:.0f} s, "
        f"{setting.fps:g} frames a second, one in flight, device {setting.slow_edge:g}x as slow as profiled. {how}"
    )
    answer = (
        f"Moving the cut gives {ours.mean_ms:.2f} ms in the mean: "
        f"{text.percent(found.adaptive_over_best_static - 1, signed=True)} against the best cut that stays, "
        f"{text.percent(found.adaptive_over_oracle - 1, signed=True)} against an oracle."
    )
    return document.paragraph(conditions) + document.paragraph(answer, is_answer=True)


def _policies(outcomes: dict[str, Outcome]) -> str:
    rows: list[tuple[str, Sequence[object]]] = [
        (
            "choice" if name == ADAPTIVE else "",
            (
                name,
                *(f"{value:.2f}" for value in (one.mean_ms, one.p50_ms, one.p95_ms, one.p99_ms)),
                f"{one.frames:,}",
                f"{one.skipped:,}",
                f"{one.bytes / 1e6:,.2f}",
                f"{one.hedged:,}",
                f"{one.lost:,}",
                f"{one.wrong:,}",
                one.shares(),
            ),
        )
        for name, one in outcomes.items()
    ]
    numbers = ("mean ms", "p50 ms", "p95 ms", "p99 ms", "frames", "skipped", "MB", "hedged", "lost", "wrong")
    return document.table((("policy", False), *((title, True) for title in numbers), ("cuts", False)), rows)


def _switches(found: Comparison) -> str:
    shown = found.switches[:_SWITCHES_SHOWN]
    rows: list[tuple[str, Sequence[object]]] = [
        ("", (f"{each.at_s:.1f}", each.before, each.after, each.reason)) for each in shown
    ]
    left = len(found.switches) - len(shown)
    note = f"The first {len(shown)} of {len(found.switches)}." if left else text.counted(len(shown), "move") + "."
    return document.paragraph(note) + document.table(
        (("at s", True), ("from", False), ("to", False), ("because of", False)), rows
    )

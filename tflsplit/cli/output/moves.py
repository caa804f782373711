"""What a comparison of moving cuts found, for people: the answer, the moves, and a table of policies."""

from pathlib import Path

from tflsplit import text
from tflsplit.api import simulating
from tflsplit.cli.output import screen
from tflsplit.cli.output.tables import Column, Kind
from tflsplit.switching.comparison import ADAPTIVE, Comparison, Outcome

_COLUMNS = (
    "policy",
    "mean ms",
    Column("p50 ms", rank=3),
    "p95 ms",
    Column("p99 ms", rank=2),
    Column("MB", rank=4),
    Column("hedged", rank=5),
    Column("cuts", Kind.NOTE, rank=1),
)


def give(found: Comparison, report: Path | None, *, replaces_existing: bool, is_json: bool) -> None:
    """Prints what was found, and writes it to a page where one is wanted."""
    if report is not None:
        simulating.write_report(found, report, force=replaces_existing)
    screen.as_json(found.as_json()) if is_json else write(found)


def write(found: Comparison) -> None:
    share = text.percent(found.adaptive_over_best_static - 1, signed=True)
    screen.write(
        f"moving the cut: {found.policies[ADAPTIVE].mean_ms:.2f} ms in the mean, {share} against the best cut that "
        f"stays, {text.percent(found.adaptive_over_oracle - 1, signed=True)} against one that knows the trace"
    )
    screen.write(f"{text.counted(len(found.switches), 'move')}{_reasons(found)}")
    if found.is_real:
        shown = {**found.policies, **found.statics}.values()
        frames, lost, wrong = (sum(getattr(one, name) for one in shown) for name in ("frames", "lost", "wrong"))
        screen.write(f"{text.counted(frames, 'frame')} run, {lost} without an answer, {wrong} with a wrong one")
    screen.write("")
    title = (
        f"{found.trace.name}: {found.trace.mean_bps / 1e6:.3g} Mbit/s in the mean, {found.setting.fps:g} frames/s, "
        f"device {found.setting.slow_edge:g}x as slow as profiled"
    )
    screen.table(title, _COLUMNS, [_row(name, outcome) for name, outcome in found.policies.items()])


def _reasons(found: Comparison) -> str:
    counts: dict[str, int] = {}
    for each in found.switches:
        counts[each.reason] = counts.get(each.reason, 0) + 1
    listed = ", ".join(f"{reason} {count}" for reason, count in sorted(counts.items(), key=lambda item: -item[1]))
    return f" ({listed})" if listed else ""


def _row(name: str, outcome: Outcome) -> tuple[object, ...]:
    return (
        name,
        f"{outcome.mean_ms:.2f}",
        f"{outcome.p50_ms:.2f}",
        f"{outcome.p95_ms:.2f}",
        f"{outcome.p99_ms:.2f}",
        f"{outcome.bytes / 1e6:,.1f}",
        outcome.hedged,
        outcome.shares(),
    )

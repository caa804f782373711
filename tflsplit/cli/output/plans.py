"""What `tflsplit plan` prints: the candidates of a plan for two machines, or the pieces of a chain."""

import math

from tflsplit import text
from tflsplit.chains import comparison
from tflsplit.chains.pipeline import Planned
from tflsplit.cli.output import screen
from tflsplit.cli.output.tables import Column, Kind
from tflsplit.planning import constraints, report_text, tradeoff
from tflsplit.planning.decision import Decision, Judged, rank
from tflsplit.planning.pipeline import Outcome
from tflsplit.planning.tradeoff import Point, Tradeoff


def _columns(batch: int) -> tuple[str | Column, ...]:
    return (
        "",
        "cut",
        Column("after layer", Kind.NAME, rank=2),
        "p50 ms",
        Column("p95 ms", rank=2),
        Column(constraints.rate_unit(batch), rank=4),
        *((Column("bytes/input", rank=3),) if batch > 1 else ()),
        Column("MB/day", rank=3),
        Column("why not", Kind.NOTE, rank=1),
    )


def print_plan(outcome: Outcome, top: int | None) -> None:
    """The answer in two lines, then the `top` best candidates (None for all) and those that do not split."""
    decision = outcome.decision
    answer, _, comparison = report_text.reason(decision).partition("; ")
    figures = "" if decision.choice is None else f": {_figures(decision.choice)}"
    screen.write(f"{answer}{figures}")
    screen.write(comparison)
    ranked = ranking(decision)
    shown = ranked if top is None else ranked[:top]
    shown += [entry for entry in ranked[len(shown) :] if not entry.cost.candidate.is_split]
    link = outcome.scenario.link
    fps, batch = outcome.scenario.counted_fps, outcome.edge.batch
    rate = f"{fps:g} {constraints.rate_unit(batch)}".replace("s/s", "/s" if fps == 1 else "s/s")
    framed = f"frames of {batch} inputs; " if batch > 1 else ""
    title = (
        f"{outcome.package.manifest.name} over {link.name}: {link.bandwidth_bps / 1e6:g} Mbit/s, "
        f"{link.rtt_s * 1e3:g} ms ({link.origin.value}); {framed}MB/day at {rate}; "
        f"best {decision.goal.objective.value} first; → the pick, * the Pareto set"
    )
    screen.write("")
    screen.table(title, _columns(batch), [_row(entry, decision) for entry in shown])
    if len(shown) < len(ranked):
        screen.write(f"({len(shown)} of {text.counted(len(ranked), 'candidate')}: --all shows the others)")
    for words in (*report_text.turns(outcome.break_even, batch), *outcome.remarks):
        screen.write(words)
    if decision.choice is not None:
        screen.write(f"latency of {decision.choice.id}: {report_text.origins(decision.choice.cost)}")
        if carried := report_text.streams(decision.choice.cost):
            screen.write(carried)
    if outcome.gate is not None:
        _print_gate(outcome.gate, shows_all=top is None)


def _print_gate(gate: Tradeoff, *, shows_all: bool) -> None:
    """Every step, and of the other useful scores the one that gets most right, unless all are wanted."""
    best = max((point for point in gate.points if point.is_useful), key=lambda point: point.score)
    shown = [point for point in gate.points if shows_all or point is best or point.score in tradeoff.STEPS]
    screen.write("")
    columns = ("", "SCORE", "here", "sent", "bytes/frame", Column("mean ms", rank=1), gate.measure)
    screen.table(report_text.gate_title(gate), columns, [_gate_row(point) for point in shown])
    for words in report_text.gate_remarks(gate):
        screen.write(words)


def _gate_row(point: Point) -> tuple[object, ...]:
    return (
        "*" if point.is_useful else "",
        str(point.score),
        *(f"{share:.1%}" for share in (point.here, point.sent)),
        f"{point.bytes_per_frame:,.0f}",
        _ms(point.mean_s),
        f"{point.right:.1%}",
    )


def ranking(decision: Decision) -> list[Judged]:
    """All candidates, the pick first: by the objective those that meet the constraints, then by latency the others."""
    by_id = {entry.id: entry for entry in decision.judged}
    feasible = rank([entry.cost for entry in decision.judged if entry.is_feasible], decision.goal)
    others = sorted(
        (entry for entry in decision.judged if not entry.is_feasible),
        key=lambda entry: (entry is not decision.nearest, entry.cost.latency.p50_s),
    )
    return [*(by_id[cost.candidate.id] for cost in feasible), *others]


def _figures(entry: Judged) -> str:
    cost, batch = entry.cost, entry.cost.candidate.batch
    each = f" of {batch} inputs, {text.counted(round(cost.bytes_per_input), 'byte')} an input" if batch > 1 else ""
    return (
        f"{_ms(cost.latency.p50_s)} ms (95 % within {_ms(cost.latency.p95_s)} ms), "
        f"{cost.throughput_fps:.1f} {constraints.rate_unit(batch)}, "
        f"{text.counted(round(cost.bytes_per_frame), 'byte')} a frame{each}"
    )


def _ms(seconds: float) -> str:
    """∞ where frames come faster than they are answered, and wait ever longer."""
    return f"{seconds * 1e3:.2f}" if math.isfinite(seconds) else "∞"


def _row(entry: Judged, decision: Decision) -> tuple[object, ...]:
    return (
        "→" if entry is decision.choice else "*" if entry.id in decision.pareto else "",
        entry.id,
        entry.cost.candidate.cut.layer,
        _ms(entry.cost.latency.p50_s),
        _ms(entry.cost.latency.p95_s),
        f"{entry.cost.throughput_fps:.1f}",
        *((f"{entry.cost.bytes_per_input:,.0f}",) if entry.cost.candidate.batch > 1 else ()),
        f"{entry.cost.bytes_per_day / 1e6:,.0f}",
        report_text.short_why_not(entry, decision),
    )


def print_chain(planned: Planned) -> None:
    outcome = planned.outcome
    rows = [
        (name, f"{found.latency_s * 1e3:.2f}", f"{found.slowest_s * 1e3:.2f}", comparison.shares(outcome.chain, found))
        for name, found in outcome.shown.items()
    ]
    title = f"{planned.package.manifest.name} over {' → '.join(planned.machines)}; {outcome.aim}"
    screen.table(title, ("", "latency ms", Column("slowest stage ms", rank=1), Column("pieces", Kind.NOTE)), rows)
    screen.write(comparison.reason(outcome))
    for name, gain in outcome.gains.items():
        words = gain.text() if gain else "no one stage can run the whole model"
        screen.write(f"{name}: {words}")

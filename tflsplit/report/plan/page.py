"""A plan as one HTML page.

It shows what `tflsplit plan --json` prints, and computes only where the pick would change.
"""

import math
from collections.abc import Sequence
from importlib import metadata

from tflsplit.planning import constraints, report_text
from tflsplit.planning.pipeline import Outcome
from tflsplit.planning.tradeoff import Tradeoff
from tflsplit.report import document
from tflsplit.report.plan import charts, network
from tflsplit.timings.links import Link
from tflsplit.timings.profiles import Profile


def render(outcome: Outcome) -> str:
    """The page's text, a few hundred KB. DeviceError where matplotlib is not installed."""
    sections = [
        _answer(outcome),
        document.figure("Where the time goes", charts.latency_parts(outcome.decision), charts.LATENCY_CAPTION),
        document.figure("Latency against bytes", charts.pareto(outcome.decision), charts.PARETO_CAPTION),
        document.figure("What would be picked on another link", charts.best_map(outcome), charts.MAP_CAPTION),
        document.figure("What travels, cut by cut", charts.payloads(outcome), charts.PAYLOAD_CAPTION),
        document.figure("The network and the cut", network.drawing(outcome), network.CAPTION),
        *_gate(outcome.gate),
        "<h2>Every candidate</h2>" + _candidates(outcome),
        "<h2>Where the figures come from</h2>" + _sources(outcome),
    ]
    return document.render(f"Plan for {outcome.package.manifest.name}", sections)


def _answer(outcome: Outcome) -> str:
    work = outcome.scenario.workload
    rate = f"{work.rate_fps:g} frames a second" if work.rate_fps else "one frame at a time"
    conditions = (
        f"Package {outcome.package.digest[:16]}, calibration: {outcome.package.manifest.calibration.kind}. "
        f"Edge {machine(outcome.edge)}, cloud {machine(outcome.cloud)}, link "
        f"{link(outcome.scenario.link)}. {rate}; objective: {outcome.decision.goal.objective.value}."
    )
    changes = report_text.turns(outcome.break_even, outcome.edge.batch)
    return (
        document.paragraph(conditions)
        + document.paragraph(report_text.reason(outcome.decision), is_answer=True)
        + ("<p>What would change it:</p>" + document.listed(changes) if changes else "")
        + "<p>Beside it:</p>"
        + document.listed(outcome.remarks)
    )


def machine(profile: Profile) -> str:
    """`pi4 (coral)`: where a profile was made, and on what."""
    return f"{profile.machine.get('host', 'of no name')} ({profile.accelerator})"


def link(used: Link) -> str:
    """`4g: 10 Mbit/s, 53 ms (stated)`."""
    return f"{used.name}: {used.bandwidth_bps / 1e6:g} Mbit/s, {used.rtt_s * 1e3:g} ms ({used.origin.value})"


def _gate(gate: Tradeoff | None) -> tuple[str, ...]:
    if gate is None:
        return ()
    title = f"A gate at {gate.cut}: what is sent, and {gate.measure}, for each SCORE"
    return (
        document.figure(title, charts.gate(gate), charts.GATE_CAPTION),
        document.listed([report_text.gate_title(gate), *report_text.gate_remarks(gate)]) + _scores(gate),
    )


def _scores(gate: Tradeoff) -> str:
    columns = (("SCORE", True), ("here", True), ("sent", True), ("bytes a frame", True), ("mean ms", True))
    rows = [
        (
            "choice" if point.is_useful else "",
            (
                point.score,
                *(f"{share:.1%}" for share in (point.here, point.sent)),
                f"{point.bytes_per_frame:,.0f}",
                document.number(point.mean_s * 1e3 if math.isfinite(point.mean_s) else None),
                f"{point.right:.1%}",
            ),
        )
        for point in gate.points
    ]
    return document.table((*columns, (gate.measure, True)), rows)


def _candidates(outcome: Outcome) -> str:
    decision = outcome.decision
    front = set(decision.pareto)
    rows = []
    for judged in decision.judged:
        row = report_text.candidate(judged, decision)
        kind = "choice" if judged is decision.choice else "" if judged.is_feasible else "infeasible"
        latency = row["latency_ms"]
        cells = (
            judged.id,
            document.number(latency["p50"]),  # type: ignore[index]  # a dictionary, as `report_text` makes it
            document.number(latency["p95"]),  # type: ignore[index]
            document.number(row["throughput_fps"]),
            document.number(row["payload_bytes"]),
            f"{judged.cost.bytes_per_day / 1e6:,.1f}",
            f"{judged.cost.edge_load:.1%}",
            f"{judged.cost.candidate.edge_memory_bytes / 1e6:,.2f}",
            "yes" if judged.id in front else "",
            report_text.short_layer(judged.cost.candidate.cut.layer),
            row["why_not"] or "",
        )
        rows.append((kind, cells))
    columns = (
        ("candidate", False),
        ("p50 ms", True),
        ("p95 ms", True),
        (constraints.rate_unit(outcome.edge.batch), True),
        ("on the wire, B", True),
        (f"MB/day at {outcome.scenario.counted_fps:g} fps", True),
        ("edge load", True),
        ("edge MB", True),
        ("Pareto", False),
        ("after layer", False),
        ("why not", False),
    )
    return document.table(columns, rows)


def _sources(outcome: Outcome) -> str:
    """Each figure of the pick with its origin, and the descriptions in the two profiles and the link."""
    rows: list[tuple[str, Sequence[object]]] = []
    shown = outcome.decision.choice or outcome.decision.nearest
    if shown is not None:
        rows += [("", (f"{shown.id}: {name}", origin.value, "")) for name, origin in shown.cost.origins.items()]
    rows += profile_rows("edge", outcome.edge) + profile_rows("cloud", outcome.cloud)
    rows.append(("", ("link", outcome.scenario.link.origin.value, outcome.scenario.link.source)))
    return sources(rows)


def profile_rows(name: str, profile: Profile) -> list[tuple[str, Sequence[object]]]:
    runs = min(timing.run.runs for timing in profile.cuts)
    rows: list[tuple[str, Sequence[object]]] = [
        ("", (f"{name} profile", "measured", f"{runs} or more runs a cut, on {profile.accelerator}"))
    ]
    return rows + [("", (f"{name} {key}", "", value)) for key, value in profile.machine.items()]


def sources(rows: Sequence[tuple[str, Sequence[object]]]) -> str:
    made = ("", ("made with", "", f"tflsplit {metadata.version('tflsplit')}"))
    return document.table((("figure", False), ("origin", False), ("from", False)), [*rows, made])

"""What `tflsplit plan` prints: the candidates of a plan for two machines, or the pieces of a chain."""

import click

from tflsplit.chains import comparison
from tflsplit.chains.pipeline import Planned
from tflsplit.cli.output import screen
from tflsplit.planning import report_text
from tflsplit.planning.pipeline import Outcome


def print_plan(outcome: Outcome) -> None:
    decision = outcome.decision
    front = decision.pareto
    rows = [
        (
            "→" if entry is decision.choice else "*" if entry.id in front else "",
            entry.id,
            report_text.short_layer(entry.cost.candidate.cut.layer),
            f"{entry.cost.latency.p50_s * 1e3:.2f}",
            f"{entry.cost.latency.p95_s * 1e3:.2f}",
            f"{entry.cost.throughput_fps:.1f}",
            f"{entry.cost.bytes_per_day / 1e6:,.0f}",
            report_text.short_why_not(entry, decision),
        )
        for entry in decision.judged
    ]
    columns = ("", "cut", "after layer", "p50 ms", "p95 ms", "fps", "MB/day", "why not")
    link, counted_fps = outcome.scenario.link, outcome.scenario.counted_fps
    shown = f"{link.bandwidth_bps / 1e6:g} Mbit/s, {link.rtt_s * 1e3:g} ms ({link.origin.value})"
    title = (
        f"{outcome.package.manifest.name} over {link.name}: {shown}; MB/day at {counted_fps:g} frames/s; "
        "→ the pick, * the Pareto set"
    )
    screen.table(title, columns, rows)
    click.echo(report_text.reason(decision))
    for words in (*report_text.turns(outcome.break_even), *outcome.remarks):
        click.echo(words)
    if decision.choice is not None:
        click.echo(f"latency of {decision.choice.id}: {report_text.origins(decision.choice.cost)}")


def print_chain(planned: Planned) -> None:
    outcome = planned.outcome
    rows = [
        (name, f"{found.latency_s * 1e3:.2f}", f"{found.slowest_s * 1e3:.2f}", comparison.shares(outcome.chain, found))
        for name, found in outcome.shown.items()
    ]
    title = f"{planned.package.manifest.name} over {' → '.join(planned.machines)}; {outcome.aim}"
    screen.table(title, ("", "latency ms", "slowest stage ms", "pieces"), rows)
    click.echo(comparison.reason(outcome))
    for name, gain in outcome.gains.items():
        words = gain.text() if gain else "no one stage can run the whole model"
        click.echo(f"{name}: {words}")

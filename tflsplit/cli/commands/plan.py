"""`tflsplit plan`: where to cut, from measured timings."""

import sys
from pathlib import Path
from typing import Any

import click

import tflsplit
from tflsplit.api import files, planning
from tflsplit.cli.commands import chain_plan
from tflsplit.cli.options import chain, inputs, objectives
from tflsplit.cli.options import link as options_link
from tflsplit.cli.output import screen
from tflsplit.package import reading
from tflsplit.planning import report_text
from tflsplit.planning.pipeline import Outcome


@click.command()
@click.argument("pkg", type=click.Path(path_type=Path))
@click.option("--edge", "edge_path", type=click.Path(path_type=Path), help="The edge's profile.")
@click.option("--cloud", "cloud_path", type=click.Path(path_type=Path), help="The cloud's profile.")
@objectives.grouped(options_link.LINK, inputs.INPUT, objectives.WISH, objectives.COSTS, chain.OPTIONS)
@click.option("-o", "--output", "destination", type=click.Path(path_type=Path), help="Write the plan to this file.")
@click.option("--report", type=click.Path(path_type=Path), help="Write a page with charts (HTML, one file) here.")
@click.option("--json", "is_json", is_flag=True, help="Print everything as JSON.")
def command(
    pkg: Path,
    *,
    edge_path: Path | None,
    cloud_path: Path | None,
    link: str | None,
    bandwidth: str | None,
    rtt: str | None,
    loss: str | None,
    destination: Path | None,
    report: Path | None,
    stages: tuple[str, ...],
    is_json: bool,
    **given: Any,
) -> None:
    """Compare every cut, sending the input and computing everything locally, and pick one.

    Exit code 1 if nothing meets the constraints; what fails for each and what comes nearest is printed all the same.

    \b
    Python: tflsplit.plan("model.tflsplit", edge="pi.json", cloud="server.json", link="4g")
    """
    chain.check_options(click.get_current_context(), is_chain=bool(stages))
    for path in filter(None, (destination, report)):
        files.check_free(path, replaces_existing=True)
    opened = reading.open_package(pkg)
    if stages:
        names = given["hops"] or (None,) * (len(stages) - 1)
        hops = tuple(planning.link_of(name or link, bandwidth, rtt, loss) for name in names)
        goal = {name: given[name] for name in ("pins", "memory", "uses_all", "objective", "fps")}
        chain_plan.put_out(chain_plan.plan(opened, stages, hops, **goal), destination, report, is_json=is_json)
        return
    if edge_path is None or cloud_path is None:
        raise click.UsageError("Missing option '--edge' or '--cloud': give both profiles, or --stage for each machine.")
    words = {name: value for name, value in given.items() if name not in chain.ONLY}
    outcome = tflsplit.plan(
        opened, edge=edge_path, cloud=cloud_path, link=link, bandwidth=bandwidth, rtt=rtt, loss=loss, **words
    )
    if is_json:
        screen.as_json(outcome.as_json())
    else:
        _print(outcome)
    if report is not None:
        planning.write_report(outcome, report)
    if outcome.cut is None:
        sys.exit(1)
    if destination is not None:
        planning.write_plan(outcome, destination)


def _print(outcome: Outcome) -> None:
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

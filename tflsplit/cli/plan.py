"""`tflsplit plan`: where to cut, from measured timings."""

import sys
from pathlib import Path
from typing import Any

import click

from tflsplit import account, package, plan, planning
from tflsplit.cli import chainopts, inputopts, linkopts, output, planchain, planopts, target
from tflsplit.measurements import Side
from tflsplit.scenario import Scenario


@click.command()
@click.argument("pkg", type=click.Path(path_type=Path))
@click.option("--edge", "edge_path", type=click.Path(path_type=Path), help="The edge's profile.")
@click.option("--cloud", "cloud_path", type=click.Path(path_type=Path), help="The cloud's profile.")
@planopts.grouped(linkopts.LINK, inputopts.INPUT, planopts.WISH, planopts.COSTS, chainopts.OPTIONS)
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

    Exit code 1 if nothing meets the demands; what fails for each and what comes nearest is printed all the same.

    \b
    Python: tflsplit.planning.make(package, edge, cloud, scenario, wish)
    """
    chainopts.check_options(click.get_current_context(), is_chain=bool(stages))
    for path in filter(None, (destination, report)):
        target.check_free(path, replaces_existing=True)
    opened = package.open_package(pkg)
    if stages:
        names = given["hops"] or (None,) * (len(stages) - 1)
        hops = tuple(linkopts.link_of(name or link, bandwidth, rtt, loss) for name in names)
        wish = {name: given[name] for name in ("pins", "memory", "uses_all", "objective", "fps")}
        planchain.put_out(planchain.plan(opened, stages, hops, **wish), destination, report, is_json=is_json)
        return
    if edge_path is None or cloud_path is None:
        raise click.UsageError("Missing option '--edge' or '--cloud': give both profiles, or --stage for each machine.")
    edge = planning.read_profile(edge_path, opened, Side.EDGE)
    outcome = planning.make(
        opened,
        edge,
        planning.read_profile(cloud_path, opened, Side.CLOUD),
        Scenario(
            linkopts.link_of(link, bandwidth, rtt, loss),
            planopts.workload_of(given),
            planopts.prices_of(given),
            planopts.power_of(given),
        ),
        planopts.wish_of(opened, given),
        ways=inputopts.ways_of(opened, edge, given),
    )
    if is_json:
        output.as_json(outcome.as_json())
    else:
        _print(outcome)
    if report is not None:
        from tflsplit.report import page

        target.write_whole(report, page.render(outcome))
    if outcome.decision.choice is None:
        sys.exit(1)
    if destination is not None:
        target.write_whole(destination, plan.render(planning.plan_of(outcome, destination.parent)))


def _print(outcome: planning.Outcome) -> None:
    decision = outcome.decision
    front = decision.pareto
    rows = [
        (
            "→" if entry is decision.choice else "*" if entry.id in front else "",
            entry.id,
            account.short_layer(entry.cost.candidate.cut.layer),
            f"{entry.cost.latency.p50_s * 1e3:.2f}",
            f"{entry.cost.latency.p95_s * 1e3:.2f}",
            f"{entry.cost.throughput_fps:.1f}",
            f"{entry.cost.bytes_per_day / 1e6:,.0f}",
            account.short_why_not(entry, decision),
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
    output.table(title, columns, rows)
    click.echo(account.reason(decision))
    for words in (*account.turns(outcome.break_even), *outcome.remarks):
        click.echo(words)
    if decision.choice is not None:
        click.echo(f"latency of {decision.choice.id}: {account.origins(decision.choice.cost)}")

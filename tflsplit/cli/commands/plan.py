"""`tflsplit plan`: chooses a cut from measured timings and a link."""

from pathlib import Path
from typing import Any

import click

from tflsplit import errors
from tflsplit.api import distributing, files, planning
from tflsplit.chains import pipeline, planfile
from tflsplit.chains.pipeline import Planned
from tflsplit.cli.options import chain, objectives, scenario
from tflsplit.cli.output import examples, plans, screen
from tflsplit.package import reading


@click.command(
    epilog=examples.epilog(
        "tflsplit plan model.tflsplit --edge pi.json --cloud server.json --link 4g \\\n-o plan.json",
        "tflsplit plan model.tflsplit --edge pi.json --cloud server.json \\\n"
        "--bandwidth 5Mbit --rtt 40ms --max-latency 100ms --fps 10",
    )
)
@click.argument("pkg", type=click.Path(path_type=Path))
@click.option(
    "--edge",
    "edge_path",
    type=click.Path(path_type=Path),
    help="File that `tflsplit profile --side edge` wrote on the edge.",
)
@click.option(
    "--cloud",
    "cloud_path",
    type=click.Path(path_type=Path),
    help="File that `tflsplit profile --side cloud` wrote in the cloud.",
)
@objectives.grouped(scenario.LINK, scenario.INPUT, scenario.GATE, objectives.WISH, objectives.COSTS, chain.OPTIONS)
@click.option(
    "-o",
    "--output",
    "destination",
    type=click.Path(path_type=Path),
    help="Write the plan to this file, for --plan of `tflsplit edge`, `cloud` and `bundle`.",
)
@click.option("--report", type=click.Path(path_type=Path), help="Write a page with charts to this HTML file.")
@click.option(
    "--force", "replaces_existing", is_flag=True, help="Replace the files of -o and --report if there are any."
)
@click.option(
    "--top",
    type=click.IntRange(min=1),
    default=10,
    show_default=True,
    help="Number of best candidates to show, beside those that do not split the model.",
)
@click.option("--all", "shows_all", is_flag=True, help="Show all candidates.")
@screen.wide_option
@click.option("--json", "is_json", is_flag=True, help="Print everything as JSON.")
def command(
    pkg: Path,
    *,
    edge_path: Path | None,
    cloud_path: Path | None,
    link: str | None,
    bandwidth: float | None,
    rtt: float | None,
    loss: float | None,
    destination: Path | None,
    report: Path | None,
    stages: tuple[str, ...],
    replaces_existing: bool,
    top: int,
    shows_all: bool,
    is_json: bool,
    **given: Any,
) -> None:
    """Choose the best cut from profiles and a link.

    Every cut of PKG is compared, also sending the input to the cloud and running the whole model at the edge. For a
    chain of more than two machines give --stage instead of --edge and --cloud.

    Exit code 1 if nothing meets the constraints. What each candidate fails, and what comes nearest, is printed.

    \b
    Python: tflsplit.plan("model.tflsplit", edge="pi.json", cloud="server.json", link="4g")
    """
    chain.check_options(click.get_current_context(), is_chain=bool(stages))
    for path in filter(None, (destination, report)):
        files.check_free(path, replaces_existing=replaces_existing)
    distributing.check_free(given["pieces"], replaces_existing=replaces_existing)
    opened = reading.open_package(pkg)
    if stages:
        names = given["hops"] or (None,) * (len(stages) - 1)
        hops = tuple(planning.link_of(name or link, bandwidth, rtt, loss) for name in names)
        goal = {name: given[name] for name in ("pins", "memory", "uses_all", "objective", "fps")}
        planned = chain.plan(opened, stages, hops, **goal)
        if given["pieces"] is not None:
            distributing.write_chain(planned, given["pieces"], force=replaces_existing)
        _put_out_chain(planned, destination, report, is_json=is_json)
        return
    if edge_path is None or cloud_path is None:
        raise click.UsageError("Missing option '--edge' or '--cloud': give both profiles, or --stage for each machine.")
    words = {name: value for name, value in given.items() if name not in chain.ONLY}
    outcome = planning.plan(
        opened, edge=edge_path, cloud=cloud_path, link=link, bandwidth=bandwidth, rtt=rtt, loss=loss, **words
    )
    # Files first: whoever reads the output may stop reading.
    if report is not None:
        planning.write_report(outcome, report, force=replaces_existing)
    if destination is not None and outcome.cut is not None:
        planning.write_plan(outcome, destination, force=replaces_existing)
    if is_json:
        screen.as_json(outcome.as_json())
    else:
        plans.print_plan(outcome, None if shows_all else top)
    if outcome.cut is None:
        raise errors.SettingsError(f"{outcome.reason}; loosen what it fails")


def _put_out_chain(planned: Planned, destination: Path | None, report: Path | None, *, is_json: bool) -> None:
    if report is not None:
        from tflsplit.report.chain import page

        files.write_whole(report, page.render(planned))
    if destination is not None:
        files.write_whole(destination, planfile.render(pipeline.plan_of(planned, destination.parent)))
    if is_json:
        screen.as_json(planned.as_json())
    else:
        plans.print_chain(planned)

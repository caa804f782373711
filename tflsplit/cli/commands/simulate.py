"""`tflsplit simulate`: judges a cut that moves over a recorded link, in model time."""

from pathlib import Path

import click

import tflsplit
from tflsplit.api import files
from tflsplit.cli.options import objectives, scenario, units
from tflsplit.cli.output import examples, moves, screen


@click.command(
    epilog=examples.epilog(
        "tflsplit simulate model.tflsplit --edge pi.json --cloud server.json \\\n--trace lte.csv --report lte.html",
        "tflsplit simulate model.tflsplit --edge pi.json --cloud server.json \\\n--trace lte.up --slow-edge 4 --fps 5",
    )
)
@click.argument("pkg", type=click.Path(path_type=Path))
@click.option(
    "--edge",
    "edge_path",
    required=True,
    type=click.Path(path_type=Path),
    help="File that `tflsplit profile --side edge` wrote on the edge.",
)
@click.option(
    "--cloud",
    "cloud_path",
    required=True,
    type=click.Path(path_type=Path),
    help="File that `tflsplit profile --side cloud` wrote in the cloud.",
)
@click.option(
    "--trace",
    required=True,
    type=click.Path(path_type=Path),
    help=scenario.TRACE_HELP,
)
@objectives.grouped(scenario.PLAYING)
@click.option(
    "--rtt", type=units.TIME, default="40ms", show_default=True, help="Round-trip time where the trace says nothing."
)
@scenario.CODECS
@objectives.LOSSY
@click.option(
    "--policy",
    "policies",
    metavar="NAME,…",
    help="Policies to play beside ours and the two limits: adaptive_no_probes, adaptive_no_hedge, sciot, percentile, "
    "linucb. Default: all.",
)
@screen.wide_option
@click.option("--json", "is_json", is_flag=True, help="Print everything as JSON.")
def command(
    pkg: Path,
    *,
    edge_path: Path,
    cloud_path: Path,
    trace: Path,
    slow_edge: float,
    fps: float,
    rtt: float,
    duration: float | None,
    objective: str,
    hedge: float,
    no_hedge: bool,
    no_probes: bool,
    input_codecs: str,
    lossy: str | None,
    policies: str | None,
    report: Path | None,
    replaces_existing: bool,
    is_json: bool,
) -> None:
    """Judge a moving cut over a recorded link.

    The link is played in model time, and a cut that moves is compared with cuts that stay.

    Times are those of the profiles, so an hour of the trace takes seconds. Beside ours stand an oracle that knows the
    trace and moves for nothing, the best cut that stays (known only afterwards), the one planned for the trace's mean
    rate, and what others published.

    \b
    Python: tflsplit.simulate("model.tflsplit", edge="pi.json", cloud="server.json", trace="lte.csv")
    """
    if report is not None:
        files.check_free(report, replaces_existing=replaces_existing)
    found = tflsplit.simulate(
        pkg,
        edge=edge_path,
        cloud=cloud_path,
        trace=trace,
        slow_edge=slow_edge,
        fps=fps,
        rtt=rtt,
        duration=duration,
        objective=objective,
        hedge=None if no_hedge else hedge,
        probes=not no_probes,
        input_codecs=input_codecs,
        lossy=lossy,
        policies=policies,
    )
    moves.give(found, report, replaces_existing=replaces_existing, is_json=is_json)

"""`tflsplit simulate`: judges a cut that moves over a recorded link, in model time."""

from pathlib import Path

import click

import tflsplit
from tflsplit import text
from tflsplit.api import files, simulating
from tflsplit.cli.options import scenario, units
from tflsplit.cli.output import examples, screen
from tflsplit.cli.output.tables import Column, Kind
from tflsplit.switching.comparison import ADAPTIVE, Comparison, Outcome


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
    help="How the link was through time: a CSV (time_s,rate_bps,rtt_s,loss,load), or a file of mahimahi's.",
)
@click.option(
    "--slow-edge",
    type=float,
    default=1.0,
    show_default=True,
    help="A device that takes so many times what was profiled.",
)
@click.option("--fps", type=float, default=10.0, show_default=True, help="Frames a second of the camera.")
@click.option(
    "--rtt", type=units.TIME, default="40ms", show_default=True, help="Round-trip time where the trace says nothing."
)
@click.option("--duration", type=units.TIME, help="How much of the trace to play, it repeats. Default: all of it once.")
@click.option(
    "--objective",
    type=click.Choice(["mean", "p95"]),
    default="mean",
    show_default=True,
    help="Which latency the moving cut is to keep low.",
)
@click.option(
    "--hedge",
    type=float,
    default=0.5,
    show_default=True,
    metavar="SHARE",
    help="After this share of a frame's expected way from sending to answer, the device computes it too.",
)
@click.option("--no-hedge", is_flag=True, help="The device never computes what it has sent.")
@click.option("--no-probes", is_flag=True, help="Do not measure the link while nothing is sent over it.")
@scenario.CODECS
@click.option(
    "--policy",
    "policies",
    metavar="NAME,…",
    help="Policies to play beside ours and the two limits: adaptive_no_probes, adaptive_no_hedge, sciot, percentile, "
    "linucb. Default: all.",
)
@click.option("--report", type=click.Path(path_type=Path), help="Write a page with charts to this HTML file.")
@click.option("--force", "replaces_existing", is_flag=True, help="Replace the file of --report if there is one.")
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
        policies=policies,
    )
    if report is not None:
        simulating.write_report(found, report, force=replaces_existing)
    if is_json:
        screen.as_json(found.as_json())
    else:
        _print(found)


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


def _print(found: Comparison) -> None:
    share = text.percent(found.adaptive_over_best_static - 1, signed=True)
    screen.write(
        f"moving the cut: {found.policies[ADAPTIVE].mean_ms:.2f} ms in the mean, {share} against the best cut that "
        f"stays, {text.percent(found.adaptive_over_oracle - 1, signed=True)} against one that knows the trace"
    )
    screen.write(f"{text.counted(len(found.switches), 'move')}{_reasons(found)}")
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

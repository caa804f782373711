"""`tflsplit replay`: what a plan promises against what happens."""

import tempfile
from collections.abc import Callable
from pathlib import Path

import click

from tflsplit import errors, plan, planning
from tflsplit.cli import output, planned, planopts, replaying
from tflsplit.links import Link
from tflsplit.measurements import Origin, Profile, Side
from tflsplit.package import Package


@click.command()
@click.argument("pkg", type=click.Path(path_type=Path))
@click.option("--plan", "plan_path", type=click.Path(path_type=Path), help="Replay this plan's cut over its link.")
@click.option(
    "--cuts", "wanted", help="all, useful (and unsplit), or ids and layers with commas, as input:raw,op005,output."
)
@planopts.grouped(planopts.LINK)
@click.option("--edge", "edge_path", type=click.Path(path_type=Path), help="Edge's profile. Default: made now.")
@click.option("--cloud", "cloud_path", type=click.Path(path_type=Path), help="Cloud's profile. Default: made now.")
@click.option("--source", type=click.Path(path_type=Path), help="Inputs for the edges. Default: random ones.")
@click.option("--frames", type=click.IntRange(min=5), default=30, show_default=True, help="Frames to send at each cut.")
@click.option("--json", "is_json", is_flag=True, help="Print the report as JSON.")
def command(
    pkg: Path,
    *,
    plan_path: Path | None,
    wanted: str | None,
    link: str | None,
    bandwidth: str | None,
    rtt: str | None,
    loss: str | None,
    edge_path: Path | None,
    cloud_path: Path | None,
    source: Path | None,
    frames: int,
    is_json: bool,
) -> None:
    """Run cuts on this machine over a link that is shaped as stated, and compare with what the planner predicts.

    Broker, relay, cloud and edges are started here and ended again. Profiles must be of this machine.

    \b
    Python: tflsplit.cli.replaying.replay(package, profiles, link, names, folder)
    """
    opened, given = planned.opened(pkg, plan_path)
    stated = _link_of(given) if given and not (link or bandwidth) else planopts.link_of(link, bandwidth, rtt, loss)
    names = _names(wanted, given)
    with tempfile.TemporaryDirectory(prefix="tflsplit-replay-") as name, output.progress("replay", None) as step:
        folder = Path(name)
        profiles = (
            _profile(edge_path, opened, Side.EDGE, folder, step),
            _profile(cloud_path, opened, Side.CLOUD, folder, step),
        )
        report = replaying.replay(
            opened,
            profiles,
            stated,
            names,
            folder,
            source=source,
            frames=frames,
            on_step=lambda said: step(description=said),
        )
    if is_json:
        output.as_json(report.as_json())
    else:
        _print(report)


def _link_of(given: plan.Plan) -> Link:
    """The link that a plan was made for, as its file states it."""
    if not given.link:
        raise errors.SettingsError("the plan is for more links than one; give --link, or --bandwidth and --rtt")
    try:
        name, bandwidth, rtt = (given.link[key] for key in ("name", "bandwidth_bps", "rtt_s"))
        return Link(str(name), Origin.STATED, float(str(bandwidth)), float(str(rtt)), source="the plan")
    except (KeyError, ValueError) as cause:
        raise errors.DataError(f"plan for {given.package_name}: its link is damaged ({cause!r}); plan again") from cause


def _names(wanted: str | None, given: plan.Plan | None) -> tuple[str, ...]:
    """What was asked for: `all`, `useful`, or cuts and ways of sending the input."""
    if wanted is not None:
        return tuple(name.strip() for name in wanted.split(","))
    if given is None:
        return ("useful",)
    is_stored = given.input_codec in (None, "int8")
    return (given.cut if is_stored else f"{given.cut}:{given.input_codec}",)


def _profile(path: Path | None, opened: Package, side: Side, folder: Path, step: Callable[..., None]) -> Profile:
    """Read, or made now."""
    if path is not None:
        return planning.read_profile(path, opened, side)
    from edge_runtime import profile
    from edge_runtime.accelerators.cpu import Cpu

    step(description=f"profile the {side.value}")
    return profile.profile(profile.Task(opened, side, Cpu()), folder / f"{side.value}.partial")


def _print(report: replaying.Report) -> None:
    rows = [
        (
            row.id,
            row.payload_bytes,
            f"{row.predicted_p50_s * 1e3:.2f}",
            f"{row.measured_p50_s * 1e3:.2f}",
            f"{row.error:+.1%}",
            f"{row.predicted_p95_s * 1e3:.2f}",
            f"{row.measured_p95_s * 1e3:.2f}",
        )
        for row in report.rows
    ]
    columns = ("cut", "bytes", "predicted p50 ms", "measured", "error", "predicted p95 ms", "measured")
    stated, link = report.stated, report.link
    title = (
        f"over {stated.bandwidth_bps / 1e6:g} Mbit/s and {stated.rtt_s * 1e3:g} ms, "
        f"measured as {link.bandwidth_bps / 1e6:.3g} Mbit/s and {link.rtt_s * 1e3:.3g} ms"
    )
    output.table(title, columns, rows)
    if len(rows) > 1:
        click.echo(
            f"the planner picks {report.pick.id}, the best that was tried is {report.best.id}: "
            f"regret {report.regret:.1%}"
        )

"""`tflsplit replay`: what a plan promises against what happens."""

import tempfile
from collections.abc import Callable
from pathlib import Path

import click

from tflsplit.api import planning
from tflsplit.cli.options import link as options_link
from tflsplit.cli.options import objectives, planfile
from tflsplit.cli.output import screen
from tflsplit.cli.trials import replay_run
from tflsplit.cli.trials.replay_stage import Shaping
from tflsplit.package.reading import Package
from tflsplit.planning import pipeline
from tflsplit.timings.profiles import Profile, Side


@click.command()
@click.argument("pkg", type=click.Path(path_type=Path))
@click.option("--plan", "plan_path", type=click.Path(path_type=Path), help="Replay this plan's cut over its link.")
@click.option(
    "--cuts", "wanted", help="all, useful (and unsplit), or ids and layers with commas, as input:raw,op005,output."
)
@objectives.grouped(options_link.LINK)
@click.option(
    "--shaping",
    type=click.Choice([entry.value for entry in Shaping]),
    default=Shaping.RELAY.value,
    show_default=True,
    help="What makes the link: a relay, or network namespaces, which need root and can lose packets.",
)
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
    shaping: str,
    edge_path: Path | None,
    cloud_path: Path | None,
    source: Path | None,
    frames: int,
    is_json: bool,
) -> None:
    """Run cuts on this machine over a link that is shaped as stated, and compare with what the planner predicts.

    Broker, link, cloud and edges are started here and ended again. Profiles must be of this machine.

    \b
    Python: tflsplit.cli.trials.replay_run.replay(package, profiles, link, names, folder)
    """
    opened, given = planfile.opened(pkg, plan_path)
    is_stated = any((link, bandwidth, rtt, loss))
    stated = pipeline.link_of(given) if given and not is_stated else planning.link_of(link, bandwidth, rtt, loss)
    names = replay_run.names_of(wanted, given)
    with tempfile.TemporaryDirectory(prefix="tflsplit-replay-") as name, screen.progress("replay", None) as step:
        folder = Path(name)
        profiles = (
            _profile(edge_path, opened, Side.EDGE, folder, step),
            _profile(cloud_path, opened, Side.CLOUD, folder, step),
        )
        report = replay_run.replay(
            opened,
            profiles,
            stated,
            names,
            folder,
            source=source,
            frames=frames,
            shaping=Shaping(shaping),
            on_step=lambda said: step(description=said),
        )
    if is_json:
        screen.as_json(report.as_json())
    else:
        _print(report)


def _profile(path: Path | None, opened: Package, side: Side, folder: Path, step: Callable[..., None]) -> Profile:
    """Read, or made now."""
    if path is not None:
        return pipeline.read_profile(path, opened, side)
    step(description=f"profile the {side.value}")
    return replay_run.profile_of(opened, side, folder)


def _print(report: replay_run.Report) -> None:
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
        f"over {stated.bandwidth_bps / 1e6:g} Mbit/s, {stated.rtt_s * 1e3:g} ms, loss {stated.loss:.2%}; "
        f"measured {link.bandwidth_bps / 1e6:.3g} Mbit/s, {link.rtt_s * 1e3:.3g} ms, {report.lost_packets} packets lost"
    )
    screen.table(title, columns, rows)
    if len(rows) > 1:
        click.echo(
            f"the planner picks {report.pick.id}, the best that was tried is {report.best.id}: "
            f"regret {report.regret:.1%}"
        )

"""`tflsplit replay`: compares the planner's predictions with real runs on this machine."""

import tempfile
from collections.abc import Callable
from pathlib import Path

import click

from tflsplit import errors, text
from tflsplit.api import planning
from tflsplit.cli.options import objectives, planfile, scenario
from tflsplit.cli.output import examples, screen
from tflsplit.cli.output.tables import Column
from tflsplit.cli.trials import replay_run
from tflsplit.cli.trials.replay_stage import Shaping
from tflsplit.package import trial
from tflsplit.package.reading import Package
from tflsplit.planning import pipeline
from tflsplit.timings.profiles import Profile, Side


@click.command(
    epilog=examples.epilog(
        "tflsplit replay model.tflsplit --link wifi",
        "tflsplit replay model.tflsplit --cuts input,op012,output \\\n--bandwidth 5Mbit --rtt 40ms",
    )
)
@click.argument("pkg", type=click.Path(path_type=Path))
@click.option(
    "--plan", "plan_path", type=click.Path(path_type=Path), help="Run the cut of this plan over the link of this plan."
)
@click.option(
    "--cuts",
    "wanted",
    help="Cuts to run: all, useful (with input and output), or ids and layers with commas, for example "
    "input:raw,op005,output. Default: the plan's, else useful.",
)
@objectives.grouped(scenario.LINK)
@click.option(
    "--shaping",
    type=click.Choice([entry.value for entry in Shaping]),
    default=Shaping.RELAY.value,
    show_default=True,
    help="How the link is imitated. relay: by a process between edge and broker. namespace: by the kernel, which can "
    "also lose packets; this needs root.",
)
@click.option(
    "--edge",
    "edge_path",
    type=click.Path(path_type=Path),
    help="Profile of the edge side, made on this machine. Default: measured first.",
)
@click.option(
    "--cloud",
    "cloud_path",
    type=click.Path(path_type=Path),
    help="Profile of the cloud side, made on this machine. Default: measured first.",
)
@click.option(
    "--source",
    type=click.Path(path_type=Path),
    help="Inputs for the edges: a folder of pictures, or a .npy, .npz or .csv file. Default: random inputs.",
)
@click.option("--frames", type=click.IntRange(min=5), default=30, show_default=True, help="Frames to send at each cut.")
@screen.wide_option
@click.option("--json", "is_json", is_flag=True, help="Print the report as JSON.")
def command(
    pkg: Path,
    *,
    plan_path: Path | None,
    wanted: str | None,
    link: str | None,
    bandwidth: float | None,
    rtt: float | None,
    loss: float | None,
    shaping: str,
    edge_path: Path | None,
    cloud_path: Path | None,
    source: Path | None,
    frames: int,
    is_json: bool,
) -> None:
    """Run cuts on this machine and check the predictions.

    Broker, cloud and edges run on this machine, over a link that is slowed down to the stated bandwidth and round-trip
    time. The measured latency of each cut is shown beside the one that the planner predicts.
    """
    opened, given = planfile.opened(pkg, plan_path)
    is_stated = any(each is not None for each in (link, bandwidth, rtt, loss))
    stated = pipeline.link_of(given) if given and not is_stated else planning.link_of(link, bandwidth, rtt, loss)
    names = replay_run.names_of(wanted, given)
    if source is not None and not source.exists():
        raise errors.DataError(f"source {source}: there is no such file or folder")
    replay_run.check(opened, names, stated, Shaping(shaping))
    trial.once(opened)
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
            on_step=lambda words: step(description=words),
        )
    if is_json:
        screen.as_json(report.as_json())
    else:
        _print(report)


def _profile(path: Path | None, opened: Package, side: Side, folder: Path, step: Callable[..., None]) -> Profile:
    """The profile at `path`; without one it is measured now."""
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
            text.percent(row.error, signed=True),
            f"{row.predicted_p95_s * 1e3:.2f}",
            f"{row.measured_p95_s * 1e3:.2f}",
        )
        for row in report.rows
    ]
    columns = (
        "cut",
        Column("bytes", rank=2),
        "predicted p50 ms",
        "measured p50 ms",
        Column("error", rank=1),
        Column("predicted p95 ms", rank=3),
        Column("measured p95 ms", rank=3),
    )
    stated, link = report.stated, report.link
    title = (
        f"over {stated.bandwidth_bps / 1e6:g} Mbit/s, {stated.rtt_s * 1e3:g} ms, loss {stated.loss:.2%}; "
        f"measured {link.bandwidth_bps / 1e6:.3g} Mbit/s, {link.rtt_s * 1e3:.3g} ms, "
        f"{text.counted(report.lost_packets, 'packet')} lost"
    )
    screen.table(title, columns, rows)
    if len(rows) > 1:
        screen.write(
            f"the planner picks {report.pick.id}, the best that was tried is {report.best.id}: "
            f"regret {text.percent(report.regret)}"
        )

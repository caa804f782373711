"""`tflsplit replay`: compares predictions, and policies that move the cut, with real runs on this machine."""

import contextlib
import tempfile
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from tflsplit import errors, text
from tflsplit.api import files, planning, simulating
from tflsplit.cli import cut_names
from tflsplit.cli.options import objectives, planfile, scenario
from tflsplit.cli.output import examples, moves, screen
from tflsplit.cli.output.tables import Column
from tflsplit.cli.trials import replay_run
from tflsplit.cli.trials.moving import played
from tflsplit.cli.trials.replay_stage import Shaping
from tflsplit.package import reading, trial
from tflsplit.package.reading import Package
from tflsplit.planning import pipeline
from tflsplit.switching.controller import Tuning
from tflsplit.switching.policy import Probing
from tflsplit.timings.profiles import Profile, Side

# Which options are about predictions, and which about a trace: with the others they would say nothing.
_OF_CUTS = ("plan_path", "wanted", "link", "bandwidth", "loss", "shaping", "frames")
_OF_TRACES = (
    *("policies", "slow_edge", "fps", "duration", "objective", "hedge", "no_hedge", "no_probes", "report"),
    "replaces_existing",
)
_RTT_S = 0.04  # as `simulate` has it

# Profiles of the edge and of the cloud; None for one that is to be measured.
_Paths = tuple[Path | None, Path | None]


@click.command(
    epilog=examples.epilog(
        "tflsplit replay model.tflsplit --link wifi",
        "tflsplit replay model.tflsplit --cuts input,op012,output \\\n--bandwidth 5Mbit --rtt 40ms",
        "tflsplit replay model.tflsplit --trace lte.csv --slow-edge 4 \\\n--duration 60s --report lte.html",
    )
)
@click.argument("pkg", type=click.Path(path_type=Path))
@click.option(
    "--plan", "plan_path", type=click.Path(path_type=Path), help="Run the cut of this plan over the link of this plan."
)
@click.option(
    "--cuts",
    "wanted",
    shell_complete=cut_names.complete,
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
@click.option(
    "--trace",
    type=click.Path(path_type=Path),
    help=f"Move the cut over a link that changes, and compare with cuts that stay. {scenario.TRACE_HELP} "
    "Each run takes as long as the trace.",
)
@click.option(
    "--policy",
    "policies",
    metavar="NAME,…",
    default=played.STATIC,
    show_default=True,
    help="With --trace: what to run beside ours: static (each cut that stays), planned_static (only that for the "
    "trace's mean rate), adaptive_no_probes, adaptive_no_hedge, sciot, percentile, linucb.",
)
@objectives.grouped(scenario.PLAYING)
@screen.wide_option
@click.option("--json", "is_json", is_flag=True, help="Print the report as JSON.")
def command(
    pkg: Path,
    *,
    trace: Path | None,
    edge_path: Path | None,
    cloud_path: Path | None,
    source: Path | None,
    is_json: bool,
    **given: Any,
) -> None:
    """Run cuts on this machine and check the predictions.

    Broker, cloud and edges run on this machine, over a link that is slowed down to the stated bandwidth and round-trip
    time. The measured latency of each cut is shown beside the one that the planner predicts.

    With --trace the link changes as the trace says, and what moves the cut is compared with cuts that stay, as
    `tflsplit simulate` does it in model time: one frame in flight, each answer compared with the whole model's.
    """
    idle = _OF_TRACES if trace is None else _OF_CUTS
    _check_idle(idle, "a link that changes: give --trace as well" if trace is None else "cuts without --trace")
    if source is not None and not source.exists():
        raise errors.DataError(f"source {source}: there is no such file or folder")
    wanted = {name: value for name, value in given.items() if name not in idle}
    if trace is None:
        _over_link(pkg, (edge_path, cloud_path), source, is_json=is_json, **wanted)
    else:
        _over_trace(pkg, (edge_path, cloud_path), source, trace=trace, is_json=is_json, **wanted)


def _check_idle(idle: Collection[str], needs: str) -> None:
    """SettingsError for an option that would say nothing."""
    context = click.get_current_context()
    for parameter in context.command.params:
        is_given = context.get_parameter_source(str(parameter.name)) is not ParameterSource.DEFAULT
        if is_given and parameter.name in idle:
            raise errors.SettingsError(f"{parameter.opts[0]} is about {needs}")


def _over_link(
    pkg: Path,
    paths: _Paths,
    source: Path | None,
    *,
    plan_path: Path | None,
    wanted: str | None,
    link: str | None,
    bandwidth: float | None,
    rtt: float | None,
    loss: float | None,
    shaping: str,
    frames: int,
    is_json: bool,
) -> None:
    opened, given = planfile.opened(pkg, plan_path)
    if given is not None and given.batch > 1:
        raise errors.SettingsError(f"{plan_path}: a plan of {given.batch} inputs a frame; a replay sends one in each")
    is_stated = any(each is not None for each in (link, bandwidth, rtt, loss))
    stated = pipeline.link_of(given) if given and not is_stated else planning.link_of(link, bandwidth, rtt, loss)
    names = replay_run.names_of(wanted, given)
    replay_run.check(opened, names, stated, Shaping(shaping))
    with _measured(opened, paths) as (folder, profiles, say):
        report = replay_run.replay(
            *(opened, profiles, stated, names, folder),
            source=source,
            frames=frames,
            shaping=Shaping(shaping),
            on_step=say,
        )
    screen.as_json(report.as_json()) if is_json else _print(report)


def _over_trace(
    pkg: Path,
    paths: _Paths,
    source: Path | None,
    *,
    trace: Path,
    rtt: float | None,
    policies: str,
    slow_edge: float,
    fps: float,
    duration: float | None,
    objective: str,
    hedge: float,
    no_hedge: bool,
    no_probes: bool,
    report: Path | None,
    replaces_existing: bool,
    is_json: bool,
) -> None:
    if report is not None:
        files.check_free(report, replaces_existing=replaces_existing)
    wanted = played.wanted(policies)
    link = simulating.read_trace(trace)
    tuning = Tuning(hedge=None if no_hedge else hedge, probing=None if no_probes else Probing())
    setting = simulating.setting(slow_edge, fps, _RTT_S if rtt is None else rtt, duration)
    opened = reading.open_package(pkg)
    with _measured(opened, paths) as (folder, (edge, cloud), say):
        compared = simulating.prepare(
            opened,
            edge=edge,
            cloud=cloud,
            trace=link,
            setting=setting,
            objective=objective,
            tuning=tuning,
            input_codecs="int8",
        )
        inputs = source or replay_run.random_source(opened, folder)
        told = played.run(opened, compared, wanted, folder, source=inputs, on_step=say)
    found = played.comparison_of(compared, told)
    moves.give(found, report, replaces_existing=replaces_existing, is_json=is_json)


@contextlib.contextmanager
def _measured(opened: Package, paths: _Paths) -> Iterator[tuple[Path, tuple[Profile, Profile], Callable[[str], None]]]:
    """A folder for what is made, the profiles of edge and cloud, measured now where no file has them, and what is told
    of each step."""
    trial.once(opened)
    with tempfile.TemporaryDirectory(prefix="tflsplit-replay-") as name, screen.progress("replay", None) as step:

        def say(words: str) -> None:
            step(description=words)

        def profile(path: Path | None, side: Side) -> Profile:
            if path is not None:
                return pipeline.read_profile(path, opened, side)
            say(f"profile the {side.value}")
            return replay_run.profile_of(opened, side, Path(name))

        yield Path(name), (profile(paths[0], Side.EDGE), profile(paths[1], Side.CLOUD)), say


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

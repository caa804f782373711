"""`tflsplit profile`: measures how long every cut takes on this machine."""

import os
from pathlib import Path
from typing import Any

import click

from tflsplit.api import packages, profiling
from tflsplit.cli.options import accelerator as options_accelerator
from tflsplit.cli.options import units
from tflsplit.cli.output import examples, screen
from tflsplit.cli.output.tables import Column
from tflsplit.timings import profiles
from tflsplit.timings.profiles import Profile, Side


@click.command(
    epilog=examples.epilog(
        "tflsplit profile model.tflsplit --side edge --samples pictures/ -o pi.json",
        "tflsplit profile model.tflsplit --side cloud -o server.json",
    )
)
@click.argument("pkg", type=click.Path(path_type=Path))
@click.option(
    "--side",
    required=True,
    type=click.Choice([side.value for side in Side]),
    help="edge: measure heads and the encoding of their output. cloud: measure decoding and tails.",
)
@click.option(
    "-o",
    "--output",
    "destination",
    type=click.Path(path_type=Path),
    metavar="FILE",
    required=True,
    help="File to write the profile to, as JSON.",
)
@click.option(
    "--samples",
    help="Inputs to measure with: a folder of pictures, or a .npy, .npz or .csv file. Default: random inputs, which "
    "compress worse than real ones.",
)
@options_accelerator.option("accelerator", default="cpu")
@click.option(
    "--threads", type=click.IntRange(min=1), default=1, show_default=True, help="CPU threads that run a head or tail."
)
@click.option(
    "--budget",
    type=units.TIME,
    default="20s",
    show_default=True,
    help="Time that all measurements may take together.",
)
@click.option(
    "--precision",
    type=units.SHARE,
    default="2%",
    show_default=True,
    help="Measure until the median is known this well.",
)
@click.option(
    "--jpeg-quality",
    type=click.IntRange(1, 95),
    default=75,
    show_default=True,
    help="JPEG quality with which sending pictures is measured.",
)
@click.option(
    "--batch",
    type=click.IntRange(1, 64),
    default=1,
    show_default=True,
    help="Inputs that one frame holds, for `tflsplit plan --batch`. Cuts that do not take so many are left out.",
)
@click.option("--force", is_flag=True, help="Replace FILE if there is one.")
@screen.wide_option
@click.option("--json", "is_json", is_flag=True, help="Print the profile as JSON.")
def command(
    pkg: Path,
    *,
    side: str,
    destination: Path,
    is_json: bool,
    **options: Any,
) -> None:
    """Measure how long each cut takes on this machine.

    `tflsplit plan` needs the profile of the edge and that of the cloud; each is measured on the machine itself. A run
    that was killed goes on from FILE.partial when it is started again.

    \b
    Python: tflsplit.profile("model.tflsplit", "edge", "pi.json")
    """
    from edge_runtime.profiling import profiler

    opened = packages.open(pkg)
    with screen.progress(f"profile the {side}", profiler.FEWEST_MEASUREMENTS * len(opened.select("listed"))) as step:
        made = profiling.profile(opened, side, destination, on_measurement=step, **options)
    if is_json:
        click.echo(profiles.render(made), nl=False)
    else:
        _print(made, destination)


def _print(made: Profile, destination: Path) -> None:
    rows = [
        (
            entry.cut,
            *(f"{entry.run.percentile_s(percent) * 1000:.3f}" for percent in (50, 95, 99)),
            entry.run.runs,
            entry.run.origin.value,
            f"{entry.coding.p50_s * 1000:.3f}",
            None if entry.coded_bytes is None else round(entry.coded_bytes),
            f"{entry.load_s * 1000:.1f}",
            f"{entry.memory_bytes / 2**20:.1f}",
        )
        for entry in made.cuts
    ]
    half, coding = ("head", "encode") if made.side is Side.EDGE else ("tail", "decode")
    columns = (
        "cut",
        f"{half} p50 ms",
        Column("p95", rank=1),
        Column("p99", rank=4),
        Column("runs", rank=4),
        Column("origin", rank=3),
        Column(f"{coding} ms", rank=1),
        Column("coded bytes", rank=1),
        Column("load ms", rank=2),
        Column("MiB", rank=2),
    )
    machine = ", ".join(f"{key} {value}" for key, value in made.machine.items())
    of_batch = f", frames of {made.batch} inputs" if made.batch > 1 else ""
    screen.table(f"{made.name} on the {made.side.value}, {made.accelerator}{of_batch}: {machine}", columns, rows)
    screen.write(f"kernel class {made.kernel_class}")
    if made.preprocess is not None:
        screen.write(f"preprocessing: {made.preprocess.p50_s * 1000:.3f} ms")
    for way in made.pixels:
        parts = {"capture": way.capture, coding: way.coding}
        times = ", ".join(f"{name} {timing.p50_s * 1000:.3f} ms" for name, timing in parts.items() if timing)
        size = "" if way.coded_bytes is None else f", {way.coded_bytes:,.0f} B"
        screen.write(f"picture sent as {way.input_codec}: {times}{size}")
    for note in made.notes:
        screen.write(note)
    screen.write(f"written to {os.fspath(destination)}")

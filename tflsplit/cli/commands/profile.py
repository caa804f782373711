"""`tflsplit profile`: how long every cut takes on this machine."""

import os
from pathlib import Path
from typing import Any

import click

import tflsplit
from tflsplit.api import packages
from tflsplit.cli.options import accelerator as options_accelerator
from tflsplit.cli.output import screen
from tflsplit.timings import profiles
from tflsplit.timings.profiles import Profile, Side


@click.command()
@click.argument("pkg", type=click.Path(path_type=Path))
@click.option(
    "--side",
    required=True,
    type=click.Choice([side.value for side in Side]),
    help="edge: heads and encoding. cloud: tails and decoding.",
)
@click.option(
    "-o", "--output", "destination", type=click.Path(path_type=Path), required=True, help="File to write (JSON)."
)
@click.option("--samples", help="Inputs: folder of pictures, .npy/.npz file. Default: random ones, noted in the file.")
@options_accelerator.option("accelerator", default="cpu")
@click.option("--threads", type=click.IntRange(min=1), default=1, show_default=True, help="CPU threads.")
@click.option("--budget", default=20.0, show_default=True, help="Seconds to spend on timing.")
@click.option("--precision", default=0.02, show_default=True, help="How closely a median is to be known, as a share.")
@click.option(
    "--jpeg-quality", type=click.IntRange(1, 95), default=75, show_default=True, help="Of pictures sent as JPEG."
)
@click.option("--force", is_flag=True, help="Replace FILE if it is there.")
@click.option("--json", "is_json", is_flag=True, help="Print the profile as JSON.")
def command(
    pkg: Path,
    *,
    side: str,
    destination: Path,
    is_json: bool,
    **options: Any,
) -> None:
    """Time the head (or tail) of every cut of PKG here, for `tflsplit plan`.

    A run that was killed goes on from FILE.partial when it is started again.

    \b
    Python: tflsplit.profile("model.tflsplit", "edge", "pi.json")
    """
    from edge_runtime.profiling import profiler

    opened = packages.open(pkg)
    with screen.progress(f"profile the {side}", profiler.FEWEST_MEASUREMENTS * len(opened.cuts)) as step:
        made = tflsplit.profile(opened, side, destination, on_measurement=step, **options)
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
    columns = ("cut", f"{half} p50 ms", "p95", "p99", "runs", "origin", f"{coding} ms", "coded bytes", "load ms", "MiB")
    machine = ", ".join(f"{key} {value}" for key, value in made.machine.items())
    screen.table(f"{made.name} on the {made.side.value}, {made.accelerator}: {machine}", columns, rows)
    if made.preprocess is not None:
        click.echo(f"preprocessing: {made.preprocess.p50_s * 1000:.3f} ms")
    for way in made.pixels:
        parts = {"capture": way.capture, coding: way.coding}
        told = ", ".join(f"{name} {timing.p50_s * 1000:.3f} ms" for name, timing in parts.items() if timing)
        size = "" if way.coded_bytes is None else f", {way.coded_bytes:,.0f} B"
        click.echo(f"picture sent as {way.input_codec}: {told}{size}")
    for note in made.notes:
        click.echo(note)
    click.echo(f"written to {os.fspath(destination)}")

"""`tflsplit emulate`: a shared model on machines that are not there."""

from pathlib import Path

import click

from tflsplit import errors
from tflsplit.cli.options import units
from tflsplit.cli.output import examples, screen


@click.command(
    epilog=examples.epilog(
        "tflsplit emulate shared/",
        "tflsplit emulate shared/ --bandwidth 10Mbit --pace 20e9 --frames 10 --json",
    )
)
@click.argument("bundle", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--bandwidth", type=units.RATE, help="Of each machine's link. Default: as stated to distribute.")
@click.option(
    "--pace",
    metavar="MACS",
    help="Each machine's speed: multiply-accumulates a second, or the file of a profile. Default: as stated.",
)
@click.option(
    "--over",
    type=click.Choice(["zenoh", "mqtt"]),
    help="How workers meet: directly, or at a broker that has a link like theirs. Default: as stated to distribute.",
)
@click.option(
    "--frames", type=click.IntRange(2, 10_000), default=5, show_default=True, help="Frames that count, of each way."
)
@click.option(
    "--window",
    type=click.IntRange(1, 1024),
    default=1,
    show_default=True,
    help="Frames on their way at a time; with more than one, frames a second are what is compared.",
)
@click.option("--alone", "is_alone", is_flag=True, help="Without one machine and output channels beside it.")
@screen.wide_option
@click.option("--json", "is_json", is_flag=True, help="Print everything as JSON.")
def command(
    bundle: Path,
    *,
    bandwidth: float | None,
    pace: str | None,
    over: str | None,
    frames: int,
    window: int,
    is_alone: bool,
    is_json: bool,
) -> None:
    """Run a shared model on emulated machines.

    DIR is what `tflsplit distribute -o` wrote. Each machine is a real worker in a network namespace of its own, on a
    link that the kernel shapes; it computes, and then waits for as long as the stated machine would have taken. Beside
    it run one machine alone and sharing by output channels, and every result is compared with the whole model's. Needs
    Linux, root, and Mosquitto or eclipse-zenoh.
    """
    from tflsplit.cli.trials.emulation import comparison, printing

    with screen.progress("emulating", 1 if is_alone else 3) as step:
        found = comparison.run(
            bundle,
            bandwidth_bps=bandwidth,
            pace=pace,
            over=over,
            frames=frames,
            window=window,
            beside=() if is_alone else comparison.BESIDE,
            on_row=lambda name: step(description=name.replace("_", " ")),
        )
    screen.as_json(found.as_json()) if is_json else printing.write(found)
    if found.wrong:
        raise errors.PackageError(f"{bundle}: {found.wrong} results are not the whole model's")

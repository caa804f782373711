"""`tflsplit run-chain`: a first try of a placement, all its machines as processes on this one."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from tflsplit import errors, text
from tflsplit.cli.output import examples, screen

if TYPE_CHECKING:
    from tflsplit.cli.trials.sharing.one_box import Tried


@click.command(
    "run-chain",
    epilog=examples.epilog("tflsplit run-chain shared/ --frames 100", "tflsplit run-chain shared/ --kill --over box"),
)
@click.argument("bundle", metavar="DIR", type=click.Path(path_type=Path))
@click.option(
    "--frames", type=click.IntRange(2, 1_000_000), default=100, show_default=True, help="Random inputs to run."
)
@click.option(
    "--pace",
    metavar="MACS",
    help="Let no machine be quicker than so many multiply-accumulates a second. Default: as stated to distribute, if "
    "it was.",
)
@click.option(
    "--over",
    type=click.Choice(["mqtt", "box"]),
    default="mqtt",
    show_default=True,
    help="How workers meet: at a broker that is started for them, or through shared memory.",
)
@click.option(
    "--kill",
    "kills",
    is_flag=True,
    help="Kill each worker once and start it again; at least --frames are given, and more until all are back.",
)
@click.option("--json", "is_json", is_flag=True, help="Print what was found as JSON.")
def command(bundle: Path, *, frames: int, pace: str | None, over: str, kills: bool, is_json: bool) -> None:
    """Try a shared model or a chain on this machine.

    DIR is what `tflsplit distribute -o` or `tflsplit plan --stage … --pieces` wrote. A worker for each machine runs
    here as a process; every result is compared with the whole model's. Exit code 1 if any is missing,
    wrong or out of order.
    """
    from tflsplit.cli.trials.sharing import one_box

    found = one_box.run(bundle, frames=frames, pace=pace, over=over, kills=kills)
    screen.as_json(found.as_json()) if is_json else _write(found)
    if not found.is_whole:
        raise errors.PackageError(f"{bundle}: results are not those of the whole model, each once and in order")


def _write(found: "Tried") -> None:
    ok = text.counted(found.results - found.wrong, "result")
    screen.write(f"{ok} of {found.frames} as the whole model gives {'them' if found.frames > 1 else 'it'}, bit for bit")
    if found.killed:
        screen.write(
            f"{text.counted(found.killed, 'worker')} killed and started again; since the source is back, "
            f"{text.counted(found.recomputed, 'frame')} computed again, {text.counted(found.placements, 'placement')}"
        )
        return
    predicted_ms, predicted_per_s = (found.expected.get(name) for name in ("latency_ms", "frames_per_s"))
    beside = " (this machine's own speed, shared by all)" if not found.paced else ""
    screen.write(f"one frame at a time: {found.latency_ms:.2f} ms{_beside(predicted_ms)}{beside}")
    screen.write(f"pipelined: {found.frames_per_s:.2f} frames/s{_beside(predicted_per_s)}")
    if found.of_slowest is not None:
        slowest = max(found.busy_ms, key=lambda name: found.busy_ms[name])
        screen.write(
            f"{text.percent(found.of_slowest)} of what {slowest} allows, the machine that computes the longest"
        )


def _beside(predicted: object) -> str:
    return f", predicted {predicted:.2f}" if isinstance(predicted, float | int) else ""

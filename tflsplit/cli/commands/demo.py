"""`tflsplit demo`: a complete deployment on this machine, from a model to results."""

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tflsplit import text
from tflsplit.cli.output import examples, logs, screen

if TYPE_CHECKING:  # it imports the converters
    from broker.messages import results
    from broker.watching.listener import Listener
    from tflsplit.cli.trials import demonstration


_NEXT = """
next, with a model of your own:
  tflsplit convert model.h5 --calibration pictures/ --labels labels.txt
  tflsplit inspect model.tflsplit
or look at the demo at work: tflsplit demo --serve 8080"""


@click.command(epilog=examples.epilog("tflsplit demo", "tflsplit demo --serve 8080"))
@click.option(
    "--serve",
    "page",
    metavar="[HOST:]PORT",
    help="Let a cloud and three edges run until Ctrl-C, and serve the page of `tflsplit watch` on them.",
)
@click.option("--json", "is_json", is_flag=True, help="Print the report as JSON.")
def command(*, page: str | None, is_json: bool) -> None:
    """Run a complete example on this machine.

    A trained model that reads handwritten digits is converted and cut in two. Broker, cloud and edge then run as
    processes on this machine, 360 pictures go through both halves, and the results are compared with those of the
    whole model. This takes about half a minute, most of it in TensorFlow.
    """
    from tflsplit.cli.trials import demonstration

    if page is not None:
        if is_json:
            raise click.UsageError("--serve goes on until Ctrl-C: leave out --json.")
        with tempfile.TemporaryDirectory(prefix="tflsplit-demo-") as scratch:
            demonstration.serve(Path(scratch), page, on_step=logs.progress, until=_until_stopped)
        return
    with (
        tempfile.TemporaryDirectory(prefix="tflsplit-demo-") as scratch,
        screen.progress("starting", demonstration.FRAMES) as step,
    ):
        report = demonstration.run(
            Path(scratch),
            on_step=logs.progress,
            on_result=lambda result, is_right: _show(step, result, is_right=is_right),
        )
    if is_json:
        screen.as_json(report.as_json())
    else:
        _print(report)
        screen.verbatim(_NEXT)


def _until_stopped(url: str, heard: "Listener") -> None:
    screen.write(f"watch {url} (Ctrl-C ends it)")
    with screen.stopped_by_signals(heard.stop):
        while not heard.wait(1.0):
            pass


def _show(step: Callable[..., None], result: "results.Result", *, is_right: bool) -> None:
    """Moves the progress bar; where there is no terminal, prints a line for every fortieth frame."""
    words = f"frame {result.sequence}: {result.label} {'right' if is_right else 'WRONG'}"
    step(description=words)
    if not sys.stderr.isatty() and result.sequence % 40 == 0:
        logs.progress(words)


def _print(report: "demonstration.Report") -> None:
    share = "{:.2%}".format
    screen.table(
        f"{text.counted(report.frames, 'frame')} through {report.broker}, cut {report.cut} after {report.layer!r}",
        ("", ""),
        [
            ("frames sent", str(report.frames)),
            ("results back", str(report.results)),
            ("lost", str(report.frames - report.results)),
            ("duplicates", str(report.duplicates)),
            ("agreement with the unsplit int8 model", share(report.agree_with_whole)),
            ("accuracy: float model", share(report.accuracy["float"])),
            ("accuracy: whole int8 model", share(report.accuracy["int8"])),
            ("accuracy: split", share(report.accuracy["split"])),
            ("payload", f"{report.payload_bytes:,} B"),
            ("raw picture", f"{report.raw_bytes:,} B"),
            (f"picture as JPEG, quality {report.jpeg_quality}", f"{report.jpeg_bytes:,} B"),
        ],
    )
    parts = {"end to end": report.edge["latency_ms"], **report.edge["parts_ms"]}
    rows = [(name, *(part[quantile] for quantile in ("p50", "p95", "p99"))) for name, part in parts.items()]
    screen.table("latency, ms", ("", "p50", "p95", "p99"), rows)

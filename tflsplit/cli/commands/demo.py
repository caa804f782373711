"""`tflsplit demo`: a complete deployment on this machine, from a model to results."""

import shlex
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tflsplit import text
from tflsplit.cli.output import examples, logs, screen
from tflsplit.cli.trials import demo_files

if TYPE_CHECKING:  # it imports the converters
    from broker.messages import results
    from broker.watching.listener import Listener
    from tflsplit.cli.trials import demonstration


_NEXT = """
next, with a model of your own:{activate}
  tflsplit convert model.h5 --calibration pictures/ --labels labels.txt
  tflsplit predict model.tflsplit picture.jpg
or with this one, step by step: tflsplit demo --unpack digits, and docs/tutorial.md
or look at the demo at work:    tflsplit demo --serve 8080"""
_UNPACKED = """{folder}: digits.h5, calibration.npy, labels.txt, and 20 pictures that the model was not trained on
next, in that folder:
  tflsplit convert digits.h5 --calibration calibration.npy --preprocess unit --labels labels.txt
  tflsplit predict digits.tflsplit pictures"""


@click.command(
    context_settings=logs.QUIET,
    epilog=examples.epilog("tflsplit demo", "tflsplit demo --serve 8080", "tflsplit demo --unpack digits"),
)
@click.option(
    "--serve",
    "page",
    metavar="[HOST:]PORT",
    help="Let a cloud and three edges run until Ctrl-C, and serve the page of `tflsplit watch` on them.",
)
@click.option(
    "--unpack",
    "unpacked",
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="Only write its model, calibration data, labels and some pictures to DIR, which must not exist.",
)
@click.option("--json", "is_json", is_flag=True, help="Print the report as JSON.")
def command(*, page: str | None, unpacked: Path | None, is_json: bool) -> None:
    """Run a complete example on this machine.

    A trained model that reads handwritten digits is converted and cut in two. Broker, cloud and edge then run as
    processes on this machine, 360 pictures go through both halves, and the results are compared with those of the
    whole model. This takes about half a minute, most of it in TensorFlow.
    """
    if (page is not None) + (unpacked is not None) + is_json > 1:
        raise click.UsageError("--serve, --unpack and --json are three ways to use it: give one.")
    if unpacked is not None:
        demo_files.unpack(unpacked)
        screen.write(_UNPACKED.format(folder=unpacked))
        return
    from tflsplit.cli.trials import demonstration

    if page is not None:
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
        screen.verbatim(_NEXT.format(activate=activation()))


def activation() -> str:
    """The line that makes `tflsplit` a command, where it is not one yet."""
    ours = Path(sys.executable).parent
    script = ours / "activate"
    if shutil.which("tflsplit") == str(ours / "tflsplit") or not script.is_file():
        return ""
    place = script.relative_to(Path.cwd()) if script.is_relative_to(Path.cwd()) else script
    return f"\n  . {shlex.quote(str(place))}"


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

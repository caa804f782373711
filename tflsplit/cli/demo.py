"""`tflsplit demo`: see the whole thing run."""

import tempfile
from pathlib import Path

import click

from tflsplit.cli import output


@click.command()
@click.option("--json", "is_json", is_flag=True, help="Print the report as JSON.")
def command(*, is_json: bool) -> None:
    """Convert a trained model, cut it in two, stream real pictures through both halves, and say what happened.

    A broker, a cloud and an edge run as processes of their own on this machine. Takes about half a minute, most of it
    TensorFlow's.

    \b
    Python: tflsplit.cli.demonstration.run(folder, …)
    """
    from tflsplit.cli import demonstration

    with (
        tempfile.TemporaryDirectory(prefix="tflsplit-demo-") as scratch,
        output.progress("starting", demonstration.FRAMES) as step,
    ):
        report = demonstration.run(
            Path(scratch),
            on_step=lambda words: click.echo(words, err=True),
            on_result=lambda result, is_right: step(
                description=f"frame {result.sequence}: {result.label} {'right' if is_right else 'WRONG'}"
            ),
        )
    if is_json:
        output.as_json(report.as_json())
    else:
        _print(report.as_json())


def _print(report: dict[str, object]) -> None:
    raise NotImplementedError(report)

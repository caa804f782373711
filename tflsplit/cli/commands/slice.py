"""`tflsplit slice`: the head and the tail of one cut, as files."""

from pathlib import Path

import click

from tflsplit.api import packages
from tflsplit.cli import cut_names
from tflsplit.cli.output import examples, screen


@click.command(epilog=examples.epilog("tflsplit slice model.tflsplit --cut op012 -o halves/"))
@click.argument("pkg", type=click.Path(path_type=Path))
@click.option(
    "--cut",
    "cut_name",
    shell_complete=cut_names.complete,
    required=True,
    help="Id of the cut, or the layer it follows (see `tflsplit inspect`).",
)
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="Folder to write the files to.")
@click.option("--force", is_flag=True, help="Replace head.tflite and tail.tflite at -o if they are there.")
def command(pkg: Path, cut_name: str, output: Path, *, force: bool) -> None:
    """Write head and tail of one cut as .tflite files.

    The files are head.tflite and tail.tflite. They are made of the package PKG, for any of its cuts.

    \b
    Python: tflsplit.slice("model.tflsplit", "op012", "halves")
    """
    for path in packages.slice(pkg, cut_name, output, force=force):
        screen.write(str(path))

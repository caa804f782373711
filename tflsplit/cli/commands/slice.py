"""`tflsplit slice`: the two halves of any cut, as files."""

from pathlib import Path

import click

import tflsplit


@click.command()
@click.argument("pkg", type=click.Path(path_type=Path))
@click.option(
    "--cut", "cut_name", required=True, help="Id of the cut, or the layer it follows (see `tflsplit inspect`)."
)
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="Directory to write to.")
def command(pkg: Path, cut_name: str, output: Path) -> None:
    """Write head.tflite and tail.tflite of any cut of a package.

    \b
    Python: tflsplit.slice("model.tflsplit", "op012", "halves")
    """
    for path in tflsplit.slice(pkg, cut_name, output):
        click.echo(path)

"""`tflsplit slice`: the two halves of any cut, as files."""

from pathlib import Path

import click

from tflsplit.package import reading, writing


@click.command()
@click.argument("pkg", type=click.Path(path_type=Path))
@click.option(
    "--cut", "cut_name", required=True, help="Id of the cut, or the layer it follows (see `tflsplit inspect`)."
)
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="Directory to write to.")
def command(pkg: Path, cut_name: str, output: Path) -> None:
    """Write head.tflite and tail.tflite of any cut of a package.

    \b
    Python: tflsplit.package.writing.write_pair(directory, package, cut)
    """
    opened = reading.open_package(pkg)
    cut = opened.cut(cut_name)
    writing.write_pair(output, opened, cut)
    for side in ("head", "tail"):
        click.echo(output / f"{side}.tflite")

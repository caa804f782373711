"""`tflsplit keygen`: the key that a deployment's devices trust for their models."""

from pathlib import Path

import click


@click.command()
@click.argument("key", type=click.Path(path_type=Path))
def command(key: Path) -> None:
    """Make a key that signs models for devices: KEY, and its public half beside it, ending in .pub.

    Whoever has KEY can give the devices another model: keep it where `tflsplit push` runs, and nowhere else. Devices
    get the public half (`tflsplit edge --update-key`). Neither file is ever replaced.

    \b
    Python: tflsplit.package.signing.make(path)
    """
    from tflsplit.package import signing

    public = signing.make(key)
    click.echo(f"{key}: sign with it, `tflsplit push --sign {key}`, and keep it secret")
    click.echo(f"{public}: for the devices, `tflsplit edge --update-key {public.name}`")

"""`tflsplit keygen`: makes the key that signs models for devices."""

from pathlib import Path

import click

from tflsplit.cli.output import examples, screen


@click.command(epilog=examples.epilog("tflsplit keygen models.key"))
@click.argument("key", type=click.Path(path_type=Path))
def command(key: Path) -> None:
    """Make the key that signs models for devices.

    Two files are written: KEY, the private key, and KEY.pub, the public key. Whoever has the private key can install
    another model on the devices, so keep it only where `tflsplit push` runs. Devices get the public key
    (`tflsplit edge --update-key`). Existing files are never replaced.
    """
    from tflsplit.package import signing

    public = signing.make(key)
    screen.write(f"{key}: sign with it, `tflsplit push --sign {key}`, and keep it secret")
    screen.write(f"{public}: for the devices, `tflsplit edge --update-key {public.name}`")

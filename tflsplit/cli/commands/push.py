"""`tflsplit push`: another model for devices in the field."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from tflsplit import errors
from tflsplit.cli.options import connection
from tflsplit.cli.output import screen
from tflsplit.package import reading

if TYPE_CHECKING:
    from broker.clients.update_push import Outcome


@click.command()
@click.argument("pkg", type=click.Path(path_type=Path))
@connection.options
@click.option("--device", "devices", multiple=True, required=True, help="Device to update; give one or more, in order.")
@click.option(
    "--sign", "signing_key", type=click.Path(path_type=Path), required=True, metavar="KEY", help="Key of `keygen`."
)
@click.option("--cut", "cut_name", help="Id or layer of the cut. Default: where the device cuts now.")
@click.option(
    "--url",
    "bundle_url",
    metavar="BASE",
    help="Where the bundle's folder lies on a web server, for devices to fetch it.",
)
@click.option("--name", default="operator", show_default=True, help="Name of this operator, as `broker init` knows it.")
@click.option("--wait", "wait_s", default=600.0, show_default=True, help="Seconds for each device's final word.")
@click.option("--json", "is_json", is_flag=True, help="Print what became of each device as JSON.")
def command(
    pkg: Path,
    *,
    broker: connection.Broker,
    deployment: str,
    devices: tuple[str, ...],
    signing_key: Path,
    cut_name: str | None,
    bundle_url: str | None,
    name: str,
    wait_s: float,
    is_json: bool,
) -> None:
    """Give devices another model: the edge's part of PKG, signed, over the broker, taken over while frames flow.

    Each device checks the signature, tries the head on golden samples, exchanges it between two frames and watches the
    first of them; if anything is wrong it goes on with the model of before and says why. Devices are updated one after
    the other; the first that fails ends the push. Exit code 1 if any did not install it.

    Run clouds with both packages first: `tflsplit cloud OLD NEW`. PKG may also be a bundle for the edge, as it is.

    \b
    Python: broker.clients.rollout.roll_out(pusher, package, devices, signer, wait_s=600)
    """
    from broker.clients import rollout, update_push
    from tflsplit.package import signing

    opened = reading.open_package(pkg)
    signer = signing.open_private(signing_key)
    outcomes = []
    with (
        connection.connected(broker, deployment, name, connection.new_boot(), is_second=True) as online,
        screen.percentage() as show,
    ):
        pushing = update_push.Pusher(
            online, deployment, on_report=lambda report: show(report.state.value, report.percent)
        )
        for outcome in rollout.roll_out(pushing, opened, devices, signer, cut=cut_name, url=bundle_url, wait_s=wait_s):
            outcomes.append(outcome)
            if not is_json:
                _print(outcome)
    if is_json:
        screen.as_json([outcome.as_json() for outcome in outcomes])
    if len(outcomes) < len(devices) or not outcomes[-1].is_installed:
        spared = ", ".join(devices[len(outcomes) :])
        last = outcomes[-1]
        raise errors.PeerError(
            f"device {last.device!r} did not install it ({_said(last)})"
            + (f"; not pushed to {spared}" if spared else "")
        )


def _print(outcome: "Outcome") -> None:
    click.echo(f"{outcome.device}: {_said(outcome)}, {outcome.sent_bytes:,} bytes in {outcome.seconds:.1f} s")


def _said(outcome: "Outcome") -> str:
    if outcome.state is None:
        return "no answer"
    why = f": {outcome.reason}" if outcome.reason else ""
    return f"{outcome.state.value if outcome.state.is_final else f'no final word, last {outcome.state.value}'}{why}"

"""`tflsplit push`: installs another model on edge devices while they run."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from tflsplit import errors
from tflsplit.cli.options import connection, units, updates
from tflsplit.cli.output import examples, screen
from tflsplit.package import reading

if TYPE_CHECKING:
    from broker.rollout.pushing import Outcome


@click.command(
    epilog=examples.epilog(
        "tflsplit push new.tflsplit --device cam1 --device cam2 --sign models.key \\\n--credentials clients/operator"
    )
)
@click.argument("pkg", type=click.Path(path_type=Path))
@connection.options
@click.option(
    "--device",
    "devices",
    multiple=True,
    required=True,
    help="Name of a device to update. Repeat it for more devices; they are updated in this order.",
)
@updates.offered
@click.option(
    "--wait",
    "wait_s",
    type=units.TIME,
    default="10m",
    show_default=True,
    help="Longest wait until a device reports that it has installed or refused the model.",
)
@click.option("--json", "is_json", is_flag=True, help="Print the outcome of each device as JSON.")
def command(
    pkg: Path,
    *,
    broker: connection.Broker,
    deployment: str,
    devices: tuple[str, ...],
    signing_key: Path,
    cut_name: str | None,
    bundle_url: str | None,
    name: str | None,
    wait_s: float,
    is_json: bool,
) -> None:
    """Install another model on edge devices while they run.

    PKG is a package or an edge bundle. The part that an edge needs is signed and sent. Each device checks the
    signature, tests the head on stored samples, replaces the model between two frames and watches the first frames. If
    anything fails, it goes on with the old model and reports the reason. Devices are updated one after the other, and
    the first failure ends the push. Exit code 1 if any device did not install the model.

    First start a cloud that serves both packages: `tflsplit cloud OLD NEW`.
    """
    from broker.rollout import pushing
    from broker.transport.credentials import Role
    from tflsplit.package import signing

    opened = reading.open_package(pkg)
    if cut_name is not None:
        opened.check_has_tail(opened.cut(cut_name))
    speaker = broker.name(name, default="operator")
    signer = signing.open_private(signing_key)
    outcomes = []
    with (
        connection.connected(
            broker, deployment, speaker, connection.new_boot(), role=Role.OPERATOR, is_second=True
        ) as online,
        screen.percentage() as show,
    ):
        pushed = pushing.push(
            *(online, deployment, opened, devices, signer),
            cut=cut_name,
            url=bundle_url,
            wait_s=wait_s,
            on_report=lambda report: show(report.state.value, report.percent),
        )
        for outcome in pushed:
            outcomes.append(outcome)
            if not is_json:
                _print(outcome)
    if is_json:
        screen.as_json([outcome.as_json() for outcome in outcomes])
    if len(outcomes) < len(devices) or not outcomes[-1].is_installed:
        untouched = ", ".join(devices[len(outcomes) :])
        last = outcomes[-1]
        raise errors.PeerError(
            f"device {last.device!r} did not install it ({_state(last)})"
            + (f"; not pushed to {untouched}" if untouched else "")
        )


def _print(outcome: "Outcome") -> None:
    sent = f"{outcome.sent_bytes:,} bytes in {outcome.seconds:.1f} s"
    screen.write(f"{outcome.device}: {_state(outcome)}, {sent}, cut at {outcome.cut}")


def _state(outcome: "Outcome") -> str:
    if outcome.state is None:
        return f"no answer in time: {outcome.reason or 'is it running, with --update-key?'}"
    why = f": {outcome.reason}" if outcome.reason else ""
    is_final, said = outcome.state.is_final, outcome.state.value
    return f"{said if is_final else f'no final word in time, the last was {said}'}{why}"

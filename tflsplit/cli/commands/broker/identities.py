"""The subcommands of `tflsplit broker` that add, revoke and renew the identities of a secured broker."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

from tflsplit import errors, text
from tflsplit.cli.output import examples, logs, screen

_ROLES = (
    "device",
    "cloud",
    "consumer",
    "operator",
    "worker",
    "guest",
)  # broker.transport.credentials has them too

folder_argument = click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
_names = click.argument("names", metavar="NAME...", nargs=-1, required=True)
_some_names = click.argument("names", metavar="[NAME]...", nargs=-1)
# Folders beyond these are counted: nobody reads ten thousand lines.
_MOST_FOLDERS = 20


def listed_option(what: str) -> Callable[[Any], Any]:
    """Names out of a file."""
    return click.option(
        "--devices",
        "listed",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help=f"{what}: one on each line, or a CSV with a column `name`.",
    )


def listed_names(names: tuple[str, ...], listed: Path | None) -> tuple[str, ...]:
    """Names that were typed, and those in a file. SettingsError for one in both."""
    from broker.deploy import ledger, name_lists

    every = (*names, *(name_lists.read(listed) if listed else ()))
    if (twice := ledger.repeated(every)) is not None:
        raise errors.SettingsError(f"{twice!r} is named twice; nothing was done")
    return every


days_option: Callable[[Any], Any] = click.option(
    "--days",
    type=click.IntRange(1, 7300),
    default=1825,
    show_default=True,
    help="Days until the new certificates expire.",
)


@click.command(
    "add-device",
    epilog=examples.epilog(
        "tflsplit broker add-device /etc/tflsplit/broker cam3 cam4",
        "tflsplit broker add-device /etc/tflsplit/broker --devices cameras.csv",
    ),
)
@folder_argument
@_some_names
@listed_option("More names; those that are there already are passed over, so that an interrupted call can be repeated")
@click.option(
    "--role",
    type=click.Choice(_ROLES),
    default="device",
    show_default=True,
    help="What the new names may do; see `tflsplit broker init --help`.",
)
@days_option
def add_device(folder: Path, *, names: tuple[str, ...], listed: Path | None, role: str, days: int) -> None:
    """Let more devices or other clients use the broker.

    DIR is a folder that `tflsplit broker init` made. Each NAME gets a folder DIR/clients/NAME, for --credentials.
    """
    from broker.deploy import folder as deployments
    from broker.transport import credentials

    wanted = listed_names(names, listed)
    if not wanted:
        raise click.UsageError("Missing argument 'NAME...': give names, or a file of them with --devices.")
    renew_rules(folder)
    with screen.progress("credentials", len(wanted)) as step:
        added = deployments.add(
            folder, wanted, role=credentials.Role(role), days=days, skips_known=listed is not None, step=step
        )
    if len(added) < len(wanted):
        screen.write(f"there already: {len(wanted) - len(added)} of {len(wanted)}")
    print_folders(folder, added)
    _reload(folder)


@click.command(
    "sign-request",
    epilog=examples.epilog("tflsplit broker sign-request /etc/tflsplit/broker cam3.csr cam4.csr"),
)
@folder_argument
@click.argument("requests", metavar="CSR...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--role",
    type=click.Choice(_ROLES),
    default="device",
    show_default=True,
    help="What the names may do; see `tflsplit broker init --help`.",
)
@click.option(
    "--keep-old", "keeps_old", is_flag=True, help="An older certificate stays valid too, until the next rotation."
)
@days_option
def sign_request(folder: Path, *, requests: tuple[Path, ...], role: str, keeps_old: bool, days: int) -> None:
    """Let in clients whose keys were made where they stay.

    A CSR is a certificate signing request whose common name is the client's name. On the device:

    \b
    openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes \\
        -keyout client.key -subj /CN=cam3 -out cam3.csr

    DIR/clients/NAME gets all but that key; copy it to the device, beside its client.key, for --credentials. A name that
    is there already gets a new certificate. `rotate` renews it later for the same key.
    """
    from broker.deploy import folder as deployments
    from broker.transport import credentials

    renew_rules(folder)
    names = deployments.sign(folder, requests, role=credentials.Role(role), days=days, keeps_old=keeps_old)
    print_folders(folder, names)
    _reload(folder)


@click.command(epilog=examples.epilog("tflsplit broker revoke /etc/tflsplit/broker cam3"))
@folder_argument
@_names
def revoke(folder: Path, *, names: tuple[str, ...]) -> None:
    """Refuse clients from now on, for example a lost one.

    The certificate of each NAME is revoked, and its access rules and the folder DIR/clients/NAME are removed.
    """
    from broker.deploy import folder as deployments

    renew_rules(folder)
    deployments.revoke(folder, names)
    screen.write(f"revoked: {', '.join(names)}")
    _reload(folder)


@click.command(
    epilog=examples.epilog(
        "tflsplit broker allow broker/ cam1 --read frigate/+/person/snapshot",
        "tflsplit broker allow broker/ frigate --read 'frigate/#' --write 'frigate/#'",
    )
)
@folder_argument
@_names
@click.option("--read", "reads", multiple=True, metavar="TOPIC", help="A topic that they may read. Repeatable.")
@click.option("--write", "writes", multiple=True, metavar="TOPIC", help="A topic that they may write. Repeatable.")
def allow(folder: Path, *, names: tuple[str, ...], reads: tuple[str, ...], writes: tuple[str, ...]) -> None:
    """Let clients use topics of other programs.

    An edge with `--source topic:TOPIC` has to read that topic, and a camera or Frigate, added with `--role guest`, to
    write it. What is given replaces what an earlier call gave each NAME; without --read and --write nothing is left.
    """
    from broker.deploy import folder as deployments

    renew_rules(folder)
    deployments.allow(folder, names, reads=reads, writes=writes)
    for verb, allowed in (("read", reads), ("write", writes)):
        screen.write(f"{', '.join(names)} may {verb} {', '.join(allowed) or 'no topics of other programs'}")
    _reload(folder)


@click.command(
    epilog=examples.epilog(
        "tflsplit broker rotate /etc/tflsplit/broker cam1 cam2 --keep-old",
        "tflsplit broker rotate /etc/tflsplit/broker --server",
    )
)
@folder_argument
@_some_names
@listed_option("Names to renew")
@click.option(
    "--ending",
    "ending_days",
    type=click.IntRange(min=0),
    metavar="DAYS",
    help="All whose certificate ends within so many days.",
)
@click.option("--server", "is_server", is_flag=True, help="Also renew the key and certificate of the broker itself.")
@click.option(
    "--keep-old", "keeps_old", is_flag=True, help="The old certificate stays valid too, until the next rotation."
)
@days_option
def rotate(
    folder: Path,
    *,
    names: tuple[str, ...],
    listed: Path | None,
    ending_days: int | None,
    is_server: bool,
    keeps_old: bool,
    days: int,
) -> None:
    """Renew keys and certificates, or passwords.

    The old ones are revoked. Mosquitto checks a certificate only when a client connects, so after a theft restart the
    broker as well.
    """
    from broker.deploy import folder as deployments

    if not names and listed is None and ending_days is None and not is_server:
        raise click.UsageError("nothing to rotate: give names, --devices, --ending, or --server")
    wanted = listed_names(names, listed)
    if ending_days is not None:
        ending = deployments.ending(folder, days=ending_days)
        wanted = (*wanted, *(name for name in ending if name not in wanted))
    renew_rules(folder)
    if wanted:
        with screen.progress("credentials", len(wanted)) as step:
            deployments.rotate(folder, wanted, keeps_old=keeps_old, days=days, step=step)
        print_folders(folder, wanted)
    elif not is_server:
        screen.write(f"no certificate ends within {text.counted(ending_days or 0, 'day')}")
    if is_server:
        deployments.rotate_server(folder, days=days)
        screen.write("the broker has a new certificate")
    _reload(folder)


COMMANDS: Sequence[click.Command] = (add_device, sign_request, allow, revoke, rotate)


def renew_rules(folder: Path) -> None:
    """Says so if it was needed."""
    from broker.deploy import folder as deployments

    if deployments.renew_rules(folder):
        screen.write(f"{folder}: the access rules were not those of this version; they are written anew")


def print_folders(folder: Path, names: Sequence[str]) -> None:
    for name in names[:_MOST_FOLDERS]:
        screen.write(f"copy {folder / 'clients' / name} to {name}, for --credentials")
    if len(names) > _MOST_FOLDERS:
        screen.write(f"and {len(names) - _MOST_FOLDERS} more in {folder / 'clients'}, each for the one of its name")


def _reload(folder: Path) -> None:
    from broker.deploy import process

    if process.reload(folder):
        screen.write("the broker reads its files again")
    else:
        logs.warning(
            "no broker of this folder runs here, or not all do: to one that runs elsewhere copy server/, and send it "
            "SIGHUP"
        )

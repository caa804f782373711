"""`tflsplit install-service`: installs an edge or a cloud as a systemd service of this machine."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from tflsplit import errors
from tflsplit.cli.commands import config
from tflsplit.cli.output import examples, screen
from tflsplit.cli.settings import checks, service

if TYPE_CHECKING:
    from edge_runtime.service.installation import Change


@click.command(
    epilog=examples.epilog(
        "tflsplit install-service --config /etc/tflsplit/edge.toml --dry-run",
        "tflsplit install-service --config /etc/tflsplit/edge.toml",
        "tflsplit install-service --role cloud --config /etc/tflsplit/cloud.toml",
    )
)
@click.option(
    "--config",
    "file",
    type=click.Path(path_type=Path),
    help="Configuration file of the service. It is checked first. With --root this and all other paths are below it.",
)
@click.option(
    "--role",
    type=click.Choice(("edge", "cloud")),
    help="What the service runs. Default: what the table in --config is for, else edge.",
)
@click.option(
    "--name", help="Name of the service, different for each one here. Default: tflsplit-edge or tflsplit-cloud."
)
@click.option(
    "--allow-device",
    "given_devices",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="NODE",
    help="Device file that a delegate needs, for example /dev/dri/renderD128. Repeatable.",
)
@click.option(
    "--executable",
    type=click.Path(path_type=Path),
    help="Path of the tflsplit command that the service runs. Default: the one that runs now.",
)
@click.option(
    "--root",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    default=Path("/"),
    show_default=True,
    help="Install into the file system below this folder, for example that of an image.",
)
@click.option("--dry-run", is_flag=True, help="Print what would be written or removed, and change nothing.")
@click.option("--uninstall", is_flag=True, help="Stop the service and remove the files that were written for it.")
def command(
    file: Path | None,
    *,
    role: str | None,
    name: str | None,
    given_devices: tuple[Path, ...],
    executable: Path | None,
    root: Path,
    dry_run: bool,
    uninstall: bool,
) -> None:
    """Install an edge or a cloud as a systemd service.

    The service runs `tflsplit edge --config FILE` (or `tflsplit cloud`). Written are its unit and, for an Edge TPU, a
    udev rule; files that are right already are left as they are. A configuration that would not run as a service is
    refused, with a line for each reason. From then on the service starts with the machine. To start it now:
    `systemctl restart NAME`.
    """
    from edge_runtime.service import installation

    root = root.resolve()
    if not dry_run:
        installation.check_rights(root)
    if uninstall:
        _remove(name or f"tflsplit-{role or 'edge'}", root, is_dry=dry_run)
        return
    if file is None:
        raise click.UsageError("Missing option '--config'.")
    file, *devices = (_whole(path, root) for path in (file, *given_devices))
    served = config.settings_of(role) if role else config.command_of(checks.below(root, file))
    program = _whole(executable, root) if executable else installation.executable()
    merged = served.each_merged(file, root=root)
    if problems := served.problems_of_each(merged, file, root=root):
        raise errors.ConfigurationError(problems)
    name = name or f"tflsplit-{served.table}"
    wanted = service.wanted(served, merged, file, name=name, executable=program, devices=tuple(devices), root=root)
    _install(installation.plan(wanted), name, root, is_dry=dry_run)


def _whole(path: Path, root: Path) -> Path:
    """As the service sees it: what is not whole is of this folder, or below another root of that."""
    return path.absolute() if root == Path("/") else Path("/") / path


def _install(changes: "tuple[Change, ...]", name: str, root: Path, *, is_dry: bool) -> None:
    from edge_runtime.service import installation

    pending = installation.pending(changes)
    _make(pending, is_dry=is_dry)
    if is_dry or not pending:
        return
    if installation.has_systemd(root):
        installation.enable(name, has_new_rules=any("rules.d" in str(change.path) for change in pending))
        screen.write(f"enabled; start it with the new configuration: systemctl restart {name}")
    else:
        screen.write(f"systemd does not run here, so start the service where it does: systemctl enable --now {name}")


def _remove(name: str, root: Path, *, is_dry: bool) -> None:
    from edge_runtime.service import installation

    pending = installation.pending(installation.removal(name, root))
    has_systemd = bool(pending) and not is_dry and installation.has_systemd(root)
    if has_systemd:
        installation.disable(name)
    _make(pending, is_dry=is_dry)
    if has_systemd:
        installation.forget()


def _make(pending: "tuple[Change, ...]", *, is_dry: bool) -> None:
    """Each change is said when it is made."""
    from edge_runtime.service import installation

    if not pending:
        screen.write("nothing changed")
    for change in pending:
        if not is_dry:
            installation.apply((change,))
        if change.text is None:
            screen.write(f"{'would remove' if is_dry else 'removed'} {change.path}")
        else:
            screen.write(f"{'would write' if is_dry else 'wrote'} {change.path}")
            if is_dry:
                screen.verbatim(change.text)

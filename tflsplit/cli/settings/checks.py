"""What the settings of every command have in common that is wrong or right: names, brokers, credentials, libraries."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tflsplit import errors, extras
from tflsplit.cli.options import connection
from tflsplit.cli.settings.command import Check, Command
from tflsplit.values.classes import replace

if TYPE_CHECKING:  # a command without a configuration file merges nothing
    from broker.transport.credentials import Role
    from tflsplit.cli.settings.merging import Merged

# Files that only root may read. A service gets them as credentials. The order is that of `connection.Broker`.
SECRETS = ("credentials", "ca", "cert", "key", "password-file")

Look = Callable[["Merged", Path], None]


def name(what: str) -> Check:
    def check(value: str) -> None:
        from broker.messages import topics

        topics.check_name(what, value)

    return check


def broker(value: Sequence[str] | str) -> object:
    """Of a file a list, of the environment as it stands there."""
    from broker.transport import address
    from broker.zenoh import address as direct

    urls = value.split() if isinstance(value, str) else value
    return direct.parse(urls[0]) if len(urls) == 1 and address.is_direct(urls[0]) else address.parse_all(urls)


def metrics(value: str) -> object:
    from tflsplit.observing import server

    return server.parse_address(value)


def all_problems(
    command: Command, merged: "Merged", file: Path, looks: Sequence[Look], *, root: Path = Path("/")
) -> list[str]:
    """Wrong values, missing ones, and what each of `looks` refuses, of settings with the names in the credentials."""
    problems = list(merged.problems)
    if problems and not merged.from_files:
        return problems  # the file could not be read, so nothing is known of what it sets
    merged = with_credentials(command, merged, root)
    bundled = frozenset() if merged.value("credentials") else command.needed
    for key, parameter in command.settings.items():
        if (parameter.required or key in bundled) and merged.settings[key].place == "default":
            problems.append(f"{file}: {key} is not set; set it there, or in the environment as {command.variable(key)}")
    for look in looks:
        with collected(problems, f"{file}: "):
            look(merged, root)
    return problems


def with_credentials(command: Command, merged: "Merged", root: Path = Path("/")) -> "Merged":
    """The settings, with names from the folder of credentials where they are not set, if it can be read."""
    from broker.transport import credentials
    from tflsplit.cli.settings.merging import Setting

    folder = file_of(merged, "credentials", root)
    lacking = [key for key in command.bundled if merged.settings[key].place == "default"]
    if folder is None or not lacking:
        return merged
    try:
        bundle = credentials.open_bundle(folder)
    except errors.SettingsError:  # `look_at_broker` says so, unless it is encrypted
        return merged
    found = {}
    for key in lacking:
        named = getattr(bundle, command.bundled[key])
        found[key] = Setting(key, (named,) if command.settings[key].multiple else named, str(folder))
    return replace(merged, settings={**merged.settings, **found})


@contextmanager
def collected(problems: list[str], prefix: str) -> Iterator[None]:
    """What is refused in the block is added to `problems`."""
    try:
        yield
    except (errors.TflsplitError, click.UsageError) as refused:
        problems.append(prefix + (refused.message if isinstance(refused, click.UsageError) else str(refused)))


def look_at_broker(merged: "Merged", root: Path, speaker: tuple[str, str] | None, role: "Role") -> None:
    """Encrypted credentials are left out: only systemd can read them."""
    from edge_runtime.service import credentials

    files = {key: file_of(merged, key, root) for key in SECRETS}
    if any(credentials.has_encrypted(file) for file in files.values() if file is not None):
        return
    if merged.settings["broker"].place != "default" and merged.value("broker") is None:
        return  # the address is wrong, and has been reported
    if not (merged.value("broker") or merged.value("credentials")):
        raise errors.SettingsError("broker is not set, and no credentials either, which would name one")
    named = connection.Broker(tuple(merged.value("broker") or ()), *files.values())
    _where, proof = named.resolve_direct(speaker, role=role) or named.resolve(speaker, role=role)
    if proof.has_files:
        proof.ssl_context()


def look_at_libraries(asked: Mapping[str, str], root: Path) -> None:
    """At modules by what asks for them, on this machine: another's, below a `root`, are not to be seen from here."""
    lacking = [(what, module) for what, module in asked.items() if root == Path("/") and not find_spec(module)]
    if lacking:
        raise errors.SettingsError("; ".join(extras.need(*each) for each in lacking))


def file_of(merged: "Merged", key: str, root: Path) -> Path | None:
    """Where a setting's file is now."""
    value = merged.value(key)
    return below(root, Path(value)) if value else None


def below(root: Path, path: Path) -> Path:
    """The place of `path` in a file system that begins at `root`, as that of an image does."""
    return root / path.absolute().relative_to("/")

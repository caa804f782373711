"""Finds what is wrong with an edge's settings before it runs: with each setting alone, and with all together."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tflsplit import arguments, errors, extras, quantities
from tflsplit.api import gating
from tflsplit.cli.options import connection, delivery, planfile, updates
from tflsplit.cli.options.moving import adapting, gate
from tflsplit.cli.settings.command import Check, Command

if TYPE_CHECKING:  # an edge without a configuration file merges nothing
    from tflsplit.cli.settings.merging import Merged
    from tflsplit.planning.planfile import Plan


def _name(what: str) -> Check:
    def check(value: str) -> None:
        from broker.messages import topics

        topics.check_name(what, value)

    return check


def _broker(value: str) -> object:
    from broker.transport import address

    return address.parse(value)


def _accelerator(value: str) -> None:
    from edge_runtime.accelerators import choice
    from edge_runtime.accelerators.delegate import Delegate

    named = None if value == choice.AUTO else choice.parse(value)
    if isinstance(named, Delegate) and "/" in named.library and not Path(named.library).is_absolute():
        raise errors.SettingsError(f"delegate {named.library}: give its whole path, as delegate:/usr/lib/…")


def _input_codec(value: str) -> object:
    from tflsplit.coding import input_codec

    return input_codec.parse(value)


def _metrics(value: str) -> object:
    from tflsplit.observing import server

    return server.parse_address(value)


def _home_assistant(value: str) -> object:
    from edge_runtime.monitoring import home_assistant

    return home_assistant.check_prefix(value)


CHECKS: Mapping[str, Check] = {
    "deployment": _name("deployment"),
    "device": _name("device"),
    "broker": _broker,
    "accelerator": _accelerator,
    "input-codec": _input_codec,
    "metrics": _metrics,
    "home-assistant": _home_assistant,
}

# The source may be a file, but click's type does not say so, since it may also be a camera.
PATHS = frozenset({"source"})

# Files that only root may read. A service gets them as credentials. The order is that of `connection.Broker`.
SECRETS = ("credentials", "ca", "cert", "key", "password-file")


# What the credentials say where it is not set, as the attributes of `broker.transport.credentials.Bundle`.
_BUNDLED = {"deployment": "deployment", "device": "name"}


class EdgeCommand(Command):
    """`tflsplit edge`."""

    def __init__(self, name: str | None, **attributes: Any) -> None:
        super().__init__(name, checks=CHECKS, paths=PATHS, **attributes)


def all_problems(command: Command, merged: "Merged", file: Path, *, root: Path = Path("/")) -> tuple[str, ...]:
    """Everything wrong with the settings: wrong values, missing ones, and a package, cut, source or broker that cannot
    be used."""
    if merged.problems and not merged.from_files:
        return merged.problems  # the file could not be read, so nothing is known of what it sets
    problems = list(merged.problems)
    merged = with_credentials(merged, root)
    bundled = () if merged.value("credentials") else tuple(_BUNDLED)
    for key, parameter in command.settings.items():
        if (parameter.required or key in bundled) and merged.settings[key].place == "default":
            problems.append(f"{file}: {key} is not set; set it there, or in the environment as {command.variable(key)}")
    for look in (_look_at_package, _look_at_source, _look_at_broker, _look_at_libraries):
        with _collected(problems, f"{file}: "):
            look(merged, root)
    if not problems:
        with _collected(problems, f"{file}: "):
            _opened, plan = planfile.opened(_file(merged, "package", root), _file(merged, "plan", root))
            _look_at_combinations(command, below(root, file), plan)
    return tuple(problems)


def with_credentials(merged: "Merged", root: Path = Path("/")) -> "Merged":
    """The settings, with names from the folder of credentials where they are not set, if it can be read."""
    from broker.transport import credentials
    from tflsplit.cli.settings.merging import Setting

    folder = _file(merged, "credentials", root)
    lacking = [key for key in _BUNDLED if merged.settings[key].place == "default"]
    if folder is None or not lacking:
        return merged
    try:
        bundle = credentials.open_bundle(folder)
    except errors.SettingsError:  # `_look_at_broker` says so, unless it is encrypted
        return merged
    found = {key: Setting(key, getattr(bundle, _BUNDLED[key]), str(folder)) for key in lacking}
    return replace(merged, settings={**merged.settings, **found})


@contextmanager
def _collected(problems: list[str], prefix: str) -> Iterator[None]:
    try:
        yield
    except (errors.TflsplitError, click.UsageError) as refused:
        problems.append(prefix + (refused.message if isinstance(refused, click.UsageError) else str(refused)))


def _look_at_combinations(command: Command, file: Path, plan: "Plan | None") -> None:
    """Refuses options that exclude each other, by the checks that the edge itself makes when it starts."""
    values = command.make_context(command.name, ["--config", str(file)]).params
    planned, moves_models = 1 if plan is None else plan.batch, bool(values["models"])
    delivery.of(values).check_batch(adapts=values["adapt"], moves_models=moves_models, planned=planned)
    judging = gate.of(values)
    moves = (values["adapt"], values["objective"], not values["no_probes"], values["hedge"])
    adapting.AdaptingOptions(*moves, gate=judging).check_models(moves_models=moves_models)
    updates.UpdateOptions(values["models"], values["update_key"], values["update_url_prefix"])


def _look_at_package(merged: "Merged", root: Path) -> None:
    if not (merged.value("package") or merged.value("plan")):
        raise errors.SettingsError("package is not set, and no plan either, which would name one")
    named = {f"--{key}": merged.value(key) for key in ("cut", "input-codec")}
    opened, plan, cut = planfile.opened_at(_file(merged, "package", root), _file(merged, "plan", root), named)
    opened.check_has_tail(cut)
    wanted = gating.terms(*(merged.value(key) for key in ("answer-here", "at-most", "audit")))
    until, batch = merged.value("until"), merged.value("batch") or (plan.batch if plan else None)
    gating.check(opened, wanted, None if merged.value("adapt") else cut, until=until, batch=batch)
    if opened.manifest.is_stateful:
        from edge_runtime import stream

        age, adapts = merged.value("spool-age"), bool(merged.value("adapt"))
        age_s = None if age is None else quantities.parse_duration(age, "spool-age")
        stream.check(opened, spool_full=str(merged.value("spool-full")), spool_age_s=age_s, adapts=adapts)


def _look_at_source(merged: "Merged", root: Path) -> None:
    source = merged.value("source")
    if source and ":" not in source and not below(root, arguments.path(source, "source")).exists():
        raise errors.DataError(f"source {source}: there is no such file or folder")


def _look_at_broker(merged: "Merged", root: Path) -> None:
    """Encrypted credentials are left out: only systemd can read them."""
    from broker.transport.credentials import Role
    from edge_runtime.service import credentials

    files = {key: _file(merged, key, root) for key in SECRETS}
    if any(credentials.has_encrypted(file) for file in files.values() if file is not None):
        return
    if merged.settings["broker"].place != "default" and merged.value("broker") is None:
        return  # the address is wrong, and has been reported
    if not (merged.value("broker") or merged.value("credentials")):
        raise errors.SettingsError("broker is not set, and no credentials either, which would name one")
    named = connection.Broker(merged.value("broker"), *files.values())
    speaker = (merged.value("deployment"), merged.value("device"))
    _where, proof = named.resolve(speaker if all(speaker) else None, role=Role.DEVICE)
    if proof.has_files:
        proof.ssl_context()


def _look_at_libraries(merged: "Merged", root: Path) -> None:
    """At those that the settings ask for, of this machine: another's, below a `root`, are not to be seen from here."""
    if root != Path("/"):
        return
    asked = {"metrics": "prometheus_client", "update-key": "cryptography"}
    needed = [(f"--{key}", module) for key, module in asked.items() if merged.value(key)]
    if str(merged.value("source") or "").startswith("camera:"):
        needed.append(("a camera source", "cv2"))
    lacking = [(what, module) for what, module in needed if not find_spec(module)]
    if lacking:
        raise errors.SettingsError("; ".join(extras.need(*each) for each in lacking))


def _file(merged: "Merged", key: str, root: Path) -> Path | None:
    value = merged.value(key)
    return below(root, Path(value)) if value else None


def below(root: Path, path: Path) -> Path:
    """The place of `path` in a file system that begins at `root`, as that of an image does."""
    return root / path.absolute().relative_to("/")

"""Finds what is wrong with an edge's settings before it runs: with each setting alone, and with all together."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tflsplit import errors, quantities
from tflsplit.api import gating
from tflsplit.cli.options import planfile
from tflsplit.cli.settings import checks, command
from tflsplit.cli.settings.command import Check, Command
from tflsplit.cli.streams.surroundings import Surroundings

if TYPE_CHECKING:  # an edge without a configuration file merges nothing
    from tflsplit.cli.settings.merging import Merged
    from tflsplit.graph.cuts import Cut
    from tflsplit.package.reading import Package
    from tflsplit.planning.planfile import Plan


def _accelerator(value: str) -> None:
    from edge_runtime.accelerators import choice
    from edge_runtime.accelerators.delegate import Delegate

    named = None if value == choice.AUTO else choice.parse(value)
    if isinstance(named, Delegate) and "/" in named.library and not Path(named.library).is_absolute():
        raise errors.SettingsError(f"delegate {named.library}: give its whole path, as delegate:/usr/lib/…")


def _input_codec(value: str) -> object:
    from tflsplit.coding import input_codec

    return input_codec.parse(value)


def _source(value: str) -> object:
    from edge_runtime.sources import words

    return words.parse(value)


def _home_assistant(value: str) -> object:
    from edge_runtime.monitoring import home_assistant

    return home_assistant.check_prefix(value)


CHECKS: Mapping[str, Check] = {
    "deployment": checks.name("deployment"),
    "device": checks.name("device"),
    "group": checks.name("group"),
    "broker": checks.broker,
    "accelerator": _accelerator,
    "source": _source,
    "input-codec": _input_codec,
    "metrics": checks.metrics,
    "home-assistant": _home_assistant,
}

# The source may be a file, but click's type does not say so, since it may also be a camera or a stream.
PATHS = frozenset({"source"})

# Key of `Context.meta`: what was opened for the checks of one command.
_OPENED = f"{__name__}.opened"


class EdgeCommand(Command):
    """`tflsplit edge`."""

    bundled: Mapping[str, str] = {"deployment": "deployment", "device": "name"}
    needed = frozenset({"deployment", "device"})
    repeated = "stream"

    def __init__(self, name: str | None, **attributes: Any) -> None:
        super().__init__(name, checks=CHECKS, paths=PATHS, **attributes)

    def invoke(self, ctx: click.Context) -> Any:
        """Once, or where the file has streams, once for each of them."""
        if command.repeats(ctx) and not isinstance(ctx.obj, Surroundings):
            from tflsplit.cli.streams import members

            return members.run(ctx)
        return super().invoke(ctx)

    def all_problems(self, merged: "Merged", file: Path, *, root: Path = Path("/")) -> tuple[str, ...]:
        from tflsplit.cli.settings import edge_combinations

        looks = (_look_at_package, _look_at_source, _look_at_broker, _look_at_libraries)
        problems = checks.all_problems(self, merged, file, looks, root=root)
        if not problems:
            with checks.collected(problems, f"{file}: "):
                values = self.make_context(self.name, ["--config", str(checks.below(root, file))], obj=merged).params
                edge_combinations.check(values, _opened(merged, root)[1])
        return tuple(problems)

    def problems_together(self, merged: "Sequence[Merged]", file: Path, *, root: Path = Path("/")) -> Iterable[str]:
        from tflsplit.cli.streams import beside

        streams = [checks.with_credentials(self, each, root) for each in merged]
        written = [
            key for key, each in self.settings.items() if isinstance(each.type, click.Path) and each.type.writable
        ]
        return [f"{file}: {problem}" for problem in beside.problems(streams, written)]

    def remarks(self, merged: "Sequence[Merged]", *, root: Path = Path("/")) -> Iterable[str]:
        from tflsplit.cli.streams import on_chip

        heads = []
        for each in (checks.with_credentials(self, one, root) for one in merged):
            if str(each.value("accelerator")).startswith("coral"):
                opened, _, cut = _opened(each, root)
                heads.append(on_chip.OnEdgeTpu(str(each.value("device")), opened, cut))
        return on_chip.remarks(heads)


def _opened(merged: "Merged", root: Path) -> "tuple[Package, Plan | None, Cut]":
    """Once for all streams of the same: each file of a package is read and hashed."""
    named = {f"--{key}": merged.value(key) for key in ("cut", "input-codec")}
    package, plan = (checks.file_of(merged, key, root) for key in ("package", "plan"))
    known = click.get_current_context().meta.setdefault(_OPENED, {})
    key = (package, plan, *named.values())
    if key not in known:
        known[key] = planfile.opened_at(package, plan, named)
    found: tuple[Package, Plan | None, Cut] = known[key]
    return found


def _look_at_package(merged: "Merged", root: Path) -> None:
    from edge_runtime.delivery import framing

    if not (merged.value("package") or merged.value("plan")):
        raise errors.SettingsError("package is not set, and no plan either, which would name one")
    opened, _plan, cut = _opened(merged, root)
    opened.check_has_tail(cut)
    framing.check_mask(opened, is_wanted=bool(merged.value("mask")))
    wanted = gating.terms(*(merged.value(key) for key in ("answer-here", "at-most", "audit")))
    until = merged.value("until")
    gating.check(opened, wanted, None if merged.value("adapt") else cut, until=until)
    if opened.manifest.is_stateful:
        from edge_runtime import stream

        age, adapts = merged.value("spool-age"), bool(merged.value("adapt"))
        age_s = None if age is None else quantities.parse_duration(age, "spool-age")
        stream.check(opened, spool_full=str(merged.value("spool-full")), spool_age_s=age_s, adapts=adapts)


def _look_at_source(merged: "Merged", root: Path) -> None:
    from edge_runtime.sources import words

    source = merged.value("source")
    path = words.parse(source).path if source else None
    if path is not None and not checks.below(root, path).exists():
        raise errors.DataError(f"source {source}: there is no such file or folder")


def _look_at_broker(merged: "Merged", root: Path) -> None:
    from broker.transport.credentials import Role

    speaker = (merged.value("deployment"), merged.value("device"))
    checks.look_at_broker(merged, root, speaker if all(speaker) else None, Role.DEVICE)


def _look_at_libraries(merged: "Merged", root: Path) -> None:
    from edge_runtime.sources import words

    needed = {"--metrics": "prometheus_client", "--update-key": "cryptography"}
    asked = {option: module for option, module in needed.items() if merged.value(option.lstrip("-"))}
    if needs := words.parse(merged.value("source") or "").module:
        asked[needs[0]] = needs[1]
    checks.look_at_libraries(asked, root)

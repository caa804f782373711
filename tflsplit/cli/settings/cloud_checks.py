"""Finds what is wrong with a cloud's settings before it runs: with each setting alone, and with all together."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tflsplit import errors
from tflsplit.cli.options import planfile
from tflsplit.cli.settings import checks
from tflsplit.cli.settings.command import Check, Command

if TYPE_CHECKING:  # a cloud without a configuration file merges nothing
    from tflsplit.cli.settings.merging import Merged


def _queue(value: str) -> object:
    from broker.amqp import address

    return address.parse(value)


CHECKS: Mapping[str, Check] = {
    "name": checks.name("name"),
    "broker": checks.broker,
    "queue": _queue,
    "metrics": checks.metrics,
}


class CloudCommand(Command):
    """`tflsplit cloud`."""

    bundled: Mapping[str, str] = {"deployment": "deployment", "name": "name"}
    needed = frozenset({"deployment"})

    def __init__(self, name: str | None, **attributes: Any) -> None:
        super().__init__(name, checks=CHECKS, paths=frozenset(), **attributes)

    def all_problems(self, merged: "Merged", file: Path, *, root: Path = Path("/")) -> tuple[str, ...]:
        looks = (_look_at_packages, _look_at_broker, _look_at_libraries)
        return tuple(checks.all_problems(self, merged, file, looks, root=root))


def _look_at_packages(merged: "Merged", root: Path) -> None:
    named: list[Path | None] = [checks.below(root, Path(each)) for each in merged.value("package") or ()]
    plan = checks.file_of(merged, "plan", root)
    if not named and plan is None:
        raise errors.SettingsError("package is not set, and no plan either, which would name one")
    for package in named or [None]:
        planfile.opened(package, plan)


def _look_at_broker(merged: "Merged", root: Path) -> None:
    from broker.messages import topics
    from broker.transport.credentials import Role

    if merged.value("queue") and not (merged.value("broker") or merged.value("credentials")):
        return
    deployments = merged.value("deployment") or ()
    for deployment in deployments:
        topics.check_name("deployment", deployment)
    name = merged.value("name")
    speakers: list[tuple[str, str] | None] = [(deployment, name) for deployment in deployments if name]
    for speaker in speakers or [None]:
        checks.look_at_broker(merged, root, speaker, Role.CLOUD)


def _look_at_libraries(merged: "Merged", root: Path) -> None:
    needed = {"--metrics": "prometheus_client", "--queue": "pika"}
    asked = {option: module for option, module in needed.items() if merged.value(option.lstrip("-"))}
    if merged.value("engine") == "ray":
        asked["--engine ray"] = "ray"
    checks.look_at_libraries(asked, root)

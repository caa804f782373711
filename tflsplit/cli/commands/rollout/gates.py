"""The options that say how many devices a rollout takes at a time, and when it halts."""

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from tflsplit import errors
from tflsplit.cli.options import units

if TYPE_CHECKING:
    from broker.rollout.terms import Terms


class _Portion(click.ParamType[Any]):
    name = "portion"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        from broker.rollout import terms

        try:
            return terms.parse_portion(value, self.name)
        except errors.SettingsError as problem:
            self.fail(str(problem), param, ctx)


_PORTION = _Portion()
# The last is shown first.
_OPTIONS: tuple[Callable[..., Any], ...] = (
    click.option(
        "--wait",
        "wait_s",
        type=units.TIME,
        default="10m",
        show_default=True,
        help="Longest wait until a device that is online reports that it has installed or refused the model.",
    ),
    click.option(
        "--pace",
        "pace_per_s",
        type=click.FloatRange(min=0, min_open=True),
        metavar="NUMBER",
        help="Most models that are offered a second, so that frames keep their latency. Default: no bound.",
    ),
    click.option(
        "--at-once",
        type=click.IntRange(min=1),
        default=100,
        show_default=True,
        help="Most models that travel at a time; the broker holds up to 512 KiB of each.",
    ),
    click.option(
        "--soak",
        "soak_s",
        type=units.TIME,
        default="5m",
        show_default=True,
        help="With --most-latency or --least-agreement: longest time that a device is observed before, and after.",
    ),
    click.option(
        "--least-agreement",
        type=units.SHARE,
        help="A device fails whose labels come otherwise than before: the share of its answers that both models "
        "have in common, label by label, of 20 and more. Default: not looked at.",
    ),
    click.option(
        "--most-latency",
        type=float,
        metavar="TIMES",
        help="A device fails whose median latency is more than so many times that of before. Default: not looked at.",
    ),
    click.option(
        "--most-failed",
        type=units.SHARE,
        default="5%",
        show_default=True,
        help="The rollout halts where more than this share of the canary, or of a wave, fails.",
    ),
    click.option(
        "--wave",
        type=_PORTION,
        default="25%",
        show_default=True,
        metavar="N|SHARE",
        help="How many devices each later wave has.",
    ),
    click.option(
        "--canary",
        type=_PORTION,
        default="2%",
        show_default=True,
        metavar="N|SHARE",
        help="How many devices get the model at first.",
    ),
)


def options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Gives the command the argument `terms`, of `broker.rollout.terms`."""

    @functools.wraps(function)  # and with it the options that it has already
    def command(*args: Any, **given: Any) -> Any:
        halting = ("canary", "wave", "most_failed", "most_latency", "least_agreement", "soak_s")
        names = (*halting, "at_once", "pace_per_s", "wait_s")
        return function(*args, terms=_terms(**{name: given.pop(name) for name in names}), **given)

    for option in _OPTIONS:
        command = option(command)
    return command


def _terms(**given: Any) -> "Terms":
    from broker.rollout.terms import Terms

    return Terms(**given)

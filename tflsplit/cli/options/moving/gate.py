"""The options of `edge` about the gate at the cut."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from tflsplit import errors
from tflsplit.api import gating
from tflsplit.cli.options import units
from tflsplit.values.classes import dataclass

if TYPE_CHECKING:  # an edge without a gate starts without it
    from edge_runtime.answering.gate import Terms


@dataclass(frozen=True, slots=True)
class GateOptions:
    """The values of the options."""

    score: float | None
    at_most: str | None
    audit: float | None

    def __post_init__(self) -> None:
        if self.score is None and (self.at_most is not None or self.audit is not None):
            raise errors.SettingsError("--at-most and --audit say what a gate sends on: give --answer-here as well")
        self.terms()

    def terms(self) -> "Terms | None":
        """None without a gate."""
        return gating.terms(self.score, self.at_most, self.audit)


def of(values: dict[str, Any]) -> GateOptions:
    """Takes those of the options out of the values of a command."""
    return GateOptions(values.pop("answer_here"), values.pop("at_most"), values.pop("audit"))


def options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Adds them to a command, which gets their values."""
    made = function
    for add in (
        click.option(
            "--audit",
            type=units.SHARE,
            help="With --answer-here: send this share of the sure answers too, drawn at random, to see how often the "
            f"cloud agrees. Default: {gating.AUDIT}.",
        ),
        click.option(
            "--at-most",
            metavar="N/min",
            help="With --answer-here: send at most so many frames, as 30/min (or /s, /h); answers beyond that stay. "
            "Default: no limit.",
        ),
        click.option(
            "--answer-here",
            metavar="SCORE",
            type=units.SHARE,
            help="Compute the whole model on this device, keep answers whose best class has a probability above SCORE, "
            "and let the cloud go on with the others from the cut. Default: every frame goes to the cloud.",
        ),
    ):
        made = add(made)
    return made

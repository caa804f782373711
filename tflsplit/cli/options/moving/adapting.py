"""The options of `edge` about where its frames are answered: by a cut that moves by a plan, and with a gate."""

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import click

from tflsplit import errors
from tflsplit.api import adapting
from tflsplit.cli.options.accelerator import AcceleratorOptions
from tflsplit.cli.options.moving import gate
from tflsplit.cli.options.moving.gate import GateOptions
from tflsplit.cli.options.updates import RunningUpdates
from tflsplit.switching import hedge as switching_hedge
from tflsplit.values.classes import dataclass

if TYPE_CHECKING:  # an edge that runs without a plan starts without the planner's modules
    from edge_runtime.delivery.settings import Settings
    from tflsplit.planning.planfile import Plan


@dataclass(frozen=True, slots=True)
class AdaptingOptions:
    """The values of the options."""

    is_wanted: bool
    objective: str | None
    has_probes: bool
    hedge: float | None
    gate: GateOptions

    def __post_init__(self) -> None:
        if not self.is_wanted and (self.objective is not None or not self.has_probes):
            raise errors.SettingsError("--objective and --no-probes say how the cut moves: give --adapt as well")
        if not self.is_wanted and self.hedge is not None:
            raise errors.SettingsError("--hedge goes by what a moving cut learns of the link: give --adapt as well")
        if self.hedge is not None:
            switching_hedge.check(self.hedge)

    def may_send_pixels(self, plan: "Plan | None") -> bool:
        """Whether pictures as they are may be among the candidates."""
        return self.is_wanted and plan is not None and adapting.has_pixels(plan)

    def check_models(self, *, moves_models: bool) -> None:
        """SettingsError where models are to be exchanged that a score is for."""
        if moves_models and self.gate.score is not None:
            raise errors.SettingsError(
                "--answer-here with --models: a score is measured for one package, and means something else with "
                "another; leave one out"
            )

    @contextlib.contextmanager
    def started(
        self,
        model: RunningUpdates,
        plan: "Plan | None",
        machine: AcceleratorOptions,
        settings: "Settings",
        *,
        moves_models: bool,
    ) -> Iterator[dict[str, Any]]:
        """Where frames are answered, as words for `edge_runtime.loop.Edge`. SettingsError for what does not go
        together."""
        gate = self.gate.terms()
        self.check_models(moves_models=moves_models)
        wishes: dict[str, Any] = {"objective": self.objective or "mean", "probes": self.has_probes, "hedge": self.hedge}
        wishes |= {"accelerator": machine.accelerator_name, "fallback": machine.fallback_name}
        wishes["moves_models"] = moves_models
        with adapting.course(
            *(model.package, model.cut, plan, settings),
            adapt=self.is_wanted,
            gate=gate,
            threads=machine.threads,
            **wishes,
        ) as words:
            yield words


def options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Gives the command the argument `adapting_options`."""

    @functools.wraps(function)  # and with it the options that it has already
    def command(
        *args: Any, adapt: bool, objective: str | None, no_probes: bool, hedge: float | None, **others: Any
    ) -> Any:
        judging = gate.of(others)
        given = AdaptingOptions(adapt, objective, not no_probes, hedge, judging)
        return function(*args, adapting_options=given, **others)

    made: Callable[..., Any] = gate.options(command)
    for add in (
        click.option(
            "--hedge",
            metavar="[FACTOR]",
            type=float,
            is_flag=False,
            flag_value=str(switching_hedge.DEFAULT),
            help="With --adapt: after so many times the expected way from sending to answer, compute the answer on "
            "this device too, and take the first. Costs the device's energy. Default: never; FACTOR: "
            f"{switching_hedge.DEFAULT:g}.",
        ),
        click.option(
            "--no-probes",
            is_flag=True,
            help="With --adapt: send nothing to measure the link while no features travel. Where data cost money; the "
            "edge then learns late that a link is good again. Default: 4 kB every half second.",
        ),
        click.option(
            "--objective",
            type=click.Choice(adapting.OBJECTIVES),
            help="With --adapt: what the moves are for, the mean latency or its 95th percentile. Default: mean.",
        ),
        click.option(
            "--adapt",
            is_flag=True,
            help="Move the cut between two frames, among the plan's candidates, as link, server and device change; "
            "answer on this device while the broker is away. Needs --plan.",
        ),
    ):
        made = add(made)
    return made

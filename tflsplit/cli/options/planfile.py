"""The option --plan of `edge`, `cloud` and `bundle`, and those about a cut that moves by a plan.

A plan names its package; another package beside it is refused.
"""

import contextlib
import functools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tflsplit import errors
from tflsplit.api import adapting, planfile
from tflsplit.cli.options.accelerator import AcceleratorOptions
from tflsplit.graph.cuts import Cut
from tflsplit.package import reading
from tflsplit.package.reading import Package

if TYPE_CHECKING:  # an edge that runs without a plan starts without the planner's modules
    from edge_runtime.adapting.adaptation import Adaptation
    from tflsplit.planning.planfile import Plan

argument = click.argument("pkg", type=click.Path(path_type=Path), required=False)
option = click.option(
    "--plan",
    "plan_path",
    type=click.Path(path_type=Path),
    help="File written by `tflsplit plan -o`. It names the cut and, where PKG is left out, the package.",
)


def opened(pkg: Path | None, plan_path: Path | None) -> tuple[Package, "Plan | None"]:
    """The package to run, and the plan if there is one; DataError if they do not belong together.

    SettingsError for a chain's plan that needs more than two machines.
    """
    if plan_path is not None:
        return planfile.with_plan(pkg, plan_path)
    if pkg is None:
        raise click.UsageError("Missing argument 'PKG': give the package, or a plan of it with --plan.")
    return reading.open_package(pkg), None


def opened_at(
    pkg: Path | None, plan_path: Path | None, options: Mapping[str, str | None]
) -> tuple[Package, "Plan | None", Cut]:
    """The same with the cut to run at: the plan's, or that of `--cut` in `options`, or the package's default.

    `options` are those whose values a plan has too; SettingsError if one is given beside a plan.
    """
    for option, value in options.items():
        if value and plan_path:
            raise errors.SettingsError(f"{option} {value} and --plan {plan_path} both say what is sent; give one")
    found, made = opened(pkg, plan_path)
    named = made.cut if made else options["--cut"]
    return found, made, found.cut(named) if named else found.default_cut()


@dataclass(frozen=True, slots=True)
class AdaptingOptions:
    """The values of the options."""

    is_wanted: bool
    objective: str | None
    has_probes: bool

    def __post_init__(self) -> None:
        if not self.is_wanted and (self.objective is not None or not self.has_probes):
            raise errors.SettingsError("--objective and --no-probes say how the cut moves: give --adapt as well")

    def may_send_pixels(self, plan: "Plan | None") -> bool:
        """Whether pictures as they are may be among the candidates."""
        return self.is_wanted and plan is not None and adapting.has_pixels(plan)

    @contextlib.contextmanager
    def started(
        self, package: Package, plan: "Plan | None", machine: AcceleratorOptions, *, moves_models: bool
    ) -> "Iterator[Adaptation | None]":
        """None where the cut stays. SettingsError for what does not go together with a cut that moves."""
        if not self.is_wanted:
            yield None
            return
        if moves_models:
            raise errors.SettingsError("--adapt with --models: a plan is for one package; leave one out")
        with adapting.started(
            package,
            plan,
            objective=self.objective or "mean",
            probes=self.has_probes,
            threads=machine.threads,
            accelerator=machine.accelerator_name,
            fallback=machine.fallback_name,
        ) as ready:
            yield ready


def adapting_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Gives the command the argument `adapting_options`."""

    @functools.wraps(function)  # and with it the options that it has already
    def command(*args: Any, adapt: bool, objective: str | None, no_probes: bool, **others: Any) -> Any:
        return function(*args, adapting_options=AdaptingOptions(adapt, objective, not no_probes), **others)

    made: Callable[..., Any] = command
    for add in (
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

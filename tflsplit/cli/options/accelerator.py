"""The options about the accelerator that runs heads, and the accelerators that they name."""

import functools
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from tflsplit import text
from tflsplit.cli.output import screen
from tflsplit.graph.cuts import Cut
from tflsplit.package.reading import Package

if TYPE_CHECKING:  # it needs an interpreter, which `tflsplit doctor` may be run to find missing
    from edge_runtime.accelerators.protocol import Accelerator
    from edge_runtime.adapting.adaptation import Adaptation
    from edge_runtime.head import Head
    from edge_runtime.profiling.equivalence import Comparison

_log = logging.getLogger(__name__)


def option(
    name: str = "accelerator_name", *, default: str | None, what: str = "What runs the head"
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Gives the command the accelerator's name as the argument `name`. `what` begins the help."""
    return click.option(
        "--accelerator",
        name,
        metavar="NAME",
        default=default,
        show_default=default is not None,
        help=f"{what}: cpu, coral, coral:usb:0, coral:pci:0, delegate:PATH?option=value, served:SOCKET for one that "
        "`tflsplit accelerator serve` owns, or auto for the Edge TPU where one can run the head, else the CPU.",
    )


class AcceleratorOptions(NamedTuple):
    """The values of the options."""

    accelerator_name: str
    fallback_name: str | None
    threads: int

    def accelerator(self, opened: Package, cut: Cut) -> "Accelerator":
        return resolve(opened, cut, self.accelerator_name, self.threads)

    def fallback(self) -> "Accelerator | None":
        from tflsplit.api import accelerators

        return accelerators.fallback(self.fallback_name, self.threads)

    def open_head(
        self,
        opened: Package,
        cut: Cut,
        on_trial: Callable[[str], None],
        adaptation: "Adaptation | None" = None,
        batch: int = 1,
    ) -> "Head":
        """A package that never ran here is tried first; `on_trial` hears the names of its models. An `adaptation` has
        its heads open already. `batch`: for so many inputs at once."""
        if adaptation is not None:
            return adaptation.first
        from edge_runtime import head
        from tflsplit.package import trial

        trial.once(opened, on_model=on_trial)
        computing = self.accelerator(opened, cut)
        return head.Head(opened, cut, accelerator=computing, fallback=self.fallback(), batch=batch)


def options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Gives the command the argument `machine`, an `AcceleratorOptions`."""

    @functools.wraps(function)  # and with it the options that it has already
    def command(*args: Any, accelerator_name: str, fallback_name: str | None, threads: int, **others: Any) -> Any:
        return function(*args, machine=AcceleratorOptions(accelerator_name, fallback_name, threads), **others)

    made: Callable[..., Any] = command
    for add in (
        click.option(
            "--fallback",
            "fallback_name",
            type=click.Choice(["cpu"]),
            help="What runs the head while the accelerator is missing or fails. Default: nothing.",
        ),
        option(default="cpu"),
        click.option(
            "--threads",
            type=click.IntRange(min=1),
            default=1,
            show_default=True,
            help="CPU threads that run the head.",
        ),
    ):
        made = add(made)
    return made


def resolve(opened: Package, cut: Cut, name: str, threads: int = 1) -> "Accelerator":
    """What the option names; for `auto` the Edge TPU if the cut's head is compiled and one answers, else the CPU."""
    from tflsplit.api import accelerators

    accelerator, why = accelerators.named(name, opened, cut, threads=threads)
    if why is not None:
        _log.info("accelerator chosen name=%s reason=%s", accelerator.name, why)
    return accelerator


def print_comparison(made: "Comparison") -> None:
    for found in made.cuts:
        if found.reason is not None:
            screen.write(f"{found.cut} on {made.accelerator}: did not run: {found.reason}")
        else:
            screen.write(
                f"{found.cut} on {made.accelerator}: {text.counted(found.max_steps or 0, 'step')} apart at most, "
                f"{found.equal_share:.2%} of the elements equal, top-1 agrees in {found.top1_agreement:.1%}"
            )

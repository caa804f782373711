"""An edge whose cut moves: the controller over the candidates of its plan, and their heads."""

import contextlib
import logging
from collections.abc import Iterator
from typing import TYPE_CHECKING

from tflsplit import arguments, errors
from tflsplit.package.reading import Package

if TYPE_CHECKING:  # an edge that stays at its cut starts without all of it
    from edge_runtime.adapting.adaptation import Adaptation
    from tflsplit.planning.planfile import Plan

log = logging.getLogger(__name__)

OBJECTIVES = ("mean", "p95")


def check_accelerator(name: str) -> None:
    """SettingsError for any but the CPU."""
    if name != "cpu":
        raise errors.SettingsError(
            f"a cut that moves, on accelerator {name}: it holds one head at a time; let the cut stay, or run on the CPU"
        )


@contextlib.contextmanager
def started(
    package: Package, plan: "Plan | None", *, objective: str = "mean", probes: bool = True, threads: int = 1
) -> "Iterator[Adaptation]":
    """Ready for an edge, until the block ends. SettingsError without a plan, and for one that lists no candidates."""
    if plan is None:
        raise errors.SettingsError("a cut moves by a plan, which knows the candidates and their costs: give --plan")
    from edge_runtime.adapting import adaptation, candidates
    from tflsplit.package import trial
    from tflsplit.planning import pipeline
    from tflsplit.planning.candidates import with_bits
    from tflsplit.switching import choices
    from tflsplit.switching.controller import Controller, Tuning
    from tflsplit.switching.goal import Goal, Wish
    from tflsplit.switching.policy import Probing

    wish = Wish(arguments.one_of(objective, OBJECTIVES, "objective"))
    listed = choices.of_plan(plan)
    start = with_bits(plan.cut, plan.bits)
    worth = {each.id for each in choices.worth_having(listed)} | {start}
    competing = [each for each in listed if each.id in worth]
    if len(competing) == 1:
        log.warning("nothing can move: the plan has one candidate cut=%s", plan.cut)
    link = pipeline.link_of(plan)
    usual = choices.Present(1 / link.bandwidth_bps, link.rtt_s)
    tuning = Tuning(probing=Probing() if probes else None)
    controller = Controller(competing, usual, Goal(wish), tuning, start=start)
    trial.once(package)
    with candidates.opened(package, competing, threads=threads) as opened:
        log.info("the cut may move candidates=%s objective=%s", ",".join(each.id for each in competing), objective)
        yield adaptation.Adaptation(opened, controller, start)

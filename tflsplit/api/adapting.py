"""An edge whose cut moves: the controller over the candidates of its plan, and their heads."""

import contextlib
import logging
from collections.abc import Iterator
from typing import TYPE_CHECKING

from tflsplit import arguments, errors, processor
from tflsplit.api import accelerators
from tflsplit.graph.cuts import Cut
from tflsplit.package.reading import Package

if TYPE_CHECKING:  # an edge that stays at its cut starts without all of it
    from edge_runtime.adapting.adaptation import Adaptation
    from edge_runtime.adapting.candidates import Computing
    from tflsplit.planning.planfile import Plan
    from tflsplit.switching.choices import Choice

log = logging.getLogger(__name__)

OBJECTIVES = ("mean", "p95")


def check_batch(batch: int) -> None:
    """SettingsError for frames of several inputs."""
    if batch > 1:
        raise errors.SettingsError(
            f"a cut that moves, with a batch of {batch}: its heads take one input; leave one out"
        )


@contextlib.contextmanager
def started(
    package: Package,
    plan: "Plan | None",
    *,
    objective: str = "mean",
    probes: bool = True,
    threads: int = 1,
    accelerator: str = "cpu",
    fallback: str | None = None,
) -> "Iterator[Adaptation]":
    """Ready for an edge, until the block ends. SettingsError without a plan, and for one that lists no candidates."""
    if plan is None:
        raise errors.SettingsError("a cut moves by a plan, which knows the candidates and their costs: give --plan")
    from edge_runtime.adapting import adaptation, candidates, siblings
    from tflsplit.package import trial
    from tflsplit.planning import pipeline
    from tflsplit.planning.candidates import named
    from tflsplit.switching import choices
    from tflsplit.switching.controller import Controller, Tuning
    from tflsplit.switching.goal import Goal, Wish
    from tflsplit.switching.policy import Probing

    wish = Wish(arguments.one_of(objective, OBJECTIVES, "objective"))
    computing = _computing(package, plan, accelerator, fallback, threads)
    runs_on = computing.accelerator.name if computing else "cpu"
    start = named(plan.cut, plan.bits, plan.input_codec)
    competing = _competing(package, start, choices.of_plan(plan, runs_on), computing)
    link = pipeline.link_of(plan)
    usual = choices.Present(1 / link.bandwidth_bps, link.rtt_s)
    tuning = Tuning(probing=Probing() if probes else None)
    controller = Controller(competing, usual, Goal(wish), tuning, start=start)
    trial.once(package)
    words = "the cut may move candidates=%s objective=%s accelerator=%s"
    with contextlib.ExitStack() as stack:
        device = None
        if computing is None:
            opened = stack.enter_context(candidates.opened(package, competing, threads=threads))
        else:
            opening = candidates.opened_on(package, competing, plan.cut, computing, threads=threads)
            opened, device = stack.enter_context(opening)
        log.info(words, ",".join(each.id for each in competing), objective, runs_on)
        machine = f"{processor.identity()}, {runs_on}, {threads} threads"
        kind = siblings.kind_of(package.digest, plan.candidates, plan.link, machine)
        yield adaptation.Adaptation(opened, controller, start, device, kind=kind)


def _computing(
    package: Package, plan: "Plan", accelerator: str, fallback: str | None, threads: int
) -> "Computing | None":
    """None for the CPU, where all heads are open side by side."""
    from edge_runtime.accelerators import choice
    from edge_runtime.adapting.candidates import Computing

    named, why = accelerators.of_any(accelerator, package, cuts(package, plan), threads=threads)
    if why is not None:
        log.info("accelerator chosen name=%s reason=%s", named.name, why)
    if not named.is_external:
        if accelerator not in ("cpu", choice.AUTO):
            raise errors.SettingsError(f"accelerator {accelerator}: a cut that moves has no cores of its own; say cpu")
        return None
    device = plan.devices.get("edge", {})
    if device.get("accelerator") != named.name:
        log.warning(
            "the plan was made with timings of another accelerator: profile and plan again planned=%s here=%s",
            *(device.get("accelerator"), named.name),
        )
    return Computing(named, accelerators.fallback(fallback, threads))


def has_pixels(plan: "Plan") -> bool:
    """Whether pictures as they are, or as JPEG, are among the candidates."""
    return any(each.get("input_codec") not in (None, "int8") for each in plan.candidates)


def cuts(package: Package, plan: "Plan") -> list[Cut]:
    """Those that an edge may move between, the plan's own first; SettingsError for a plan that lists no candidates."""
    from tflsplit.switching import choices

    listed = [plan.cut, *(each.cut for each in choices.of_plan(plan))]
    return [package.cut(name) for name in dict.fromkeys(listed)]


def _competing(package: Package, start: str, listed: "list[Choice]", computing: "Computing | None") -> "list[Choice]":
    """Those of a plan that are the best under some conditions, and that can run here."""
    from tflsplit.switching import choices

    lacking = [each.id for each in listed if computing and not computing.can_run(package, package.cut(each.cut))]
    if lacking:
        log.warning("cuts are no candidates, their heads are not compiled for the Edge TPU cuts=%s", ",".join(lacking))
    there = [each for each in listed if each.id not in lacking or each.id == start]
    worth = {each.id for each in choices.worth_having(there)} | {start}
    competing = [each for each in there if each.id in worth]
    if len(competing) == 1:
        log.warning("nothing can move: the plan has one candidate cut=%s", start)
    return competing

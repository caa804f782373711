"""An edge whose cut moves: the controller over the candidates of its plan, and their heads."""

import contextlib
import logging
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from tflsplit import arguments, errors, processor, text
from tflsplit.api import accelerators, gating
from tflsplit.graph.cuts import Cut
from tflsplit.package.reading import Package

if TYPE_CHECKING:  # an edge that stays at its cut starts without all of it
    from edge_runtime.adapting.adaptation import Adaptation
    from edge_runtime.adapting.candidates import Candidate, Computing
    from edge_runtime.adapting.lineups import Lineup
    from edge_runtime.answering.gate import Terms
    from edge_runtime.answering.on_device import OnDevice
    from edge_runtime.delivery.settings import Settings
    from tflsplit.planning.planfile import Plan
    from tflsplit.switching.choices import Choice

log = logging.getLogger(__name__)

OBJECTIVES = ("mean", "p95")


def check(*, until: str, batch: int, plan: "Plan | None") -> "Plan":
    """The plan. SettingsError without one, for one that lists no candidates, for frames of another number of inputs
    than it is of, and where answers would not say what the cloud took."""
    from edge_runtime.adapting import adaptation
    from edge_runtime.delivery.settings import Until
    from tflsplit.switching import choices

    adaptation.check(until=Until(until))
    if plan is None:
        raise errors.SettingsError("a cut moves by a plan, which knows the candidates and their costs: give --plan")
    choices.of_plan(plan)
    if plan.batch != batch:
        raise errors.SettingsError(
            f"a cut that moves by a plan of {text.counted(plan.batch, 'input')} a frame, with a batch of {batch}: what "
            f"the cuts cost then is not known; profile and plan with --batch {batch}, or leave the batch out"
        )
    return plan


@contextlib.contextmanager
def started(
    package: Package,
    plan: "Plan",
    *,
    objective: str = "mean",
    probes: bool = True,
    threads: int = 1,
    accelerator: str = "cpu",
    fallback: str | None = None,
    hedge: float | None = None,
    gate: "Terms | None" = None,
    batch: int = 1,
    moves_models: bool = False,
) -> "Iterator[Adaptation]":
    """Ready for an edge, until the block ends, by a plan that `check` found in order. SettingsError where answers are
    to be hedged or kept that this device may not give, and where models are to be exchanged, or batches taken, on an
    accelerator that holds one head for one input."""
    from edge_runtime.adapting import adaptation, siblings
    from tflsplit.package import trial
    from tflsplit.planning import pipeline
    from tflsplit.planning.candidates import named
    from tflsplit.switching import choices
    from tflsplit.switching.controller import Controller, Tuning
    from tflsplit.switching.goal import Goal, Wish
    from tflsplit.switching.policy import Probing

    wish = Wish(arguments.one_of(objective, OBJECTIVES, "objective"))
    computing = _computing(package, plan, accelerator, fallback, threads)
    runs_on = "cpu" if computing is None else _checked(computing, batch, moves_models=moves_models)
    start = named(plan.cut, plan.bits, plan.input_codec)
    listed = choices.of_plan(plan, runs_on)
    local = _local(plan, listed, is_needed=hedge is not None or gate is not None)
    competing = _competing(package, start, choices.gated(listed) if gate else listed, computing)
    link = pipeline.link_of(plan)
    usual = choices.Present(1 / link.bandwidth_bps, link.rtt_s)
    tuning = Tuning(hedge=hedge, probing=Probing() if probes else None)
    controller = Controller(competing, usual, Goal(wish), tuning, start=start)
    first, reached = controller.now, [*competing, *(local if gate else ())]
    trial.once(package)
    machine = f"{processor.identity()}, {runs_on}, {threads} threads"
    kind = siblings.kind_of(package.digest, plan.candidates, plan.link, machine)

    def behind(stack: contextlib.ExitStack, any_package: Package, opened: "list[Candidate]") -> "OnDevice | None":
        if not local:
            return None
        return _on_device(stack, any_package, opened, gate, hedges=hedge is not None, threads=threads, batch=batch)

    with contextlib.ExitStack() as stack:
        lineup, more = _lined_up(
            stack, package, reached, start=first.cut, computing=computing, behind=behind, threads=threads, batch=batch
        )
        log.info("the cut may move candidates=%s objective=%s accelerator=%s", _ids(competing), objective, runs_on)
        about = (lineup.candidates, controller, first.id)
        yield adaptation.Adaptation(*about, kind=kind, on_device=lineup.on_device, **more)


def _checked(computing: "Computing", batch: int, *, moves_models: bool) -> str:
    """The accelerator's name; SettingsError for what it cannot do."""
    name = computing.accelerator.name
    if moves_models:
        raise errors.SettingsError(
            f"--models with --adapt on accelerator {name}: it holds the head in use and no second model beside it, "
            "to which a pushed one could be rolled back; run the moving cut on the CPU, or leave one of them out"
        )
    if batch > 1:
        raise errors.SettingsError(
            f"a batch of {batch} on accelerator {name}: it takes one input at a time; leave the batch out, or run on "
            "the CPU"
        )
    return name


def _ids(choices: "list[Choice]") -> str:
    return ",".join(each.id for each in choices)


def _lined_up(
    stack: contextlib.ExitStack,
    package: Package,
    choices: "list[Choice]",
    *,
    start: str,
    computing: "Computing | None",
    behind: "Callable[[contextlib.ExitStack, Package, list[Candidate]], OnDevice | None]",
    threads: int,
    batch: int,
) -> "tuple[Lineup, dict[str, Any]]":
    """What is open, until the stack closes, and what opened it, as words for `Adaptation`."""
    from edge_runtime.adapting import candidates
    from edge_runtime.adapting.lineups import Lineup, Lineups

    if computing is not None:
        opening = candidates.opened_on(package, choices, start, computing, threads=threads)
        opened, device = stack.enter_context(opening)
        return Lineup(package, tuple(opened), behind(stack, package, opened)), {"device": device}

    @contextlib.contextmanager
    def opened_for(any_package: Package) -> "Iterator[Lineup]":
        with contextlib.ExitStack() as inner:
            found = inner.enter_context(candidates.opened(any_package, choices, threads=threads, batch=batch))
            yield Lineup(any_package, tuple(found), behind(inner, any_package, found))

    lineups = Lineups(opened_for)
    stack.callback(lineups.close_all)
    lineup = lineups.of(lineups.open(package, package.cut(start)))
    assert lineup is not None, "it was opened just now"  # noqa: S101 - for the type
    return lineup, {"lineups": lineups}


@contextlib.contextmanager
def course(
    package: Package,
    cut: Cut,
    plan: "Plan | None",
    settings: "Settings",
    *,
    adapt: bool,
    gate: "Terms | None",
    threads: int,
    hedge: float | None,
    **moves: Any,
) -> "Iterator[dict[str, Any]]":
    """Where the frames of an edge are answered, as words for `edge_runtime.loop.Edge`: by a cut that moves, a gate, or
    both; `moves` are those of `started`. All that does not go together is refused before anything is opened."""
    gating.check(package, gate, None if adapt else cut, until=settings.until.value)
    if not adapt and hedge is not None:
        raise errors.SettingsError("hedge goes by what a moving cut learns of the link: give adapt as well")
    if adapt:
        checked = check(until=settings.until.value, batch=settings.batch, plan=plan)
        moves |= {"gate": gate, "hedge": hedge, "threads": threads, "batch": settings.batch}
        with started(package, checked, **moves) as ready:
            yield {"adaptation": ready}
    else:
        with gating.started(package, cut, gate, threads=threads, batch=settings.batch) as here:
            yield {"on_device": here}


def _local(plan: "Plan", listed: "list[Choice]", *, is_needed: bool) -> "list[Choice]":
    """The choice that computes all on the device, if the plan allows it; SettingsError where it is needed."""
    found = [each for each in listed if each.is_local]
    if is_needed and not found:
        raise errors.SettingsError(
            f"the plan for {plan.package_name} does not let this device compute whole answers (output is none of its "
            "candidates); plan without the bound that forbids it"
            f"{' or a batch that the whole model does not take' if plan.batch > 1 else ''}, or leave hedge and gate out"
        )
    return found


def _on_device(
    stack: contextlib.ExitStack,
    package: Package,
    opened: "list[Candidate]",
    gate: "Terms | None",
    *,
    hedges: bool,
    threads: int,
    batch: int,
) -> "OnDevice | None":
    """The rest of the model behind each candidate, on the CPU; None where nobody asks for it and it takes memory.
    PackageError in a bundle without the whole model."""
    from edge_runtime import batched
    from edge_runtime.answering.gate import Gate
    from edge_runtime.answering.on_device import OnDevice

    if opened[0].chain is None and gate is None and not hedges:
        return None
    places = (package.cut(each.choice.cut) for each in opened)
    chain = opened[0].chain
    if chain is None:
        chain = stack.enter_context(batched.chained(package, places, threads=threads, batch=batch))
    return OnDevice(package, chain, hedges=hedges, gate=None if gate is None else Gate(package, gate))


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
    if not competing:
        raise errors.SettingsError("the plan has no cut at which a gate could ask a cloud; plan without that bound")
    if len(competing) == 1:
        log.warning("nothing can move: the plan has one candidate cut=%s", competing[0].id)
    return competing

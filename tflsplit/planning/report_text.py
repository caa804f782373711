"""A decision as JSON for programs and as text for people. It decides nothing itself."""

import math
from collections.abc import Callable, Mapping

from tflsplit import text
from tflsplit.kernels.heads import Standing
from tflsplit.planning import constraints
from tflsplit.planning import decision as planning_decision
from tflsplit.planning.breakeven import BreakEven
from tflsplit.planning.cost import Cost
from tflsplit.planning.decision import Decision, Judged, Objective
from tflsplit.planning.tradeoff import Tradeoff
from tflsplit.values.classes import asdict

# Cameras on one box, as homes and shops have them.
_STREAMS = (1, 2, 4, 8)


def as_json(decision: Decision, break_even: Mapping[str, BreakEven | None]) -> dict[str, object]:
    """What `tflsplit plan --json` prints. Infinite figures are null, as JSON has none."""
    return {
        "choice": decision.choice.id if decision.choice else None,
        "objective": decision.goal.objective.value,
        "constraints": decision.goal.constraints.as_json(),
        "do_not_split": decision.choice is not None and not decision.is_split,
        "reason": reason(decision),
        "candidates": [candidate(entry, decision) for entry in decision.judged],
        "pareto": list(decision.pareto),
        "runner_up": decision.runner_up.id if decision.runner_up else None,
        "nearest_miss": decision.nearest.id if decision.nearest else None,
        "break_even": break_even_as_json(break_even),
    }


def break_even_as_json(break_even: Mapping[str, BreakEven | None]) -> dict[str, object]:
    return {
        name: found and {"value": found.value, "choice": found.choice, "splits": found.is_split}
        for name, found in break_even.items()
    }


def candidate(judged: Judged, decision: Decision) -> dict[str, object]:
    found, described = judged.cost, judged.cost.candidate
    return {
        "cut": judged.id,
        "layer": described.cut.layer,
        "position": described.cut.position,
        "input_codec": described.input_codec,
        "bits": described.bits,
        "lossy": None if described.fidelity is None else asdict(described.fidelity),
        "feasible": judged.is_feasible,
        "dominated_by": judged.dominated_by,
        "latency_ms": {"p50": _ms(found.latency.p50_s), "p95": _ms(found.latency.p95_s)},
        "throughput_fps": _finite(found.throughput_fps),
        "slowest_stage": found.slowest_stage,
        "stages_fps": {name: _finite(rate) for name, rate in found.stages_fps.items()},
        "streams_fps": {str(count): _finite(rate) for count, rate in streams_fps(found).items()},
        "payload_bytes": round(described.payload_bytes),
        "bytes_per_frame": round(found.bytes_per_frame),
        "bytes_per_input": round(found.bytes_per_input),
        "bytes_per_day": round(found.bytes_per_day),
        "price_per_day": found.price_per_day,
        "edge_load": round(found.edge_load, 4),
        "cloud_load": round(found.cloud_load, 4),
        "edge_memory_bytes": described.edge_memory_bytes,
        "energy_j": found.energy_j,
        "parts_ms": {name: _ms(part.p50_s) for name, part in found.parts.items()},
        "origins": {name: origin.value for name, origin in found.origins.items()},
        "failed": [failure.constraint for failure in judged.failures],
        "exact": described.standing.is_exact,
        "inexact": described.inexact or None,
        "why_not": why_not(judged, decision),
    }


def streams_fps(found: Cost) -> dict[int, float]:
    """What each of so many cameras could have of the edge, in inputs a second: one head runs at a time, and of several
    streams each behind another one's."""
    alone_fps, switch_s = found.stages_fps["edge"], found.candidate.switch_s / found.candidate.batch
    beside_fps = alone_fps / (1 + switch_s * alone_fps) if math.isfinite(alone_fps) else alone_fps
    return {count: (alone_fps if count == 1 else beside_fps) / count for count in _STREAMS}


def streams(found: Cost) -> str:
    """The same in words; nothing for an edge that computes nothing."""
    rates = {count: rate for count, rate in streams_fps(found).items() if math.isfinite(rate)}
    if not rates:
        return ""
    words = [f"{text.counted(count, 'stream')} at {rate:.3g}" for count, rate in rates.items()]
    unit = constraints.rate_unit(1)
    known = found.candidate.besides_s * 1e3, found.candidate.switch_s * 1e3
    counted = "; {:.2g} ms of bookkeeping a frame and {:.2g} ms a change of model are counted".format(*known)
    carried = f"such an edge carries {words[0]} {unit}, {', '.join(words[1:-1])} or {words[-1]}, one head at a time"
    return carried + (counted if any(known) else "")


def why_not(judged: Judged, decision: Decision) -> str | None:
    """Why a candidate was not picked; None for the one that was."""
    if judged is decision.choice:
        return None
    if judged.failures:
        return "; ".join(failure.words for failure in judged.failures)
    if decision.choice is None:
        return None
    behind = f"{_behind(judged, decision, decision.choice)}{_doubt(judged, decision, decision.choice)}"
    if judged.dominated_by is None:
        return behind
    is_same = judged.dominated_by == decision.choice.id
    return f"dominated by the pick: {behind}" if is_same else f"dominated by {judged.dominated_by}; {behind}"


def short_why_not(judged: Judged, decision: Decision) -> str:
    """`why_not` for a narrow column: by what share a candidate is behind the pick, and what dominates it."""
    if judged is decision.choice:
        return ""
    if judged.failures or decision.choice is None:
        return "; ".join(failure.words for failure in judged.failures)
    share = _share_behind(judged, decision, decision.choice)
    if share is None:
        return "weighs more"
    if share < 0 and is_passed_over(judged, decision):
        return f"{judged.cost.candidate.standing.value}, and gains less than {planning_decision.NEARLY:.0%}"
    if share < 0:
        return f"gains less than {planning_decision.WORTH_A_SPLIT:.0%}"
    behind = f"{text.percent(share)} behind" if share >= 0.0005 else "as good"
    return behind if judged.dominated_by in (None, decision.choice.id) else f"{behind}, {judged.dominated_by} beats it"


def reason(decision: Decision) -> str:
    """One sentence: what to do and why, or what stands in the way of everything."""
    chosen = decision.choice
    if chosen is None:
        nearest = decision.nearest
        missed = "; ".join(failure.words for failure in nearest.failures) if nearest else ""
        return f"nothing meets the constraints; nearest is {nearest.id if nearest else 'none'}: {missed}"
    others = [
        entry for entry in decision.judged if entry.is_feasible and entry.cost.candidate.is_split != decision.is_split
    ]
    pick = f"cut at {_named(chosen)}" if decision.is_split else f"do not split: {_kind(chosen)}"
    other_kind = "candidate without a split" if decision.is_split else "split"
    if not others:
        return f"{pick}; no {other_kind} meets the constraints"
    other = min(others, key=lambda entry: _badness(entry.cost, decision.goal.objective))
    return (
        f"{pick}; the best {other_kind}, {_named(other)}: "
        f"{_behind(other, decision, chosen)}{_doubt(other, decision, chosen)}"
    )


def origins(found: Cost) -> str:
    """One line: which parts of a latency were measured, which stated, which estimated."""
    kinds: dict[str, list[str]] = {}
    for name, part in found.parts.items():
        if part.p50_s or part.p95_s:
            kinds.setdefault(part.origin.value, []).append(name)
    return "; ".join(f"{kind}: {', '.join(names)}" for kind, names in kinds.items())


def turns(break_even: Mapping[str, BreakEven | None], batch: int = 1) -> list[str]:
    """What would change the answer, a line each; frames hold `batch` inputs."""
    unit = constraints.rate_unit(batch)
    lines = []
    for name, found in break_even.items():
        if found is not None:
            words, factor, nothing = _BREAK_EVENS[name]
            then = f"the answer would be {found.choice}" if found.choice else f"nothing would {nothing}"
            lines.append(f"at {words.format(found.value * factor, unit)} {then}")
    return lines


_BREAK_EVENS = {
    "bandwidth_bps": ("{:.4g} Mbit/s", 1e-6, "meet the constraints"),
    "rate_fps": ("{:.4g} {} of each device", 1.0, "keep up and meet the constraints"),
    "price_per_gb": ("a price of {:.4g} a gigabyte", 1.0, "meet the constraints"),
}


def _kind(judged: Judged) -> str:
    where = "in the cloud" if judged.cost.candidate.cut.position == 0 else "at the edge"
    return f"compute everything {where} ({judged.id})"


def _named(judged: Judged) -> str:
    layer = short_layer(judged.cost.candidate.cut.layer)
    return f"{judged.id} (after {layer})" if layer else judged.id


def short_layer(layer: str | None) -> str:
    """The converter joins the names of all that it fused; the first one says where. A long one is shortened."""
    return "" if layer is None else text.shortened(layer.split(";")[0], 40)


def _badness(found: Cost, objective: Objective) -> tuple[float, float]:
    figure = _FIGURES[objective][0](found)
    return (-figure if objective is Objective.THROUGHPUT else figure), found.latency.p50_s


def _behind(judged: Judged, decision: Decision, chosen: Judged) -> str:
    found, best = judged.cost, chosen.cost
    figure, unit, factor = _FIGURES[decision.goal.objective]
    unit = constraints.rate_unit(found.candidate.batch) if decision.goal.objective is Objective.THROUGHPUT else unit
    mine, its = figure(found) * factor, figure(best) * factor
    if decision.goal.objective is Objective.WEIGHTED:
        return (
            f"weighs more: {mine:.4g} ms and {found.bytes_per_frame:,.0f} bytes against {its:.4g} ms and "
            f"{best.bytes_per_frame:,.0f} bytes"
        )
    share = f" ({text.percent(mine / its - 1, signed=True)})" if its and math.isfinite(mine) else ""
    return f"{mine:.5g} {unit} against {its:.5g}{share}"


def _doubt(judged: Judged, decision: Decision, chosen: Judged) -> str:
    """Why a candidate that is better than the pick was not picked."""
    share = _share_behind(judged, decision, chosen)
    is_better = share is not None and share < 0
    if is_better and is_passed_over(judged, decision):
        found = judged.cost.candidate
        return f", less than {planning_decision.NEARLY:.0%}, and {found.standing.value}: {found.inexact}"
    return f", less than the {planning_decision.WORTH_A_SPLIT:.0%} that a split has to gain" if is_better else ""


def is_passed_over(judged: Judged, decision: Decision) -> bool:
    """Whether a candidate was left for the pick because that is exact and this is not."""
    chosen = decision.choice
    if chosen is None or not decision.goal.prefers_exact or not judged.is_feasible:
        return False
    return chosen.cost.candidate.is_exact and not judged.cost.candidate.is_exact


def exact_remark(decision: Decision) -> str:
    """What an exact pick was preferred to, or that the pick is not exact; empty if there is nothing to say."""
    chosen = decision.choice
    if chosen is None or not decision.goal.prefers_exact:
        return ""
    found = chosen.cost.candidate
    if not found.is_exact:
        return f"{chosen.id} is {_NOT_EXACT[found.standing]}: {found.inexact}"
    shares = {entry.id: _share_behind(entry, decision, chosen) for entry in decision.judged if entry is not chosen}
    better = [
        entry for entry in decision.judged if is_passed_over(entry, decision) and (shares.get(entry.id) or 0.0) < 0
    ]
    if not better:
        return ""
    best = min(better, key=lambda entry: shares[entry.id] or 0.0)
    ahead = text.percent(-(shares[best.id] or 0.0))
    return (
        f"{chosen.id} is exact and was preferred to {best.id}, which is {ahead} better and "
        f"{_NOT_EXACT[best.cost.candidate.standing]}: {best.cost.candidate.inexact}"
    )


_NOT_EXACT = {Standing.INEXACT: "not exact", Standing.UNKNOWN: "not known to be exact", Standing.EXACT: "exact"}


def _share_behind(judged: Judged, decision: Decision, chosen: Judged) -> float | None:
    """Negative where a candidate is better than the pick; None where no single figure ranks them."""
    if decision.goal.objective is Objective.WEIGHTED:
        return None
    figure = _FIGURES[decision.goal.objective][0]
    mine, its = figure(judged.cost), figure(chosen.cost)
    if decision.goal.objective is Objective.THROUGHPUT:
        mine, its = its, mine
    return mine / its - 1 if its else 0.0


_FIGURES: Mapping[Objective, tuple[Callable[[Cost], float], str, float]] = {
    Objective.LATENCY: (lambda found: found.latency.p50_s, "ms", 1000.0),
    Objective.THROUGHPUT: (lambda found: found.throughput_fps, "frames/s", 1.0),
    Objective.BYTES: (lambda found: found.bytes_per_frame, "bytes a frame", 1.0),
    Objective.ENERGY: (lambda found: found.energy_j or 0.0, "J a frame", 1.0),
    Objective.PRICE: (lambda found: found.price_per_day or 0.0, "a day", 1.0),
    Objective.WEIGHTED: (lambda found: found.latency.p50_s, "ms", 1000.0),
}


def _ms(seconds: float) -> float | None:
    return round(seconds * 1000, 4) if math.isfinite(seconds) else None


def _finite(value: float) -> float | None:
    return round(value, 3) if math.isfinite(value) else None


def gate_title(gate: Tradeoff) -> str:
    return (
        f"--answer-here SCORE at {gate.cut}, on {text.counted(gate.samples, 'sample')}: what stays here, what is sent "
        f"(--audit {gate.audit:.0%} included); * no lower SCORE has as much {gate.measure}"
    )


def gate_remarks(gate: Tradeoff) -> tuple[str, ...]:
    """What the figures rest on, and what they do not say."""
    meant = "of true answers" if gate.is_labelled else "of answers that are the cloud's; the samples have no classes"
    same = "" if gate.has_other_tail else "the cloud's tail is int8 as the device is, so sending changes no answer"
    return tuple(filter(None, (f"{gate.measure}: share {meant}", same, *gate.remarks)))

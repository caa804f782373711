"""What a device may choose between for its next frame: cuts that are each the best under some conditions."""

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tflsplit import errors
from tflsplit.coding import input_codec
from tflsplit.planning import network
from tflsplit.planning.candidates import Candidate, named
from tflsplit.planning.planfile import Plan
from tflsplit.values.classes import dataclass, replace

# Under which conditions a cut has to be the best one to be a choice: links from 2G to a wired one, and a device and a
# server that are as they were profiled, or slowed down by what heat and others' work do to them.
_RATES_BPS = tuple(1e4 * 10 ** (step / 8) for step in range(41))
_SLOWER = (1.0, 2.0, 4.0)
_ROUND_TRIPS_S = (0.001, 0.04, 0.2)


@dataclass(frozen=True, slots=True)
class Choice:
    """One cut as costs, in seconds and bytes, with its features in so many `bits` (None: as they are).

    `edge_s` is all that the device does before it sends, `cloud_s` all that the server does; `rest_s` is what the
    device would need to end the frame on its own from there. `wire_bytes` counts every header; it is 0 where nothing
    has to be sent to have the answer. `load_s` is what the device takes to load its head in place of another one; 0
    where heads are open side by side, and where nothing is computed here.
    """

    id: str
    edge_s: float
    wire_bytes: float
    cloud_s: float
    rest_s: float
    is_exact: bool = True
    bits: int | None = None
    load_s: float = 0.0

    @property
    def cut(self) -> str:
        """The cut's id: behind it the choice's own says how features, or the input, travel."""
        return self.id.partition(":")[0]

    @property
    def pixels(self) -> str | None:
        """How the input travels where it does as pixels: `raw`, `jpeg:75`."""
        return (self.id.partition(":")[2] or None) if self.bits is None else None

    @property
    def is_local(self) -> bool:
        return self.wire_bytes == 0


@dataclass(frozen=True, slots=True)
class Present:
    """What a frame would meet that is sent now. `edge_slower` and `cloud_slower` multiply the profiled times;
    `cloud_wait_s` passes before the server begins."""

    s_per_bit: float
    rtt_s: float
    edge_slower: float = 1.0
    cloud_slower: float = 1.0
    cloud_wait_s: float = 0.0

    def as_json(self) -> dict[str, float]:
        """With a rate for the time of a bit, rounded to what estimates can tell."""
        figures = {
            "link_bps": 1 / self.s_per_bit,
            "rtt_s": self.rtt_s,
            "edge_slower": self.edge_slower,
            "cloud_slower": self.cloud_slower,
            "cloud_wait_s": self.cloud_wait_s,
        }
        return {name: float(f"{figure:.3g}") for name, figure in figures.items()}


def load_s(before: Choice, after: Choice) -> float:
    """What the device loads to move there; `before` is what it has loaded."""
    return 0.0 if after.cut == before.cut else after.load_s


def loaded(before: Choice, after: Choice) -> Choice:
    """What it has loaded then: what needs no head leaves the one there that is."""
    return after if after.load_s else before


def latency_s(choice: Choice, now: Present) -> float:
    """From taking the frame to having its answer."""
    edge_s = choice.edge_s * now.edge_slower
    if choice.is_local:
        return edge_s
    sending_s = choice.wire_bytes * 8 * now.s_per_bit
    return edge_s + sending_s + now.rtt_s + now.cloud_wait_s + choice.cloud_s * now.cloud_slower


@dataclass(frozen=True, slots=True)
class _Figures:
    """Of one candidate, as a plan and its file have them; `head_s` is the part of `edge_s` that the head takes."""

    id: str
    is_input: bool
    edge_s: float
    head_s: float
    wire_bytes: float
    cloud_s: float
    is_exact: bool
    load_s: float
    bits: int | None = None


def of_candidates(candidates: Iterable[Candidate], accelerator: str = "cpu") -> list[Choice]:
    """Those that can be costed. The answer of `output` is on the device already. On any `accelerator` but the CPU the
    heads take each other's place."""
    costed = [candidate for candidate in candidates if not candidate.missing]
    whole = next((each.id for each in costed if not each.cut.tail.operators), None)
    return _choices([_costed(each) for each in costed], whole, accelerator)


def _costed(candidate: Candidate) -> _Figures:
    return _Figures(
        id=candidate.id,
        is_input=not candidate.cut.head.operators,
        edge_s=candidate.edge.mean_s,
        head_s=candidate.head.mean_s,
        wire_bytes=network.wire_bytes(candidate.frame_bytes),
        cloud_s=candidate.cloud.mean_s,
        is_exact=candidate.is_exact,
        load_s=candidate.load_s,
        bits=candidate.bits,
    )


def of_plan(plan: Plan, accelerator: str = "cpu") -> list[Choice]:
    """Those that a plan lists as candidates, on that `accelerator`. SettingsError for a plan that lists none, DataError
    for damage."""
    if not plan.candidates:
        raise errors.SettingsError(
            f"the plan for {plan.package_name} lists no candidates, so no cut can move; plan again with this version"
        )
    try:
        return _choices([_planned(each) for each in plan.candidates], "output", accelerator)
    except (KeyError, TypeError, ValueError, errors.SettingsError) as cause:
        raise errors.DataError(
            f"plan for {plan.package_name}: its candidates are damaged ({cause!r}); plan again"
        ) from cause


def _planned(told: Mapping[str, Any]) -> _Figures:
    edge_s, wire_bytes, cloud_s = figures = (float(told["edge_s"]), float(told["wire_bytes"]), float(told["cloud_s"]))
    if not all(math.isfinite(figure) and figure >= 0 for figure in figures):
        raise ValueError(f"{told['cut']}: {figures}")
    bits = None if told.get("bits") is None else int(told["bits"])
    cut, head_s, is_exact = str(told["cut"]), float(told["head_s"]), bool(told["exact"])
    sides = (edge_s, head_s, wire_bytes, cloud_s)
    codec = str(input_codec.parse(told.get("input_codec") or "int8"))
    name = named(cut, bits, codec)
    return _Figures(name, cut == "input", *sides, is_exact, float(told.get("load_s", 0.0)), bits)


def _choices(found: Sequence[_Figures], whole_id: str | None, accelerator: str) -> list[Choice]:
    """`whole_id` is the one that has its answer on the device."""
    whole = next((each for each in found if each.id == whole_id), None)

    def rest_s(each: _Figures) -> float:
        if whole is None:
            return math.inf
        return whole.edge_s if each.is_input else max(0.0, whole.head_s - each.head_s)

    def load_s(each: _Figures) -> float:
        return 0.0 if accelerator == "cpu" or each.is_input else each.load_s

    return [
        Choice(each.id, each.edge_s, 0.0, 0.0, 0.0, each.is_exact, None, load_s(each))
        if each is whole
        else Choice(
            *(each.id, each.edge_s, each.wire_bytes, each.cloud_s, rest_s(each), each.is_exact, each.bits, load_s(each))
        )
        for each in found
    ]


def gated(choices: Sequence[Choice]) -> list[Choice]:
    """The same for a device that computes every frame to its end, and asks a cloud where it is in doubt: whatever the
    cut, its own work is all of the model, so that only link and cloud tell the cuts apart."""
    return [replace(each, edge_s=each.edge_s + each.rest_s, rest_s=0.0) for each in choices if not each.is_local]


def worth_having(choices: Sequence[Choice], slow_edge: float = 1.0) -> list[Choice]:
    """Those that are the best under some conditions, in their order; what is local stays in any case. The device is
    at least `slow_edge` times as slow as it was profiled."""
    conditions = [
        Present(1 / rate_bps, rtt_s, edge * slow_edge, cloud)
        for rate_bps, rtt_s, edge, cloud in itertools.product(_RATES_BPS, _ROUND_TRIPS_S, _SLOWER, _SLOWER)
    ]
    best = {min(choices, key=lambda each: latency_s(each, now)).id for now in conditions}
    return [choice for choice in choices if choice.id in best or choice.is_local]

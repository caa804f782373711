"""All policies over one trace: ours, ours without one part, what others published, and two limits.

In model time, or as they ran (`of_runs`).

The mean is over the frames that were answered. Percentiles are over the ticks of the camera: one that finds the device
busy counts as the frame that keeps it busy, else a link that is dead for a minute would be one slow frame.
"""

import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import partial

from tflsplit import errors
from tflsplit.switching import rivals, simulation
from tflsplit.switching.choices import Choice, Present, latency_s
from tflsplit.switching.controller import Controller, Switch, Tuning
from tflsplit.switching.goal import Goal
from tflsplit.switching.policy import Policy
from tflsplit.switching.simulation import Run, Setting, World
from tflsplit.switching.traces import Trace
from tflsplit.timings import distribution
from tflsplit.values.classes import dataclass, replace

LIMITS = ORACLE, BEST_STATIC, PLANNED_STATIC = "oracle", "best_static", "planned_static"
ADAPTIVE = "adaptive"
# Some minutes for each policy, and all of them are held until the end.
_MOST_FRAMES = 5_000_000


@dataclass(frozen=True, slots=True)
class Outcome:
    """One policy's run. `cut_share` is the share of the frames that took each cut; bytes are those of frames and probes
    with every header."""

    mean_ms: float
    p50_ms: float
    p95_ms: float
    p99_ms: float
    frames: int
    skipped: int
    cut_share: dict[str, float]
    bytes: float
    probe_bytes: float
    hedged: int
    lost: int
    wrong: int

    def shares(self) -> str:
        """`op012 80%, output 20%`."""
        ordered = sorted(self.cut_share.items(), key=lambda item: -item[1])
        return ", ".join(f"{cut} {share:.0%}" for cut, share in ordered)

    def as_json(self) -> dict[str, object]:
        return {
            "mean_ms": self.mean_ms,
            "p50_ms": self.p50_ms,
            "p95_ms": self.p95_ms,
            "p99_ms": self.p99_ms,
            "frames": self.frames,
            "skipped": self.skipped,
            "cut_share": self.cut_share,
            "lost": self.lost,
            "wrong": self.wrong,
            "bytes": self.bytes,
            "probe_bytes": self.probe_bytes,
            "hedged": self.hedged,
        }


@dataclass(frozen=True, slots=True, repr=False)
class Comparison:
    """`choices` are the cuts that competed; `statics` has the outcome of each that stayed. With `is_real` all but the
    oracle ran as processes."""

    trace: Trace
    setting: Setting
    choices: tuple[Choice, ...]
    policies: dict[str, Outcome]
    switches: tuple[Switch, ...]
    runs: dict[str, Run]
    statics: dict[str, Outcome]
    is_real: bool = False

    def __repr__(self) -> str:
        return f"<comparison over {self.trace.name}: adaptive {self.adaptive_over_oracle:.3f} of the oracle's mean>"

    @property
    def adaptive_over_oracle(self) -> float:
        return self.policies[ADAPTIVE].mean_ms / self.policies[ORACLE].mean_ms

    @property
    def adaptive_over_best_static(self) -> float:
        return self.policies[ADAPTIVE].mean_ms / self.policies[BEST_STATIC].mean_ms

    def as_json(self) -> dict[str, object]:
        return {
            "trace": self.trace.name,
            "frames": self.policies[ADAPTIVE].frames,
            "switches": len(self.switches),
            "policies": {name: outcome.as_json() for name, outcome in self.policies.items()},
            "static": {name: outcome.as_json() for name, outcome in self.statics.items()},
            "adaptive_over_oracle": self.adaptive_over_oracle,
            "adaptive_over_best_static": self.adaptive_over_best_static,
            "switch_reasons": [
                {"at_s": each.at_s, "from": each.before, "to": each.after, "reason": each.reason}
                for each in self.switches
            ],
        }


Maker = Callable[[Sequence[Choice], Present], Policy]


def makers(goal: Goal, tuning: Tuning) -> dict[str, Maker]:
    """Every policy that chooses, by its name."""

    def ours(tuned: Tuning) -> Maker:
        return partial(Controller, goal=goal, tuning=tuned)

    return {
        ADAPTIVE: ours(tuning),
        "adaptive_no_probes": ours(replace(tuning, probing=None)),
        "adaptive_no_hedge": ours(replace(tuning, hedge=None)),
        "sciot": rivals.Sciot,
        "percentile": rivals.Percentile,
        "linucb": rivals.LinUcb,
    }


def check(choices: Sequence[Choice]) -> None:
    """SettingsError where nothing can move."""
    if len(choices) < 2:
        names = ", ".join(each.id for each in choices) or "none"
        raise errors.SettingsError(f"nothing can move: the only cut that is ever the best is {names}")


def _check_length(world: World) -> None:
    """SettingsError for more frames than anybody would wait for."""
    frames = (world.setting.duration_s or world.trace.duration_s) * world.setting.fps
    if frames > _MOST_FRAMES:
        raise errors.SettingsError(
            f"{frames:,.0f} frames to play, at most {_MOST_FRAMES:,}: give a shorter duration, or fewer frames a second"
        )


def usual_of(world: World) -> Present:
    """What a plan for the trace's mean rate knows."""
    return Present(1 / world.trace.mean_bps, world.setting.rtt_s, edge_slower=world.setting.slow_edge)


def planned_of(world: World, choices: Sequence[Choice]) -> Choice:
    return min(choices, key=lambda each: latency_s(each, usual_of(world)))


def compare(
    world: World, choices: Sequence[Choice], goal: Goal, tuning: Tuning, wanted: Collection[str] | None = None
) -> Comparison:
    """In model time. `wanted` names policies beside ours and the two limits; all without it."""
    check(choices)
    _check_length(world)
    statics = {each.id: simulation.play(world, rivals.Static(each)) for each in choices}
    runs: dict[str, Run] = {}
    switches: Sequence[Switch] = ()
    for name, make in makers(goal, tuning).items():
        if wanted is not None and name not in {ADAPTIVE, *wanted}:
            continue
        policy = make(choices, usual_of(world))
        runs[name] = simulation.play(world, policy)
        if name == ADAPTIVE and isinstance(policy, Controller):
            switches = tuple(policy.switches)
    return of_runs(world, choices, goal, statics, runs, switches=switches)


def of_runs(
    world: World,
    choices: Sequence[Choice],
    goal: Goal,
    statics: Mapping[str, Run],
    runs: Mapping[str, Run],
    *,
    switches: Sequence[Switch],
    is_real: bool = False,
) -> Comparison:
    """`statics` are runs of cuts that stayed, that of `planned_of` among them, by their ids; `runs` are policies', ours
    among them, whose moves are `switches`."""
    outcomes = {name: outcome_of(run, world.setting) for name, run in statics.items()}
    best = min(outcomes, key=lambda name: _wished(outcomes[name], goal))
    planned = planned_of(world, choices).id
    limits = {ORACLE: simulation.oracle(world, choices), BEST_STATIC: statics[best], PLANNED_STATIC: statics[planned]}
    every = limits | dict(runs)
    found = {name: outcome_of(run, world.setting) for name, run in every.items()}
    return Comparison(
        world.trace, world.setting, tuple(choices), found, tuple(switches), every, outcomes, is_real=is_real
    )


def outcome_of(run: Run, setting: Setting) -> Outcome:
    latencies = [frame.latency_s for frame in run.frames]
    by_tick = sorted(_by_tick(run, setting.fps))
    counts: dict[str, int] = {}
    for frame in run.frames:
        counts[frame.choice.id] = counts.get(frame.choice.id, 0) + 1
    p50_s, p95_s, p99_s = (distribution.percentile(by_tick, share) for share in (0.50, 0.95, 0.99))
    return Outcome(
        mean_ms=math.fsum(latencies) / len(latencies) * 1e3,
        p50_ms=p50_s * 1e3,
        p95_ms=p95_s * 1e3,
        p99_ms=p99_s * 1e3,
        frames=len(latencies),
        skipped=len(by_tick) - len(latencies),
        cut_share={name: count / len(latencies) for name, count in counts.items()},
        bytes=run.frame_bytes + run.probe_bytes,
        probe_bytes=run.probe_bytes,
        hedged=run.hedged,
        lost=run.lost,
        wrong=run.wrong,
    )


def _by_tick(run: Run, fps: float) -> Iterator[float]:
    for frame in run.frames:
        for _ in range(frame.ticks(fps)):
            yield frame.latency_s


def _wished(outcome: Outcome, goal: Goal) -> float:
    return outcome.p95_ms if goal.wish.value == "p95" else outcome.mean_ms

"""How near a stream comes to what its slower half allows: frames a second against 1 / max(head, tail).

MobileNetV2 cut at 12,544 bytes, edge and cloud as processes on a core each, with several frames in flight, a Mosquitto
on loopback between them. Head and tail are each timed alone, on the core where they run in the deployment, before and
after each stream. On a machine with two cores, the broker and all that edge and cloud do besides take their time from
the two halves; what one frame costs in all of them is in the table. The same at twice the side shows it against halves
four times as long.
"""

import statistics
from dataclasses import dataclass, field
from pathlib import Path

import deployment
import harness
import models
from deployment import Load
from harness import Outcome, Samples, Table

TARGET = 0.95
WINDOWS = (2, 4, 8, 16)
LARGE_SIDE, LARGE_WINDOW = 448, 8
_WARM_UP = 50
# Results between which time is taken: more than a window of them, which may come in one burst.
_RUN = 20


@dataclass(slots=True)
class _Measured:
    """Of each stream with one window: frames a second, those that the slower half allows, and what a frame costs."""

    reached: list[float] = field(default_factory=list)
    allowed: list[float] = field(default_factory=list)
    costs_s: list[dict[str, float]] = field(default_factory=list)


def run(folder: Path, *, is_quick: bool) -> list[Outcome | Table]:
    frames, rounds = (150, 1) if is_quick else (500, 4)
    small = _measure(folder, models.SIDE, WINDOWS, frames=frames, rounds=rounds)
    large = _measure(folder, LARGE_SIDE, (LARGE_WINDOW,), frames=frames // 2, rounds=rounds)
    outcomes = [_outcome(f"streaming, window of {window}", measured) for window, measured in small.items()]
    outcomes.append(
        _outcome(f"streaming at {LARGE_SIDE} x {LARGE_SIDE}, window of {LARGE_WINDOW}", large[LARGE_WINDOW])
    )
    return [*outcomes, _costs(small)]


def _measure(folder: Path, side: int, windows: tuple[int, ...], *, frames: int, rounds: int) -> dict[int, _Measured]:
    opened, cut = models.converted(folder, side)
    source = models.stored_inputs(folder, side)
    found = {window: _Measured() for window in windows}
    with harness.mosquitto("set_tcp_nodelay true") as broker, deployment.cloud(opened, broker.port) as cloud:
        watched = {"broker": broker.pid, "cloud": cloud.pid}
        for _ in range(rounds):
            for window, measured in found.items():
                harness.wait_for_calm(patience_s=3.0)
                before = _halves_s(opened, cut)
                load = Load(source, count=_WARM_UP + frames, window=window)
                spent_s = {name: harness.cpu_s(pid) for name, pid in watched.items()}
                answers = deployment.stream(opened, cut, broker.port, load)
                spent_s = {name: (harness.cpu_s(pid) - spent_s[name]) / load.count for name, pid in watched.items()}
                after = _halves_s(opened, cut)
                _note(measured, answers[_WARM_UP:], [*map(statistics.mean, zip(before, after, strict=True))], spent_s)
    return found


def _halves_s(opened, cut) -> tuple[float, float]:
    """Head and tail, each alone."""
    halves = {"head": harness.EDGE_CORE, "tail": harness.CLOUD_CORE}
    head_s, tail_s = (
        statistics.median(deployment.half_alone(opened, cut, side, count=100, core=core))
        for side, core in halves.items()
    )
    return head_s, tail_s


def _note(
    measured: _Measured, answers: list[deployment.Answer], halves_s: list[float], spent_s: dict[str, float]
) -> None:
    between = len(answers) - 1
    reached = 1 / _turn_s(answers)
    measured.reached.append(reached)
    measured.allowed.append(1 / max(halves_s))
    spent_s = {"edge": (answers[-1].edge_cpu_s - answers[0].edge_cpu_s) / between} | spent_s
    measured.costs_s.append({"head": halves_s[0], "tail": halves_s[1], "turn": 1 / reached} | spent_s)


def _turn_s(answers: list[deployment.Answer]) -> float:
    """Seconds from one result to the next: the median over runs of results, as head and tail are medians too, so that
    what else the machine does now and then counts for neither."""
    return statistics.median(
        (last.at_s - first.at_s) / _RUN for first, last in zip(answers, answers[_RUN:], strict=False)
    )


def _outcome(what: str, measured: _Measured) -> Outcome:
    return Outcome(
        what,
        Samples("frames through the deployment", "1/s", tuple(measured.reached)),
        Samples("1 / max(head, tail)", "1/s", tuple(measured.allowed)),
        TARGET,
        is_floor=True,
    )


def _costs(found: dict[int, _Measured]) -> Table:
    columns = {
        "turn": "between two results",
        "head": "head alone",
        "edge": "CPU of the edge",
        "tail": "tail alone",
        "cloud": "CPU of the cloud",
        "broker": "CPU of Mosquitto",
    }
    rows = [
        (
            str(window),
            *(f"{statistics.median(costs[name] for costs in measured.costs_s) * 1e3:.2f}" for name in columns),
        )
        for window, measured in found.items()
    ]
    return Table("What one frame takes, ms", ("window", *columns.values()), tuple(rows))

"""What a worker counted and measured: frames, letters, and the times of each of its steps."""

from collections import Counter

from broker.transport import protocol
from tflsplit import text
from tflsplit.placement.letters import Letter, Phase, Task
from tflsplit.timings.latency import Latencies, percentiles
from tflsplit.values.classes import dataclass, field


@dataclass(slots=True)
class StepTimes:
    """Of one task: its computing, and the wait for its letters since the task before it in the same frame. `planned_s`
    is what the machine as it was stated would compute on it; None where none was."""

    operators: tuple[int, int] | None
    planned_s: float | None
    compute_s: Latencies = field(default_factory=Latencies)
    wait_s: Latencies = field(default_factory=Latencies)
    bytes_in: int = 0
    bytes_out: int = 0

    def as_json(self) -> dict[str, object]:
        return {
            "operators": None if self.operators is None else [self.operators[0], self.operators[1] - 1],
            "runs": sum(self.compute_s.counts),
            "planned_ms": None if self.planned_s is None else self.planned_s * 1e3,
            "compute_ms": percentiles(self.compute_s),
            "wait_ms": percentiles(self.wait_s),
            "bytes_in": self.bytes_in,
            "bytes_out": self.bytes_out,
        }


class Speed:
    """Planned over measured seconds since it was asked for last. One thread adds, another one takes."""

    def __init__(self) -> None:
        self._planned_s = self._took_s = 0.0

    def add(self, planned_s: float | None, took_s: float) -> None:
        if planned_s is not None:
            self._planned_s += planned_s
            self._took_s += took_s

    def take(self) -> float | None:
        """None where nothing was computed, or nothing planned."""
        planned_s, took_s = self._planned_s, self._took_s
        self._planned_s = self._took_s = 0.0
        return planned_s / took_s if planned_s > 0 and took_s > 0 else None


@dataclass(slots=True)
class Summary:
    """`frames` were computed here, `results` published here. Letters: `repeats` had come already, `stale` were of an
    epoch that is over, `bad` were damaged or not for this machine. At the source: `inputs` taken, those `answered`, and
    those `recomputed` under a new epoch; `latency_s` is from capture until the result was delivered. `steps` are of the
    last placement; of all are `step_s`, `wait_s` and, by stage, `stage_runs` and `stage_s`. `taken_over` are pieces
    opened for another placement than the planned one, `masks_left_out` those of results that were too large for the
    broker with them; `dropped` inputs that were given up, and results that were refused, by reason."""

    machine: str
    frames: int = 0
    results: int = 0
    inputs: int = 0
    answered: int = 0
    recomputed: int = 0
    unanswered: int = 0
    repeats: int = 0
    stale: int = 0
    bad: int = 0
    epochs: list[str] = field(default_factory=list)
    dropped: Counter[str] = field(default_factory=Counter)
    letters_sent: int = 0
    letters_received: int = 0
    bytes_sent: int = 0
    bytes_received: int = 0
    compute_s: float = 0.0
    took_s: float = 0.0
    latency_s: Latencies = field(default_factory=Latencies)
    steps: dict[tuple[int, Phase], StepTimes] = field(default_factory=dict)
    step_s: Latencies = field(default_factory=Latencies)
    wait_s: Latencies = field(default_factory=Latencies)
    stage_runs: Counter[int] = field(default_factory=Counter)
    stage_s: dict[int, float] = field(default_factory=dict)
    taken_over: int = 0
    masks_left_out: int = 0
    link: protocol.Counters = field(default_factory=protocol.Counters)

    def drop(self, reason: str) -> None:
        self.dropped[reason] += 1

    def step_done(self, task: Task, waited_s: float, took_s: float) -> StepTimes:
        """The times of that step, these among them."""
        times = self.steps[task.step, task.phase]
        for kept, seconds in ((times.wait_s, waited_s), (self.wait_s, waited_s), (times.compute_s, took_s)):
            kept.append(seconds)
        self.step_s.append(took_s)
        self.stage_runs[task.step] += 1
        self.stage_s[task.step] = self.stage_s.get(task.step, 0.0) + took_s
        self.compute_s += took_s
        return times

    def letter_sent(self, task: Task | None, letter: Letter) -> None:
        self.letters_sent += 1
        self.bytes_sent += letter.bytes
        if task is not None:
            self.steps[task.step, task.phase].bytes_out += letter.bytes

    def letter_received(self, letter: Letter) -> None:
        self.letters_received += 1
        self.bytes_received += letter.bytes
        if (letter.step, letter.phase) in self.steps:
            self.steps[letter.step, letter.phase].bytes_in += letter.bytes

    def __str__(self) -> str:
        told = f"{self.machine}: {text.counted(self.frames, 'frame')} computed in {self.compute_s:.2f} s"
        if self.inputs:
            told += f", {self.answered} of {text.counted(self.inputs, 'input')} answered"
        epochs = text.counted(len(self.epochs), "placement")
        return f"{told}, {epochs}, {self.bytes_sent:,} bytes sent, {self.bytes_received:,} received"

    def as_json(self) -> dict[str, object]:
        counts = (
            *("machine", "frames", "results", "inputs", "answered", "recomputed", "unanswered"),
            *(
                "masks_left_out",
                "repeats",
                "stale",
                "bad",
                "letters_sent",
                "letters_received",
                "bytes_sent",
                "bytes_received",
            ),
        )
        return {
            **{name: getattr(self, name) for name in counts},
            "dropped": dict(self.dropped),
            "epochs": self.epochs,
            "compute_ms": self.compute_s * 1e3,
            "took_ms": self.took_s * 1e3,
            "frames_per_s": self.answered / self.took_s if self.took_s and self.answered else None,
            "latency_ms": percentiles(self.latency_s),
            "steps": [
                {"stage": step, "phase": phase.name.lower(), **times.as_json()}
                for (step, phase), times in sorted(self.steps.items())
            ],
            "link": self.link.as_json(),
        }

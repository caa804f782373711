"""What the device of a trial is told, and what it tells: JSON between two processes of one version."""

from collections.abc import Mapping
from typing import Any

from tflsplit.switching.choices import Choice, Present
from tflsplit.switching.controller import Switch
from tflsplit.switching.simulation import Played, Run
from tflsplit.values.classes import asdict, dataclass, fields

# Told on standard output when everything is open, and answered on standard input by when the trace begins.
READY = "ready"
# So many inputs of the source are taken in turn; what the whole model makes of each is known.
MOST_INPUTS = 32


@dataclass(frozen=True, slots=True)
class Task:
    """`policy` is a name of `comparison.makers`, or a choice's id for a cut that stays. `outputs` is a `.npz` of what
    the whole model makes of the first inputs of `source`. `seconds` is how long frames are taken, `hedge` as in
    `controller.Tuning`."""

    package: str
    choices: tuple[Choice, ...]
    usual: Present
    policy: str
    objective: str
    has_probes: bool
    slow_edge: float
    fps: float
    seconds: float
    source: str
    outputs: str
    deployment: str
    device: str
    broker: str = ""
    hedge: float | None = None

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> "Task":
        given = {each.name: told[each.name] for each in fields(cls)}
        made = tuple(Choice(**each) for each in told["choices"])
        return cls(**given | {"choices": made, "usual": Present(**told["usual"])})


@dataclass(frozen=True, slots=True)
class Frame:
    """`taken_s` counts from the trace's beginning; `wire_bytes` were sent, `latency_s` is to the first answer. The
    device worked on it for `edge_s`, the cloud for `cloud_s`."""

    taken_s: float
    cut: str
    wire_bytes: float
    latency_s: float
    edge_s: float
    cloud_s: float = 0.0
    is_hedged: bool = False


@dataclass(frozen=True, slots=True)
class Told:
    """`lost` counts frames without an answer, `wrong` answers that are not the whole model's, `hedged` frames that the
    device computed too, whichever answer was the first."""

    frames: tuple[Frame, ...]
    switches: tuple[Switch, ...]
    probe_bytes: float
    lost: int
    wrong: int
    hedged: int = 0

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> "Told":
        frames = tuple(Frame(**each) for each in told["frames"])
        switches = tuple(Switch(**each) for each in told["switches"])
        return cls(frames, switches, told["probe_bytes"], told["lost"], told["wrong"], told["hedged"])

    def as_run(self, choices: Mapping[str, Choice]) -> Run:
        played = [Played(each.taken_s, choices[each.cut], each.latency_s, each.is_hedged) for each in self.frames]
        return Run(
            played, sum(each.wire_bytes for each in self.frames), self.probe_bytes, self.lost, self.wrong, self.hedged
        )

"""The retained `share` of a worker: which bundle it has, with which kernels, what it is ready for and how it fares.

    {"boot": "00c0ffee00c0ffee", "bundle": "9f…", "session": 0, "state": "ready", "why": null, "run": "…", "epoch": 2,
     "frames": 120, "speed": 0.98, "kernel_class": {"id": "396b9812", …}}

Said at the start, at each change, and every second or so: whoever is silent for long counts as lost. `session` counts
its connections, since what was on its way when one broke may be gone. `speed` is planned over measured seconds.
"""

import enum
import json
import math
from typing import Any

from tflsplit import errors, strict_json
from tflsplit.kernels.classes import KernelClass
from tflsplit.values.classes import dataclass

_MOST_BYTES = 1 << 16


class State(str, enum.Enum):
    """`WAITING` for a placement; `FAILED` at the one of that epoch; `ENDED` in good order."""

    WAITING = "waiting"
    LOADING = "loading"
    READY = "ready"
    FAILED = "failed"
    ENDED = "ended"


@dataclass(frozen=True, slots=True)
class Standing:
    boot: int
    bundle: str
    session: int
    state: State
    why: str | None = None
    run: int = 0
    epoch: int = 0
    frames: int = 0
    speed: float | None = None
    kernel_class: KernelClass | None = None

    def as_json(self) -> bytes:
        fields = {name: getattr(self, name) for name in self.__slots__}
        fields |= {"boot": f"{self.boot:016x}", "run": f"{self.run:016x}", "state": self.state.value}
        fields["kernel_class"] = None if self.kernel_class is None else self.kernel_class.as_json()
        return json.dumps(fields, separators=(",", ":")).encode()


def parse(data: bytes) -> Standing:
    """FrameError for anything else."""
    try:
        fields: Any = strict_json.parse(data[:_MOST_BYTES])
        told, speed = fields["kernel_class"], fields["speed"]
        if speed is not None and not (type(speed) in (int, float) and math.isfinite(speed) and speed > 0):
            raise ValueError(f"speed is {speed!r:.40}")
        return Standing(
            int(fields["boot"], 16),
            str(fields["bundle"])[:64],
            int(fields["session"]),
            State(fields["state"]),
            None if fields["why"] is None else str(fields["why"])[:200],
            int(fields["run"], 16),
            int(fields["epoch"]),
            int(fields["frames"]),
            speed,
            None if told is None else KernelClass.from_json(told),
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as problem:
        raise errors.FrameError(f"share is {bytes(data[:60])!r}: {problem!r:.100}") from problem

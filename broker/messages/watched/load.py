"""The `load` of a cloud: how many frames wait and how long, for people who watch. Not retained.

    {"boot": "00c0ffee00c0ffee", "state": "ok", "why": null, "frames": 1200, "results": 1190, "refused": {"busy": 3},
     "fps": 61.2, "held": 2, "waiting": 0, "workers": 4, "queue_ms": {"p50": 0.3, …}, "tail_ms": {"p50": 4.9, …}}

`frames`, `results` and `refused` are of this run, `fps` and the times are since the last message. `held` frames were
taken and are not answered; `waiting` of them have no worker yet. `workers` is null where tails run in the cloud itself.
`why` says what a person should look at, also of a cloud that is well.
"""

import json
import math
from collections.abc import Mapping
from typing import Any

from tflsplit import errors, strict_json
from tflsplit.values.classes import dataclass, field

_MOST_BYTES = 1 << 14
_MOST_TEXT = 200


@dataclass(frozen=True, slots=True)
class Load:
    boot: int
    state: str
    why: str | None
    frames: int
    results: int
    fps: float
    held: int
    waiting: int
    workers: int | None
    refused: Mapping[str, int] = field(default_factory=dict)
    queue_ms: Mapping[str, float | None] = field(default_factory=dict)
    tail_ms: Mapping[str, float | None] = field(default_factory=dict)

    def as_json(self) -> bytes:
        fields = {name: getattr(self, name) for name in self.__slots__} | {"boot": f"{self.boot:016x}"}
        return json.dumps(fields, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()


def parse(payload: bytes) -> Load:
    """FrameError for anything that no cloud of ours would publish."""
    try:
        if len(payload) > _MOST_BYTES:
            raise ValueError(f"{len(payload)} bytes, at most {_MOST_BYTES} are accepted")
        told: Any = strict_json.parse_object(payload)
        return Load(
            boot=int(told["boot"], 16),
            state=str(told["state"])[:_MOST_TEXT],
            why=None if told["why"] is None else str(told["why"])[:_MOST_TEXT],
            fps=_number(told["fps"]),
            workers=None if told["workers"] is None else _count(told["workers"]),
            refused={str(why)[:_MOST_TEXT]: _count(count) for why, count in told["refused"].items()},
            frames=_count(told["frames"]),
            results=_count(told["results"]),
            held=_count(told["held"]),
            waiting=_count(told["waiting"]),
            queue_ms=_quantiles(told["queue_ms"]),
            tail_ms=_quantiles(told["tail_ms"]),
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError) as problem:
        raise errors.FrameError(f"load is {payload[:60]!r}: {problem!r:.100}") from problem


def _quantiles(told: Any) -> dict[str, float | None]:
    return {str(name)[:_MOST_TEXT]: None if value is None else _number(value) for name, value in told.items()}


def _count(told: Any) -> int:
    if type(told) is not int or told < 0:
        raise ValueError(f"{told!r:.40} is no count")
    return told


def _number(told: Any) -> float:
    if type(told) not in (int, float) or not math.isfinite(told):
        raise ValueError(f"{told!r:.40} is no number")
    return float(told)

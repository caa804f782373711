"""The retained `epoch` of the source's machine: which placement is in force, and how frames are counted under it.

    {"run": "00c0ffee00c0ffee", "epoch": 2, "bundle": "9f…", "machines": ["pi1", "pi3"], "sink": 0, "stages": […],
     "program": "3c…", "window": 4, "exact": true, "reason": "pi2: its connection is lost", "raw": false,
     "mask": false, "over": false}

`stages` are as in a placement's file (`tflsplit.placement.planfile`), `machines` are the names of those that take part.
`program` is a digest of what follows from the stages, so that two versions that read them otherwise notice it. With
`raw` results carry the model's outputs as they are, with `mask` the mask of a model that segments. `over` says that the
source has no more frames.
"""

import json
from collections.abc import Mapping
from typing import Any

from tflsplit import errors, strict_json
from tflsplit.values.classes import dataclass

_MOST_BYTES = 4 << 20


@dataclass(frozen=True, slots=True)
class Epoch:
    run: int
    epoch: int
    bundle: str
    machines: tuple[str, ...]
    sink: int
    stages: tuple[Mapping[str, Any], ...]
    program: str
    window: int
    exact: bool | None
    reason: str
    raw: bool = False
    mask: bool = False
    over: bool = False

    @property
    def key(self) -> tuple[int, int]:
        return self.run, self.epoch

    def as_json(self) -> bytes:
        fields = {name: getattr(self, name) for name in self.__slots__}
        return json.dumps(fields | {"run": f"{self.run:016x}"}, separators=(",", ":")).encode()


def parse(data: bytes) -> Epoch:
    """FrameError for anything else. What the stages say is checked by whoever makes a schedule of them."""
    try:
        if len(data) > _MOST_BYTES:
            raise ValueError(f"{len(data)} bytes")
        fields: Any = strict_json.parse(data)
        found = {name: fields[name] for name in Epoch.__slots__}
        found |= {"run": int(fields["run"], 16)}
        found |= {name: tuple(found[name]) for name in ("machines", "stages")}
        for name, kind in (
            ("epoch", int),
            ("sink", int),
            ("window", int),
            ("over", bool),
            ("raw", bool),
            ("mask", bool),
            ("bundle", str),
        ):
            if type(found[name]) is not kind:
                raise TypeError(f"{name} is {found[name]!r:.40}")
        if not (0 < found["window"] <= 1 << 16 and 0 < found["epoch"] < 1 << 32):
            raise ValueError(f"window {found['window']}, epoch {found['epoch']}")
        return Epoch(**found)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as problem:
        raise errors.FrameError(f"epoch is {bytes(data[:60])!r}: {problem!r:.100}") from problem

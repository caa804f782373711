"""What a source has captured, and when; and the inputs of one frame: as many as it holds, or fewer after a while. One,
where frames hold one."""

import math
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tflsplit.graph.tensors import Array
from tflsplit.values.classes import dataclass, field


@dataclass(slots=True)
class Capture:
    """What a source has captured, before conversion, and when: in ns since the epoch, and by the monotonic clock."""

    raw: Any
    captured_ns: int
    captured_at_s: float = field(default_factory=time.monotonic, compare=False)


class Gathering:
    """A frame is due with `size` inputs, or `wait_s` after the first was captured (None: not before)."""

    def __init__(self, size: int, wait_s: float | None = None, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.inputs: list[Capture] = []
        self._size = size
        self._wait_s = math.inf if wait_s is None else wait_s
        self._clock = clock

    def add(self, taken: Capture | None) -> None:
        """What a source gave; None for nothing."""
        if taken is not None:
            self.inputs.append(taken)

    @property
    def left_s(self) -> float:
        """How long the next input may be waited for."""
        if not self.inputs:
            return math.inf
        return max(0.0, self.inputs[0].captured_at_s + self._wait_s - self._clock())

    @property
    def is_due(self) -> bool:
        return len(self.inputs) >= self._size or (bool(self.inputs) and self.left_s <= 0)

    def take(self) -> list[Capture]:
        taken, self.inputs = self.inputs, []
        return taken


def rows(inputs: Sequence[tuple[Array, ...]]) -> tuple[Array, ...]:
    """The arrays of several inputs as the rows of one."""
    if len(inputs) == 1:
        return inputs[0]
    return tuple(np.concatenate(column) for column in zip(*inputs, strict=True))

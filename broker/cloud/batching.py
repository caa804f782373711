"""Runs several frames through a tail at once, if measurements show that this is quicker.

It seldom is: a convolution in int8 keeps a core busy with one frame. A batch saves the cost of each call, so it pays
for tails of some microseconds. Each segment of a tail is measured when it is opened, and batches are used only if they
are quicker and give the same bits.
"""

import logging
import statistics
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tflsplit import errors
from tflsplit.graph.interpreter import Interpreter
from tflsplit.graph.tensors import Array
from tflsplit.package import verify
from tflsplit.values.classes import dataclass

log = logging.getLogger(__name__)

SIZE = 8
# Single runs and batches are timed in turn, and the medians compared: enough to see a difference of a fifth on a
# machine that does other things too.
_ROUNDS = 9
# A batch must be quicker than its frames one by one by this factor, or it only adds memory and waiting.
_LEAST_GAIN = 1.2


@dataclass(slots=True)
class Batch:
    """A segment for `SIZE` frames at once; from `fewest` frames on it is quicker than single runs."""

    interpreter: Interpreter
    fewest: int

    def run(self, boundaries: Sequence[tuple[Array, ...]]) -> list[tuple[Array, ...]]:
        """Runs up to `SIZE` frames; the last one fills the rest of the batch."""
        filled = [*boundaries, *[boundaries[-1]] * (SIZE - len(boundaries))]
        outputs = self.interpreter.run(*(np.concatenate(each) for each in zip(*filled, strict=True)))
        return [tuple(output[row : row + 1] for output in outputs) for row in range(len(boundaries))]


def measured(source: bytes | Path, one: Interpreter, *, threads: int, name: str) -> Batch | None:
    """The batched form of `one`; None, with the reason in the log, if it fails, differs or is not quicker."""
    try:
        several = Interpreter(source, threads=threads, name=name, batch=SIZE)
    except errors.DeviceError as problem:
        log.info("batches off tail=%r reason=%r", name, str(problem))
        return None
    batch = Batch(several, SIZE)
    frames = verify.random_samples(one.inputs, SIZE)
    if not verify.are_equal([one.run(*frame) for frame in frames], batch.run(frames)):
        several.close()
        log.warning("batches off tail=%r reason='they give other bits than single frames'", name)
        return None
    one_s, batch_s = _timed(one, batch, frames)
    gain = one_s * SIZE / batch_s
    log.info(
        "batches %s tail=%r frames=%d one_ms=%.3f batch_ms=%.3f gain=%.2f",
        "on" if gain >= _LEAST_GAIN else "off",
        name,
        SIZE,
        one_s * 1e3,
        batch_s * 1e3,
        gain,
    )
    if gain < _LEAST_GAIN:
        several.close()
        return None
    batch.fewest = max(2, int(batch_s / one_s) + 1)
    return batch


def fewest(segments: Sequence[Batch | None]) -> int:
    """From how many frames a batch through all of these is quicker. 0 where one of them takes no batches: what the
    others gain may be little beside it, and frames would wait for it."""
    found = [0 if each is None else each.fewest for each in segments]
    return max(found) if all(found) else 0


def _timed(one: Interpreter, batch: Batch, frames: Sequence[tuple[Array, ...]]) -> tuple[float, float]:
    """Seconds of one frame, and of a batch."""
    alone_s, together_s = [], []
    for _ in range(_ROUNDS):
        began_s = time.perf_counter()
        for frame in frames:
            one.run(*frame)
        between_s = time.perf_counter()
        batch.run(frames)
        together_s.append(time.perf_counter() - between_s)
        alone_s.append((between_s - began_s) / SIZE)
    return statistics.median(alone_s), statistics.median(together_s)

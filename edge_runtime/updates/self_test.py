"""Tests a new head on its golden samples before it serves: `python -m edge_runtime.updates.self_test PACKAGE CUT`.

That command tests on the CPU in a process of its own, so that a model that crashes the interpreter does not end the
edge. For an accelerator, whose heads run in processes of their own anyway, the edge calls `check` itself.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from tflsplit import errors
from tflsplit.graph.cuts import Cut
from tflsplit.graph.tensors import Array, TensorSpec, decibels, dequantise
from tflsplit.kernels import classes, keeping
from tflsplit.kernels.classes import KernelClass
from tflsplit.package import golden, reading, verify
from tflsplit.package.reading import Package

_LOOK_S = 0.1
_RANDOM_SAMPLES = 2

# Differences of rounding keep far more (one step everywhere in a tensor that fills its range is 40 dB); a different
# computation keeps about 0 dB. The same limit tells float counterparts of tensors apart.
LEAST_SQNR_DB = 20.0

Run = Callable[[tuple[Array, ...]], tuple[Array, ...]]


def check(run: Run, opened: Package, cut: Cut, *, is_same_kind: bool) -> str:
    """Returns what was tested, in words. DeviceError if the head's outputs differ from the golden samples.

    `is_same_kind` is for a CPU: if its kernels are those that made the samples, every bit has to agree.
    """
    kept = golden.read(opened, cut)
    if kept is None:
        for given in verify.random_samples(opened.manifest.inputs, _RANDOM_SAMPLES):
            _check_shapes(run(given), cut)
        return "shapes only: the bundle holds no golden samples"
    is_exact = is_same_kind and kept.made_on is not None and _agree(kept.made_on, opened, cut)
    least_db = min(_compare(run(given), expected, cut, is_exact=is_exact) for given, expected in kept.samples)
    if is_exact or least_db == np.inf:
        return f"{len(kept.samples)} golden samples, equal"
    made_on = kept.made_on or "an earlier version of tflsplit"
    return f"{len(kept.samples)} golden samples, {least_db:.1f} dB at least (made on {made_on})"


def _agree(made_on: KernelClass, opened: Package, cut: Cut) -> bool:
    """Whether the kernels that a head needs compute the same here as where its samples were made."""
    try:
        kinds = opened.head_kinds(cut)
    except errors.DeviceError:  # tflite-runtime runs heads and has no schema to read them by
        kinds = None
    return classes.compare(made_on, keeping.here(), kinds).is_exact


def run_apart(place: Path, cut: str, *, limit_s: float = 120.0, is_stopping: Callable[[], bool] = lambda: False) -> str:
    """Runs `check` on the CPU in a process of its own; DeviceError also if that dies, hangs or is stopped."""
    command = [sys.executable, "-m", "edge_runtime.updates.self_test", str(place), cut]
    give_up_s = time.monotonic() + limit_s
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        # A folder named edge_runtime in the working directory must not be imported as our code.
        env={**os.environ, "PYTHONSAFEPATH": "1"},
    ) as process:
        while True:
            try:
                said, _ = process.communicate(timeout=_LOOK_S)
                break
            except subprocess.TimeoutExpired:
                if is_stopping() or time.monotonic() >= give_up_s:
                    process.kill()
                    why = "was stopped" if is_stopping() else f"gave nothing within {limit_s:g} s"
                    raise errors.DeviceError(f"self-test: the head of {cut} {why}") from None
    return _shown(said, process.returncode, cut)


def _shown(said: bytes, code: int, cut: str) -> str:
    try:
        found = json.loads(said.splitlines()[-1])
        shown, problem = found.get("shown"), found.get("problem")
    except (IndexError, ValueError, AttributeError):
        shown, problem = None, None
    if problem is None and (code != 0 or shown is None):
        problem = f"the process ended with signal {-code}" if code < 0 else f"the process ended with exit code {code}"
    if problem is not None:
        raise errors.DeviceError(f"self-test of the head of {cut}: {problem}")
    return str(shown)


def _compare(found: tuple[Array, ...], expected: tuple[Array, ...], cut: Cut, *, is_exact: bool) -> float:
    _check_shapes(found, cut)
    if all(np.array_equal(one, other) for one, other in zip(found, expected, strict=True)):
        return float("inf")
    worst = min(_sqnr_db(*pair) for pair in zip(found, expected, cut.boundary, strict=True))
    if is_exact or worst < LEAST_SQNR_DB:
        needed = "the very same bits" if is_exact else f"{LEAST_SQNR_DB:g} dB"
        raise errors.DeviceError(
            f"the head of {cut.id} gives other values here than where it was made: {worst:.1f} dB, needed {needed}"
        )
    return worst


def _sqnr_db(found: Array, expected: Array, spec: TensorSpec) -> float:
    wanted = dequantise(expected, spec).astype(np.float64)
    error = float(np.sum(np.square(dequantise(found, spec) - wanted)))
    return decibels(float(np.sum(np.square(wanted))), error)


def _check_shapes(found: tuple[Array, ...], cut: Cut) -> None:
    kinds = [(array.shape, array.dtype.name) for array in found]
    if kinds != [(spec.shape, spec.dtype) for spec in cut.boundary]:
        raise errors.DeviceError(f"the head of {cut.id} gives {kinds}, which is not the cut's boundary")


def main() -> None:
    from edge_runtime import head

    place, wanted = sys.argv[1:3]
    try:
        opened = reading.open_package(Path(place))
        cut = opened.cut(wanted)
        with head.Head(opened, cut) as ready:
            print(json.dumps({"shown": check(ready.run, opened, cut, is_same_kind=True)}))
    except errors.TflsplitError as problem:
        print(json.dumps({"problem": str(problem)}))
        sys.exit(1)


if __name__ == "__main__":
    main()

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

from tflsplit import errors
from tflsplit.graph.cuts import Cut
from tflsplit.graph.tensors import Array
from tflsplit.package import golden, judging, reading, verify
from tflsplit.package.judging import Verdict
from tflsplit.package.reading import Package

_LOOK_S = 0.1
_RANDOM_SAMPLES = 2

Run = Callable[[tuple[Array, ...]], tuple[Array, ...]]


def check(run: Run, opened: Package, cut: Cut, *, is_cpu: bool) -> str:
    """Returns what was tested, in words. DeviceError if the head computes something else than its golden samples say.

    On a CPU whose kernels are those that made the samples every bit has to agree; `tflsplit.package.judging` says what
    rounding may change on another, and on an accelerator.
    """
    kept = golden.read(opened, cut)
    if kept is None:
        for given in verify.random_samples(opened.manifest.inputs, _RANDOM_SAMPLES):
            judging.check_shapes([run(given)], cut)
        return "shapes only: the bundle holds no golden samples"
    found = judging.judge(run, opened, cut, kept, is_cpu=is_cpu)
    if found.verdict is Verdict.WRONG:
        raise errors.DeviceError(f"the head of {cut.id} computes something else here than where it was made: {found}")
    samples = f"{len(kept.samples)} golden samples"
    if found.verdict is Verdict.EQUAL:
        return f"{samples}, equal"
    return f"{samples}, {found} (made on {kept.made_on or 'an earlier version of tflsplit'})"


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


def main() -> None:
    from edge_runtime import head

    place, wanted = sys.argv[1:3]
    try:
        opened = reading.open_package(Path(place))
        cut = opened.cut(wanted)
        with head.Head(opened, cut) as ready:
            print(json.dumps({"shown": check(ready.run, opened, cut, is_cpu=True)}))
    except errors.TflsplitError as problem:
        print(json.dumps({"problem": str(problem)}))
        sys.exit(1)


if __name__ == "__main__":
    main()

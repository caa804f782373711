"""What `tflsplit convert` takes for big models, beyond the conversion that anyone needs.

ResNet152 and EfficientNetV2-L with random weights at the sizes that they were made for, and two LSTMs of 100 steps:
`tflsplit convert` as people call it against `bare/convert.py`, which calibrates on the same samples, converts once and
writes the result. Both as processes, in turn: their processor time with that of their children, which another load
on the machine changes less than the time on the clock, and the most memory that a process and its children had at once
(each page that they share counted once).
"""

import resource
import subprocess
import sys
import threading
import time
from pathlib import Path

import harness
import numpy as np
import psutil
from harness import Outcome, Samples

TARGET = 1.25
SAMPLES = 4
_LOOK_S = 0.2

_MAKE = """
import sys, keras
keras.utils.set_random_seed(1)
keras.applications.{name}(weights=None, **{options}).save(sys.argv[1])
"""
_MAKE_LSTMS = """
import sys, keras
keras.utils.set_random_seed(1)
layers = [keras.Input((100, 16)), keras.layers.LSTM(64, return_sequences=True), keras.layers.LSTM(64)]
keras.Sequential([*layers, keras.layers.Dense(10, activation="softmax")]).save(sys.argv[1])
"""
_PICTURES = {
    "ResNet152": (224, {}),
    # Its own scaling would make the samples of this script, which it gives as -1 to 1, all alike.
    "EfficientNetV2L": (480, {"include_preprocessing": False}),
}
NAMES = (*_PICTURES, "two LSTMs of 100 steps")


def run(folder: Path, *, is_quick: bool) -> list[Outcome | harness.Table]:
    found: list[Outcome | harness.Table] = []
    for name in NAMES[-1:] if is_quick else NAMES:
        found += _of_model(name, folder)
    return found


def _of_model(name: str, folder: Path) -> list[Outcome]:
    model, samples, options = _made(name, folder)
    bare = str(Path(__file__).parent / "bare" / "convert.py")
    rival = _took([sys.executable, bare, str(model), str(samples), str(folder / "bare.tflite")])
    package = str(folder / f"{model.stem}.tflsplit")
    ours = _took([harness.TFLSPLIT, "convert", str(model), "-o", package, "--calibration", str(samples), *options])
    model.unlink()
    (wall_s, cpu_s, mebibytes), (rival_s, rival_cpu_s, rival_mebibytes) = ours, rival
    note = f"On the clock {wall_s:.0f} s and {rival_s:.0f} s, on a machine that may have had other work."
    return [
        Outcome(
            f"convert {name}: processor time",
            Samples("tflsplit convert", "s", (cpu_s,)),
            Samples("bare script, one conversion", "s", (rival_cpu_s,)),
            TARGET,
            note=note,
        ),
        Outcome(
            f"convert {name}: peak memory",
            Samples("tflsplit convert", "MiB", (mebibytes,)),
            Samples("bare script, one conversion", "MiB", (rival_mebibytes,)),
            TARGET,
        ),
    ]


def _made(name: str, folder: Path) -> tuple[Path, Path, list[str]]:
    """The model's file, samples for it, and the options of `convert` that go with them."""
    model, samples = folder / f"{name.split(maxsplit=1)[0]}.keras", folder / f"{name.split(maxsplit=1)[0]}.npy"
    random = np.random.default_rng(1)
    if name in _PICTURES:
        side, more = _PICTURES[name]
        script, options = _MAKE.format(name=name, options=more), ["--preprocess", "symmetric"]
        np.save(samples, random.integers(0, 256, (SAMPLES, side, side, 3), dtype=np.uint8))
    else:
        script, options = _MAKE_LSTMS, []
        np.save(samples, random.normal(size=(SAMPLES, 100, 16)).astype(np.float32))
    subprocess.run([sys.executable, "-c", script, str(model)], check=True, stderr=subprocess.DEVNULL)
    return model, samples, options


def _took(command: list[str]) -> tuple[float, float, float]:
    """Seconds on the clock, seconds of the processor, and MiB at most."""
    before_s, began_s = _children_s(), time.perf_counter()
    with harness.process(command) as converting:
        memory = _Memory(converting.pid)
        converting.communicate()
        mebibytes = memory.ended()
        if converting.returncode:
            raise SystemExit(f"{command[0]} ended with code {converting.returncode}")
    return time.perf_counter() - began_s, _children_s() - before_s, mebibytes


def _children_s() -> float:
    """Processor time of all processes that this one started and that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


class _Memory:
    """The most that a process and its children had at once, looked at five times a second."""

    def __init__(self, pid: int) -> None:
        self._most = 0
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._look, args=(psutil.Process(pid),), daemon=True)
        self._thread.start()

    def ended(self) -> float:
        self._is_over.set()
        self._thread.join()
        return self._most / 2**20

    def _look(self, process: psutil.Process) -> None:
        while not self._is_over.wait(_LOOK_S):
            try:
                family = [process, *process.children(recursive=True)]
                self._most = max(self._most, sum(each.memory_full_info().pss for each in family))
            except psutil.NoSuchProcess:  # one of them ended meanwhile
                continue

"""A rollout to a fleet while it works: `tflsplit rollout run`, a process as an operator runs it."""

import contextlib
import json
import math
import subprocess
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import harness
from light_updates import FRAMES

from broker.rollout.statefile import State
from tflsplit.package.reading import Package

BEFORE_S = 20.0  # of it before the broker is killed
# When all that are on have the model it waits for those that are off, and then ends without them.
_STAY_S = 5.0
_PATIENCE_S = 1800.0
# Models that are offered a second: what each device does with one is work of this machine too.
_PACE_PER_S = 20


@dataclass(frozen=True, slots=True)
class Rolled:
    """What became of a rollout to all devices: how many have the model, are `left` because they are off, or have
    another end; and how long it took, in s, without the wait for those that are off. Of the devices so many were
    switched off when it began, and so many of these on again after the kill. `frames` are those of the new version. All
    processes took so many `cores` meanwhile, before the kill. `before` and `after` are `running.PERCENTILES` of
    latencies meanwhile: before the kill, and when all were back."""

    phases: int
    updated: int
    left: int
    otherwise: int
    took_s: float
    switched_off: int
    on_again: int
    frames: int
    cores: float
    before: tuple[float, ...]
    after: tuple[float, ...]


class Rollout:
    """To all that take updates, in equal phases: each lasts until its devices had the answers that a model has to give
    before it is kept. There are so many that one is still to come after `for_s`."""

    def __init__(
        self, folder: Path, new: Package, operator: Path, key: Path, *, rate_per_s: float, for_s: float
    ) -> None:
        self._log, self._printed = folder / "rollout.log", folder / "rollout.json"
        share = f"{math.ceil(1e4 / (1 + math.ceil(for_s * rate_per_s / FRAMES))) / 1e2}%"
        command = [harness.TFLSPLIT, "rollout", "run", str(new.path), "--state", str(folder / "rollout"), "--all"]
        command += ["--credentials", str(operator), "--sign", str(key), "--canary", share, "--wave", share]
        command += ["--stay", f"{_STAY_S}s", "--json", "--pace", str(_PACE_PER_S)]
        with self._log.open("w") as log, self._printed.open("w") as printed:
            self._process = subprocess.Popen(command, stdout=printed, stderr=log, env=harness.environment())

    @property
    def pid(self) -> int:
        return self._process.pid

    def __enter__(self) -> "Rollout":
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()

    def ended(self) -> dict[str, Any]:
        """What `Rolled` has of it, once it has ended."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_PATIENCE_S)
        if not (told := self._printed.read_text()):
            raise SystemExit(f"no word of the rollout in {_PATIENCE_S:g} s:\n{self._log.read_text()[-2000:]}")
        devices = json.loads(told)["devices"]
        counts = Counter(each["state"] for each in devices)
        updated, left = counts[State.INSTALLED.value], counts[State.WAITING.value]
        done = [each for each in devices if each["ended_s"]]
        return {
            "phases": max(each["phase"] for each in devices),
            "updated": updated,
            "left": left,
            "otherwise": len(devices) - updated - left,
            "took_s": max(each["ended_s"] for each in done) - min(each["began_s"] for each in done),
        }

"""The workers of one placement as processes of this machine, and what is heard of them.

Each can be killed and started again, and may run in a place of its own, as a network namespace is one.
"""

import contextlib
import re
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from broker.messages import results, topics
from broker.messages.peers import epochs
from broker.messages.peers.epochs import Epoch
from broker.messages.results import Result
from broker.transport.protocol import Transport
from tflsplit import errors, strict_json
from tflsplit.cli.trials import replay_stage
from tflsplit.placement import recovery
from tflsplit.placement.folder import Shared
from tflsplit.values.classes import dataclass, field

_LOOK_S = 0.2
_PEAK = re.compile(r"VmHWM:\s+(\d+) kB")

Inside = Callable[[int, Sequence[str]], list[str]]


@dataclass(frozen=True, slots=True)
class Way:
    """How the workers of a `deployment` meet: each machine's at its `url`, where `inside` runs its command. `listener`
    is connected there too. `silence_s` without a result is too long."""

    deployment: str
    url: Callable[[int], str]
    listener: Transport
    inside: Inside = lambda _, command: list(command)
    silence_s: float = 120.0


@dataclass(slots=True)
class _Process:
    started: "subprocess.Popen[str]"
    said: IO[str]


@dataclass(slots=True)
class Heard:
    """`results` are each frame's first ones, as they came, of all starts of the source; `boot` is the latest start's,
    and `epoch` the placement in force there, since `since` of its results."""

    results: list[Result] = field(default_factory=list)
    repeats: int = 0
    boot: int | None = None
    epoch: Epoch | None = None
    since: int = 0
    _seen: dict[int, set[int]] = field(default_factory=dict)

    def take(self, found: Result) -> None:
        seen = self._seen.setdefault(found.boot, set())
        if found.sequence in seen:
            self.repeats += 1
            return
        seen.add(found.sequence)
        self.results.append(found)

    def told(self, epoch: Epoch) -> None:
        if epoch.over or epoch == self.epoch:
            return
        self.boot, self.epoch = epoch.run, epoch
        self.since = self.count

    @property
    def count(self) -> int:
        """Results of the latest start."""
        return 0 if self.boot is None else len(self._seen.get(self.boot, ()))


class Processes:
    """A context manager; all end with it. `common` are options of every worker, `given` of the one with the inputs.

    DeviceError from `follow` where one fails, or nothing comes.
    """

    def __init__(self, shared: Shared, way: Way, common: Sequence[str], given: Sequence[str]) -> None:
        plan = shared.plan
        self.first = plan.machines[plan.source]
        self.names = tuple(plan.machines[each] for each in sorted(recovery.used(plan.placement()) | {plan.source}))
        self.heard = Heard()
        self.peak_bytes: dict[str, int] = {}
        self._shared = shared
        self._way = way
        self._common = common
        self._given = given
        self._running: dict[str, _Process] = {}
        self._moved_s = time.monotonic()

    def __enter__(self) -> "Processes":
        for kind in (topics.Kind.RESULTS, topics.Kind.EPOCH):
            self._way.listener.subscribe(topics.topic(self._way.deployment, self.first, kind))
        try:
            for name in (*(each for each in self.names if each != self.first), self.first):
                self.start(name)
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def start(self, name: str) -> None:
        machine = self._shared.machine(name)
        own = self._given if name == self.first else ("--once",)
        at = ("--broker", self._way.url(machine), "--deployment", self._way.deployment, "--json", *self._common, *own)
        command = replay_stage.command_of(
            "-m", "tflsplit.cli.main", "worker", str(self._shared.path), "--name", name, *at
        )
        # What it says goes to a file, where nobody has to read it for it to go on.
        said = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed with its process
        # Not in our group: Ctrl-C is for us, who end the workers before what they run in goes.
        self._running[name] = _Process(
            subprocess.Popen(
                self._way.inside(machine, command),
                stdout=subprocess.PIPE,
                stderr=said,
                text=True,
                start_new_session=True,
            ),
            said,
        )

    def pid(self, name: str) -> int:
        return self._running[name].started.pid

    def kill(self, name: str) -> None:
        """At once, with SIGKILL."""
        process = self._running.pop(name)
        process.started.kill()
        process.started.communicate()
        process.said.close()

    def stop(self, name: str) -> None:
        """In good order."""
        self._running[name].started.send_signal(signal.SIGTERM)

    def follow(self, until: Callable[[], bool]) -> None:
        """Listens until that is so; it is asked after each message."""
        self._moved_s = time.monotonic()
        while not until():
            message = self._way.listener.receive(_LOOK_S)
            if message is None:
                self._check()
                continue
            self._way.listener.acknowledge(message)
            if not message.payload:
                continue
            if topics.parse(message.topic).kind is topics.Kind.EPOCH:
                self.heard.told(epochs.parse(message.payload))
                continue
            found = results.parse(message.payload)
            if isinstance(found, Result):
                self.heard.take(found)
                self._moved_s = time.monotonic()
                self.peak_bytes.update({name: _peak(each.started.pid) for name, each in self._running.items()})

    def summaries(self) -> Mapping[str, Mapping[str, Any]]:
        """What each says at its end, which is near."""
        return {name: self._summary(name) for name in self.names}

    def _summary(self, name: str) -> Mapping[str, Any]:
        process = self._running[name]
        try:
            out, _ = process.started.communicate(timeout=self._way.silence_s)
        except subprocess.TimeoutExpired as cause:
            raise errors.DeviceError(f"worker {name} did not end when its frames were over") from cause
        if process.started.returncode:
            raise self._failure(name)
        found: Mapping[str, Any] = strict_json.parse(out)
        return found

    def _check(self) -> None:
        gone = next((name for name, each in self._running.items() if each.started.poll() not in (None, 0)), None)
        if gone is not None or time.monotonic() - self._moved_s > self._way.silence_s:
            raise self._failure(gone or self.first)

    def _failure(self, name: str) -> errors.DeviceError:
        process = self._running[name]
        process.started.kill()
        process.said.seek(0)
        lines = process.said.read().strip().splitlines()
        code = process.started.poll()
        return errors.DeviceError(
            f"worker {name}: {lines[-1] if lines else code or 'no frame was answered for too long'}"
        )

    def _end(self) -> None:
        while self._running:
            with contextlib.suppress(ProcessLookupError):
                self.kill(next(iter(self._running)))


def _peak(pid: int) -> int:
    """The most memory that a process had."""
    with contextlib.suppress(OSError):
        found = _PEAK.search(Path(f"/proc/{pid}/status").read_text())
        return int(found[1]) * 1024 if found else 0
    return 0

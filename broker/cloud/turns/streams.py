"""Runs the frames of stateful packages once and in order, each from the state that the one before has left.

What a tail keeps is a value: it comes with a frame and leaves with its answer, so that any worker may run the next one,
and a frame whose worker died is run again from the same state. It is held here, for each device, boot and package.

A frame says which one it follows. It is run where that is the last one that came; where it is not, the frame is refused
as `state`: the edge sends again what is missing, or begins the stream anew. Nothing here waits for frames.
"""

import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence

from broker.cloud import answerer
from broker.cloud.answerer import Answer, Done, Job, Kept, Refused
from broker.cloud.engine import Engine
from broker.messages import wire
from broker.messages.wire import Label
from tflsplit import errors
from tflsplit.graph.cuts import Cut
from tflsplit.package.reading import Package
from tflsplit.values.classes import dataclass, field, replace

# 15,000 devices with a fused LSTM of 1,000 units, which keeps 3 KB in int8.
_BYTES = 64 << 20
# What Python needs for a stream besides its state.
_ENTRY_BYTES = 1024
_GONE = "the state of this frame's stream is not here: frames before it are missing, or were run elsewhere or long ago"

_Key = tuple[str, int, bytes]  # device, boot, package


@dataclass(slots=True, eq=False)
class _Frame:
    """A frame that waits for its turn; `begins` says that it begins its stream."""

    job: Job
    done: Done
    begins: bool


@dataclass(slots=True, eq=False)
class _Stream:
    """`last` is the sequence of the last frame that came, `kept` what the last one that was run has left."""

    cut: int
    last: int = -1
    kept: Kept | None = None
    is_running: bool = False
    waiting: deque[_Frame] = field(default_factory=deque)

    @property
    def held_bytes(self) -> int:
        return _ENTRY_BYTES + (0 if self.kept is None else len(self.kept.state))


def around(engine: Engine, packages: Sequence[Package]) -> Engine:
    """The engine itself where no package is stateful."""
    stateful = [package for package in packages if package.manifest.is_stateful]
    return Streams(engine, stateful) if stateful else engine


def check_alone(packages: Sequence[Package], share: str | None) -> None:
    """SettingsError for stateful packages on a cloud that does not get all frames of a stream."""
    stateful = [package for package in packages if package.manifest.is_stateful]
    if stateful and share is not None:
        how = "clouds at one queue" if share == "queue" else f"the clouds of --share {share}"
        raise errors.SettingsError(
            f"{stateful[0].path}: it is stateful, so all frames of a device have to come to one cloud, and {how} "
            "divide them: serve it by one cloud with --workers"
        )


class Streams:
    """An `Engine` over another one, to which it gives one frame of a stream at a time."""

    def __init__(self, engine: Engine, packages: Sequence[Package], *, most_bytes: int = _BYTES) -> None:
        self.counters = engine.counters
        self._engine = engine
        self._digests = {bytes.fromhex(package.digest)[: wire.PACKAGE_BYTES] for package in packages}
        self._most_bytes = most_bytes
        self._turns = threading.Lock()  # guards what follows
        self._streams: OrderedDict[_Key, _Stream] = OrderedDict()
        self._held_bytes = 0
        self._waiting = 0

    @property
    def waiting(self) -> int:
        return self._engine.waiting + self._waiting

    @property
    def workers(self) -> int | None:
        return self._engine.workers

    def submit(self, job: Job, done: Done) -> None:
        try:
            label = wire.peek(job.encoded)
        except errors.FrameError:
            label = None
        # Frames of nobody are run before the first ones come, to load their tail.
        if label is None or label.package not in self._digests or label.follows is None or not job.device:
            self._engine.submit(job, done)
            return
        key = (job.device, label.boot, label.package)
        with self._turns:
            stream = self._entered(key, label, _Frame(job, done, label.follows == label.sequence))
        if stream is None:
            done(answerer.refusal(job, _GONE, Refused.STATE))
        else:
            self._run_next(key, stream)

    def open(self, package: Package, cut: Cut, done: Callable[[], None]) -> None:
        self._engine.open(package, cut, done)

    def check(self) -> None:
        self._engine.check()

    def close(self) -> None:
        self._engine.close()

    def _entered(self, key: _Key, label: Label, frame: _Frame) -> _Stream | None:
        """The stream in which the frame has its place; None if it has none."""
        stream = self._streams.get(key)
        if frame.begins:
            if stream is None:
                stream = self._streams[key] = _Stream(label.cut)
                self._held_bytes += stream.held_bytes
            elif label.sequence <= stream.last:
                return None
            stream.cut = label.cut
        elif stream is None or (stream.cut, stream.last) != (label.cut, label.follows):
            return None
        stream.last = label.sequence
        stream.waiting.append(frame)
        self._waiting += 1
        return stream

    def _run_next(self, key: _Key, stream: _Stream) -> None:
        with self._turns:
            if stream.is_running or not stream.waiting:
                return
            stream.is_running = True
            frame = stream.waiting.popleft()
            self._waiting -= 1
            kept = None if frame.begins else stream.kept
        self._engine.submit(replace(frame.job, kept=kept), lambda answer: self._finish(key, stream, frame, answer))

    def _finish(self, key: _Key, stream: _Stream, frame: _Frame, answer: Answer) -> None:
        lost: list[_Frame] = []
        with self._turns:
            stream.is_running = False
            self._keep(key, stream, answer.kept)
            if answer.kept is None:  # it was refused, and what follows it cannot be run
                while stream.waiting and not stream.waiting[0].begins:
                    lost.append(stream.waiting.popleft())
                    self._waiting -= 1
                if not stream.waiting:
                    self._forget(key)
        frame.done(replace(answer, kept=None))
        for each in lost:
            each.done(answerer.refusal(each.job, _GONE, Refused.STATE))
        self._run_next(key, stream)

    def _keep(self, key: _Key, stream: _Stream, kept: Kept | None) -> None:
        self._held_bytes -= stream.held_bytes
        stream.kept = kept
        self._held_bytes += stream.held_bytes
        self._streams.move_to_end(key)
        while self._held_bytes > self._most_bytes:
            idle = next((each for each, one in self._streams.items() if not one.is_running and not one.waiting), None)
            if idle is None or idle == key:
                return
            self._forget(idle)
            self.counters.states_forgotten += 1

    def _forget(self, key: _Key) -> None:
        self._held_bytes -= self._streams.pop(key).held_bytes

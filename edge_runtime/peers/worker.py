"""A worker: one machine of a placement. It runs its pieces for each frame, and exchanges letters with the others.

The caller's thread computes. A second one receives, a third one makes and sends what goes out, a fourth one says how
this machine stands and, at the source, decides which placement is in force; there a fifth one reads inputs. While an
interpreter computes the others may run. Nothing here knows MQTT.
"""

import functools
import logging
import threading
import time
from collections.abc import Callable, Iterator

from broker.messages import topics
from broker.messages.peers import epochs, parcels
from broker.messages.peers.epochs import Epoch
from broker.messages.peers.parcels import Stamp
from broker.messages.peers.standing import Standing, State
from broker.messages.topics import Kind
from broker.transport.name_clash import NameClash
from broker.transport.protocol import ConnectionState, Message, Transport
from edge_runtime.peers.frames import Begun, Frames, packed
from edge_runtime.peers.open_pieces import OpenPieces
from edge_runtime.peers.outgoing import Message as Sending
from edge_runtime.peers.outgoing import Outgoing
from edge_runtime.peers.outlet import Outlet
from edge_runtime.peers.settings import Settings
from edge_runtime.peers.shares import Shares
from edge_runtime.peers.source_machine import SourceMachine
from edge_runtime.peers.summary import Speed, StepTimes, Summary
from edge_runtime.sources.frames import Source
from tflsplit import errors
from tflsplit.kernels.classes import KernelClass
from tflsplit.placement.folder import Shared
from tflsplit.placement.letters import Phase as TaskPhase
from tflsplit.placement.letters import Task
from tflsplit.placement.running import Sent
from tflsplit.values.classes import dataclass

log = logging.getLogger(__name__)

_LOOK_S = 0.1
# How often a worker says how it stands, whatever happens.
_BEAT_S = 1.0
# How long the end waits for a broker that is away.
_AWAY_S = 1.0
# What a packet has besides its payload, at most: its own header, and its topic.
_PACKET_BYTES = 512


@dataclass(frozen=True, slots=True)
class Present:
    """What a worker does now. `begun` frames are here, `waiting` messages have no room in the connection yet."""

    state: State
    why: str | None
    epoch: Epoch | None
    begun: int
    waiting: int
    open_pieces: int


class Worker:
    """`run` may be called once; `stop` from anywhere ends it in good order."""

    def __init__(
        self,
        shared: Shared,
        transport: Transport,
        settings: Settings,
        *,
        kernel_class: KernelClass | None = None,
    ) -> None:
        self.machine = shared.machine(settings.name)
        self.is_source = self.machine == shared.plan.source
        self.summary = Summary(settings.name)
        self.shared = shared
        self.settings = settings
        self.kernel_class = kernel_class
        self.source: SourceMachine | None = None
        self.looked_at_s = time.monotonic()
        self._transport = transport
        self._shares = Shares(shared)
        self._open = OpenPieces(shared, self._shares.network, threads=settings.threads, pace=settings.pace)
        self.source_name = shared.plan.machines[shared.plan.source]
        self._frames: Frames | None = None
        self._outlet: Outlet | None = None
        self._epoch: Epoch | None = None
        self._wanted: Epoch | None = None
        self._state = State.WAITING
        self._why: str | None = None
        self._said: tuple[object, ...] = ()
        self._said_at_s = -_BEAT_S
        self._outgoing = Outgoing(transport, self._fail)
        self._parts = tuple(topics.topic(settings.deployment, each, Kind.PARTS) for each in shared.plan.machines)
        self._speed = Speed()
        self._clash = NameClash(transport, settings.deployment, settings.name, settings.boot)
        self._changed = threading.Condition()
        self._has_news = False
        self._is_stopping = self._is_over = False
        self._failure: Exception | None = None

    @property
    def present(self) -> Present:
        """Any thread may ask."""
        frames = self._frames
        begun = 0 if frames is None else len(frames)
        return Present(self._state, self._why, self._epoch, begun, len(self._outgoing), len(self._open))

    def stop(self) -> None:
        """Begin nothing more; the source waits for its answers. Takes no lock: signal handlers may call it."""
        self._is_stopping = True
        if self.source is not None:
            self.source.feed.stop()

    def run(self, source: Source | None = None) -> Summary:
        """Until it is stopped; the source's worker until its inputs end and are answered. SettingsError for a source
        where it does not belong, or none where one does; PeerError where this machine may not take part."""
        if self.is_source != (source is not None):
            words = "give it --source" if self.is_source else f"only {self.source_name} takes a source"
            raise errors.SettingsError(f"{self.settings.name}: {words}: the inputs are at {self.source_name}")
        if source is not None:
            self.source = SourceMachine(
                *(self._shares, self._transport, self.settings, source),
                summary=self.summary,
                kernel_class=self.kernel_class,
                notify=self._notify,
            )
        threads = [
            threading.Thread(target=self._guarded, args=(each,), name=name, daemon=True)
            for name, each in (("peer-receive", self._receive), ("peer-tend", self._tend))
        ]
        self._listen()
        if source is None:
            log.info("waiting for a placement source=%s deployment=%s", self.source_name, self.settings.deployment)
        self._outgoing.start()
        began_s = time.monotonic()
        for thread in threads:
            thread.start()
        try:
            if self.source is not None:
                self.source.feed.start()
            self._work()
        finally:
            self._is_over = True
            for thread in threads:
                thread.join()
            self._end()
            self.summary.took_s = time.monotonic() - began_s
            self.summary.link = self._transport.counters
        if self._failure is not None:
            raise self._failure
        return self.summary

    def _listen(self) -> None:
        self._clash.start()
        self._transport.subscribe(self._parts[self.machine])
        self._transport.subscribe(topics.topic(self.settings.deployment, self.source_name, Kind.EPOCH))
        if self.source is not None:
            self.source.listen()

    # The thread that computes.

    def _work(self) -> None:
        while self._failure is None and not self._is_done():
            self.looked_at_s = time.monotonic()
            if self._wanted is not self._epoch:
                self._adopt(self._wanted)
            begun = None if self._frames is None else self._frames.next()
            if self._begin_frames() or (begun is not None and self._advance(begun)):
                continue
            with self._changed:
                self._changed.wait_for(lambda: self._has_news, _LOOK_S)
                self._has_news = False

    def _is_done(self) -> bool:
        return self._is_stopping if self.source is None else self.source.is_done(is_stopping=self._is_stopping)

    def _adopt(self, epoch: Epoch | None) -> None:
        """Gets ready for another placement; what was begun under the one before is given up."""
        self._frames = self._outlet = None
        self._outgoing.drop()
        self._epoch = epoch
        if epoch is None:
            return
        self._set_state(State.LOADING)
        try:
            placed = self._shares.placement_of(epoch)
            share, fingerprint = self._shares.share(placed, self.machine, self._open.use)
            if fingerprint != epoch.program:
                raise errors.PeerError("this version works out other steps of the placement than the source's")
            is_planned = placed == self.shared.plan.placement()
            opened = self._open.load(share, is_planned=is_planned)
        except errors.TflsplitError as problem:
            log.error("placement cannot be run epoch=%d reason=%s", epoch.epoch, problem)
            self._set_state(State.FAILED, str(problem))
            return
        self.summary.epochs.append(epoch.reason)
        self.summary.taken_over += 0 if is_planned else opened
        planned_s = self._shares.planned_s(share)
        self.summary.steps = {
            (task.step, task.phase): StepTimes(share.operators(task), planned_s.get((task.step, task.phase)))
            for task in share.program.tasks
        }
        if self.source is not None:
            self.source.feed.begin_epoch()
        speaker = (self.settings.deployment, self.source_name)
        self._outlet = Outlet(
            *(self.shared.package, speaker, self.machine, self.summary),
            is_exact=epoch.exact,
            is_raw=epoch.raw,
            has_mask=epoch.mask,
            most_bytes=self._most_bytes,
        )
        self._frames = Frames(share, epoch.key, epoch.window, self.summary)
        self._set_state(State.READY)

    def _begin_frames(self) -> bool:
        """Whether another input was begun: at the source, once all machines are ready."""
        frames = self._frames
        taken = None if frames is None or self.source is None else self.source.next(frames.key)
        if frames is None or taken is None:
            return False
        stamp, arrays = taken
        begun = frames.begin(stamp, arrays)
        self._send_all(stamp, None, begun.frame.first())
        if begun.frame.task is None:
            frames.finish(begun)
        return True

    def _advance(self, begun: Begun) -> bool:
        """Does the next task of a frame."""
        frames, task = self._frames, begun.frame.task
        if frames is None or task is None:
            return False
        began_s = time.monotonic()
        sent = begun.frame.step()
        done_s = time.monotonic()
        begun.compute_s += done_s - began_s
        times = self.summary.step_done(task, began_s - begun.waits_since_s, done_s - began_s)
        self._speed.add(times.planned_s, done_s - began_s)
        begun.waits_since_s = done_s
        self._send_all(begun.stamp, task, sent)
        if begun.frame.task is None:
            if task.phase is TaskPhase.DELIVER and self._outlet is not None:
                outputs = frames.share.outputs(begun.frame.parts)
                self._outgoing.put(functools.partial(self._outlet.take, begun, outputs))
            frames.finish(begun)
            self.summary.frames += 1
        return True

    def _send_all(self, stamp: Stamp, task: Task | None, sent: Sent) -> None:
        for letter, _ in sent:
            self.summary.letter_sent(task, letter)
        if sent:
            self._outgoing.put(functools.partial(self._packed, stamp, sent))

    # The thread that sends.

    def _packed(self, stamp: Stamp, sent: Sent) -> Iterator[Sending]:
        for letter, arrays in sent:
            for message in parcels.pack(stamp, letter.key, packed(arrays), self._most_bytes):
                yield self._parts[letter.target], message, None

    @property
    def _most_bytes(self) -> int:
        return self._transport.max_packet_bytes - _PACKET_BYTES

    # The thread that receives.

    def _receive(self) -> None:
        while not self._is_over:
            message = self._transport.receive(_LOOK_S)
            if message is not None:
                self._take(message)
                self._transport.acknowledge(message)

    def _take(self, message: Message) -> None:
        if message.topic == self._clash.topic:
            self._clash.take(message)
            return
        try:
            topic = topics.parse(message.topic)
            match topic.kind:
                case Kind.PARTS:
                    self._take_parcel(message.payload)
                case Kind.EPOCH:
                    self._take_epoch(message)
                case _ if self.source is not None:
                    self.source.take(topic, message)
                case _:
                    pass
        except errors.FrameError as problem:
            self.summary.bad += 1
            log.warning("message ignored topic=%s reason=%s", message.topic, problem)

    def _take_parcel(self, payload: bytes) -> None:
        parcel, frames = parcels.parse(payload), self._frames
        if parcel.letter[0] == parcels.ANSWERED and self.source is not None:
            self.source.answered(parcel.stamp)
            return
        if frames is None or (parcel.stamp.run, parcel.stamp.epoch) != frames.key:
            self.summary.stale += 1
            return
        frames.take(parcel)
        self._notify()

    def _take_epoch(self, message: Message) -> None:
        if not message.payload:
            return
        told = epochs.parse(message.payload)
        if told.bundle != self.shared.digest:
            raise errors.PeerError(
                f"{self.source_name} runs bundle {told.bundle[:16]}, this one is {self.shared.digest[:16]}: "
                "give all machines the same folder"
            )
        if told.over:
            self._is_stopping |= self.settings.ends_with_source and self._epoch is not None
            self._notify()
            return
        latest = self._wanted
        if latest is not None and latest.run == told.run and latest.epoch >= told.epoch:
            return
        self._wanted = told
        self._notify()

    # The thread that tends.

    def _tend(self) -> None:
        while not self._is_over:
            self._say()
            if self.source is not None:
                self.source.tend()
            with self._changed:
                self._changed.wait_for(lambda: self._is_over, _LOOK_S)

    def _set_state(self, state: State, why: str | None = None) -> None:
        self._state, self._why = state, why
        self._say()

    def _say(self) -> None:
        """How this machine stands, if it changed or was not said for a while."""
        key = (0, 0) if self._epoch is None else self._epoch.key
        told = (self._state, self._why, key, self._transport.reconnects)
        now_s = time.monotonic()
        if told == self._said and now_s - self._said_at_s < _BEAT_S:
            return
        message = Standing(
            self.settings.boot,
            self.shared.digest,
            self._transport.reconnects,
            self._state,
            self._why,
            *key,
            frames=self.summary.frames,
            speed=self._speed.take(),
            kernel_class=self.kernel_class,
        ).as_json()
        topic = topics.topic(self.settings.deployment, self.settings.name, Kind.SHARE)
        if self._transport.try_publish(topic, message, qos=1, retain=True):
            self._said, self._said_at_s = told, now_s

    def _end(self) -> None:
        if self.source is not None:
            self.source.feed.close()
        is_online = self._transport.state is ConnectionState.ONLINE
        left_s = self.settings.drain_s if is_online and self._failure is None else _AWAY_S
        self._outgoing.close(left_s)
        if self.source is not None:
            self.source.over()
        self._set_state(State.ENDED)
        self._transport.flush(left_s)
        self._open.close()

    def _guarded(self, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception as failure:  # noqa: BLE001 - raised again by `run`, in the caller's thread
            self._fail(failure)
        self._notify()

    def _fail(self, failure: Exception) -> None:
        self._failure = self._failure or failure
        self._notify()

    def _notify(self) -> None:
        with self._changed:
            self._has_news = True
            self._changed.notify_all()

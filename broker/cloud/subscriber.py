"""The cloud loop: take a frame, let the engine answer it, publish the result, then acknowledge the frame.

The loop reads only a frame's label. A frame that was answered before is answered from memory, since its result may have
been lost; one that is being answered is not started twice; one that cannot be run is refused with the reason. Nothing
here knows MQTT.

A frame is acknowledged after its result is published, so after any crash it is answered again instead of lost. The
frames held are bounded: at the bounds no more are taken from the transport, and they stay in the broker. What comes is
read before the next tail runs: whose turn it is can only be said of frames that are here, and what exceeds the share of
its device is refused as busy.
"""

import logging
import math
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol

from broker.cloud import answerer, exactness, leaving
from broker.cloud.answerer import Answer, Job, Refused
from broker.cloud.beside.listening import Beside, Listening
from broker.cloud.engine import Engine
from broker.cloud.exactness import Exactness
from broker.cloud.leaving import Held, Leaving, Route
from broker.cloud.peers import Peers
from broker.cloud.reply_cache import Key, ReplyCache
from broker.cloud.summary import Summary
from broker.cloud.turns.fair_queue import FairQueue
from broker.cloud.turns.shares import Limits, Shares
from broker.messages import chunks, topics, wire
from broker.messages.topics import Kind
from broker.transport.protocol import Message, Transport
from tflsplit import arguments, errors
from tflsplit.coding import feature_codec
from tflsplit.recent import Recent
from tflsplit.values.classes import replace

log = logging.getLogger(__name__)

# How often the loop looks whether it was told to stop; no frame waits for it.
_LOOK_S = 0.2
_TEND_S = 0.05  # how often it does what no frame waits for
# How often it asks a full transport for room.
_RETRY_S = 0.01
# How many messages are read before the next frame has its turn, however many come.
_TOGETHER = 64
# How long unsubscribing may take.
_UNSUBSCRIBE_S = 2.0
# The topics of 40,000 devices, and the last refusal of as many.
_MOST_BYTES = 32 << 20
_ROUTE_BYTES, _REFUSAL_BYTES = 800, 400  # what Python needs for one, and the text of a refusal
_ENTRY_BYTES = 1024  # what Python needs for a frame besides its bytes


class Observer(Protocol):
    """Gets every answer, on any thread; must not block."""

    def answered(self, device: str, answer: Answer) -> None: ...


class Cloud:
    """Serves every device of one deployment. `stop`, from any thread, ends `run` once received frames are answered.

    With a `share` the clouds of that group divide the frames among them. The chunks of one frame may then go to
    different clouds, so chunks are refused. `beside` hears of devices where this transport only brings frames.
    """

    def __init__(
        self,
        engine: Engine,
        transport: Transport,
        deployment: str,
        *,
        share: str | None = None,
        peers: Peers | None = None,
        exactness: Exactness | None = None,
        beside: Beside | None = None,
        drain_s: float = 10.0,
        limits: Limits | None = None,
        observers: Sequence[Observer] = (),
    ) -> None:
        arguments.provides(engine, "submit", "engine")
        arguments.provides(transport, "receive", "transport")
        self.summary = Summary()
        self.deployment = deployment
        self.looked_at_s = time.monotonic()  # when the loop last looked for frames; for noticing a tail that hangs
        self._engine = engine
        self._transport = transport
        self._filter = topics.every_device(deployment, Kind.FEATURES, share=share)
        self._is_shared, self._is_subscribed = share is not None, False
        self._peers, self.exactness = peers, beside.exactness if beside else exactness
        self._listening = Listening(engine, transport, deployment, peers, None if beside else exactness)
        self._beside = beside
        self._drain_s = drain_s
        self._limits = limits or Limits()
        self._observers = tuple(observers)
        self._reassembler = chunks.Reassembler()
        self.summary.chunked = self._reassembler.counters
        self._routes: Recent[str, Route] = Recent(_MOST_BYTES)
        # By device, so that equal refusals are one line in the log.
        self._last_refusal: Recent[str, str] = Recent(_MOST_BYTES)
        self._turns: FairQueue[tuple[Key, Held]] = FairQueue()  # read, and not given to the engine yet
        self._stopped_at_s: float | None = None
        self._lock = threading.RLock()  # guards what follows and the summary: answers come from threads
        self._changed = threading.Condition(self._lock)
        self._reply_cache = ReplyCache()
        self._running: dict[Key, Held] = {}
        self._shares = Shares(self._limits)
        self._leaving = Leaving(transport, self.summary)
        self._held_bytes = 0

    @property
    def held(self) -> int:
        """Frames that are waiting, being answered, or waiting to be published."""
        return len(self._running) + len(self._leaving.queue)

    def subscribe(self) -> None:
        """From now on frames wait for `run`, which does this where it was not done."""
        self._listening.start()
        self._transport.subscribe(self._filter)
        self._is_subscribed = True

    def stop(self) -> None:
        if self._stopped_at_s is None:
            self._stopped_at_s = time.monotonic()

    def run(self, *, is_enough: Callable[[], bool] = lambda: False) -> Summary:
        """Answers frames until stopped, or until `is_enough`, which is called before each frame."""
        if not self._is_subscribed:
            self.subscribe()
        self._listening.announce()
        tended_at_s = -math.inf
        while self._stopped_at_s is None and not is_enough():
            if time.monotonic() - tended_at_s >= _TEND_S:
                tended_at_s = time.monotonic()
                self._engine.check()
                self._reassembler.expire(tended_at_s)
                self._listening.tend()
                if self._beside is not None:
                    self._beside.check()
            self._read()
            self._serve_next()
        self._listening.close()
        self._drain()
        self.summary.link = self._transport.counters
        return self.summary

    def _read(self) -> None:
        """Takes what has come, and waits for it where there is nothing else to do."""
        for _ in range(_TOGETHER):
            if not self._has_room():
                return
            message = self._transport.receive(0.0 if self._turns or self._listening.ahead else _LOOK_S)
            if message is None:
                return
            self._take(message)

    def _serve_next(self) -> None:
        """Has the engine answer the next frame, unless earlier answers cannot leave."""
        following = None if self._leaving.queue else self._turns.take()
        if following is None:
            self._listening.ahead.open_next()
        else:
            key, held = following
            began_s = time.monotonic()
            self._engine.submit(held.job, partial(self._finish, key, held))
            self._turns.served(held.job.device, time.monotonic() - began_s)

    def _drain(self) -> None:
        """Answers the frames that have arrived; later ones are left to other clouds."""
        was_told = self._stopped_at_s is not None
        give_up_s = (self._stopped_at_s or time.monotonic()) + self._drain_s
        try:
            self._transport.unsubscribe(self._filter, timeout_s=min(_UNSUBSCRIBE_S, self._drain_s))
        except errors.BrokerError as problem:
            log.warning("frames may still come while stopping reason=%s", problem)
        until_s = time.monotonic()
        while was_told and time.monotonic() < give_up_s:
            self._serve_next()
            if self._has_room():
                message = self._transport.receive(0.0)
                if message is None or message.arrived_at_s > until_s:
                    break
                self._take(message)
        while self.held and time.monotonic() < give_up_s:
            self._engine.check()
            self._serve_next()
            self._has_room(wants_all=True)
        self._transport.flush(max(0.0, give_up_s - time.monotonic()))
        self.summary.unfinished = self.held
        if self.held:
            log.warning("frames left undone deployment=%s frames=%d", self.deployment, self.held)

    def _has_room(self, *, wants_all: bool = False) -> bool:
        """Whether another frame may be taken (or with `wants_all`, nothing is held), waiting a moment if not."""
        self.looked_at_s = time.monotonic()
        with self._lock:
            self._held_bytes -= self._leaving.publish()
            if self._is_free(wants_all=wants_all):
                return True
            if self._turns and not self._leaving.queue:
                return False
            if not self._leaving.queue:
                return self._changed.wait_for(lambda: self._is_free(wants_all=wants_all), _LOOK_S)
        self._transport.flush(_RETRY_S)
        return False

    def _is_free(self, *, wants_all: bool) -> bool:
        if wants_all:
            return self.held == 0
        return (
            not self._leaving.queue
            and len(self._running) < self._limits.frames
            and self._held_bytes < self._limits.bytes
        )

    def _take(self, message: Message) -> None:
        route = self._routes.get(message.topic)
        if route is None and self._listening.take(message):
            self._transport.acknowledge(message)
            return
        try:
            route = route or self._new_route(message.topic)
        except errors.FrameError as problem:  # not from a device of ours: there is nobody to answer
            with self._lock:
                self.summary.refused[Refused.BAD_TOPIC] += 1
            log.warning("message ignored reason=%s", problem)
            self._transport.acknowledge(message)
            return
        received_ms = (time.time() - (time.monotonic() - message.arrived_at_s)) * 1e3
        try:
            encoded = self._whole(route, message)
            label = None if encoded is None else wire.peek(encoded)
        except errors.FrameError as problem:
            refused = Refused.CHUNK if self._is_shared and chunks.is_chunk(message.payload) else Refused.BAD_FRAME
            held = self._hold(route, Job(route.device, message.payload, received_ms, message.arrived_at_s), message)
            self._finish(None, held, answerer.refusal(held.job, str(problem), refused))
            return
        if encoded is None or label is None:
            # The other chunks are still to come. If this cloud ends before that, the edge sends the frame again.
            self._transport.acknowledge(message)
            return
        checksum = wire.checksum(encoded)
        standing = exactness.standing(self.exactness, route.device, label)
        job = Job(route.device, encoded, received_ms, message.arrived_at_s, standing.is_exact, checksum=checksum)
        self._serve((route.device, label, checksum), route, job, message)

    def _whole(self, route: Route, message: Message) -> feature_codec.Buffer | None:
        if self._is_shared and chunks.is_chunk(message.payload):
            raise errors.FrameError(
                "frame in chunks, which clouds that share a subscription do not get together: choose a cut with a "
                "smaller payload, raise the broker's packet limit, or run one cloud without --share"
            )
        return self._reassembler.add(route.device, message.payload, message.arrived_at_s)

    def _serve(self, key: Key, route: Route, job: Job, message: Message) -> None:
        with self._lock:
            self.summary.frames += 1
            known = self._reply_cache.get(key)
            running = self._running.get(key)
            if known is not None or running is not None:
                self.summary.duplicates += 1
            if running is not None:
                self._add_message(running, message)
                return
            held = self._hold(route, job, message)
            if known is not None:
                self._leaving.add(held, known)
                self._held_bytes -= self._leaving.publish()
                return
            busy = self._shares.refusal(route.results, job.arrived_at_s)
            self.summary.rate_limited = self._shares.over_rate
            if busy is None:
                self._running[key] = held
                self._shares.count(route.results, 1, len(job.encoded) + _ENTRY_BYTES)
        if busy is not None:
            self._finish(None, held, answerer.refusal(job, busy, Refused.BUSY))
        else:
            self._turns.put(job.device, (key, held))

    def _hold(self, route: Route, job: Job, message: Message) -> Held:
        held = Held(route, job, [message], len(job.encoded) + _ENTRY_BYTES)
        with self._lock:
            self._held_bytes += held.held_bytes
        return held

    def _add_message(self, held: Held, message: Message) -> None:
        if message.qos > 0:  # else there is nothing to acknowledge
            held.messages.append(replace(message, payload=b""))
            held.held_bytes += _ENTRY_BYTES
            self._held_bytes += _ENTRY_BYTES

    def _finish(self, key: Key | None, held: Held, answer: Answer) -> None:
        with self._lock:
            if key is not None:
                del self._running[key]
                self._shares.count(held.route.results, -1, -len(held.job.encoded) - _ENTRY_BYTES)
            is_served = answer.refused not in (Refused.WRONG_PACKAGE, Refused.WRONG_CUT)
            if key is not None and not is_served and self._peers and self._peers.serve(key[1].package.hex()):
                # That cloud answers; a refusal of ours would only be in its way.
                self.summary.left_to_others += 1
                for message in held.messages:
                    self._transport.acknowledge(message)
                self._held_bytes -= held.held_bytes
                self._changed.notify_all()
                return
            answer = self._leaving.add(held, answer)
            self.summary.count(answer, held.job.is_exact)
            if key is not None and is_served and answer.refused not in answerer.COMES_AGAIN:
                self._reply_cache.add(key, answer)
                self.summary.answers_forgotten = self._reply_cache.forgotten
            if answer.refused not in (None, *answerer.COMES_AGAIN):
                self._leaving.add_dead_letter(held, answer)
            self._held_bytes -= self._leaving.publish()
            self._changed.notify_all()
        if answer.refused is not None:
            self._log_refusal(held.route.device, answer)
        for observer in self._observers:
            observer.answered(held.route.device, answer)

    def _new_route(self, name: str) -> Route:
        route = leaving.route_of(name)
        self._routes.put(name, route, _ROUTE_BYTES)
        return route

    def _log_refusal(self, device: str, answer: Answer) -> None:
        if self._last_refusal.get(device) != answer.error:
            log.warning("frames refused device=%s reason=%s", device, answer.error)
        self._last_refusal.put(device, answer.error, _REFUSAL_BYTES + len(answer.error))

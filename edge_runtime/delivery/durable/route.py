"""The route for delivery `all` with a spool: every frame is kept on disk until it is settled.

Frames are accepted whether or not the broker can be reached. A thread of its own sends them while fewer than `window`
frames are unanswered: in the order in which they were accepted, or where the newest go first, those that are accepted
while the broker is there before what waits from earlier, which leaves them half of the window.
"""

import collections
import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import Protocol

from broker.messages import wire
from edge_runtime.delivery.durable.capture_times import CaptureTimes
from edge_runtime.delivery.durable.spool import Full, Spool, State
from edge_runtime.delivery.framing import Packed
from edge_runtime.delivery.publisher import Publisher
from edge_runtime.delivery.refusals import Refusals
from edge_runtime.delivery.resending import Resending
from edge_runtime.delivery.run import Run
from edge_runtime.delivery.settings import Until
from edge_runtime.delivery.window import Key, Outstanding, Refusal
from tflsplit.values.classes import replace

log = logging.getLogger(__name__)

# How often the thread that sends looks whether it was told to stop; no frame waits for it.
_LOOK_S = 0.2
# How often frames that no cloud serves are tried again, where no cloud announces itself.
_REFUSED_S = 60.0


class Learner(Protocol):
    """Who learns from what becomes of frames, and so is to know of those whose answer says nothing."""

    def given_up(self, keys: Sequence[Key]) -> None:
        """They are no longer out, for nobody answered them."""

    def refused(self, packed: Packed) -> None:
        """It waits for another cloud."""


class Durable:
    """`on_wait` is called regularly while a frame waits for room. With a `learner`, who is to learn from the present, a
    backlog holds up no frame that is made now."""

    def __init__(
        self, run: Run, publisher: Publisher, spool: Spool, on_wait: Callable[[], None], learner: Learner | None = None
    ) -> None:
        self._run, self._window, self._summary = run, run.window, run.summary
        self._publisher = publisher
        self._spool = spool
        self._on_wait = on_wait
        self._learner = learner
        self._resending = Resending(run, publisher)
        self._refusals = Refusals(run)
        self._refused_at_s = 0.0
        self._times = CaptureTimes(run.settings.boot)
        self._sent: Key | None = None
        self._newest: collections.deque[Key] = collections.deque()  # to be sent before what is after `_sent`
        self._ahead = 0  # so many of them were, one after the other
        self._is_closed = False
        self._damaged = 0
        # Held while a frame moves from spool to window, so that an answer always finds it in one of them.
        self._handing_over = threading.Lock()
        self._sender = threading.Thread(target=self._send, name="edge-sender", daemon=True)

    def open(self) -> None:
        self._summary.replayed = self._spool.frames + self._spool.damaged
        self._count_damaged()
        self._sender.start()

    def close(self) -> None:
        self._is_closed = True
        self._sender.join()
        self._count_damaged()
        self._summary.spooled = self._spool.frames

    def wait_for_room(self, timeout_s: float) -> bool:
        return self._spool.limits.full is not Full.BLOCK or self._spool.wait_for_room(timeout_s)

    def accept(self, packed: Packed) -> bool:
        self._times.note(packed)
        while not self._spool.put(packed):
            reason = "disk_full" if self._spool.state is State.DISK_FULL else "spool_full"
            if not self._make_room(packed, reason):
                self._summary.drop(reason, packed.inputs)
                return False
        self._summary.accept(packed.inputs)
        if self._learner is not None and self._publisher.is_online:
            self._newest.append(packed.key)
            while len(self._newest) > self._run.settings.window:
                self._newest.popleft()
            self._window.look_again()
        return True

    @property
    def may_drop(self) -> bool:
        return self._spool.limits.full is not Full.BLOCK

    def settle(self, key: Key, now_s: float, sequence: int | None = None) -> Outstanding | None:
        self._resending.answered(now_s)
        with self._handing_over:
            sent = self._window.settle(key, now_s, sequence)
            if sent is not None:
                self._refusals.answered(sent.packed)
                if key not in self._window:
                    self._spool.remove(sent.packed)
                return sent
            if sequence is not None:
                return None  # one of several inputs: it is not known here which of the others were answered
            packed = self._spool.take(key)
        return None if packed is None else _sent_by_earlier_run(self._times.timed(packed), now_s)

    def refuse(self, key: Key, refusal: Refusal, now_s: float) -> bool:
        return self._window.refuse(key, refusal, now_s) or self._spool.knows(key[0])

    def missed(self, key: Key) -> bool:
        """An answer to what an earlier run sent says nothing of what this one will have sent before it."""
        return (key not in self._window and self._spool.knows(key[0])) or self._window.missed(key)

    def busy(self, key: Key) -> None: ...  # it is sent again when it is overdue, later each time

    def refused(self, now_s: float) -> list[Outstanding]:
        """None: a cloud with another package is no reason to lose frames. They wait in the spool."""
        for sent in self._refusals.final(now_s):
            reason = None if sent.refusal is None else sent.refusal.error
            if reason != self._summary.refusal:
                log.error(
                    "frames wait for a cloud that serves them package=%s cut=%s first_sequence=%d reason=%s",
                    sent.packed.package,
                    sent.packed.cut,
                    sent.packed.sequence,
                    reason,
                )
            self._summary.refusal = self._summary.refusing = reason
            self._refused_at_s = now_s
            if self._learner is not None:
                self._learner.refused(sent.packed)
        return []

    def cloud_came(self, now_s: float) -> None:
        self._resending.cloud_came(now_s)

    def _try_again(self) -> None:
        with self._handing_over:
            self._refusals.forget()
            self._sent = None

    @property
    def is_stuck(self) -> bool:
        return bool(self._refusals) and not len(self._window) and not self._spool.wait_for_more(self._sent, 0.0)

    @property
    def is_unheard(self) -> bool:
        return False  # they are sent when they can be

    def tend(self, now_s: float) -> None:
        if self._resending.is_hurried(now_s) or (self._refusals and now_s - self._refused_at_s >= _REFUSED_S):
            self._refused_at_s = now_s
            self._try_again()
        self._resending.tend(now_s)
        self._forget(self._spool.expire(time.time_ns()), "expired")
        self._spool.check_there()
        self._count_damaged()

    def wait_until_settled(self, timeout_s: float) -> bool:
        """When the edge stops, frames may stay in the spool."""
        if self._run.is_stopping:
            return self._window.wait_until_empty(timeout_s)
        return self._spool.wait_until_empty(timeout_s)

    def _make_room(self, packed: Packed, reason: str) -> bool:
        """Does what `limits.full` says; returns whether to try again."""
        full = self._spool.limits.full
        if full is Full.BLOCK and not self._run.is_stopping:
            self._spool.wait_for_room(_LOOK_S)
            self._on_wait()
            return True
        if full is Full.DROP_OLDEST:
            dropped = self._spool.drop_oldest(packed)
            self._forget(dropped, reason)
            return bool(dropped)
        return False

    def _count_damaged(self) -> None:
        damaged = self._spool.damaged
        if damaged > self._damaged:
            self._summary.give_up("damaged", damaged - self._damaged)
            self._damaged = damaged

    def _forget(self, keys: list[Key], reason: str) -> None:
        if keys:
            self._window.forget(keys)
            self._summary.give_up(reason, len(keys))
            if self._learner is not None:
                self._learner.given_up(keys)

    def _send(self) -> None:
        try:
            while not self._is_over():
                if self._publisher.wait_until_answerable(_LOOK_S) and self._window.wait_for_room(_LOOK_S):
                    self._send_next()
        except Exception as failure:  # noqa: BLE001 - raised again by the edge's `run`, in the caller's thread
            self._run.fail(failure)

    def _is_over(self) -> bool:
        return self._is_closed or self._run.is_stopping

    def _send_next(self) -> None:
        if not self._spool.wait_for_more(self._sent, _LOOK_S):
            return
        if not self._window.wait_for_room(_LOOK_S, self._kept_room):
            return
        with self._handing_over:
            packed = self._next()
            if packed is None or packed.key in self._window:
                return
            if self._refusals.cover(packed):
                if self._learner is not None:
                    self._learner.refused(packed)
                return
            # A frame of an earlier run may ask for the other kind of answer.
            encoded = wire.with_ack(packed.encoded, wanted=self._run.settings.until is Until.ACK)
            packed = replace(self._times.timed(packed), encoded=encoded)
            self._window.add(packed, now_s=time.monotonic(), now_ns=time.time_ns())
        self._publisher.send(packed.encoded, until=self._is_over)

    def _kept_room(self) -> int:
        """For frames that are made now."""
        return self._run.settings.window // 2 if self._learner is not None and not self._newest else 0

    def _next(self) -> Packed | None:
        """The frame whose turn it is; after a window of newer ones, the oldest one's is."""
        if self._newest and self._ahead < self._run.settings.window:
            self._ahead += 1
            packed = self._spool.get(self._newest.popleft())
            if packed is not None:
                return packed
        self._ahead = 0
        packed = self._spool.after(self._sent)
        if packed is not None:
            self._sent = packed.key
        return packed


def _sent_by_earlier_run(packed: Packed, now_s: float) -> Outstanding:
    """An answered frame that an earlier run sent, and this one has not sent yet."""
    age_s = max(0.0, (time.time_ns() - packed.captured_ns) / 1e9)
    return Outstanding(packed, now_s - age_s, now_s, now_s, published_ns=0, sendings=0)

"""Routes: how a frame gets from the head to its answer, one for each delivery guarantee.

`InMemory` keeps every frame in the window until it is answered. `Fresh` gives up frames that grow old. The route
through a spool on disk is in `edge_runtime.delivery.durable.route`.
"""

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from edge_runtime.delivery.framing import Packed
from edge_runtime.delivery.publisher import Publisher
from edge_runtime.delivery.refusals import Refusals
from edge_runtime.delivery.resending import Resending
from edge_runtime.delivery.run import Run
from edge_runtime.delivery.window import Key, Outstanding, Refusal
from tflsplit import errors

if TYPE_CHECKING:
    from edge_runtime.delivery.durable.route import Learner

# Frames are taken to wait in vain where as many as may be are out, and the oldest of them so long.
_UNHEARD_S = 0.5


class Route(Protocol):
    """The compute thread calls `wait_for_room` and `accept`, the results thread `settle` and `tend`."""

    def open(self) -> None:
        """Called before the first frame."""

    def close(self) -> None:
        """Called after the last answer; nothing is sent any more."""

    def wait_for_room(self, timeout_s: float) -> bool:
        """Whether a frame that is made now may be accepted. BrokerError if the broker refuses us."""

    def accept(self, packed: Packed) -> bool:
        """Takes the frame and counts it, as accepted or as dropped; which of the two."""

    @property
    def may_drop(self) -> bool:
        """Whether `accept` drops a frame that finds no room, at once, rather than waits for some."""

    def settle(self, key: Key, now_s: float, sequence: int | None = None) -> Outstanding | None:
        """An answer came: returns the frame and forgets it; None if nobody waits for it. A frame of several inputs is
        forgotten with the answer to the last of them; `sequence` says to which this one is, None: to all."""

    def refuse(self, key: Key, refusal: Refusal, now_s: float) -> bool:
        """A cloud does not serve that frame, and another may: False if nobody waits for it."""

    def missed(self, key: Key) -> bool:
        """A cloud lacks what comes before this frame in its stream: whether that may still come, so that the frame is
        kept and sent again after it."""

    def busy(self, key: Key) -> None:
        """A cloud has too many frames of ours to take this one, which is to be sent again later."""

    def refused(self, now_s: float) -> list[Outstanding]:
        """Called regularly: frames that no cloud serves, which are forgotten with it."""

    def cloud_came(self, now_s: float) -> None:
        """A cloud has announced itself: what waits for one goes on within a second."""

    def tend(self, now_s: float) -> None:
        """Called regularly: sends frames again, or gives them up."""

    @property
    def is_stuck(self) -> bool:
        """Whether all that is left waits for a cloud that serves it."""

    @property
    def is_unheard(self) -> bool:
        """Whether frames that are made now would be too old for any answer: no more may be sent, since none of those
        that are out was answered for long, or some were given up since the last answer and the one that tries whether
        a cloud is there is still out."""

    def wait_until_settled(self, timeout_s: float) -> bool:
        """Whether every frame is answered or given up, waiting up to `timeout_s`."""


def of(run: Run, publisher: Publisher, *, on_wait: Callable[[], None], learner: "Learner | None") -> Route:
    """The route of a run's delivery guarantee; the last two are as in `Durable`. SettingsError for a spool that does
    not go with the settings."""
    spool, boot = run.spool, run.settings.boot
    if spool is not None and run.settings.is_latest:
        raise errors.SettingsError(f"spool {spool.path} with delivery latest: it keeps nothing, leave one out")
    if spool is not None and spool.knows(boot):
        raise errors.SettingsError(
            f"spool {spool.path} holds frames of boot {boot:016x} already: leave the boot out, so that each run draws "
            "its own"
        )
    if spool is None:
        return (Fresh if run.settings.is_latest else InMemory)(run, publisher)
    # Imported here because it imports SQLite, which an edge without a spool does not load.
    from edge_runtime.delivery.durable.route import Durable

    return Durable(run, publisher, spool, on_wait, learner)


class InMemory:
    """For delivery `all` without a spool: unanswered frames are in the window, which is lost with the process."""

    def __init__(self, run: Run, publisher: Publisher) -> None:
        self._run, self._window, self._summary = run, run.window, run.summary
        self._publisher = publisher
        self._resending = Resending(run, publisher)
        self._refusals = Refusals(run)

    def open(self) -> None: ...

    def close(self) -> None: ...

    def wait_for_room(self, timeout_s: float) -> bool:
        return self._publisher.wait_until_answerable(timeout_s) and self._window.wait_for_room(timeout_s)

    def accept(self, packed: Packed) -> bool:
        self._window.add(packed, now_s=time.monotonic(), now_ns=time.time_ns())
        self._summary.accept(packed.inputs)
        # A frame without room before a stop stays in the window, and is sent with those that are overdue.
        self._publisher.send(packed.encoded, until=lambda: self._run.is_stopping)
        return True

    @property
    def may_drop(self) -> bool:
        return False

    def settle(self, key: Key, now_s: float, sequence: int | None = None) -> Outstanding | None:
        self._resending.answered(now_s)
        sent = self._window.settle(key, now_s, sequence)
        if sent is not None:
            self._refusals.answered(sent.packed)
        return sent

    def refuse(self, key: Key, refusal: Refusal, now_s: float) -> bool:
        return self._window.refuse(key, refusal, now_s)

    def missed(self, key: Key) -> bool:
        return self._window.missed(key)

    def busy(self, key: Key) -> None: ...  # it is sent again when it is overdue, later each time

    def refused(self, now_s: float) -> list[Outstanding]:
        return self._refusals.final(now_s)

    def cloud_came(self, now_s: float) -> None:
        self._resending.cloud_came(now_s)

    def tend(self, now_s: float) -> None:
        if self._resending.is_hurried(now_s):
            self._refusals.forget()
        self._resending.tend(now_s)

    @property
    def is_stuck(self) -> bool:
        return False

    @property
    def is_unheard(self) -> bool:
        return False  # they are sent when they can be

    def wait_until_settled(self, timeout_s: float) -> bool:
        return self._window.wait_until_empty(timeout_s)


class Fresh:
    """For delivery `latest`: no frame is sent twice or kept for later, and one older than `max_age_s` is given up.

    After one was given up, only one frame at a time is out until an answer comes: a stalled link would take more
    frames, and deliver all of them when they are old.
    """

    def __init__(self, run: Run, publisher: Publisher) -> None:
        self._run, self._window, self._summary = run, run.window, run.summary
        self._publisher = publisher
        self._is_silent = False
        self._refusals = Refusals(run)

    def open(self) -> None: ...

    def close(self) -> None: ...

    def wait_for_room(self, timeout_s: float) -> bool:
        return (
            self._publisher.wait_until_answerable(timeout_s)
            and self._publisher.wait_until_online(timeout_s)
            and (self._window.wait_until_empty if self._is_silent else self._window.wait_for_room)(timeout_s)
        )

    def accept(self, packed: Packed) -> bool:
        now_s, now_ns = time.monotonic(), time.time_ns()
        left_s = self._run.settings.max_age_s - (now_s - (packed.captured_at_s or now_s))
        if left_s <= 0:
            self._summary.drop("expired", packed.inputs)
            return False
        self._window.add(packed, now_s=now_s, now_ns=now_ns)
        self._summary.accept(packed.inputs)
        if not self._publisher.try_send(packed.encoded, expiry_s=left_s):
            self._window.forget([packed.key])
            self._summary.give_up("no_room")
            return False
        return True

    @property
    def may_drop(self) -> bool:
        return True

    def settle(self, key: Key, now_s: float, sequence: int | None = None) -> Outstanding | None:
        self._expire(now_s)
        self._is_silent = False
        sent = self._window.settle(key, now_s, sequence)
        if sent is not None:
            self._refusals.answered(sent.packed)
        return sent

    def refuse(self, key: Key, refusal: Refusal, now_s: float) -> bool:
        return self._window.refuse(key, refusal, now_s)

    def missed(self, key: Key) -> bool:
        return False  # nothing is sent twice here

    def busy(self, key: Key) -> None:
        if key in self._window:
            self._window.forget([key])
            self._summary.give_up("busy")

    def refused(self, now_s: float) -> list[Outstanding]:
        return self._refusals.final(now_s, self._run.settings.max_age_s)

    def cloud_came(self, now_s: float) -> None:
        # Nothing is sent twice here, and what is sent next is sent when an input is due.
        self._is_silent = False
        self._refusals.forget()

    @property
    def is_stuck(self) -> bool:
        return False

    @property
    def is_unheard(self) -> bool:
        if self._is_silent:
            return len(self._window) > 0
        return not self._window.wait_for_room(0.0) and bool(self._window.older_than(time.monotonic(), _UNHEARD_S))

    def tend(self, now_s: float) -> None:
        self._expire(now_s)

    def wait_until_settled(self, timeout_s: float) -> bool:
        return self._window.wait_until_empty(timeout_s)

    def _expire(self, now_s: float) -> None:
        old = self._window.older_than(now_s, self._run.settings.max_age_s)
        self._window.forget(sent.packed.key for sent in old)
        if old:
            self._is_silent = True
            self._summary.give_up("expired", len(old))

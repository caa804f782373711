"""Who works on a connection: whoever has something to send writes it, and whoever waits for messages reads them.

Handing work to another thread costs more than the work: two switches and a system call each way. So the network thread
reads only while nobody else does: when nobody is in `receive`, and when who was there last stays away for longer than
it takes to be of use.
"""

import math
import threading
import time
from collections.abc import Callable
from socket import socket

from broker.mqtt.connection import Connection
from broker.mqtt.events import Event
from broker.mqtt.session import Session
from broker.transport.protocol import Message
from broker.transport.state import Lost, Shared

# How long nobody reads after a receiver left, before the network thread goes on.
_ABSENT_S = 0.05
# A receiver that was away for longer before it came back is busy: it does not read, so that when a message arrived is
# told by a thread that sees it arrive.
_SHORT_S = 0.01
# After a look at the socket nobody looks again for so long without waiting: it was empty a moment ago.
_JUST_S = 0.001
# The longest that one look at the socket takes: keepalives and time-outs are as late as this at most.
_LOOK_S = 0.5


class Driver:
    """Drives one connection after another: `begin`, then `look_after` by the network thread until one is lost.

    Two locks, in this order: who holds `_reading` waits for the socket, who holds `_turn` touches the connection.
    """

    def __init__(self, shared: Shared, wakee: socket, rouse: Callable[[], None]) -> None:
        self._shared, self._wakee, self._rouse = shared, wakee, rouse
        self._reading, self._turn = threading.Lock(), threading.Lock()
        self._is_needed = threading.Event()  # the network thread's: it shall not wait for a receiver to come back
        self._connection: Connection | None = None
        self._session: Session | None = None
        self._is_online = self._is_led = self._is_woken = self._is_asleep = self._has_part = False
        self._following = 0  # receivers that wait for what another thread reads
        self._left_at_s = self._absent_s = self._looked_at_s = -math.inf
        self._met: list[Event] = []  # by a receiver, for the network thread

    def begin(self, connection: Connection, session: Session) -> None:
        self._connection, self._session, self._met = connection, session, []

    def go_online(self) -> None:
        """From now on callers write and read themselves."""
        self._is_online = True

    def go_alone(self) -> None:
        """The network thread alone works on the connection again."""
        self._is_online = False
        self._is_needed.set()
        self._rouse()

    def end(self) -> None:
        """Nobody works on the connection any longer."""
        self.go_alone()
        with self._reading, self._turn:
            self._connection = self._session = None

    def hurry(self) -> None:
        """Somebody waits for what is no message: the network thread does not wait for a receiver to come back."""
        if not self._is_led:
            self._left_at_s = -math.inf
            self._is_needed.set()

    def wake(self) -> None:
        """There is something new to send, which is written at once if the socket takes it."""
        self._is_woken = True
        if self._is_online:
            self._write_on()
        # Whoever sleeps announces it before the last look, so one of the two sees the other.
        elif self._is_asleep:
            self._rouse()

    def look_after(self) -> list[Event]:
        """For the network thread: what happened once it was its turn to read, Lost last, whoever met that."""
        while self._is_online and self._is_cared_for() and not self._is_needed.wait(_ABSENT_S):
            pass
        self._is_needed.clear()
        with self._reading:
            events, self._met = self._met, []
            return events or self._step(_LOOK_S)

    def receive(self, timeout_s: float) -> Message | None:
        message = self._shared.inbox.take(0.0)
        if message is None:
            message = self._read(timeout_s)
        self._left_at_s = time.monotonic()
        return message

    @property
    def is_read_by_receivers(self) -> bool:
        """Whether who receives comes back soon, and sends then what may wait until then."""
        return self._is_online and self._absent_s < _SHORT_S and time.monotonic() - self._left_at_s < _SHORT_S

    def _is_cared_for(self) -> bool:
        if self._is_led:
            return True
        if self._following:
            return len(self._shared.inbox) > 0  # whoever takes that comes back, and reads then
        return self._absent_s < _SHORT_S and time.monotonic() - self._left_at_s < _ABSENT_S

    def _read(self, timeout_s: float) -> Message | None:
        began_s = time.monotonic()
        if not timeout_s and began_s - self._looked_at_s < _JUST_S:
            return None
        self._absent_s = began_s - self._left_at_s
        if self._is_online and self._absent_s < _SHORT_S and self._reading.acquire(blocking=False):
            self._is_led = True
            try:
                message = self._lead(began_s + timeout_s)
            finally:
                self._is_led = False
                self._reading.release()
            if self._following or not self._is_online:
                self._is_needed.set()
            if message is not None or (self._is_online and not self._has_part):
                return message
        # Nobody reads: the network thread may wait for whoever came back so late, or whose message has not come whole.
        if not self._is_asleep:
            self._is_needed.set()
        self._following += 1
        try:
            return self._shared.inbox.take(max(0.0, began_s + timeout_s - time.monotonic()))
        finally:
            self._following -= 1

    def _lead(self, until_s: float) -> Message | None:
        while self._is_online:
            left_s = max(0.0, until_s - time.monotonic())
            events = self._step(min(left_s, _LOOK_S))
            if not self._is_online:
                self._met += events
            message = self._shared.inbox.take(0.0)
            if message is not None or left_s == 0.0:
                return message
        return None

    def _step(self, timeout_s: float) -> list[Event]:
        """Writes, waits up to `timeout_s`, reads, and deals with what came."""
        connection, session = self._connection, self._session
        if connection is None or session is None:
            return []
        with self._turn:
            self._is_woken = False
            session.pump(tends=True)
        self._is_asleep = True
        ready = connection.wait(0.0 if self._is_woken else timeout_s, self._wakee)
        self._is_asleep = False
        self._looked_at_s = time.monotonic()
        with self._turn:
            events = connection.move(*ready)
            self._has_part = ready[0] and not events
            for event in events:
                session.handle(event)
            if events and isinstance(events[-1], Lost):
                self._is_online, self._session = False, None
            elif self._shared.outbox.waiting:  # an acknowledgement may have made room
                session.pump()
        if self._is_woken:  # by somebody who could not write meanwhile
            self._write_on()
        return events

    def _write_on(self) -> None:
        """Writes what is new, unless another thread has the turn, which does it then."""
        while self._is_woken and self._turn.acquire(blocking=False):
            try:
                self._is_woken = False
                connection, session = self._connection, self._session
                if connection is None or session is None:
                    return
                session.pump()
                is_stuck, is_asking = connection.is_writing or connection.is_broken, session.is_asking
            finally:
                self._turn.release()
            if is_stuck and self._is_asleep:
                self._rouse()  # to wait for room as well, or for the end
            if is_asking or (self._shared.outbox.waiting and not self.is_read_by_receivers):
                self.hurry()  # the rest goes once the broker has taken what is on its way

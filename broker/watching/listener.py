"""Listens to a deployment as one of its consumers, and keeps what it says. Publishes nothing."""

import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

from broker.messages import topics
from broker.messages.topics import Kind
from broker.transport.protocol import Drop, Limits, Transport
from broker.watching.state import Deployment
from tflsplit import errors

# Clouds first: what is known to be one is not taken for a device.
RETAINED = (Kind.SERVES, Kind.SHARE, Kind.STATUS, Kind.BIRTH)
LIVE = (Kind.TELEMETRY, Kind.RESULTS, Kind.LOAD, Kind.PICTURE)
# All that a broker retains of a large fleet comes at once; who reads only later would lose some.
LIMITS = Limits(inbox_messages=65_535, inbox_bytes=256 << 20)
# A broker does not say when it has sent all that it retains: it is silent then.
_QUIET_S = 0.5
_MOST_S = 60.0
_LOOK_S = 0.1
_AT_ONCE = 1000


class Listener:
    """`deployment` may be read under `reading` only. Nothing is heard before `synchronise` or `start`."""

    def __init__(self, transport: Transport, name: str, kinds: Sequence[Kind] = RETAINED + LIVE) -> None:
        self._transport = transport
        self._kinds = kinds
        self._deployment = Deployment(topics.check_name("deployment", name), time.monotonic())
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watching", daemon=True)
        self.not_allowed: list[Kind] = []

    @property
    def lost(self) -> int:
        """Messages that came faster than they could be taken in."""
        return self._transport.counters.dropped[Drop.INBOX_FULL]

    @property
    def link(self) -> str:
        """What is wrong with our own connection; empty where nothing is."""
        state = self._transport.state.value
        if state == "online":
            return self._transport.absent or ""
        return f"{state}: {self._transport.last_failure or 'not connected'}"

    @contextmanager
    def reading(self) -> Iterator[Deployment]:
        with self._lock:
            yield self._deployment

    def _subscribe(self, kinds: Iterable[Kind]) -> None:
        """BrokerError where not even the statuses may be read; what else may not is in `not_allowed`."""
        for kind in kinds:
            try:
                self._transport.subscribe(topics.every_device(self._deployment.name, kind), qos=0)
            except errors.BrokerError:
                if kind is Kind.STATUS:
                    raise
                self.not_allowed.append(kind)

    def synchronise(self, *, listen_s: float = 0.0) -> None:
        """Subscribes and takes in what the broker retains; then listens for `listen_s`.

        The births, which are long, come after all else: a broker drops what has no room on its way.
        """
        births = [kind for kind in self._kinds if kind is Kind.BIRTH]
        for kinds in ([kind for kind in self._kinds if kind is not Kind.BIRTH], births):
            if kinds:
                self._subscribe(kinds)
                self._take_retained()
        until_s = time.monotonic() + listen_s
        while (left_s := until_s - time.monotonic()) > 0:
            self._take(min(_LOOK_S, left_s))

    def _take_retained(self) -> None:
        """Until nothing retained came for half a second."""
        began_s = quiet_since_s = time.monotonic()
        while (now_s := time.monotonic()) < began_s + _MOST_S and now_s < quiet_since_s + _QUIET_S:
            if self._take(_LOOK_S):
                quiet_since_s = time.monotonic()

    def start(self) -> None:
        """From now on messages are taken in on a thread of its own, until `close`."""
        self._thread.start()

    def close(self) -> None:
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()

    def __enter__(self) -> "Listener":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def wait(self, seconds: float) -> bool:
        """Whether it was closed meanwhile."""
        return self._stopping.wait(seconds)

    def stop(self) -> None:
        """As `close`, from a signal: it does not wait."""
        self._stopping.set()

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._take(_LOOK_S)

    def _take(self, timeout_s: float) -> bool:
        """Whether a retained message came, taken in with what waits behind it."""
        is_retained = False
        for turn in range(_AT_ONCE):
            message = self._transport.receive(0.0 if turn else timeout_s)
            if message is None:
                break
            is_retained = is_retained or message.retained
            with self._lock:
                self._deployment.take(message.topic, message.payload, time.monotonic())
            self._transport.acknowledge(message)
        return is_retained

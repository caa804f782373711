"""A TCP relay between clients and a broker, with limited rate, delay and outages. Needs no root.

It imitates a link for replays and tests. Every connection has four threads: a reader and a writer for each direction,
with a bounded queue between them, so that TCP slows a fast sender down as on a real link.
"""

import contextlib
import logging
import random
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator

from broker.links import playback
from broker.links.shaping import Schedule, Shape
from broker.transport.address import Address

_log = logging.getLogger(__name__)

# The kernel's default buffers would take megabytes before the sender is slowed down.
_SOCKET_BUFFER_BYTES = 65_536
# A sleep may take this much too long, so a piece that is due sooner is sent at once.
_CLOSE_ENOUGH_S = 0.00005


class Relay:
    """A context that listens on `address`, a free port of this machine.

    `up` shapes what clients send, `down` what the broker sends. Jitter and a trace's losses are the same each time.
    """

    def __init__(self, broker: Address, *, up: Shape, down: Shape) -> None:
        self._broker = broker
        began_s = time.monotonic()
        self._randomness = random.Random(0)  # noqa: S311 - jitter and loss guard nothing
        self._up = _Lane(up, began_s, self._randomness)
        self._down = _Lane(down, began_s, self._randomness)
        self._pairs: set[_Pair] = set()
        self._changed = threading.Lock()
        self._is_up = threading.Event()
        self._is_up.set()

    def __enter__(self) -> "Relay":
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _SOCKET_BUFFER_BYTES)
        self.address = Address("127.0.0.1", self._listener.getsockname()[1])
        self._acceptor = threading.Thread(target=self._accept, name="relay-accept", daemon=True)
        self._acceptor.start()
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._acceptor.join()
        self.interrupt()

    @property
    def connections(self) -> int:
        with self._changed:
            return len(self._pairs)

    def reshape(self, *, up: Shape, down: Shape) -> None:
        """From now on the link is like that; what entered it before leaves it as it would have."""
        self._up.reshape(up)
        self._down.reshape(down)

    def play(self, play: playback.Play, starts_s: float) -> None:
        """The link is as a trace says that begins at `starts_s`, by the monotonic clock, and until then as at its
        beginning."""
        self._up.follow(lambda began_s: playback.Up(play, starts_s - began_s, self._randomness))
        self._down.follow(lambda began_s: playback.Down(play, starts_s - began_s))

    def interrupt(self) -> None:
        """Breaks every connection; new ones are accepted."""
        with self._changed:
            pairs = tuple(self._pairs)
        for pair in pairs:
            pair.end()

    @contextlib.contextmanager
    def outage(self) -> Iterator[None]:
        """Within, nothing enters the link, and nothing is lost; what is on its way arrives."""
        self._is_up.clear()
        try:
            yield
        finally:
            self._is_up.set()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            # Under the lock, so that `interrupt` does not miss a connection that is being made.
            with self._changed:
                self._join(client)

    def _join(self, client: socket.socket) -> None:
        try:
            server = socket.create_connection((self._broker.host, self._broker.port), timeout=5.0)
        except OSError as problem:
            _log.warning("relay cannot reach broker=%s reason=%s", self._broker, problem)
            client.close()
            return
        pair = _Pair(client, server, self._is_up, self._forget)
        self._pairs.add(pair)
        pair.start(self._up, self._down)

    def _forget(self, pair: "_Pair") -> None:
        with self._changed:
            self._pairs.discard(pair)


class _Lane:
    """One direction's schedule, shared by its connections."""

    def __init__(self, shape: Shape, began_s: float, randomness: random.Random) -> None:
        self.shape = shape
        self._began_s = began_s
        self._shaped = Schedule(shape, randomness)
        self._schedule: Schedule | playback.Up | playback.Down = self._shaped
        self._lock = threading.Lock()

    def reshape(self, shape: Shape) -> None:
        with self._lock:
            self.shape = shape
            self._shaped.reshape(shape)

    def follow(self, made: Callable[[float], playback.Up | playback.Down]) -> None:
        """`made` is given when this lane began, from where it counts."""
        with self._lock:
            self._schedule = made(self._began_s)

    def out_at_s(self, count_bytes: int) -> float:
        """By the monotonic clock."""
        with self._lock:
            return self._began_s + self._schedule.out_at_s(time.monotonic() - self._began_s, count_bytes)


class _Pair:
    """A client's connection and ours to the broker; both are closed when both directions have ended."""

    def __init__(
        self, client: socket.socket, server: socket.socket, is_up: threading.Event, forget: Callable[["_Pair"], None]
    ) -> None:
        self._client, self._server = client, server
        self._is_up = is_up
        self._forget = forget
        self._open_directions = 2
        self._ended = threading.Event()
        self._lock = threading.Lock()
        for end in (client, server):
            end.settimeout(None)
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def start(self, up: _Lane, down: _Lane) -> None:
        for source, sink, lane in ((self._client, self._server, up), (self._server, self._client, down)):
            queue = _Queue(lane.shape.buffer_bytes)
            reads = (source, lane, queue, self._is_up)
            threading.Thread(target=_read, args=reads, name="relay-read", daemon=True).start()
            threading.Thread(target=self._write, args=(queue, sink), name="relay-write", daemon=True).start()

    def end(self) -> None:
        self._ended.set()
        for side in (self._client, self._server):
            with contextlib.suppress(OSError):
                side.shutdown(socket.SHUT_RDWR)

    def _write(self, queue: "_Queue", sink: socket.socket) -> None:
        try:
            _drain(queue, sink, self._ended)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            self.end()
        finally:
            queue.close()
        with self._lock:
            self._open_directions -= 1
            if self._open_directions:
                return
        self._client.close()
        self._server.close()
        self._forget(self)


class _Queue:
    """Pieces on their way, in order: at most `most_bytes`, but always one piece. An empty piece is the end."""

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._pieces: deque[tuple[float, bytes]] = deque()
        self._held_bytes = 0
        self._is_closed = False
        self._changed = threading.Condition()

    def put(self, out_at_s: float, piece: bytes) -> bool:
        """Waits for room; False if the queue is closed."""
        with self._changed:
            self._changed.wait_for(
                lambda: self._is_closed or not self._pieces or self._held_bytes + len(piece) <= self._most_bytes
            )
            self._pieces.append((out_at_s, piece))
            self._held_bytes += len(piece)
            self._changed.notify_all()
            return not self._is_closed

    def first(self) -> tuple[float, bytes]:
        """Waits for the oldest piece, which stays in the queue until `drop_first`."""
        with self._changed:
            self._changed.wait_for(lambda: self._pieces)
            return self._pieces[0]

    def drop_first(self) -> None:
        with self._changed:
            self._held_bytes -= len(self._pieces.popleft()[1])
            self._changed.notify_all()

    def close(self) -> None:
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()


def _read(source: socket.socket, lane: _Lane, queue: _Queue, is_up: threading.Event) -> None:
    """Reads until the sender ends, or the queue is closed."""
    is_taken = True
    while is_taken:
        piece = b""
        with contextlib.suppress(OSError):  # a connection that broke ends as one that was closed
            piece = source.recv(lane.shape.piece_bytes)
        is_up.wait()
        is_taken = queue.put(lane.out_at_s(len(piece)), piece) and piece != b""


def _drain(queue: _Queue, sink: socket.socket, ended: threading.Event) -> None:
    """Writes each piece when it is due, until the end."""
    while True:
        out_at_s, piece = queue.first()
        wait_s = out_at_s - time.monotonic()
        if wait_s > _CLOSE_ENOUGH_S:
            ended.wait(wait_s)
        if not piece or ended.is_set():
            return
        sink.sendall(piece)
        queue.drop_first()

"""A socket that reads and writes in bulk, for a library that does so piece by piece.

paho reads a packet in four calls and writes each in one of its own. Every such call gives up Python's lock, and on a
busy client the thread that works on the messages keeps it for milliseconds; so few large calls make several times the
messages a second. Used by one thread, which calls `flush` when it has written all it wants to write.
"""

import socket
import ssl
from collections import deque

_READ_BYTES = 1 << 17
# One write takes no more than this together, so that large packets are not copied; the kernel's buffer is no larger.
_WRITE_BYTES = 1 << 17


class BufferedSocket:
    """Wraps a connected socket, which it closes; what it does not know itself, the wrapped one answers."""

    def __init__(self, wrapped: socket.socket) -> None:
        self._wrapped = wrapped
        self.received = bytearray()  # and not yet read
        self.unsent: deque[bytes | bytearray | memoryview] = deque()  # what `send` took, and others put here

    def fileno(self) -> int:
        return self._wrapped.fileno()

    def setblocking(self, flag: bool) -> None:
        self._wrapped.setblocking(flag)

    def setsockopt(self, level: int, option: int, value: int) -> None:
        self._wrapped.setsockopt(level, option, value)

    def fill(self) -> bool:
        """One read from the wrapped socket, behind what is in `received`; False at its end. It may raise
        BlockingIOError."""
        more = self._wrapped.recv(_READ_BYTES)
        self.received += more
        return bool(more)

    def skip(self, count: int) -> None:
        """The first bytes of `received` were dealt with."""
        del self.received[:count]

    def recv(self, most: int) -> bytes:
        """From memory if there is something, else from the wrapped socket, which may raise BlockingIOError."""
        if not self.received:
            self.fill()
        taken = bytes(self.received[:most])
        self.skip(most)
        return taken

    def pending(self) -> int:
        """Bytes that TLS has received, which nobody could see by polling."""
        return self._wrapped.pending() if isinstance(self._wrapped, ssl.SSLSocket) else 0

    def send(self, data: bytes | bytearray | memoryview) -> int:
        """Takes all of it; it leaves with `flush`."""
        self.unsent.append(data)
        return len(data)

    def flush(self) -> None:
        """As much as the wrapped socket takes without waiting. One that is gone takes nothing; the next `recv` gives
        what the other side said before it went, and then says so."""
        while self.unsent:
            data = self._gathered()
            try:
                sent = self._wrapped.send(data)
            except OSError:  # it would block, or is gone
                sent = 0
            if sent < len(data):
                self.unsent.appendleft(memoryview(data)[sent:])
            if sent == 0:
                return

    def close(self) -> None:
        self.flush()
        self.unsent.clear()
        self._wrapped.close()

    def _gathered(self) -> bytes | bytearray | memoryview:
        unsent = self.unsent
        first = unsent.popleft()
        gathered_bytes, parts = len(first), [first]
        while unsent and (gathered_bytes := gathered_bytes + len(unsent[0])) <= _WRITE_BYTES:
            parts.append(unsent.popleft())
        return first if len(parts) == 1 else b"".join(parts)

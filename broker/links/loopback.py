"""A broker and a cloud in one, for one edge on this machine: it answers every frame at once with a result made before.

What an edge does for a frame beside its head, and the system for it, can be measured so without either of them. It is
a process of its own, whose processor time is not the edge's. It speaks no more of MQTT 5 than an edge of ours asks for.
"""

import contextlib
import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from typing import BinaryIO

from broker.messages import topics, wire
from tflsplit import errors

_CONNACK, _PINGRESP = b"\x20\x03\0\0\0", b"\xd0\0"
_CONNECT, _PUBLISH, _SUBSCRIBE, _PINGREQ, _DISCONNECT = 1, 3, 8, 12, 14
_FEATURES, _RESULTS = (f"/{kind.value}" for kind in (topics.Kind.FEATURES, topics.Kind.RESULTS))


@contextlib.contextmanager
def serving(result: dict[str, object]) -> Iterator[int]:
    """The port of one that runs until the block ends. Each frame is answered with `result`, as its own."""
    command = [sys.executable, "-m", __name__, json.dumps(result)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None  # noqa: S101 - it was asked for
            told = process.stdout.readline()
            if not told:
                raise errors.DeviceError(
                    "the process that stands for broker and cloud did not start: profile again, with more memory free"
                )
            yield int(told)
        finally:
            process.kill()


def serve(listener: socket.socket, result: dict[str, object]) -> None:
    """Serves one connection after the other."""
    while True:
        with listener.accept()[0] as channel, channel.makefile("rb") as packets:
            channel.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with contextlib.suppress(OSError, EOFError):
                _Client(channel, result).attend(packets)


class _Client:
    def __init__(self, channel: socket.socket, result: dict[str, object]) -> None:
        self._channel = channel
        self._result = result
        self._last_id = 0

    def attend(self, packets: BinaryIO) -> None:
        while True:
            first, body = _packet(packets)
            kind = first >> 4
            if kind == _CONNECT:
                self._channel.sendall(_CONNACK)
            elif kind == _SUBSCRIBE:
                self._channel.sendall(_framed(0x90, body[:2] + b"\0" + bytes(_filters(body))))
            elif kind == _PUBLISH:
                self._take(first, body)
            elif kind == _PINGREQ:
                self._channel.sendall(_PINGRESP)
            elif kind == _DISCONNECT:
                return

    def _take(self, first: int, body: bytes) -> None:
        length = int.from_bytes(body[:2], "big")
        topic, at = body[2 : 2 + length].decode(), 2 + length
        answers = b""
        if first >> 1 & 3:
            answers, at = _framed(0x40, body[at : at + 2]), at + 2
        properties_bytes, at = _varint(body, at)
        if topic.endswith(_FEATURES):
            label = wire.peek(body[at + properties_bytes :])
            own = {"boot": f"{label.boot:016x}", "sequence": label.sequence}
            answers += self._publication(topic.removesuffix(_FEATURES) + _RESULTS, json.dumps(self._result | own))
        if answers:
            self._channel.sendall(answers)

    def _publication(self, topic: str, text: str) -> bytes:
        self._last_id = self._last_id % 0xFFFF + 1
        name = topic.encode()
        head = len(name).to_bytes(2, "big") + name + self._last_id.to_bytes(2, "big") + b"\0"
        return _framed(0x32, head + text.encode())


def _packet(packets: BinaryIO) -> tuple[int, bytes]:
    first, length, shift = _byte(packets), 0, 0
    while True:
        more = _byte(packets)
        length |= (more & 0x7F) << shift
        shift += 7
        if not more & 0x80:
            return first, packets.read(length)


def _byte(packets: BinaryIO) -> int:
    found = packets.read(1)
    if not found:
        raise EOFError
    return found[0]


def _framed(first: int, body: bytes) -> bytes:
    length, coded = len(body), bytearray()
    while True:
        length, low = divmod(length, 0x80)
        coded.append(low | (0x80 if length else 0))
        if not length:
            return bytes((first, *coded)) + body


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """The number that begins there, and where it ends."""
    found = shift = 0
    while True:
        found |= (data[at] & 0x7F) << shift
        shift, at = shift + 7, at + 1
        if not data[at - 1] & 0x80:
            return found, at


def _filters(body: bytes) -> int:
    """How many a SUBSCRIBE has."""
    properties_bytes, at = _varint(body, 2)
    at, count = at + properties_bytes, 0
    while at < len(body):
        at += 3 + int.from_bytes(body[at : at + 2], "big")
        count += 1
    return count


def _main() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        print(listener.getsockname()[1], flush=True)
        serve(listener, json.loads(sys.argv[1]))


if __name__ == "__main__":
    _main()

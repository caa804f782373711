"""Whether this paho is as the fast connection needs it, which leans on what paho does not document.

It is tried once a process, over sockets of its own, beside a plain connection: both must write the same bytes and
understand the same packets. Where anything differs the plain one is used alone; only speed is lost.
"""

import contextlib
import functools
import inspect
import logging
import socket
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import paho.mqtt
from paho.mqtt import client as paho_client
from paho.mqtt.enums import CallbackAPIVersion

from broker.mqtt.connection import Connection, Options, Version
from broker.mqtt.events import Accepted, Event
from broker.mqtt.fast_connection import FastConnection
from broker.transport.address import Address
from broker.transport.bounded_queues import Outgoing
from broker.transport.protocol import Message
from tflsplit.values.classes import replace

_log = logging.getLogger(__name__)

_KEEPALIVE_S = 30
_CONNACK = {Version.MQTT_5: b"\x20\x03\0\0\0", Version.MQTT_311: b"\x20\x02\0\0"}
_PUBACKS = {Version.MQTT_5: b"\x40\2\0\1\x40\3\0\2\x97", Version.MQTT_311: b"\x40\2\0\1\x40\2\0\2"}
_PINGREQ = b"\xc0\0"
_SENT = (
    (Outgoing("t/1", b"first", 1), None),
    (Outgoing("t/2", bytearray(300), 1, retain=True), 9.0),
    (Outgoing("t/3", b"third", 0), None),
)

# What `FastClient` calls, replaces or sets, with the parameters that it relies on.
_METHODS = {"_create_socket": [], "_mid_generate": [], "loop_read": ["max_packets"]}
_ATTRIBUTES = ("_protocol", "_last_bytes_received", "_last_msg_out")


@functools.cache
def connection_type(version: Version) -> type[Connection]:
    """The fast one, or the plain one where this paho differs, which the log says then."""
    try:
        _check_names()
        _check_packets(version)
    except Exception as problem:  # noqa: BLE001 - whatever another paho may raise: the plain one leans on none of it
        _say(str(problem))
        return Connection
    return FastConnection


@functools.cache  # once, though both versions of MQTT may be tried
def _say(problem: str) -> None:
    _log.warning("paho-mqtt differs, so messages cost more time paho=%s reason=%r", _version(), problem)


def _version() -> str:
    return str(getattr(paho.mqtt, "__version__", "unknown"))


def _check_names() -> None:
    client = paho_client.Client(CallbackAPIVersion.VERSION2)
    for name, expected in _METHODS.items():
        found = list(inspect.signature(getattr(client, name)).parameters)
        if found != expected:
            raise TypeError(f"{name} takes {found}, expected {expected}")
    for name in _ATTRIBUTES:
        getattr(client, name)


def _check_packets(version: Version) -> None:
    """One of each kind that the fast one writes and reads itself."""
    with _online(_PlainProbe, version) as plain, _online(_FastProbe, version) as fast:
        published = plain.published()
        _compare("PUBLISH as it is written", version, fast.published(), published)
        answers = _PUBACKS[version] + published
        _compare("PUBACK and PUBLISH as they are read", version, fast.understood(answers), plain.understood(answers))
        _compare("PUBACK as it is written", version, fast.acknowledged(), plain.acknowledged())
        # It tells paho when something came and went, and paho pings by that.
        _compare("PINGREQ", version, fast.pinged(), _PINGREQ)


def _compare(what: str, version: Version, found: object, expected: object) -> None:
    if found != expected:
        raise ValueError(f"{what} with MQTT {version} differs from paho's own")


class _PlainProbe(Connection):
    def _new_client(self, **options: Any) -> Any:
        return super()._new_client(transport="unix", **options)


class _FastProbe(FastConnection):
    def _new_client(self, **options: Any) -> Any:
        return super()._new_client(transport="unix", **options)


class _Probe(NamedTuple):
    """A connection that is online, its other end, and what wakes nobody."""

    ours: Any
    theirs: socket.socket
    wakee: socket.socket

    def published(self) -> bytes:
        for outgoing, expiry_s in _SENT:
            self.ours.publish(outgoing, expiry_s)
        return self._written()

    def acknowledged(self) -> bytes:
        self.ours.acknowledge(7)
        return self._written()

    def understood(self, packets: bytes) -> list[Event]:
        self.theirs.sendall(packets)
        events: list[Event] = []
        while len(events) < len(_SENT) + 2 and (more := self.ours.step(0.0, self.wakee)):
            events += more
        return [replace(event, arrived_at_s=0.0) if isinstance(event, Message) else event for event in events]

    def pinged(self) -> bytes:
        self.ours._client._last_msg_out = self.ours._client._last_bytes_received = time.monotonic() - _KEEPALIVE_S
        self.ours._misc_s -= _KEEPALIVE_S
        self.ours.step(0.0, self.wakee)
        return self._written()

    def _written(self) -> bytes:
        """All of it, for what went into such a socket is there at once."""
        self.ours.write()
        try:
            return self.theirs.recv(1 << 16)
        except BlockingIOError:
            return b""


@contextlib.contextmanager
def _online(kind: type[Connection], version: Version) -> Iterator[_Probe]:
    with contextlib.ExitStack() as opened:
        listening = opened.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
        listening.bind("")  # Linux picks an abstract address: no file, and nobody reaches it over a network
        listening.listen(1)
        address = listening.getsockname().decode()
        ours = kind(Options(Address(address, 1), "check", version, _KEEPALIVE_S, True, 0, 100, 1 << 20, 1.0), 1)
        opened.callback(ours.drop)
        lost = ours.open()
        if lost is not None:
            raise lost.cause or OSError(lost.reason)
        theirs = opened.enter_context(listening.accept()[0])
        theirs.setblocking(False)
        waker, wakee = socket.socketpair()
        opened.enter_context(waker)
        opened.enter_context(wakee)
        probe = _Probe(ours, theirs, wakee)
        probe._written()
        theirs.sendall(_CONNACK[version])
        if not any(isinstance(event, Accepted) for event in ours.step(0.0, wakee)):
            raise ValueError(f"no CONNACK of MQTT {version} understood")
        yield probe

"""One simulated device of a fleet: a real MQTT 5 client with an edge's promises, thousands of which share a thread.

As an edge it keeps a will, tells status and birth, hears what clouds serve, keeps each frame in the edge's own `Window`
until its result is there, sends again what is overdue, tells telemetry, and connects again after the waits of
`Backoff`. It has no head: frames hold what the head made of real inputs before. So it takes the whole bundle of another
version, checks each byte of it, and then sends what that version's head made of the same inputs; on the one connection
that it has, where an edge has a second.
"""

import asyncio
import json
import random
import ssl
import time
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field

from light_updates import Updates

from broker.messages import presence, results, topics, wire
from broker.messages.topics import Kind
from broker.messages.updates import Report, State
from broker.mqtt import online
from broker.transport.address import Address
from broker.transport.backoff import Backoff
from crowd import packets
from crowd.material import Material, input_of
from edge_runtime.delivery.framing import Packed
from edge_runtime.delivery.window import Window
from tflsplit import errors
from tflsplit.coding import feature_codec
from tflsplit.package.signing import Verifier

WINDOW = 8
RESEND_S = 5.0
TELEMETRY_S = 10.0
_KEEPALIVE_S, _INBOX, _PACKET_BYTES = 20, 256, 16 << 20
_CONNECT_TIMEOUT_S, _LOOK_S = 10.0, 0.2
_SILENCE = 1.5  # of `broker.mqtt.connection`: so many keepalives without a word, and the broker is lost
_BACKOFF = Backoff()


@dataclass(slots=True)
class Record:
    """What all devices of a process saw. Times are by the monotonic clock, which processes of a machine share; `due_s`,
    `answered_s` and `device` have an entry for each frame, `answered_s` 0 where it is not answered, `online_s` and
    `online` (which device) one for each CONNACK."""

    due_s: array = field(default_factory=lambda: array("d"))
    answered_s: array = field(default_factory=lambda: array("d"))
    device: array = field(default_factory=lambda: array("l"))
    online_s: array = field(default_factory=lambda: array("d"))
    online: array = field(default_factory=lambda: array("l"))
    lost_s: array = field(default_factory=lambda: array("d"))  # each connection that ended
    wrong: int = 0
    refused: int = 0
    resent: int = 0
    second_answers: int = 0
    held_back: int = 0
    timed_out: int = 0
    unreadable: int = 0


@dataclass(frozen=True, slots=True)
class Way:
    """Of the device `name` to the deployment's broker: `tls` is None for a plain connection. Of all devices so many at
    a time shake hands as `doors` lets in: a fleet has a processor for each, and these share one. Offers of models have
    to pass `verifier`."""

    deployment: str
    name: str
    address: Address
    tls: ssl.SSLContext | None
    doors: asyncio.Semaphore
    verifier: Verifier


class _Link(asyncio.Protocol):
    """One connection of a device, which takes no notice of those before it."""

    def __init__(self, device: "Device") -> None:
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.heard_s = self.written_s = time.monotonic()
        self._device = device
        self._reader = packets.Reader()
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self.write(self._device.opening())

    def connection_lost(self, exc: Exception | None) -> None:
        self._device.lost(self)
        if not self.ended.done():
            self.ended.set_result(None)

    def data_received(self, data: bytes) -> None:
        self.heard_s = time.monotonic()
        for packet in self._reader.feed(data):
            self._device.take(self, packet)

    def write(self, data: bytes) -> None:
        assert self._transport is not None
        self.written_s = time.monotonic()
        self._transport.write(data)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()


class Device:
    """It begins with the first of the `versions`. `changed_at` is the sequence of its first frame of another one."""

    def __init__(self, number: int, way: Way, versions: Sequence[Material], record: Record) -> None:
        self.boot, self.sent, self.is_online = random.getrandbits(63), 0, False
        self.number, self.name = number, way.name
        self.changed_at: int | None = None
        self._way, self._deployment, self._record = way, way.deployment, record
        self._versions, self._material = {each.digest: each for each in versions}, versions[0]
        self._updates = Updates(way.deployment, way.name, way.verifier, versions[0].digest, self._report)
        self._window = Window(WINDOW)
        self._places: dict[int, int] = {}  # of unanswered frames in the record, by sequence
        self._unacknowledged: dict[int, int] = {}  # sequences by packet id
        self._mid = self._connections = self._onlines = 0
        self._randomness = random.Random(self.boot)
        self._presence = presence.Presence(self._topic(Kind.STATUS), self.boot)
        self._topics = {kind: self._topic(kind) for kind in Kind}
        self._results, self._control = (self._topics[kind].encode() for kind in (Kind.RESULTS, Kind.CONTROL))
        self._link: _Link | None = None

    async def stay_connected(self) -> None:
        """Until it is cancelled; its waits are those of `broker.transport.reconnecting`."""
        answered = silent = 0
        while True:
            link = self._link = _Link(self)
            onlines, began_s = self._onlines, time.monotonic()
            try:
                async with self._way.doors:
                    await asyncio.wait_for(self._connect(link), _CONNECT_TIMEOUT_S)
                    await asyncio.wait_for(self._until_accepted(link), _CONNECT_TIMEOUT_S)
                await link.ended
            except asyncio.TimeoutError:
                self._record.timed_out += 1
            except OSError:
                pass
            finally:
                link.abort()
            lived_s = time.monotonic() - began_s if self._onlines > onlines else 0.0
            if lived_s >= _BACKOFF.stable_s:
                answered = 0
            if self._onlines > onlines:
                most_s = _BACKOFF.most_alive_s if lived_s >= _BACKOFF.alive_s else None
                await asyncio.sleep(_BACKOFF.wait_s(answered, self._randomness, most_s=most_s))
                answered, silent = answered + 1, 0
            else:
                await asyncio.sleep(_BACKOFF.wait_s(0, self._randomness))
                await asyncio.sleep(_BACKOFF.wait_s(silent, self._randomness, most_s=_BACKOFF.most_silent_s))
                silent += 1

    async def send_frames(self, period_s: float) -> None:
        """One each period, from a moment of its own on, as a camera gives them; until it is cancelled."""
        due_s = time.monotonic() + self._randomness.uniform(0.0, period_s)
        while True:
            await asyncio.sleep(max(0.0, due_s - time.monotonic()))
            if self._window.wait_for_room(0.0):
                self._send_next(due_s)
            else:
                self._record.held_back += 1
            due_s += period_s

    async def tell_telemetry(self) -> None:
        told = {**self._material.telemetry, "boot": f"{self.boot:016x}"}
        await asyncio.sleep(self._randomness.uniform(0.0, TELEMETRY_S))
        while True:
            if self.is_online:
                told["metrics"]["frames_total"] = self.sent
                told["sent_ms"] = round(time.time() * 1e3)
                payload = json.dumps(told, separators=(",", ":")).encode()
                self._write(packets.publish(self._topics[Kind.TELEMETRY], payload))
            await asyncio.sleep(TELEMETRY_S)

    def tend(self) -> None:
        """Sends again what is overdue, as the edge's routes do, and asks a silent broker whether it is there."""
        now_s = time.monotonic()
        if self.is_online and self._link is not None:
            if now_s - self._link.heard_s > _SILENCE * _KEEPALIVE_S:
                self._link.abort()
            elif now_s - max(self._link.written_s, self._link.heard_s) >= _KEEPALIVE_S / 2:
                self._write(packets.ping())
        if not len(self._window):
            return
        if not self.is_online:
            self._window.postpone(now_s)
            return
        for sent in self._window.overdue(now_s, RESEND_S):
            self._record.resent += 1
            self._publish(sent.packed)
            self._window.sent_again(sent, now_s=now_s, now_ns=time.time_ns())

    @property
    def unanswered(self) -> int:
        return len(self._window)

    def close(self) -> None:
        if self._link is not None and self.is_online:
            goodbye = self._status("offline", "closed")
            self._write(packets.publish(self._presence.topic, goodbye, mid=self._next_mid(), retain=True))
            self._write(packets.disconnect())
            self._link.close()

    def opening(self) -> bytes:
        """The first packet of a connection."""
        self._connections += 1
        will = (self._presence.topic, self._status("offline", "lost"))
        client_id = online.client_id(self._deployment, self.name)
        limits = {"keepalive_s": _KEEPALIVE_S, "inbox": _INBOX, "packet_bytes": _PACKET_BYTES}
        return packets.connect(client_id, will, **limits)

    def lost(self, link: _Link) -> None:
        if link is self._link and self.is_online:
            self._record.lost_s.append(time.monotonic())
            self.is_online = False

    def take(self, link: _Link, packet: packets.Packet) -> None:
        if link is not self._link:
            return
        if packet.kind == packets.PUBLISH:
            self._take(packets.published(packet))
        elif packet.kind == packets.PUBACK:
            mid, _ = packets.acknowledged(packet)
            self._unacknowledged.pop(mid, None)
        elif packet.kind == packets.CONNACK and packets.reason(packet) == 0:
            self._go_online()
        elif packet.kind in (packets.CONNACK, packets.DISCONNECT):
            link.close()

    async def _connect(self, link: _Link) -> None:
        where, loop = self._way.address, asyncio.get_running_loop()
        host = where.host if self._way.tls else None
        await loop.create_connection(lambda: link, where.host, where.port, ssl=self._way.tls, server_hostname=host)

    async def _until_accepted(self, link: _Link) -> None:
        while not self.is_online and not link.ended.done():
            await asyncio.wait((link.ended,), timeout=_LOOK_S)

    def _go_online(self) -> None:
        self._record.online_s.append(time.monotonic())
        self._record.online.append(self.number)
        self.is_online, self._onlines = True, self._onlines + 1
        self._write(packets.subscribe(self._next_mid(), (self._topics[Kind.RESULTS], self._topics[Kind.CONTROL]), 1))
        heard = (self._presence.topic, topics.every_device(self._deployment, Kind.SERVES))
        self._write(packets.subscribe(self._next_mid(), heard, 1))
        self._write(packets.publish(self._presence.topic, self._status("online"), mid=self._next_mid(), retain=True))
        self._tell_birth()
        waiting, self._unacknowledged = set(self._unacknowledged.values()), {}
        for sent in self._window.older_than(time.monotonic(), -1.0):
            if sent.packed.sequence in waiting:
                self._publish(sent.packed)

    def _tell_birth(self) -> None:
        told = self._material.birth | {"boot": f"{self.boot:016x}", "update": self._updates.told}
        payload = json.dumps(told, separators=(",", ":")).encode()
        self._write(packets.publish(self._topics[Kind.BIRTH], payload, mid=self._next_mid(), retain=True))

    def _report(self, report: Report, *, is_news: bool) -> None:
        """What the broker loses of it is asked for again."""
        if self._updates.package != self._material.digest:
            self._material, self.changed_at = self._versions[self._updates.package], self.sent
        if self.is_online:
            self._write(packets.publish(self._topics[Kind.TELEMETRY], report.encode(), mid=self._next_mid()))
            if is_news:
                self._tell_birth()

    def _send_next(self, due_s: float) -> None:
        material, sequence = self._material, self.sent
        self.sent += 1
        now_ns, digest = time.time_ns(), bytes.fromhex(material.digest)[: wire.PACKAGE_BYTES]
        cut = material.cut
        frame = wire.Frame(digest, cut.position, self.boot, sequence, now_ns, 0, cut.boundary)
        arrays = material.boundaries[input_of(self.number, sequence, len(material.truths))]
        encoded = wire.encode(frame, arrays, feature_codec.Plain())
        packed = Packed(self.boot, sequence, material.digest[:32], cut.id, now_ns, 0.0, encoded, due_s)
        self._window.add(packed, now_s=time.monotonic(), now_ns=now_ns)
        self._places[sequence] = len(self._record.due_s)
        self._record.due_s.append(due_s)
        self._record.answered_s.append(0.0)
        self._record.device.append(self.number)
        self._publish(packed)

    def _publish(self, packed: Packed) -> None:
        """Now, or once it is online: as an edge's transport holds it meanwhile."""
        mid = self._next_mid()
        self._unacknowledged[mid] = packed.sequence
        if self.is_online:
            self._write(packets.publish(self._topics[Kind.FEATURES], packed.encoded, mid=mid))

    def _take(self, publication: packets.Publication) -> None:
        if publication.topic == self._results:
            self._take_result(publication.payload)
        elif publication.topic == self._control:
            self._updates.take(publication.payload)
        if publication.mid is not None:
            self._write(packets.puback(publication.mid))

    def _take_result(self, payload: bytes) -> None:
        now_s = time.monotonic()
        try:
            answer = results.parse(payload)
        except errors.FrameError:
            self._record.unreadable += 1
            return
        if isinstance(answer, results.Refusal):
            self._record.refused += 1
            return
        if self._window.settle((answer.boot, answer.sequence), now_s) is None:
            self._record.second_answers += 1
            return
        self._record.answered_s[self._places.pop(answer.sequence)] = now_s
        is_new = self.changed_at is not None and answer.sequence >= self.changed_at
        version = self._material if is_new else next(iter(self._versions.values()))
        truth = version.truths[input_of(self.number, answer.sequence, len(version.truths))]
        self._record.wrong += (answer.label, answer.score, answer.package) != truth
        if is_new and self._updates.state is State.PROBATION:
            self._updates.answered()

    def _status(self, state: str, reason: str | None = None) -> bytes:
        return self._presence.status(state, self._connections, reason)

    def _topic(self, kind: Kind) -> str:
        return topics.topic(self._deployment, self.name, kind)

    def _next_mid(self) -> int:
        while True:
            self._mid = self._mid % 65535 + 1
            if self._mid not in self._unacknowledged:
                return self._mid

    def _write(self, data: bytes) -> None:
        assert self._link is not None
        self._link.write(data)

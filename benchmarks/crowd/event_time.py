"""A fleet through a SIGKILL of its broker in model time: what is lost and doubled, with the project's own rules.

Each device has the edge's `Window`, which sends again, and the waits of `Backoff`; the cloud has the `Repeats` that say
again what a broker may have lost, the reader of results its `Deduplication`. All take their clocks as arguments. The
broker is one thread that serves in order, with the costs that a real run measured: what waits for it when it is killed
is gone, and so is what it held for the reader since it saved last. Who is not there when it forwards gets nothing, but
for the reader, whose session it keeps. What it retains of marks is what it had saved.
"""

import heapq
import itertools
import random
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from broker.deploy import mosquitto
from broker.messages.deduplication import Deduplication
from broker.transport.backoff import Backoff
from broker.transport.bounded_queues import Outgoing
from broker.transport.repeats import Repeats
from crowd.device import RESEND_S, WINDOW
from crowd.model_time import CONNECT_TIMEOUT_S, FRAME_PACKETS, Costs, percentile
from edge_runtime.delivery.framing import Packed
from edge_runtime.delivery.window import Window

_MARK = "mark"
# Of a frame's packets: it comes and leaves for the cloud, its result comes and leaves for its device, and for a reader.
_FRAME, _RESULT, _TO_READER = 0.4, 0.4, 0.2
_LOOK_S = 0.25  # how often a device looks for what is overdue, and the cloud for what is to be said again
_BOOT = 1


@dataclass(frozen=True, slots=True)
class Survived:
    """`lost` and `doubled` are results at the named reader; `second` are copies that it left out. `back_s` are when
    half and all devices were online again after the kill, and `longest_s` is the longest wait of a frame."""

    frames: int
    unanswered: int
    lost: int
    doubled: int
    second: int
    resent: int
    back_s: tuple[float, float]
    longest_s: float


class _Client:
    """`tries` are those since it was online last."""

    def __init__(self) -> None:
        self.is_online, self.tries = True, 0


class _Device(_Client):
    def __init__(self, name: str) -> None:
        super().__init__()
        self.name, self.sent = name, 0
        self.window, self.unacknowledged = Window(WINDOW), dict[int, Packed]()


class Simulation:
    def __init__(
        self,
        costs: Costs,
        devices: int,
        rate_per_s: float,
        *,
        starts_s: float,
        slowed: Callable[[float], float] = lambda online: 1.0,
        seed: int = 1,
    ) -> None:
        """The broker is back `starts_s` after a kill. A connection takes `slowed` times its cost where this share of
        the devices is online, and one machine plays them all."""
        self.now_s = 0.0
        self._slowed = slowed
        self._costs, self._rate_per_s, self._starts_s = costs, rate_per_s, starts_s
        self._drawn, self._backoff = random.Random(seed), Backoff()
        self._coming: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()
        self._devices = [_Device(f"device-{number}") for number in range(devices)]
        self._online = devices
        self._cloud, self._reader = _Client(), _Client()
        self._repeats = Repeats(lambda: self.now_s, _MARK)
        self._outbox: dict[int, Outgoing] = {}  # of the cloud: not acknowledged
        self._cloud_free_s = self._free_s = 0.0
        self._knocking: deque[_Client] = deque()
        self._life = 0  # of the broker
        self._mark: bytes | None = None
        self._held: dict[int, bytes] = {}  # for the reader
        self._saved: tuple[bytes | None, dict[int, bytes]] = (None, {})
        self._seen, self._got, self._second = Deduplication(), dict[bytes, int](), 0
        self._resent, self._frames, self._waits_s, self._back_s = 0, 0, list[float](), list[float]()
        self._until_s = 0.0

    def run(self, kills_s: Sequence[float], for_s: float) -> Survived:
        """Frames are sent for `for_s`; the end is when all is quiet. `back_s` are those of the last kill."""
        self._until_s = for_s
        save_s = len(self._devices) * self._costs.state_bytes * self._costs.byte_s
        interval_s = mosquitto.save_interval_s(len(self._devices))
        for each in self._devices:
            self._at(self._drawn.uniform(0.0, 1 / self._rate_per_s), lambda device=each: self._send(device))
            self._at(self._drawn.uniform(0.0, _LOOK_S), lambda device=each: self._tend(device))
        self._at(interval_s, lambda: self._save(save_s, interval_s))
        self._at(0.0, self._tend_cloud)
        self._repeats.online()
        for kill_at_s in kills_s:
            self._at(kill_at_s, self._kill)
        while self._coming:
            self.now_s, _, then = heapq.heappop(self._coming)
            then()
        back_s = sorted(at_s - kills_s[-1] for at_s in self._back_s if at_s > kills_s[-1])
        return Survived(
            frames=self._frames,
            unanswered=sum(len(each.window) for each in self._devices),
            lost=self._frames - len(self._got),
            doubled=sum(self._got.values()) - len(self._got),
            second=self._second,
            resent=self._resent,
            back_s=(percentile(back_s, 0.5), back_s[-1]),
            longest_s=max(self._waits_s),
        )

    def _at(self, at_s: float, then: Callable[[], None]) -> None:
        heapq.heappush(self._coming, (at_s, next(self._numbers), then))

    @property
    def _is_over(self) -> bool:
        return self.now_s > self._until_s and not len(self._repeats) and not any(each.window for each in self._devices)

    def _serve(self, packets: float, then: Callable[[], None], cost_s: float = 0.0) -> None:
        """By the broker, if it lives until then."""
        life = self._life
        self._free_s = max(self.now_s, self._free_s) + packets * self._costs.packet_s + cost_s
        self._at(self._free_s, lambda: then() if life == self._life else None)

    def _send(self, device: _Device) -> None:
        if self.now_s >= self._until_s:
            return
        self._at(self.now_s + 1 / self._rate_per_s, lambda: self._send(device))
        if not device.window.wait_for_room(0.0):
            return
        packed = Packed(_BOOT, device.sent, "", "", 0, 0.0, b"", self.now_s)
        device.sent, self._frames = device.sent + 1, self._frames + 1
        device.window.add(packed, now_s=self.now_s, now_ns=0)
        self._publish(device, packed)

    def _publish(self, device: _Device, packed: Packed) -> None:
        device.unacknowledged[packed.sequence] = packed
        if device.is_online:
            self._serve(FRAME_PACKETS * _FRAME, lambda: self._forward(device, packed))

    def _tend(self, device: _Device) -> None:
        """As `crowd.device` does."""
        if device.is_online:
            for sent in device.window.overdue(self.now_s, RESEND_S):
                self._resent += 1
                self._publish(device, sent.packed)
                device.window.sent_again(sent, now_s=self.now_s, now_ns=0)
        elif len(device.window):
            device.window.postpone(self.now_s)
        if self.now_s < self._until_s or len(device.window):
            self._at(self.now_s + _LOOK_S, lambda: self._tend(device))

    def _forward(self, device: _Device, packed: Packed) -> None:
        device.unacknowledged.pop(packed.sequence, None)
        if self._cloud.is_online:
            self._cloud_free_s = max(self.now_s, self._cloud_free_s) + self._costs.frame_s
            self._at(self._cloud_free_s, lambda: self._answer(device, packed))

    def _answer(self, device: _Device, packed: Packed) -> None:
        self._say(Outgoing(device.name, f"{device.name} {packed.sequence}".encode(), 1))

    def _say(self, outgoing: Outgoing) -> None:
        number = next(self._numbers)
        self._outbox[number] = outgoing
        if self._cloud.is_online:
            self._serve(FRAME_PACKETS * _RESULT, lambda: self._distribute(number))

    def _distribute(self, number: int) -> None:
        outgoing = self._outbox.pop(number)
        self._repeats.acknowledged(outgoing)
        if outgoing.topic == _MARK:
            self._mark = bytes(outgoing.payload)
            self._repeats.heard(self._mark, is_retained=False)
            return
        payload = bytes(outgoing.payload)
        device, sequence = self._devices[int(outgoing.topic.rpartition("-")[2])], int(payload.split()[1])
        settled = device.window.settle((_BOOT, sequence), self.now_s) if device.is_online else None
        if settled is not None:
            self._waits_s.append(self.now_s - settled.captured_at_s)
        self._held[number] = payload
        if self._reader.is_online:
            self._serve(FRAME_PACKETS * _TO_READER, lambda: self._read(number))

    def _read(self, number: int) -> None:
        payload = self._held.pop(number)
        name, sequence = payload.decode().split()
        if self._seen.is_first(name, _BOOT, int(sequence)):
            self._got[payload] = self._got.get(payload, 0) + 1
        else:
            self._second += 1

    def _save(self, save_s: float, interval_s: float) -> None:
        self._saved = (self._mark, dict(self._held))
        self._serve(0.0, lambda: None, save_s)
        if not self._is_over:
            self._at(self.now_s + interval_s, lambda: self._save(save_s, interval_s))

    def _tend_cloud(self) -> None:
        if self._cloud.is_online:
            for outgoing in (*self._repeats.due(lambda _: True), self._repeats.mark()):
                if outgoing is not None:
                    self._say(outgoing)
        if not self._is_over:
            self._at(self.now_s + _LOOK_S, self._tend_cloud)

    def _kill(self) -> None:
        self._life += 1
        self._knocking.clear()
        self._mark, self._held = self._saved[0], dict(self._saved[1])
        self._free_s = self.now_s
        self._repeats.lost()
        self._online = 0
        for client in (self._cloud, self._reader, *self._devices):
            client.is_online = False
            self._try_later(client, self._backoff.wait_s(0, self._drawn), self.now_s + self._starts_s)

    def _try_later(self, client: _Client, wait_s: float, there_s: float) -> None:
        life = self._life
        self._at(self.now_s + wait_s, lambda: self._connect(client, there_s) if life == self._life else None)

    def _connect(self, client: _Client, there_s: float) -> None:
        wait_s = self._backoff.wait_s(0, self._drawn)
        wait_s += self._backoff.wait_s(client.tries, self._drawn, most_s=self._backoff.most_silent_s)
        client.tries += 1
        if self.now_s < there_s:  # refused at once
            self._try_later(client, wait_s, there_s)
        elif (len(self._knocking) + 1) * self._costs.connection_s > CONNECT_TIMEOUT_S:
            self._try_later(client, CONNECT_TIMEOUT_S + wait_s, there_s)
        else:
            # Cloud and reader are among the first, as in the real runs, whose devices knock a hundred at a time.
            self._knocking.insert(len(self._knocking) if isinstance(client, _Device) else 1, client)
            if len(self._knocking) == 1:
                self._shake_hands()

    def _shake_hands(self) -> None:
        """One after the other, between the packets of those that are there."""
        slowed = self._slowed(self._online / len(self._devices))
        self._serve(0.0, self._go_online, self._costs.connection_s * slowed)

    def _go_online(self) -> None:
        client = self._knocking.popleft()
        if self._knocking:
            self._shake_hands()
        client.is_online, client.tries = True, 0
        if isinstance(client, _Device):
            self._online += 1
            self._back_s.append(self.now_s)
            for packed in list(client.unacknowledged.values()):
                self._publish(client, packed)
        elif client is self._cloud:
            self._repeats.online()
            if self._mark is not None:
                self._repeats.heard(self._mark, is_retained=True)
            for number in list(self._outbox):
                self._serve(FRAME_PACKETS * _RESULT, lambda number=number: self._distribute(number))
        else:
            for number in list(self._held):
                self._serve(FRAME_PACKETS * _TO_READER, lambda number=number: self._read(number))

"""Many devices that take updates, in one thread and over one connection, by the messages that edges and clouds publish.

Each downloads the whole bundle piece by piece and checks every signature and SHA-256; what it does not do is run a
model: answers are made up, in model time. One that is switched off hears nothing, and its retained status says so.
"""

import collections
import dataclasses
import hashlib
import heapq
import itertools
import json
import random
import threading
import time

from broker.messages import presence, results, telemetry, topics, updates
from broker.messages.topics import Kind
from broker.messages.updates import Need, Report, State
from broker.mqtt.transport import MqttTransport
from broker.transport import address
from broker.transport.protocol import Limits

LIMITS = Limits(outbox_messages=65_535, outbox_bytes=1 << 30, inbox_messages=65_535, inbox_bytes=1 << 30)
FRAMES = 20  # answered before a model is kept, as with an edge
NEED_BYTES = 256 << 10


@dataclasses.dataclass
class Light:
    name: str
    group: str | None = None
    wrong: str | None = None  # with the new model: "rolled_back", "slow" or "otherwise"
    is_on: bool = True
    package: str = ""
    original: str = ""
    serial: int = 0
    state: State = State.IDLE
    offer: updates.Offer | None = None
    signed: updates.Signed | None = None
    lacking: dict = dataclasses.field(default_factory=dict)  # sha256: bytes
    parts: dict = dataclasses.field(default_factory=dict)
    good: int = 0
    frames: int = 0
    installs: int = 0


class Fleet:
    """Runs from `start` until `close`. A second of the model takes 1/`speed` s; each device has `fps` frames a second
    of it, and tells telemetry every ten."""

    def __init__(self, url, deployment, verifier, package, cut, *, fps=0.1, speed=1.0, answers=True):
        self.devices = {}
        self.verifier, self.package, self.cut, self.deployment = verifier, package, cut, deployment
        self._fps, self._speed, self._answers = fps, speed, answers
        self._random = random.Random(0)
        self._due, self._count = [], itertools.count()
        self._calls = collections.deque()
        self._stopping = threading.Event()
        self._transport = MqttTransport(address.parse(url), client_id=f"{deployment}-fleet", limits=LIMITS)
        self._thread = threading.Thread(target=self._run, name="light-devices", daemon=True)

    def add(self, *names, **said):
        for name in names:
            self.devices[name] = Light(name, package=self.package, original=self.package, **said)

    def __enter__(self):
        self._transport.connect(keep_trying=True, timeout_s=60)
        self._transport.subscribe(topics.every_device(self.deployment, Kind.CONTROL))
        for device in self.devices.values():
            self._appear(device)
        assert self._transport.flush(120)
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stopping.set()
        self._thread.join()
        self._transport.close()

    def switch(self, name, *, is_on):
        self._calls.append((name, is_on))

    def running(self, package):
        return {device.name for device in self.devices.values() if device.package == package}

    def _appear(self, device):
        self._tell_birth(device)
        self._tell_status(device)
        if device.is_on:
            self._after(self._random.random() / self._fps, self._frame, device)
            self._after(self._random.random() * 10, self._telemetry, device)

    def _run(self):
        while not self._stopping.is_set():
            while self._calls:
                name, is_on = self._calls.popleft()
                device = self.devices[name]
                if device.is_on != is_on:
                    device.is_on = is_on
                    self._appear(device)
            now_s = time.monotonic()
            while self._due and self._due[0][0] <= now_s:
                _, _, action, device = heapq.heappop(self._due)
                action(device)
            wait_s = min(0.05, max(0.0, self._due[0][0] - time.monotonic())) if self._due else 0.05
            message = self._transport.receive(wait_s)
            while message is not None:
                self._transport.acknowledge(message)
                self._take(message)
                message = self._transport.receive(0.0)

    def _after(self, seconds, action, device):
        heapq.heappush(self._due, (time.monotonic() + seconds / self._speed, next(self._count), action, device))

    def _publish(self, device, kind, payload, *, qos=1, retain=False):
        assert self._transport.try_publish(
            topics.topic(self.deployment, device.name, kind), payload, qos=qos, retain=retain
        )

    def _tell_status(self, device):
        state, reason = ("online", None) if device.is_on else ("offline", "lost")
        self._publish(device, Kind.STATUS, presence.Status(state, 1, 1, reason, 5).as_json(), retain=True)

    def _tell_birth(self, device):
        update = {"state": device.state.value, "serial": device.serial, "digest": None, "reason": None}
        told = {"boot": "01", "package": device.package, "cut": self.cut, "layer": None, "update": update}
        group = {} if device.group is None else {"group": device.group}
        self._publish(device, Kind.BIRTH, json.dumps(told | group).encode(), retain=True)

    def _is_wrong(self, device, kind):
        return device.wrong == kind and device.package != device.original

    def _frame(self, device):
        if not device.is_on:
            return
        self._after(1 / self._fps, self._frame, device)
        device.frames += 1
        if self._answers:
            label = "abc"[device.frames % 3] if not self._is_wrong(device, "otherwise") else "z"
            times = results.Times(1.0, 3.0, 4.0, 0.5, 0.2, 5.0, 10.0)
            top = (results.Score(label, 0.75),)
            said = results.Result(device.name, 1, device.frames, self.cut, device.package[:32], times, top)
            self._publish(device, Kind.RESULTS, said.as_json(), qos=0)
        if device.state is State.PROBATION:
            device.good += 1
            if device.wrong == "rolled_back" and device.good == FRAMES // 2:
                device.package = device.original
                self._report(device, State.ROLLED_BACK, reason="a frame was refused")
            elif device.good >= FRAMES:
                device.installs += 1
                self._report(device, State.INSTALLED)

    def _telemetry(self, device):
        if not device.is_on:
            return
        self._after(10.0, self._telemetry, device)
        median_ms = (60.0 if self._is_wrong(device, "slow") else 20.0) * self._random.uniform(0.9, 1.1)
        said = telemetry.Telemetry(1, 1.0, "ok", None, self._fps, {"p50": median_ms}, ())
        self._publish(device, Kind.TELEMETRY, said.as_json(), qos=0)

    def _take(self, message):
        device = self.devices.get(topics.parse(message.topic).device)
        if device is None or not device.is_on:
            return
        said = updates.parse_control(message.payload)
        if isinstance(said, updates.Signed):
            self._take_offer(device, said)
        elif isinstance(said, updates.Piece) and said.sha256 in device.lacking:
            self._take_piece(device, said)

    def _take_offer(self, device, signed):
        if device.signed is not None and signed.id == device.signed.id:
            need = None  # the operator came back: it hears again what is lacking
            if device.state is State.RECEIVING:
                sha256, size = next(iter(device.lacking.items()))
                start = len(device.parts.get(sha256, b""))
                need = Need(sha256, start, min(size, start + NEED_BYTES))
            self._report(device, device.state, need=need, is_news=False)
            return
        assert self.verifier.has_signed(signed.text, signed.signature)
        offer = signed.offer()
        assert (offer.deployment, offer.device) == (self.deployment, device.name)
        if device.state is State.PROBATION or offer.serial <= device.serial:
            reason = updates.ON_PROBATION if device.state is State.PROBATION else "its serial is no later"
            refused = Report(signed.id, State.REFUSED, reason=reason)
            self._publish(device, Kind.TELEMETRY, refused.encode())
            return
        device.signed, device.offer, device.serial, device.good = signed, offer, offer.serial, 0
        device.parts, device.lacking = {}, {offer.manifest_sha256: offer.manifest_bytes}
        self._report(device, State.RECEIVING, need=Need(offer.manifest_sha256, 0, offer.manifest_bytes))

    def _take_piece(self, device, piece):
        part = device.parts.setdefault(piece.sha256, bytearray())
        size = device.lacking[piece.sha256]
        if piece.offset != len(part):
            self._report(device, State.RECEIVING, need=Need(piece.sha256, len(part), min(size, len(part) + NEED_BYTES)))
            return
        part += piece.data
        if len(part) < size:
            if len(part) % NEED_BYTES == 0:
                stop = min(size, len(part) + NEED_BYTES)
                self._report(device, State.RECEIVING, need=Need(piece.sha256, len(part), stop))
            return
        assert hashlib.sha256(part).hexdigest() == piece.sha256
        del device.lacking[piece.sha256]
        if piece.sha256 == device.offer.manifest_sha256:
            files = json.loads(bytes(part))["files"]
            device.lacking = {told["sha256"]: told["bytes"] for told in files.values() if told["bytes"]}
        device.parts.clear()
        if device.lacking:
            sha256, size = next(iter(device.lacking.items()))
            self._report(device, State.RECEIVING, need=Need(sha256, 0, min(size, NEED_BYTES)))
        else:
            device.package = device.offer.package
            self._report(device, State.PROBATION)

    def _report(self, device, state, *, need=None, reason=None, is_news=True):
        is_new_state, device.state = state is not device.state, state
        if device.signed is not None:
            self._publish(device, Kind.TELEMETRY, Report(device.signed.id, state, None, reason, need).encode())
        if is_news and is_new_state:
            self._tell_birth(device)

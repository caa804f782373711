"""Many devices that take updates, in one thread and over one connection, by the messages that edges and clouds publish.

Each downloads the whole bundle (`light_updates`); what it does not do is run a model: answers are made up, in model
time. One that is switched off hears nothing, and its retained status says so.
"""

import collections
import dataclasses
import functools
import heapq
import itertools
import json
import random
import threading
import time

import light_updates

from broker.messages import presence, results, telemetry, topics
from broker.messages.topics import Kind
from broker.messages.updates import State
from broker.mqtt.transport import MqttTransport
from broker.transport import address
from broker.transport.protocol import Limits

LIMITS = Limits(outbox_messages=65_535, outbox_bytes=1 << 30, inbox_messages=65_535, inbox_bytes=1 << 30)


@dataclasses.dataclass
class Light:
    name: str
    updates: light_updates.Updates
    group: str | None = None
    wrong: str | None = None  # with the new model: "rolled_back", "slow" or "otherwise"
    is_on: bool = True
    frames: int = 0


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
            report = functools.partial(self._report, name)
            taking = light_updates.Updates(self.deployment, name, self.verifier, self.package, report)
            self.devices[name] = Light(name, taking, **said)

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
        return {device.name for device in self.devices.values() if device.updates.package == package}

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
        taking = device.updates
        told = {"boot": "01", "package": taking.package, "cut": self.cut, "layer": None, "update": taking.told}
        group = {} if device.group is None else {"group": device.group}
        self._publish(device, Kind.BIRTH, json.dumps(told | group).encode(), retain=True)

    def _is_wrong(self, device, kind):
        return device.wrong == kind and device.updates.package != device.updates.original

    def _frame(self, device):
        if not device.is_on:
            return
        self._after(1 / self._fps, self._frame, device)
        device.frames += 1
        if self._answers:
            label = "abc"[device.frames % 3] if not self._is_wrong(device, "otherwise") else "z"
            times = results.Times(1.0, 3.0, 4.0, 0.5, 0.2, 5.0, 10.0)
            top = (results.Score(label, 0.75),)
            said = results.Result(device.name, 1, device.frames, self.cut, device.updates.package[:32], times, top)
            self._publish(device, Kind.RESULTS, said.as_json(), qos=0)
        taking = device.updates
        if taking.state is State.PROBATION:
            if device.wrong == "rolled_back" and taking.good == light_updates.FRAMES // 2:
                taking.go_back("a frame was refused")
            else:
                taking.answered()

    def _telemetry(self, device):
        if not device.is_on:
            return
        self._after(10.0, self._telemetry, device)
        median_ms = (60.0 if self._is_wrong(device, "slow") else 20.0) * self._random.uniform(0.9, 1.1)
        said = telemetry.Telemetry(1, 1.0, "ok", None, self._fps, {"p50": median_ms}, ())
        self._publish(device, Kind.TELEMETRY, said.as_json(), qos=0)

    def _take(self, message):
        device = self.devices.get(topics.parse(message.topic).device)
        if device is not None and device.is_on:
            device.updates.take(message.payload)

    def _report(self, name, report, *, is_news):
        self._publish(self.devices[name], Kind.TELEMETRY, report.encode())
        if is_news:
            self._tell_birth(self.devices[name])

"""A deployment as its messages tell of it: devices, clouds, and what is known of all together. Pure."""

from collections.abc import Iterator, Sequence
from typing import Any

from broker.messages import announcements, presence, results, telemetry, topics, updates
from broker.messages.peers import standing
from broker.messages.topics import Kind
from broker.messages.watched import load, picture
from broker.messages.watched.picture import Picture
from broker.watching.device import Device
from broker.watching.history import History
from broker.watching.others import Cloud, Worker, is_online
from tflsplit import errors

# Names beyond these are counted and not kept: whoever may publish can invent any number.
MOST_DEVICES = 20_000
MOST_OTHERS = 1_000  # of clouds, and of workers
_MOST_PICTURES = 64  # of `picture.MOST_BYTES` at most: the last of those devices that shared one most recently


class Deployment:
    """`take` each message from `began_s` on; everything else reads. Not for several threads at a time."""

    def __init__(self, name: str, began_s: float) -> None:
        self._began_s = began_s
        self.name = name
        self.devices: dict[str, Device] = {}
        self.clouds: dict[str, Cloud] = {}
        self.workers: dict[str, Worker] = {}
        self.pictures: dict[str, tuple[float, Picture]] = {}  # when it came, and what; the latest last
        self.history = History(began_s)
        self.messages = 0
        self.unreadable = 0
        self.left_out = 0
        self.statuses: dict[str, presence.Status] = {}  # of whatever has a name

    def take(self, topic: str, payload: bytes, at_s: float) -> None:
        """Any message of the deployment; what no program of ours would publish is counted."""
        self.messages += 1
        try:
            place = topics.parse(topic)
            if place.deployment != self.name:
                raise errors.FrameError(f"topic {topic!r} is of another deployment")
            self._take(place.device, place.kind, payload, at_s)
        except errors.FrameError:
            self.unreadable += 1

    def totals(self, now_s: float) -> dict[str, Any]:
        online = [device for device in self.devices.values() if device.is_online]
        return {
            "devices": len(self.devices),
            "online": len(online),
            "problems": sum(device.problem(now_s) is not None for device in self.devices.values()),
            "clouds": len(self.clouds),
            "clouds_online": sum(is_online(cloud.status) for cloud in self.clouds.values()),
            "workers": len(self.workers),
            "workers_online": sum(is_online(worker.status) for worker in self.workers.values()),
            "fps": round(self.history.rate(now_s), 2),
            "unborn": sum(name not in self.clouds and name not in self.workers for name in self._without_birth()),
            "unreadable": self.unreadable,
            "left_out": self.left_out,
        }

    def as_json(self, now_s: float) -> dict[str, object]:
        return {
            "deployment": self.name,
            **self.totals(now_s),
            "of_clouds": [cloud.as_json(now_s) for cloud in self.ordered_clouds()],
            "of_workers": [worker.as_json(now_s) for worker in self.ordered_workers()],
            "of_devices": [device.as_json(now_s) for device in self.ordered(now_s)],
        }

    def _without_birth(self) -> Iterator[str]:
        """Names that are online by their status, and of whom nothing says what they are."""
        for name, status in self.statuses.items():
            if is_online(status) and (name not in self.devices or not self.devices[name].birth):
                yield name

    def ordered(self, now_s: float) -> Sequence[Device]:
        """Those with a problem first, then by name."""
        return sorted(self.devices.values(), key=lambda each: (each.problem(now_s) is None, each.name))

    def ordered_clouds(self) -> Iterator[Cloud]:
        yield from (self.clouds[name] for name in sorted(self.clouds))

    def ordered_workers(self) -> Iterator[Worker]:
        yield from (self.workers[name] for name in sorted(self.workers))

    def _take(self, name: str, kind: Kind, payload: bytes, at_s: float) -> None:
        match kind:
            case Kind.STATUS:
                self._take_status(name, presence.parse(payload) if payload else None)
            case Kind.SERVES:
                self._take_announcement(name, payload)
            case Kind.LOAD if (cloud := self._cloud(name)) is not None:
                cloud.load, cloud.load_at_s = load.parse(payload), at_s
            case Kind.SHARE:
                self._take_share(name, payload, at_s)
            case Kind.BIRTH if not payload:
                self.devices.pop(name, None)  # whoever removes a device takes back what is retained of it
            case Kind.BIRTH | Kind.TELEMETRY | Kind.RESULTS | Kind.PICTURE:
                self._take_of_device(name, kind, payload, at_s)

    def _take_of_device(self, name: str, kind: Kind, payload: bytes, at_s: float) -> None:
        told: Any = None
        if kind is Kind.TELEMETRY and telemetry.is_for_others(payload):
            told = updates.parse_report(payload)
            if told is None:
                return
        elif kind is not Kind.BIRTH:
            parse = {Kind.TELEMETRY: telemetry.parse, Kind.RESULTS: results.parse, Kind.PICTURE: picture.parse}[kind]
            told = parse(payload)
        device = self._device(name)
        if device is None:
            self.left_out += 1
        elif kind is Kind.BIRTH:
            device.take_birth(payload)
        elif isinstance(told, updates.Report):
            device.update = told
        elif kind is Kind.TELEMETRY:
            device.take_telemetry(told, at_s)
        elif kind is Kind.PICTURE:
            self._keep_picture(name, told, at_s)
        elif device.take_answer(told, at_s):
            self.history.add(at_s, answers=1)

    def _take_status(self, name: str, status: presence.Status | None) -> None:
        known = self.statuses.get(name)
        if status is None:
            self.statuses.pop(name, None)
        elif (known is None and len(self.statuses) >= MOST_DEVICES) or (known is not None and status.is_late(known)):
            return
        else:
            self.statuses[name] = status
        for those in (self.devices, self.clouds, self.workers):
            if name in those:
                those[name].status = status

    def _take_share(self, name: str, payload: bytes, at_s: float) -> None:
        if not payload:
            self.workers.pop(name, None)
            return
        told = standing.parse(payload)
        if name not in self.workers and len(self.workers) < MOST_OTHERS:
            self.workers[name] = Worker(name)
            self.workers[name].status = self.statuses.get(name)
        if name in self.workers:
            self.workers[name].take_standing(told, at_s)

    def _take_announcement(self, name: str, payload: bytes) -> None:
        if not payload:  # a cloud that ended takes its announcement back
            if name in self.clouds:
                self.clouds[name].serves = None
        elif (cloud := self._cloud(name)) is not None:
            cloud.serves = announcements.parse(payload)

    def _keep_picture(self, name: str, told: Picture, at_s: float) -> None:
        self.pictures.pop(name, None)
        self.pictures[name] = (at_s, told)
        if len(self.pictures) > _MOST_PICTURES:
            del self.pictures[next(iter(self.pictures))]

    def _device(self, name: str) -> Device | None:
        """Known or new; None where there are too many, or where a cloud has the name."""
        if name not in self.devices and name not in self.clouds and len(self.devices) < MOST_DEVICES:
            self.devices[name] = Device(name, self._began_s)
            self.devices[name].status = self.statuses.get(name)
        return self.devices.get(name)

    def _cloud(self, name: str) -> Cloud | None:
        if name not in self.clouds and len(self.clouds) < MOST_OTHERS:
            self.clouds[name] = Cloud(name)
            self.clouds[name].status = self.statuses.get(name)
        return self.clouds.get(name)

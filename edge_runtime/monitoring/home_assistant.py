"""Shows a device and its latest answer in Home Assistant (2024.11 or later), by MQTT device discovery.

One retained message describes our topics, which Home Assistant then reads. It is sent again when Home Assistant starts,
because the broker may have lost it. An empty retained message on the same topic removes the device.
"""

import json
import logging
import re
import threading
import time
from collections.abc import Callable
from typing import Any

import tflsplit
from broker.messages import topics
from broker.messages.topics import Kind
from broker.transport.protocol import ConnectionState, Message, Transport
from edge_runtime.monitoring import answer_entities
from tflsplit import errors, strict_json
from tflsplit.package.reading import Package
from tflsplit.values.classes import dataclass

log = logging.getLogger(__name__)

_LOOK_S = 0.2
_RETRY_S = 30.0
_MOST_ENTITIES = 512  # that are remembered; a model has 110 at most

Announcement = dict[str, Any]

_STATE = "{{ value_json.state }}"
# What telemetry says of the edge's health. Probes of a link travel on the same topic and are not JSON.
_WELL = "{% if value_json is defined %}{{ 'online' if value_json.state == 'ok' else 'offline' }}{% endif %}"
_PROBLEM = "{% if value_json is defined %}{{ 'OFF' if value_json.state == 'ok' else 'ON' }}{% endif %}"
_WHY = "{% if value_json is defined %}{{ {'why': value_json.why} | to_json }}{% else %}{}{% endif %}"
_FPS = "{% if value_json is defined %}{{ value_json.fps }}{% endif %}"
# The cut of a device whose cut moves, with its last move; and what its link carries.
_CUT = "{% if value_json is defined %}{{ value_json.metrics.build_info[0][2] }}{% endif %}"
_MOVED = "{% if value_json is defined %}{{ value_json.moved | default({}) | to_json }}{% else %}{}{% endif %}"
_LINK = "{% if value_json is defined %}{{ value_json.metrics.link_bits_per_second / 1e6 }}{% endif %}"
_LATENCY = "{% if value_json is defined %}{{ value_json.latency_ms.p50 }}{% endif %}"


def check_prefix(prefix: str) -> str:
    """Returns the prefix if Home Assistant can use it; SettingsError otherwise."""
    if not re.fullmatch(r"[A-Za-z0-9_-]+(/[A-Za-z0-9_-]+)*", prefix):
        raise errors.SettingsError(
            f"Home Assistant prefix {prefix!r}: give its discovery prefix, such as homeassistant"
        )
    return prefix


@dataclass(frozen=True, slots=True)
class Terms:
    """Whose message it is, and what that device tells: what telemetry says is unavailable once it is older than
    `expire_after_s`; whether its cut moves, and whether it shares pictures."""

    deployment: str
    device: str
    expire_after_s: int
    adapts: bool = False
    shares_pictures: bool = False

    def topic(self, kind: Kind) -> str:
        return topics.topic(self.deployment, self.device, kind)


def config(package: Package, terms: Terms) -> Announcement:
    """The discovery message of a device that runs this package. What answers tell is unavailable while the edge's
    health names a problem, as that no answer comes or no cloud is there: what nobody renews must not look fresh."""
    identity = f"tflsplit_{terms.deployment}_{terms.device}"
    version = tflsplit.__version__
    described = {"identifiers": [identity], "name": terms.device, "manufacturer": "tflsplit", "sw_version": version}
    told = [_available(terms, Kind.STATUS), _available(terms, Kind.TELEMETRY)]
    components = {
        key: {"availability_mode": "all", "availability": told} | entity
        for key, entity in answer_entities.of_model(package.manifest, terms.topic(Kind.RESULTS)).items()
    }
    components |= _telemetry(terms) | (_adapting(terms) if terms.adapts else {}) | _standing(terms)
    if terms.shares_pictures:
        components["picture"] = {
            "platform": "image",
            "name": "Picture",
            "image_topic": terms.topic(Kind.PICTURE),
            "content_type": "image/jpeg",
            "availability": [_available(terms, Kind.STATUS)],
        }
    return {
        "device": described | {"model": package.manifest.name},
        "origin": {"name": "tflsplit", "sw_version": version},
        "components": {key: component | {"unique_id": f"{identity}_{key}"} for key, component in components.items()},
    }


def _standing(terms: Terms) -> answer_entities.Entities:
    """What is wrong with a device that is there, if something is; and whether it is there, which is always known."""
    telemetry, status = terms.topic(Kind.TELEMETRY), terms.topic(Kind.STATUS)
    binary: dict[str, object] = {"platform": "binary_sensor", "entity_category": "diagnostic"}
    return {
        "problem": binary
        | {
            "name": "Problem",
            "device_class": "problem",
            "state_topic": telemetry,
            "value_template": _PROBLEM,
            "payload_on": "ON",
            "payload_off": "OFF",
            "expire_after": terms.expire_after_s,
            "json_attributes_topic": telemetry,
            "json_attributes_template": _WHY,
            "availability": [_available(terms, Kind.STATUS)],
        },
        "connection": binary
        | {
            "name": "Connection",
            "device_class": "connectivity",
            "state_topic": status,
            "value_template": _STATE,
            "payload_on": "online",
            "payload_off": "offline",
        },
    }


def _telemetry(terms: Terms) -> answer_entities.Entities:
    sensor = _sensor(terms) | {"state_class": "measurement"}
    latency = {"device_class": "duration", "unit_of_measurement": "ms"}
    return {
        "latency": sensor | latency | {"name": "Latency", "value_template": _LATENCY},
        "fps": sensor | {"name": "Frame rate", "value_template": _FPS, "unit_of_measurement": "fps"},
    }


def _adapting(terms: Terms) -> answer_entities.Entities:
    sensor = _sensor(terms)
    moved = {"json_attributes_topic": sensor["state_topic"], "json_attributes_template": _MOVED}
    link = {"device_class": "data_rate", "state_class": "measurement", "unit_of_measurement": "Mbit/s"}
    return {
        "cut": sensor | moved | {"name": "Cut", "value_template": _CUT},
        "link": sensor | link | {"name": "Link", "value_template": _LINK, "suggested_display_precision": 2},
    }


def _sensor(terms: Terms) -> dict[str, object]:
    """A sensor of what telemetry says, available while its device is online."""
    return {
        "platform": "sensor",
        "state_topic": terms.topic(Kind.TELEMETRY),
        "entity_category": "diagnostic",
        "expire_after": terms.expire_after_s,
        "availability": [_available(terms, Kind.STATUS)],
    }


def _available(terms: Terms, kind: Kind) -> dict[str, object]:
    template = _STATE if kind is Kind.STATUS else _WELL
    said = {"payload_available": "online", "payload_not_available": "offline"}
    return {"topic": terms.topic(kind), "value_template": template, **said}


class Described:
    """The message of the package that an edge runs now: the same object until that is another one."""

    def __init__(self, package: Callable[[], Package], terms: Terms) -> None:
        self._package, self._terms = package, terms
        self._of: Package | None = None
        self._made: Announcement = {}

    def __call__(self) -> Announcement:
        package = self._package()
        if package is not self._of:
            self._of, self._made = package, config(package, self._terms)
        return self._made


class Announcer:
    """Announces a device over a connection of its own, on which it also learns when Home Assistant starts. The broker
    may be away at first, and at any time.

    `message` is asked regularly. Home Assistant keeps an entity that a later message leaves out, until one names it
    without a description. So this one does, of all that the device ever announced: the broker has retained it.
    """

    def __init__(
        self, transport: Transport, prefix: str, deployment: str, device: str, message: Callable[[], Announcement]
    ) -> None:
        self._transport = transport
        self._status = f"{check_prefix(prefix)}/status"
        self._topic = topics.discovery(deployment, device, prefix)
        self._message = message
        self._said: Announcement | None = None
        self._platforms: dict[str, str] = {}  # of each entity that was announced, by its key
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="home-assistant", daemon=True)

    def __enter__(self) -> "Announcer":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        is_heard, session, listens_at_s = False, -1, 0.0
        while not self._stopping.is_set():
            is_online = self._transport.state is ConnectionState.ONLINE
            if is_online and not is_heard and time.monotonic() >= listens_at_s:
                is_heard, listens_at_s = self._listen(), time.monotonic() + _RETRY_S
            message = self._transport.receive(_LOOK_S)
            if message is not None:  # what the broker has retained comes before we announce
                self._take(message)
            # A broker that restarted may have forgotten it, and the package may be another one.
            elif is_online and (session != self._transport.reconnects or self._said is not self._message()):
                session = self._transport.reconnects
                self._announce()

    def _listen(self) -> bool:
        for topic in (self._topic, self._status):
            try:
                self._transport.subscribe(topic)
            except errors.BrokerError as problem:
                log.warning("Home Assistant is not heard topic=%s reason=%s", topic, problem)
                return False
        return True

    def _take(self, message: Message) -> None:
        if message.topic == self._topic:
            self._remember(message.payload)
        elif message.payload == b"online" and not message.retained:
            log.info("Home Assistant is back topic=%s", self._topic)
            self._announce()
        self._transport.acknowledge(message)

    def _remember(self, payload: bytes) -> None:
        """What was announced by a run before this one; or by this one, which is no news."""
        try:
            told = strict_json.parse_object(payload)["components"]
            platforms = {str(key): str(component["platform"]) for key, component in told.items()}
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return  # somebody took the device away, or wrote what is not ours
        unknown = [key for key in platforms if key not in self._platforms][: _MOST_ENTITIES - len(self._platforms)]
        self._platforms |= {key: platforms[key] for key in unknown}
        if unknown:
            self._said = None

    def _announce(self) -> None:
        message = self._said = self._message()
        components = message["components"]
        self._platforms |= {key: str(component["platform"]) for key, component in components.items()}
        gone = {key: {"platform": kind} for key, kind in self._platforms.items() if key not in components}
        whole = message | {"components": components | gone}
        payload = json.dumps(whole, ensure_ascii=False, separators=(",", ":")).encode()
        try:
            if not self._transport.try_publish(self._topic, payload, qos=1, retain=True):
                log.warning("not announced topic=%s reason=no room", self._topic)
        except errors.BrokerError as problem:
            log.warning("not announced topic=%s reason=%s", self._topic, problem)

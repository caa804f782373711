"""Shows a device and its latest label in Home Assistant (2024.11 or later), by MQTT device discovery.

One retained message describes our topics, which Home Assistant then reads. It is sent again when Home Assistant starts,
because the broker may have lost it. An empty retained message on the same topic removes the device.
"""

import json
import logging
import re
import threading
from importlib import metadata

from broker.messages import results, topics
from broker.messages.topics import Kind
from broker.transport.protocol import ConnectionState, Transport
from tflsplit import errors
from tflsplit.graph.meanings import Meaning
from tflsplit.package import outputs
from tflsplit.package.manifest import Manifest
from tflsplit.package.reading import Package

log = logging.getLogger(__name__)

_LOOK_S = 0.2
_RETRY_S = 30.0

# An empty text leaves a numeric sensor unchanged: refusals have no score, and probes of a link are not JSON.
_LABEL = "{{ this.state if value_json.error is defined else value_json.label }}"
# Of labels that are independent of each other all that hold, or none.
_LABELS = (
    "{{ this.state if value_json.error is defined else "
    "(value_json.top | map(attribute='label') | join(', ')) or 'none' }}"
)
_VALUE = "{%% if value_json.error is not defined %%}{{ (value_json['values'].values() | list)[%d][%d] }}{%% endif %%}"
_MOST_NUMBERS = 8  # of a model without classes; more sensors than that nobody looks at
_SCORE = "{% if value_json.error is not defined %}{{ value_json.score }}{% endif %}"
_ATTRIBUTES = (
    "{{ {'score': value_json.get('score'), 'top': value_json.get('top'), 'error': value_json.get('error'), "
    f"'answered_by': 'device' if value_json.get('cut') == '{results.WHOLE}' else 'cloud'}} | to_json }}}}"
)
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


_ONLINE = {"payload_available": "online", "payload_not_available": "offline"}


def check_prefix(prefix: str) -> str:
    """Returns the prefix if Home Assistant can use it; SettingsError otherwise."""
    if not re.fullmatch(r"[A-Za-z0-9_-]+(/[A-Za-z0-9_-]+)*", prefix):
        raise errors.SettingsError(
            f"Home Assistant prefix {prefix!r}: give its discovery prefix, such as homeassistant"
        )
    return prefix


def config(
    package: Package, deployment: str, device: str, *, expire_after_s: int, adapts: bool = False
) -> dict[str, object]:
    """The discovery message; of a device that `adapts` with its cut and its link. What telemetry says is shown as
    unavailable once it is older than `expire_after_s`, and label and score are while the edge's health names a problem:
    a label that nobody renews must not look fresh."""
    identity = f"tflsplit_{deployment}_{device}"
    version = metadata.version("tflsplit")
    described = {"identifiers": [identity], "name": device, "manufacturer": "tflsplit", "sw_version": version}
    components = _answers(package.manifest, deployment, device) | _telemetry(deployment, device, expire_after_s)
    if adapts:
        components |= _adapting(deployment, device, expire_after_s)
    components["problem"] = {
        "platform": "binary_sensor",
        "name": "Problem",
        "device_class": "problem",
        "entity_category": "diagnostic",
        "state_topic": topics.topic(deployment, device, Kind.TELEMETRY),
        "value_template": _PROBLEM,
        "payload_on": "ON",
        "payload_off": "OFF",
        "expire_after": expire_after_s,
        "json_attributes_topic": topics.topic(deployment, device, Kind.TELEMETRY),
        "json_attributes_template": _WHY,
    }
    components["connection"] = {
        "platform": "binary_sensor",
        "name": "Connection",
        "device_class": "connectivity",
        "entity_category": "diagnostic",
        "state_topic": topics.topic(deployment, device, Kind.STATUS),
        "value_template": _STATE,
        "payload_on": "online",
        "payload_off": "offline",
    }
    return {
        "device": described | {"model": package.manifest.name},
        "origin": {"name": "tflsplit", "sw_version": version},
        "components": {name: component | {"unique_id": f"{identity}_{name}"} for name, component in components.items()},
    }


def _answers(described: Manifest, deployment: str, device: str) -> dict[str, dict[str, object]]:
    """Label and score of the output that has classes; without one, the numbers of the outputs that have few."""
    answered = topics.topic(deployment, device, Kind.RESULTS)
    status, telemetry = (topics.topic(deployment, device, kind) for kind in (Kind.STATUS, Kind.TELEMETRY))
    sensor: dict[str, object] = {
        "platform": "sensor",
        "state_topic": answered,
        "availability_mode": "all",
        "availability": [
            {"topic": status, "value_template": _STATE, **_ONLINE},
            {"topic": telemetry, "value_template": _WELL, **_ONLINE},
        ],
    }
    attributes = {"json_attributes_topic": answered, "json_attributes_template": _ATTRIBUTES}
    number = {"state_class": "measurement", "suggested_display_precision": 2}
    classes = next((meaning for meaning in outputs.told(described) if meaning is not Meaning.VALUES), None)
    if classes is None:
        return {
            f"value{place}": sensor | attributes | number | {"name": name, "value_template": template}
            for place, (name, template) in enumerate(_numbers(described))
        }
    label = _LABELS if classes is Meaning.MULTI_LABEL else _LABEL
    return {
        "label": sensor | attributes | {"name": "Label", "value_template": label},
        "score": sensor | number | {"name": "Score", "value_template": _SCORE},
    }


def _numbers(described: Manifest) -> list[tuple[str, str]]:
    """Name and template of each number of the results."""
    shown = [spec for spec in described.results if spec.elements <= outputs.MOST_VALUES]
    places = [(output, place) for output, spec in enumerate(shown) for place in range(spec.elements)]
    if len(places) > _MOST_NUMBERS:
        return []
    return [
        (f"Value {number}" if len(places) > 1 else "Value", _VALUE % place) for number, place in enumerate(places, 1)
    ]


def _telemetry(deployment: str, device: str, expire_after_s: int) -> dict[str, dict[str, object]]:
    sensor = _sensor(deployment, device) | {
        "state_topic": topics.topic(deployment, device, Kind.TELEMETRY),
        "entity_category": "diagnostic",
        "state_class": "measurement",
        "expire_after": expire_after_s,
    }
    latency = {"device_class": "duration", "unit_of_measurement": "ms"}
    return {
        "latency": sensor | latency | {"name": "Latency", "value_template": _LATENCY},
        "fps": sensor | {"name": "Frame rate", "value_template": _FPS, "unit_of_measurement": "fps"},
    }


def _adapting(deployment: str, device: str, expire_after_s: int) -> dict[str, dict[str, object]]:
    telemetry = topics.topic(deployment, device, Kind.TELEMETRY)
    sensor = _sensor(deployment, device) | {
        "state_topic": telemetry,
        "entity_category": "diagnostic",
        "expire_after": expire_after_s,
    }
    moved = {"json_attributes_topic": telemetry, "json_attributes_template": _MOVED}
    link = {"device_class": "data_rate", "state_class": "measurement", "unit_of_measurement": "Mbit/s"}
    return {
        "cut": sensor | moved | {"name": "Cut", "value_template": _CUT},
        "link": sensor | link | {"name": "Link", "value_template": _LINK, "suggested_display_precision": 2},
    }


def _sensor(deployment: str, device: str) -> dict[str, object]:
    """A sensor that is available while its device is online."""
    return {
        "platform": "sensor",
        "availability_topic": topics.topic(deployment, device, Kind.STATUS),
        "availability_template": _STATE,
        **_ONLINE,
    }


class Announcer:
    """Announces a device over a connection of its own, on which it also learns when Home Assistant starts. The broker
    may be away at first, and at any time."""

    def __init__(self, transport: Transport, prefix: str, deployment: str, device: str, message: object) -> None:
        self._transport = transport
        self._status = f"{check_prefix(prefix)}/status"
        self._topic = topics.discovery(deployment, device, prefix)
        self._message = json.dumps(message, ensure_ascii=False, separators=(",", ":")).encode()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="home-assistant", daemon=True)

    def __enter__(self) -> "Announcer":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        is_heard, session = False, -1
        while not self._stopping.is_set():
            if session != self._transport.reconnects:  # a broker that restarted may have forgotten it
                session = self._transport.reconnects
                self._announce()
            is_heard = is_heard or self._listen()
            message = self._transport.receive(_LOOK_S)
            if message is None:
                continue
            if message.payload == b"online" and not message.retained:
                log.info("Home Assistant is back topic=%s", self._topic)
                self._announce()
            self._transport.acknowledge(message)

    def _listen(self) -> bool:
        """False while the broker is away."""
        if self._transport.state is not ConnectionState.ONLINE:
            return False
        try:
            self._transport.subscribe(self._status)
        except errors.BrokerError as problem:
            log.warning("Home Assistant is not heard topic=%s reason=%s", self._status, problem)
            self._stopping.wait(_RETRY_S)
            return False
        return True

    def _announce(self) -> None:
        try:
            if not self._transport.try_publish(self._topic, self._message, qos=1, retain=True):
                log.warning("not announced topic=%s reason=no room", self._topic)
        except errors.BrokerError as problem:
            log.warning("not announced topic=%s reason=%s", self._topic, problem)

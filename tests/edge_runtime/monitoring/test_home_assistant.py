"""What Home Assistant makes of our announcement: its schema, its templates, real messages through a real Mosquitto.

Its rules are written down here from its source (components/mqtt: `schemas.py`, `discovery.py`, `sensor.py`).
"""

import contextlib
import dataclasses
import json
import re
import threading
import time
import types

import jinja2.sandbox
import pytest
import secured_broker
import tiny_models
import waiting

from broker.local import server
from broker.messages import presence, probes, results, siblings, telemetry, topics
from broker.mqtt import transport as mqtt_transport
from broker.transport import address, memory
from edge_runtime.monitoring import home_assistant
from tflsplit import errors
from tflsplit.graph.meanings import Meaning
from tflsplit.observing import catalogue
from tflsplit.observing.metrics import Family, Sample

pytestmark = pytest.mark.skipif(server.mosquitto_path() is None, reason="mosquitto is not installed")

WAIT_S = waiting.WAIT_S
TOPIC = re.compile(r"(?P<component>\w+)/(?:(?P<node_id>[a-zA-Z0-9_-]+)/)?(?P<object_id>[a-zA-Z0-9_-]+)/config")

DEVICE = {"identifiers", "connections", "manufacturer", "model", "name", "hw_version", "serial_number", "sw_version"}
ORIGIN = {"name", "sw_version", "support_url"}
ENTITY = {
    *("platform", "unique_id", "name", "entity_category", "device_class", "state_topic", "value_template"),
    *("availability_topic", "availability_template", "payload_available", "payload_not_available", "expire_after"),
    *("json_attributes_topic", "json_attributes_template", "qos", "enabled_by_default", "icon"),
    *("availability", "availability_mode", "image_topic", "content_type", "event_types"),
}
AVAILABILITY = {"topic", "value_template", "payload_available", "payload_not_available"}
SENSOR = {"state_class", "unit_of_measurement", "suggested_display_precision", "force_update", "options"}
TERMS = home_assistant.Terms("d", "n", expire_after_s=30)
BINARY = {"payload_on", "payload_off", "off_delay", "force_update"}


class Home:
    """Reads discovery, follows the topics it names, and keeps each entity's state as Home Assistant does."""

    def __init__(self, transport):
        self._transport = transport
        self.discoveries = 0
        self.states, self.attributes, self.available, self.entities, self._said = {}, {}, {}, {}, {}
        environment = jinja2.sandbox.ImmutableSandboxedEnvironment()
        environment.filters["to_json"] = json.dumps
        self._template = environment.from_string
        for levels in ("+/+", "+/+/+"):
            transport.subscribe(f"homeassistant/{levels}/config", qos=0)

    def wait_for(self, holds):
        """Takes in messages until something is so."""
        give_up_s = time.monotonic() + WAIT_S
        while not holds():
            assert time.monotonic() < give_up_s, vars(self)
            message = self._transport.receive(0.1)
            if message is not None:
                self._transport.acknowledge(message)
                self._take(message)

    def _take(self, message):
        if message.topic.endswith("/config"):
            match = TOPIC.fullmatch(message.topic.removeprefix("homeassistant/"))
            assert match
            assert match["component"] == "device"
            self._discover(json.loads(message.payload) if message.payload else None)
            return
        for name, entity in self.entities.items():
            self._update(name, entity, message)

    def _discover(self, found):
        self.discoveries += 1
        if found is None:
            self.entities.clear()
            return
        assert set(found) == {"device", "origin", "components"}
        assert set(found["device"]) <= DEVICE
        assert found["device"]["identifiers"]
        assert set(found["origin"]) <= ORIGIN
        assert found["origin"]["name"]
        for name, entity in found["components"].items():
            if set(entity) == {"platform"}:
                self.entities.pop(name, None)
                continue
            assert set(entity) <= ENTITY | {"sensor": SENSOR, "binary_sensor": BINARY}.get(entity["platform"], set())
            self.entities[name] = entity
            for key in ("state_topic", "json_attributes_topic", "image_topic"):
                if key in entity:
                    self._transport.subscribe(entity[key], qos=0)
            for one in availability(entity):
                assert set(one) == AVAILABILITY
                self._transport.subscribe(one["topic"], qos=0)

    def _update(self, name, entity, message):
        for one in availability(entity):
            if message.topic == one["topic"]:
                said = self._render(one["value_template"], message, name)
                answers = {one["payload_available"]: True, one["payload_not_available"]: False}
                if said in answers:  # else it warns, and changes nothing
                    self._said.setdefault(name, {})[one["topic"]] = answers[said]
        told = self._said.get(name, {})
        if told:  # in the mode `all` a topic that said nothing yet counts as not available
            self.available[name] = len(told) == len(availability(entity)) and all(told.values())
        if message.topic == entity.get("json_attributes_topic"):
            self.attributes[name] = json.loads(self._render(entity["json_attributes_template"], message, name))
        if message.topic == entity.get("image_topic"):
            self.states[name] = message.payload
        elif message.topic == entity["state_topic"]:
            self._set_state(name, entity, self._render(entity["value_template"], message, name))

    def _set_state(self, name, entity, said):
        if entity["platform"] == "event":
            if said:
                self.attributes[name] = json.loads(said)
                assert self.attributes[name]["event_type"] in entity["event_types"]
        elif entity["platform"] == "binary_sensor":
            if said:  # nothing changes nothing
                self.states[name] = {entity["payload_on"]: "on", entity["payload_off"]: "off"}[said]
        elif said == "None":
            self.states[name] = None
        elif "state_class" in entity:  # of numbers; nothing changes nothing
            self.states[name] = float(said) if said else self.states.get(name)
        else:
            self.states[name] = said

    def _render(self, template, message, name):
        try:
            text = message.payload.decode()
        except UnicodeDecodeError:
            text = ""  # it warns, and takes no notice
        this = types.SimpleNamespace(state=self.states.get(name, "unknown"), attributes=self.attributes.get(name, {}))
        variables = {"value": text, "this": this}
        with contextlib.suppress(ValueError):
            variables["value_json"] = json.loads(text)
        return self._template(template).render(variables).strip()


def availability(entity):
    """Several topics, all of which must say that it is available."""
    assert entity.get("availability_mode", "all") == "all"
    return entity.get("availability", [])


@pytest.fixture
def broker():
    with server.run(port=0, kind="mosquitto") as running:
        yield running.url


@pytest.fixture
def client(broker):
    made = []

    def connect(name, **options):
        made.append(mqtt_transport.MqttTransport(address.parse(broker), client_id=name, **options))
        made[-1].connect()
        return made[-1]

    yield connect
    for transport in made:
        transport.close(timeout_s=0)


@pytest.fixture
def message(tiny_package):
    return home_assistant.config(tiny_package, TERMS)


def announced(package, *means):
    """What the sensors of a package, whose outputs are what they `mean`, make of a result."""
    made = types.SimpleNamespace(manifest=dataclasses.replace(package.manifest, meanings=means))
    found = home_assistant.config(made, TERMS)
    render = jinja2.sandbox.ImmutableSandboxedEnvironment().from_string

    def states(top, values):
        result = {"top": [{"label": label, "score": 1.0} for label in top], "values": values}
        result |= {"label": top[0] if top else None, "score": 1.0 if top else None}
        templates = {
            name: entity["value_template"]
            for name, entity in found["components"].items()
            if entity["state_topic"] == topic(topics.Kind.RESULTS)
        }
        return {name: render(template).render(value_json=result) for name, template in templates.items()}

    return states


def test_a_regression_is_announced_by_its_numbers(tiny_package):
    states = announced(tiny_package, Meaning.VALUES)
    shown = {"value0": "1.5", "value1": "2.5", "value2": "3.5", "value3": "-1.0"}
    assert states((), {"c": [1.5, 2.5, 3.5, -1.0]}) == shown


def test_of_independent_labels_all_that_hold_are_the_state(tiny_package):
    states = announced(tiny_package, Meaning.MULTI_LABEL)
    assert states(("cat", "dog"), None)["label"] == "cat, dog"
    assert states((), None)["label"] == "none"


def topic(kind):
    return topics.topic("d", "n", kind)


def answer(label, score, cut="op000"):
    times = results.Times(*[1.0] * 7)
    top = () if label is None else (results.Score(label, score),)
    return results.Result("n", 7, 0, cut, "9f", times, top=top).as_json()


def test_a_device_and_its_latest_label_appear_without_writing_anything(client, message):
    home = Home(client("home"))
    device = client("n", presence=presence.Presence(topic(topics.Kind.STATUS), 7))
    with home_assistant.Announcer(client("n-b"), "homeassistant", "d", "n", lambda: message):
        home.wait_for(lambda: home.entities)
        home.wait_for(lambda: home.states.get("connection") == "on")
        cloud = client("cloud")
        cloud.publish(topic(topics.Kind.RESULTS), answer("éins", 0.75))
        home.wait_for(lambda: home.states.get("label") == "éins")

        assert home.states["score"] == 0.75
        assert home.attributes["label"]["top"] == [{"label": "éins", "score": 0.75}]
        assert home.attributes["label"]["answered_by"] == "cloud"
        cloud.publish(topic(topics.Kind.RESULTS), answer("éins", 0.5, cut=results.WHOLE))
        home.wait_for(lambda: home.states["score"] == 0.5)
        assert home.attributes["label"]["answered_by"] == "device"
        said = telemetry.Telemetry(7, 0.0, "ok", None, 9.5, {"p50": 12.5}, ())
        cloud.publish(topic(topics.Kind.TELEMETRY), said.as_json(), qos=0)
        home.wait_for(lambda: home.states.get("fps") == 9.5)
        assert home.states["latency"] == 12.5
        assert home.states["problem"] == "off"
        assert home.available == dict.fromkeys(("label", "score", "latency", "fps", "problem"), True)

    device.close()
    home.wait_for(lambda: home.states["connection"] == "off")
    assert not any(home.available.values())


def test_a_cut_that_moves_is_shown_with_its_last_move_and_the_link(client, tiny_package):
    home = Home(client("home"))
    client("n", presence=presence.Presence(topic(topics.Kind.STATUS), 7))
    device = client("n-telemetry")
    message = home_assistant.config(tiny_package, dataclasses.replace(TERMS, adapts=True))
    told = (
        Family("", catalogue.BUILD, (Sample(1, ("0.1", "9f", "op001")),)),
        Family("", catalogue.LINK_BPS, (Sample(2.5e6),)),
    )
    with home_assistant.Announcer(client("n-b"), "homeassistant", "d", "n", lambda: message):
        home.wait_for(lambda: home.states.get("connection") == "on")
        said = telemetry.Telemetry(7, 0.0, "ok", None, 9.5, {"p50": None}, told)
        device.publish(topic(topics.Kind.TELEMETRY), said.as_json(), qos=0)
        home.wait_for(lambda: home.states.get("cut") == "op001")
        assert home.states["link"] == 2.5
        assert home.attributes["cut"] == {}
        moved = telemetry.Moved("op001", "output", "link", 1.5)
        device.publish(topic(topics.Kind.TELEMETRY), dataclasses.replace(said, moved=moved).as_json(), qos=0)
        home.wait_for(lambda: home.attributes["cut"])
        for words in (probes.message(1, 2, b"filling"), siblings.Figures(b"12345678", 0).encode()):
            device.publish(topic(topics.Kind.TELEMETRY), words, qos=0)

    assert home.attributes["cut"] == {"before": "op001", "after": "output", "reason": "link", "ago_s": 1.5}


def test_a_device_that_stays_at_its_cut_has_no_such_entities(message):
    assert not {"cut", "link"} & set(message["components"])


def test_a_label_that_nobody_renews_is_not_shown_as_if_it_were_fresh(client, message):
    """The cloud dies: the edge's telemetry names it, and label and score turn unavailable until answers come again."""
    home = Home(client("home"))
    client("n", presence=presence.Presence(topic(topics.Kind.STATUS), 7))
    cloud = client("cloud")

    def tell(state, why):
        said = telemetry.Telemetry(7, 0.0, state, why, 0.0, {"p50": None}, ())
        cloud.publish(topic(topics.Kind.TELEMETRY), said.as_json(), qos=0)

    with home_assistant.Announcer(client("n-b"), "homeassistant", "d", "n", lambda: message):
        home.wait_for(lambda: home.states.get("connection") == "on")
        tell("ok", None)
        cloud.publish(topic(topics.Kind.RESULTS), answer("cat", 0.75))
        home.wait_for(lambda: home.available.get("label") and home.states.get("label") == "cat")
        tell("not ready", "no answer came for 12 s")
        home.wait_for(lambda: home.states["problem"] == "on")

        assert home.attributes["problem"] == {"why": "no answer came for 12 s"}
        assert not home.available["label"]
        assert not home.available["score"]
        assert home.available["fps"]
        tell("ok", None)
        home.wait_for(lambda: home.available["label"])


def test_a_secured_broker_lets_it_through(tiny_package, tmp_path):
    """Home Assistant is a consumer there."""
    with secured_broker.Secured(tmp_path / "deployment") as secured:
        home_client = secured.client("consumer")
        home = Home(home_client)
        made = home_assistant.config(tiny_package, dataclasses.replace(TERMS, deployment="plant1", device="cam1"))
        with home_assistant.Announcer(secured.client("cam1"), "homeassistant", "plant1", "cam1", lambda: made):
            home.wait_for(lambda: home.entities)
            results_of = topics.topic("plant1", "cam1", topics.Kind.RESULTS)
            secured.client("cloud").publish(results_of, answer("cat", 0.5))
            home.wait_for(lambda: home.states.get("label") == "cat")

            def comes_up():
                home_client.publish("homeassistant/status", b"online")
                return home.discoveries > 1

            home.wait_for(comes_up)


@pytest.fixture
def home(client, message):
    """A Home Assistant that knows an announced device."""
    made = Home(client("home"))
    with home_assistant.Announcer(client("n-b"), "homeassistant", "d", "n", lambda: message):
        made.wait_for(lambda: made.entities)
        yield made


def test_what_has_no_label_leaves_the_latest(client, home):
    """Refusals on results, probes of the link on telemetry."""
    speaking = client("cloud")
    said = telemetry.Telemetry(7, 0.0, "ok", None, 9.5, {"p50": None}, ())
    speaking.publish(topic(topics.Kind.RESULTS), answer("cat", 0.5))
    speaking.publish(topic(topics.Kind.TELEMETRY), said.as_json())
    speaking.publish(topic(topics.Kind.TELEMETRY), probes.message(1, 2, b"\xff" * 100))
    speaking.publish(topic(topics.Kind.RESULTS), results.Refusal("n", 7, 1, "no such cut", 0.0).as_json())
    home.wait_for(lambda: home.attributes.get("label", {}).get("error") == "no such cut")

    assert (home.states["label"], home.states["score"]) == ("cat", 0.5)
    assert (home.states["fps"], home.states["latency"]) == (9.5, None)


def test_a_model_without_classes_has_no_label(client, home):
    client("cloud").publish(topic(topics.Kind.RESULTS), answer(None, None))
    home.wait_for(lambda: "label" in home.states)

    assert (home.states["label"], home.states["score"]) == (None, None)


def test_it_is_announced_again_when_home_assistant_comes_up(client, message):
    listening = client("listening")
    listening.subscribe("homeassistant/device/#")
    with home_assistant.Announcer(client("n-b"), "homeassistant", "d", "n", lambda: message):
        first = listening.receive(WAIT_S)
        home = client("home")
        again, pause = None, threading.Event()
        while again is None:  # until it listens
            home.publish("homeassistant/status", b"online")
            again = listening.receive(0.5)
            pause.wait(0.01)

    assert first.payload == again.payload
    assert first.topic == "homeassistant/device/tflsplit-d-n/config"


def test_it_is_announced_again_to_a_broker_that_forgot_it(message):
    network = memory.MemoryBroker()
    listening, ours = (memory.MemoryTransport(network, client_id=name) for name in ("listening", "n-b"))
    listening.connect()
    ours.connect()
    listening.subscribe("homeassistant/device/#")
    with home_assistant.Announcer(ours, "homeassistant", "d", "n", lambda: message):
        first = listening.receive(WAIT_S)
        network.stop()
        network.start()
        assert listening.receive(WAIT_S).payload == first.payload


def test_entities_of_another_package_go_also_after_a_restart(client, tiny_package, message):
    """Home Assistant keeps what a later message leaves out."""
    home = Home(client("home"))
    numbers = types.SimpleNamespace(manifest=dataclasses.replace(tiny_package.manifest, meanings=(Meaning.VALUES,)))
    running = [tiny_package]
    described = home_assistant.Described(lambda: running[0], TERMS)
    with home_assistant.Announcer(client("n-b"), "homeassistant", "d", "n", described):
        home.wait_for(lambda: "label" in home.entities)
        running[0] = numbers
        home.wait_for(lambda: "value0" in home.entities)
    assert "label" not in home.entities

    with home_assistant.Announcer(client("n-b2"), "homeassistant", "d", "n", lambda: message):
        home.wait_for(lambda: "label" in home.entities)
        home.wait_for(lambda: "value0" not in home.entities)
    late = Home(client("late"))
    late.wait_for(lambda: late.entities)
    assert set(late.entities) == set(message["components"])


def test_a_picture_that_is_shared_is_shown(client, tiny_package):
    home = Home(client("home"))
    made = home_assistant.config(tiny_package, dataclasses.replace(TERMS, shares_pictures=True))
    with home_assistant.Announcer(client("n-b"), "homeassistant", "d", "n", lambda: made):
        home.wait_for(lambda: "picture" in home.entities)
        client("n").publish(topic(topics.Kind.PICTURE), b"\xff\xd8jpeg", qos=0)
        home.wait_for(lambda: home.states.get("picture") == b"\xff\xd8jpeg")

    assert home.entities["picture"]["content_type"] == "image/jpeg"


def test_an_empty_retained_message_takes_the_device_away(client, message):
    home = Home(client("home"))
    with home_assistant.Announcer(client("n-b"), "homeassistant", "d", "n", lambda: message):
        home.wait_for(lambda: home.entities)
    client("person").publish(topics.discovery("d", "n"), b"", retain=True)
    home.wait_for(lambda: not home.entities)

    late = client("late")
    late.subscribe("homeassistant/#")
    late.subscribe(topic(topics.Kind.CONTROL))
    client("sentinel").publish(topic(topics.Kind.CONTROL), b"sentinel")
    assert late.receive(WAIT_S).payload == b"sentinel"


def test_it_may_be_offline_at_first(message):
    network = memory.MemoryBroker()
    listening = memory.MemoryTransport(network, client_id="listening")
    listening.connect()
    listening.subscribe("ha/#")
    away = memory.MemoryTransport(network, client_id="away")
    away.connect()
    network.cut("away")
    with home_assistant.Announcer(away, "ha", "d", "n", lambda: message):
        assert listening.receive(0.05) is None
        network.restore("away")

        assert listening.receive(WAIT_S).topic == "ha/device/tflsplit-d-n/config"
    for transport in (away, listening):
        transport.close()


def test_two_devices_have_nothing_in_common(tiny_package, message):
    other = home_assistant.config(tiny_package, dataclasses.replace(TERMS, device="m"))
    ours, theirs = (
        {entity["unique_id"] for entity in each["components"].values()} | set(each["device"]["identifiers"])
        for each in (message, other)
    )

    assert not ours & theirs
    assert len(ours) == len(message["components"]) + 1


@pytest.mark.parametrize("prefix", ["", "a b", "/homeassistant", "home#", "+", "digits.tflsplit"])
def test_a_prefix_that_is_no_topic_is_refused(prefix):
    with pytest.raises(errors.SettingsError, match="discovery prefix"):
        home_assistant.check_prefix(prefix)


def test_the_announcement_is_small(tmp_path):
    package = tiny_models.write_package(tmp_path / "t.tflsplit", tiny_models.residual_model())
    made = home_assistant.config(package, dataclasses.replace(TERMS, deployment="d" * 64, device="n" * 64))

    assert len(json.dumps(made)) < 8000

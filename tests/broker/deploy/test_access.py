"""What each identity may do at a real Mosquitto, and that it may do nothing else."""

import dataclasses
import random
import socket

import pytest
import secured_broker
from secured_broker import SOON_S

from broker.deploy import folder
from broker.deploy.ledger import Proof
from broker.local import server
from broker.mqtt import connection
from broker.mqtt.connection import Version
from broker.transport import credentials
from broker.transport.protocol import Drop
from tflsplit import errors
from tflsplit.cli.options import connection as options_connection

pytestmark = pytest.mark.skipif(server.mosquitto_path() is None, reason="mosquitto is not installed")

ROOT = "tflsplit/v1/plant1"

MAY = [
    # writer, topic, readers
    ("cam1", "cam1/features", ("cloud", "cloud2")),
    ("cam1", "cam1/status", ("cloud", "consumer")),
    ("cam1", "cam1/birth", ("cloud", "consumer")),
    ("cam1", "cam1/telemetry", ("cloud", "consumer")),
    ("cloud", "cam1/results", ("cam1", "consumer", "operator")),
    ("cloud2", "cam1/results", ("cam1", "consumer")),
    ("cloud", "cam1/acks", ("cam1",)),
    ("cloud", "cam1/dead", ("consumer", "operator")),
    ("operator", "cam1/control", ("cam1",)),
    ("cam1", "cam1/birth", ("operator",)),
    ("cloud", "cam1/control", ("cam1",)),
    ("cloud", "cloud/status", ("cloud2", "consumer")),
    ("cloud", "cloud/serves", ("cam1", "cam2", "cloud2", "consumer", "operator")),
    ("cam1", "cam1/status", ("cam1",)),
]

HOME_MAY = [
    ("cam1", "homeassistant/device/tflsplit-plant1-cam1/config", ("consumer",)),
    ("consumer", "homeassistant/status", ("cam1", "cam2")),
]

MAY_NOT_WRITE = [
    ("cam1", f"{ROOT}/cam2/features"),
    ("cam1", f"{ROOT}/cam10/features"),
    ("cam10", f"{ROOT}/cam1/features"),
    ("cam1", f"{ROOT}/cam2/status"),
    ("cam1", f"{ROOT}/cloud/status"),
    ("cam1", f"{ROOT}/cloud/serves"),
    ("cam1", f"{ROOT}/cam1/serves"),
    ("cloud", f"{ROOT}/cloud2/serves"),
    ("cam1", f"{ROOT}/cam2/birth"),
    ("cam1", f"{ROOT}/cam1/results"),
    ("cam1", f"{ROOT}/cam2/results"),
    ("cam1", f"{ROOT}/cam1/control"),
    ("cam1", f"{ROOT}/cam1/acks"),
    ("cam1", f"{ROOT}/cam1/dead"),
    ("cam1", f"{ROOT}/cam1"),
    ("cam1", f"{ROOT}/cam1/features/more"),
    ("cam1", f"{ROOT}/cam1/other"),
    ("cam1", f"/{ROOT}/cam1/features"),
    ("cam1", "tflsplit/v1/plant2/cam1/features"),
    ("cam1", "tflsplit/v2/plant1/cam1/features"),
    ("cam1", "anything"),
    ("cam1", "$SYS/broker/uptime"),
    ("cam1", "homeassistant/device/tflsplit-plant1-cam2/config"),
    ("cam1", "homeassistant/device/tflsplit-plant1-cam10/config"),
    ("cam1", "homeassistant/device/tflsplit-plant1-cam1/state"),
    ("cam1", "homeassistant/sensor/tflsplit-plant1-cam1/config"),
    ("cam1", "homeassistant/status"),
    ("cloud", "homeassistant/device/tflsplit-plant1-cam1/config"),
    ("cloud", "homeassistant/status"),
    ("consumer", "homeassistant/device/tflsplit-plant1-cam1/config"),
    ("operator", "homeassistant/status"),
    ("cloud", f"{ROOT}/cam1/features"),
    ("cloud", f"{ROOT}/cam1/status"),
    ("cloud", f"{ROOT}/cam1/birth"),
    ("cloud", f"{ROOT}/cloud2/status"),
    ("cloud", f"{ROOT}/cam1/more/results"),
    ("cloud", "tflsplit/v1/plant2/cam1/results"),
    ("consumer", f"{ROOT}/cam1/results"),
    ("consumer", f"{ROOT}/cam1/control"),
    ("consumer", f"{ROOT}/consumer/status"),
    ("consumer", f"{ROOT}/cam1/acks"),
    ("operator", f"{ROOT}/cam1/results"),
    ("operator", f"{ROOT}/cam1/features"),
    ("operator", f"{ROOT}/cam1/acks"),
]

MAY_NOT_READ = [
    # reader, its subscription, and who writes what then
    ("cam1", f"{ROOT}/cam2/results", ("cloud", f"{ROOT}/cam2/results")),
    ("cam1", f"{ROOT}/cam2/control", ("cloud", f"{ROOT}/cam2/control")),
    ("cam1", f"{ROOT}/cam2/acks", ("cloud", f"{ROOT}/cam2/acks")),
    ("cam1", f"{ROOT}/cam1/dead", ("cloud", f"{ROOT}/cam1/dead")),
    ("operator", f"{ROOT}/+/features", ("cam1", f"{ROOT}/cam1/features")),
    ("cam1", f"{ROOT}/+/results", ("cloud", f"{ROOT}/cam2/results")),
    ("cam1", f"{ROOT}/cam2/#", ("cam2", f"{ROOT}/cam2/features")),
    ("cam1", "#", ("cam2", f"{ROOT}/cam2/features")),
    ("cam1", "#", ("cam2", f"{ROOT}/cam2/status")),
    ("cam1", "+/+/+/+/+", ("cam2", f"{ROOT}/cam2/birth")),
    ("cam1", f"$share/group/{ROOT}/+/features", ("cam2", f"{ROOT}/cam2/features")),
    ("cam1", f"{ROOT}/cam1/features", ("cam1", f"{ROOT}/cam1/features")),
    ("cam1", "$SYS/#", ("cam2", f"{ROOT}/cam2/telemetry")),
    ("cam2", "homeassistant/#", ("cam1", "homeassistant/device/tflsplit-plant1-cam1/config")),
    ("operator", "homeassistant/#", ("cam1", "homeassistant/device/tflsplit-plant1-cam1/config")),
    ("cloud", "#", ("cloud2", f"{ROOT}/cam1/results")),
    ("cloud", f"{ROOT}/#", ("cloud", f"{ROOT}/cam1/control")),
    ("cloud", "$SYS/#", ("cloud2", f"{ROOT}/cam1/results")),
    ("consumer", "#", ("cam1", f"{ROOT}/cam1/features")),
    ("consumer", f"{ROOT}/+/control", ("cloud", f"{ROOT}/cam1/control")),
    ("consumer", "$SYS/#", ("cam1", f"{ROOT}/cam1/features")),
]

# What a reader certainly may read, and who writes it: when that arrives, what was sent before it would have, too.
SENTINELS = {
    "cam1": ("cloud", f"{ROOT}/cam1/control"),
    "cam2": ("cloud", f"{ROOT}/cam2/control"),
    "cloud": ("cam1", f"{ROOT}/cam1/features"),
    "consumer": ("cloud", f"{ROOT}/cam1/results"),
    "operator": ("cam1", f"{ROOT}/cam1/birth"),
}


@pytest.fixture(scope="module", params=Proof, ids=lambda proof: proof.value)
def secured(request, tmp_path_factory):
    path = tmp_path_factory.mktemp("secured") / "deployment"
    with secured_broker.Secured(path, proof=request.param) as running:
        yield running


@pytest.mark.parametrize(
    ("writer", "topic", "readers"),
    [*((writer, f"{ROOT}/{topic}", readers) for writer, topic, readers in MAY), *HOME_MAY],
)
def test_what_is_allowed_arrives(secured, writer, topic, readers):
    listening = [secured.client(reader) for reader in readers]
    for reader in listening:
        reader.subscribe(topic)
    speaking = secured.client(writer)
    speaking.publish(topic, b"x")

    assert speaking.flush(SOON_S)
    assert not any(speaking.counters.dropped.values())
    assert [reader.receive(SOON_S).payload for reader in listening] == [b"x"] * len(listening)


@pytest.mark.parametrize("version", Version, ids=str)
@pytest.mark.parametrize(("writer", "topic"), MAY_NOT_WRITE)
def test_what_may_not_be_written_reaches_nobody(secured, writer, topic, version):
    observer = secured.client("observer")
    observer.subscribe("#")
    speaking = secured.client(writer, version=version)
    for qos in (0, 1):
        speaking.publish(topic, b"forbidden", qos=qos, retain=True)
    assert speaking.flush(SOON_S)
    secured.client("cam2").publish(f"{ROOT}/cam2/telemetry", b"sentinel")

    assert observer.receive(SOON_S).payload == b"sentinel"
    # Only MQTT 5 has words for a refusal; in 3.1.1 the broker acknowledges and drops.
    assert speaking.counters.dropped[Drop.REFUSED] == (1 if version is Version.MQTT_5 else 0)


@pytest.mark.parametrize("is_retained", [False, True])
@pytest.mark.parametrize(("reader", "topic_filter", "written"), MAY_NOT_READ)
def test_what_may_not_be_read_does_not_arrive(secured, reader, topic_filter, written, is_retained):
    """Mosquitto grants any subscription and looks at each message instead."""
    writer, topic = written
    listening = secured.client(reader)
    speaking = secured.client(writer)
    observer = secured.client("observer")
    observer.subscribe(topic)
    if is_retained:
        speaking.publish(topic, b"secret", retain=True)
    listening.subscribe(topic_filter)
    if not is_retained:
        speaking.publish(topic, b"secret")
    assert observer.receive(SOON_S).payload == b"secret"
    friend, allowed = SENTINELS[reader]
    listening.subscribe(allowed)
    secured.client(friend).publish(allowed, b"sentinel")

    assert listening.receive(SOON_S).payload == b"sentinel"
    if is_retained:
        speaking.publish(topic, b"", retain=True)
        assert speaking.flush(SOON_S)


@pytest.mark.parametrize(("name", "arrives"), [("cam2", False), ("cam1", True)])
def test_last_will_on_anothers_topic_is_not_published(secured, name, arrives):
    observer = secured.client("observer")
    observer.subscribe(f"{ROOT}/+/status")
    observer.subscribe(f"{ROOT}/+/telemetry")
    bundle = secured.bundle("cam1")
    dying = connection.Connection(
        connection.Options(
            bundle.address,
            "dying",
            Version.MQTT_5,
            keepalive_s=30,
            clean_start=True,
            session_expiry_s=0,
            receive_maximum=10,
            max_packet_bytes=1000,
            connect_timeout_s=SOON_S,
            password=bundle.credentials.password,
            tls=bundle.credentials.ssl_context(),
            will=(f"{ROOT}/{name}/status", b"will"),
        ),
        number=1,
    )
    assert dying.open() is None
    waker, wakee = socket.socketpair()
    with waker, wakee:
        while not any(isinstance(event, connection.Accepted) for event in dying.step(SOON_S, wakee)):
            pass
    dying.drop()
    if not arrives:
        secured.wait_until_gone("dying")
        secured.client("cam2").publish(f"{ROOT}/cam2/telemetry", b"sentinel")

    assert observer.receive(SOON_S).payload == (b"will" if arrives else b"sentinel")


def test_session_of_another_client_id_gives_nothing_away(secured):
    owner = secured.client("cam2", client_id="durable", session_expiry_s=3600)
    owner.subscribe(f"{ROOT}/cam2/results")
    owner.close()
    secured.client("cloud").publish(f"{ROOT}/cam2/results", b"secret")
    thief = secured.client("cam1", client_id="durable", session_expiry_s=3600)
    thief.subscribe(f"{ROOT}/cam1/control")
    secured.client("cloud").publish(f"{ROOT}/cam1/control", b"sentinel")

    assert thief.receive(SOON_S).payload == b"sentinel"


def test_client_id_of_another_cannot_be_found_out(secured):
    """Whoever takes an id disconnects its owner. All that others may read is put together, as once was enough."""
    observer = secured.client("observer")
    observer.subscribe("#")
    where = options_connection.Broker(folder=secured.path / "clients" / "cam2")
    boot = options_connection.new_boot()
    with options_connection.connected(where, "plant1", "cam2", boot) as owner:
        said = iter(lambda: observer.receive(SOON_S).payload, b"sentinel")
        assert any(f"{boot:016x}".encode() in payload for payload in said)
        old = f"tflsplit-plant1-cam2-{boot & 0xFFFF:04x}"
        for guess in (old, f"{old}-b", "tflsplit-plant1-cam2", f"tflsplit-plant1-cam2-{boot:016x}"):
            secured.client("cam1", client_id=guess)
        owner.publish(f"{ROOT}/cam2/telemetry", b"sentinel")

        assert not any(b"offline" in payload for payload in said)
        assert owner.counters.reconnects == 0


def test_user_name_is_what_was_proven_not_what_was_said(tmp_path):
    with secured_broker.Secured(tmp_path / "deployment") as secured:
        observer = secured.client("observer")
        observer.subscribe("#")
        where = dataclasses.replace(secured.bundle("cam1").address, user="cam2")
        liar = secured.client("cam1", at=where, client_id=f"cam2-{random.Random(0).random()}")
        liar.publish(f"{ROOT}/cam2/features", b"forbidden")
        liar.publish(f"{ROOT}/cam1/features", b"own")
        assert liar.flush(SOON_S)

        assert observer.receive(SOON_S).payload == b"own"
        assert liar.counters.dropped[Drop.REFUSED] == 1


def test_topics_of_other_programs_are_for_whom_they_are_allowed_and_may_be_taken_back(secured):
    snapshot = "frigate/front door/person/snapshot"
    folder.add(secured.path, ["frigate"], role=credentials.Role.GUEST)
    folder.allow(secured.path, ["frigate"], reads=("frigate/#",), writes=("frigate/#",))
    folder.allow(secured.path, ["cam1"], reads=("frigate/+/person/snapshot",), writes=())
    secured.reload()
    reading = {name: secured.client(name) for name in ("cam1", "cam2", "frigate")}
    for name, each in reading.items():
        each.subscribe("frigate/+/person/snapshot" if name == "cam1" else "frigate/#")

    def said(payload):
        speaking = secured.client("frigate")
        speaking.publish(f"{ROOT}/cam1/features", payload)
        speaking.publish(snapshot, payload)
        assert speaking.flush(SOON_S)
        assert reading["frigate"].receive(SOON_S).payload == payload

    said(b"1")
    assert reading["cam1"].receive(SOON_S).payload == b"1"
    folder.allow(secured.path, ["cam1"], reads=(), writes=())
    secured.reload()
    said(b"2")
    end = secured.client("cloud")
    for name in ("cam1", "cam2"):
        reading[name].subscribe(f"{ROOT}/{name}/control")
        end.publish(f"{ROOT}/{name}/control", b"end")
        assert reading[name].receive(SOON_S).payload == b"end"


@pytest.mark.parametrize(
    "wrong",
    ["", "#", "+/x", "tflsplit/#", "tflsplit/v1/plant1/cam2/features", "$SYS/#", "a\ntopic read #", "a/b#", "a/#/b"],
)
def test_what_a_deployment_says_is_ruled_by_roles_alone(tmp_path, wrong):
    folder.init(tmp_path / "d", folder.Wanted(("cam1",)), deployment="d", hosts=("localhost",))
    before = (tmp_path / "d/server/access.acl").read_text()

    with pytest.raises(errors.SettingsError, match="topic"):
        folder.allow(tmp_path / "d", ["cam1"], reads=(wrong,), writes=())
    assert (tmp_path / "d/server/access.acl").read_text() == before

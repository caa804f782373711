"""Who is let in at all by a secured Mosquitto, and whom a client takes for the broker."""

import dataclasses
import datetime
import json
import pathlib
import socket
import ssl
import time

import pytest
import secured_broker
import waiting
from click.testing import CliRunner
from secured_broker import SOON_S

from broker.deploy import authority, folder
from broker.deploy.ledger import Proof
from broker.local import server
from broker.messages import presence, topics
from broker.mqtt import connection
from broker.transport.address import Address, Credentials
from broker.transport.protocol import ConnectionState
from tflsplit import errors
from tflsplit.cli import main
from tflsplit.cli.commands.broker import listing

pytestmark = pytest.mark.skipif(server.mosquitto_path() is None, reason="mosquitto is not installed")

ROOT = "tflsplit/v1/plant1"
NOW = datetime.datetime.now(datetime.timezone.utc)


@pytest.fixture(scope="module")
def secured(tmp_path_factory):
    with secured_broker.Secured(tmp_path_factory.mktemp("secured") / "deployment") as running:
        yield running


@pytest.fixture
def fresh(tmp_path):
    """A deployment of the test's own, to change."""
    with secured_broker.Secured(tmp_path / "deployment") as running:
        yield running


@pytest.fixture(scope="module")
def with_passwords(tmp_path_factory):
    path = tmp_path_factory.mktemp("passwords") / "deployment"
    with secured_broker.Secured(path, proof=Proof.PASSWORD) as running:
        yield running


def signer(secured):
    place = secured.path / "authority"
    return authority.Pair((place / "ca.crt").read_bytes(), (place / "ca.key").read_bytes())


def shown(secured, tmp_path, pair):
    """Credentials with this certificate, and with the right authority to trust."""
    (tmp_path / "shown.crt").write_bytes(pair.certificate)
    (tmp_path / "shown.key").write_bytes(pair.key)
    ours = secured.bundle("cam1").credentials
    return dataclasses.replace(ours, certificate=tmp_path / "shown.crt", key=tmp_path / "shown.key")


def no_certificate(secured, tmp_path):
    return Credentials(ca=secured.bundle("cam1").credentials.ca)


def a_password_only(secured, tmp_path):
    return Credentials(password="guessed", ca=secured.bundle("cam1").credentials.ca)


def of_an_authority_of_the_same_name(secured, tmp_path):
    other = authority.make(secured_broker.DEPLOYMENT, NOW)
    return shown(secured, tmp_path, authority.issue_client(other, "cam1", NOW, days=10))


def expired(secured, tmp_path):
    then = NOW - datetime.timedelta(days=20)
    return shown(secured, tmp_path, authority.issue_client(signer(secured), "cam1", then, days=10))


def not_valid_yet(secured, tmp_path):
    then = NOW + datetime.timedelta(days=20)
    return shown(secured, tmp_path, authority.issue_client(signer(secured), "cam1", then, days=10))


def made_for_a_server(secured, tmp_path):
    return shown(secured, tmp_path, authority.issue_server(signer(secured), ["cam1"], NOW, days=10))


def signed_by_a_device(secured, tmp_path):
    bundle = secured.bundle("cam2").credentials
    device = authority.Pair(bundle.certificate.read_bytes(), bundle.key.read_bytes())
    return shown(secured, tmp_path, authority.issue_client(device, "cam1", NOW, days=10))


@pytest.mark.parametrize(
    "make",
    [
        no_certificate,
        a_password_only,
        of_an_authority_of_the_same_name,
        expired,
        not_valid_yet,
        made_for_a_server,
        signed_by_a_device,
    ],
    ids=lambda make: make.__name__,
)
def test_whoever_cannot_prove_a_name_is_kept_out(secured, tmp_path, make):
    where = dataclasses.replace(secured.bundle("cam1").address, user="cam1")

    with pytest.raises(errors.BrokerError, match="a broker that does not accept our certificate, or wants one, hangs"):
        secured.client("cam1", at=where, shown=make(secured, tmp_path))


@pytest.mark.parametrize("version", connection.Version, ids=str)
def test_broker_tells_its_limits(secured, version):
    bundle = secured.bundle("cam1")
    options = connection.Options(
        bundle.address,
        "limits",
        version,
        keepalive_s=30,
        clean_start=True,
        session_expiry_s=0,
        receive_maximum=10,
        max_packet_bytes=1000,
        connect_timeout_s=SOON_S,
        tls=bundle.credentials.ssl_context(),
    )
    told = connection.Connection(options, number=1)
    assert told.open() is None
    waker, wakee = socket.socketpair()
    with waker, wakee:
        while not (events := told.step(SOON_S, wakee)):
            pass
    told.close()

    is_telling = version is connection.Version.MQTT_5
    assert events == [connection.Accepted(False, *((1280, 2_000_000) if is_telling else (None, None)))]


def test_nobody_is_let_in_without_encryption(secured):
    with pytest.raises(errors.BrokerError):
        secured.client("cam1", at=Address("localhost", secured.port, "cam1"), shown=Credentials())


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1 is deprecated")
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_1, ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_tls_is_1_2_or_newer(secured, version):
    context = secured.bundle("cam1").credentials.ssl_context()
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = context.maximum_version = version

    def handshake():
        with (
            socket.create_connection(("localhost", secured.port), SOON_S) as plain,
            context.wrap_socket(plain, server_hostname="localhost"),
        ):
            pass

    if version is ssl.TLSVersion.TLSv1_1:
        with pytest.raises(ssl.SSLError, match=r"(?i)protocol.version"):
            handshake()
    else:
        handshake()


def test_certificates_pass_the_strictest_check(secured):
    """The one that Python makes by default from 3.13 on."""
    context = secured.bundle("cam1").credentials.ssl_context()
    context.verify_flags |= ssl.VERIFY_X509_STRICT | ssl.VERIFY_X509_PARTIAL_CHAIN

    with (
        socket.create_connection(("localhost", secured.port), SOON_S) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as encrypted,
    ):
        assert encrypted.getpeercert() is not None


@pytest.mark.parametrize("user", ["cam1", "cam2", None])
def test_wrong_password_is_refused(with_passwords, user):
    bundle = with_passwords.bundle("cam1")
    where = dataclasses.replace(bundle.address, user=user)
    wrong = dataclasses.replace(bundle.credentials, password="wrong" if user == "cam1" else bundle.credentials.password)

    with pytest.raises(errors.BrokerError, match=r"refused: (Not authorized|Bad user name or password)"):
        with_passwords.client("cam1", at=where, shown=wrong)


def test_broker_of_another_name_is_not_trusted(secured):
    elsewhere = dataclasses.replace(secured.bundle("cam1").address, host="127.0.0.2")

    with pytest.raises(errors.BrokerError, match="certificate not trusted: IP address mismatch"):
        secured.client("cam1", at=elsewhere)


def test_broker_of_another_authority_is_not_trusted(secured, tmp_path):
    ca = tmp_path / "other.crt"
    ca.write_bytes(authority.make("other", NOW).certificate)
    ours = dataclasses.replace(secured.bundle("cam1").credentials, ca=ca)

    with pytest.raises(errors.BrokerError, match="certificate not trusted"):
        secured.client("cam1", shown=ours)


def test_device_cannot_pass_for_the_broker(tmp_path):
    """Its certificate is good, and it can have the broker's name for its own; it still is no server's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(secured_broker, "DEVICES", ("localhost", "cam1"))
        with secured_broker.Secured(tmp_path / "deployment") as secured:
            device = secured.path / "clients" / "localhost"
            for name in ("server.crt", "server.key"):
                (secured.path / "server" / name).write_bytes((device / name.replace("server", "client")).read_bytes())
            secured.reload()

            with pytest.raises(errors.BrokerError, match="certificate not trusted: unsuitable certificate purpose"):
                secured.client("cam1")


def kept(secured, name):
    """A copy of what a client was given, as it would have it."""
    held = secured.bundle(name).credentials
    copies = {}
    for field in ("certificate", "key"):
        source = getattr(held, field)
        copies[field] = secured.path.parent / f"kept-{name}-{source.name}"
        copies[field].write_bytes(source.read_bytes())
    ca = pathlib.Path(secured.path.parent / "kept-ca.crt")
    ca.write_bytes(held.ca.read_bytes())
    return Credentials(ca=ca, **copies), secured.bundle(name).address


def check_refused(secured, name, shown, where):
    with pytest.raises(errors.BrokerError, match="does not accept our certificate"):
        secured.client(name, at=where, shown=shown)


def test_revoked_device_is_shut_out(fresh):
    stolen, where = kept(fresh, "cam1")
    present, cloud = fresh.client("cam1"), fresh.client("cloud")
    present.subscribe(f"{ROOT}/cam1/results")
    folder.revoke(fresh.path, ["cam1"])
    fresh.reload()

    check_refused(fresh, "thief", stolen, where)
    present.publish(f"{ROOT}/cam1/features", b"x")
    assert present.flush(SOON_S)
    assert present.counters.acknowledged == 0
    cloud.publish(f"{ROOT}/cam1/results", b"secret")
    assert cloud.flush(SOON_S)
    present.subscribe(f"{ROOT}/cam1/control")  # answered after the result would have been sent
    assert present.receive(0.0) is None
    assert fresh.client("cam2").state is ConnectionState.ONLINE


def test_restart_of_the_broker_ends_what_a_stolen_key_had_opened(fresh):
    """After a rotation the name is still good, and Mosquitto looks at a certificate only when a connection begins."""
    stolen, where = kept(fresh, "cam1")
    thief = fresh.client("thief", at=where, shown=stolen)
    folder.rotate(fresh.path, ["cam1"])
    fresh.reload()
    assert thief.state is ConnectionState.ONLINE
    fresh.kill()
    fresh.start()
    fresh.client("cam1")

    check_refused(fresh, "thief", stolen, where)
    assert thief.state is not ConnectionState.ONLINE


def test_revoked_password_is_shut_out(tmp_path):
    with secured_broker.Secured(tmp_path / "deployment", proof=Proof.PASSWORD) as secured:
        held = secured.bundle("cam1")
        kept_proof = dataclasses.replace(held.credentials, ca=secured.bundle("cam2").credentials.ca)
        folder.revoke(secured.path, ["cam1"])
        secured.reload()

        with pytest.raises(errors.BrokerError, match="refused: Not authorized"):
            secured.client("thief", at=held.address, shown=kept_proof)
        assert secured.client("cam2").state is ConnectionState.ONLINE


def test_two_revocations_in_one_second_both_count(fresh):
    held = [kept(fresh, name) for name in ("cam1", "cam2")]
    for name in ("cam1", "cam2"):
        folder.revoke(fresh.path, [name], now=NOW)
        fresh.reload()

    for stolen, where in held:
        check_refused(fresh, "thief", stolen, where)
    assert fresh.client("cam10").state is ConnectionState.ONLINE


def test_added_device_is_let_in(fresh):
    folder.add(fresh.path, ["cam3"])
    fresh.reload()
    new = fresh.client("cam3")
    new.publish(f"{ROOT}/cam3/features", b"x")

    assert new.flush(SOON_S)
    assert new.counters.acknowledged == 1


def test_rotated_device_is_let_in_with_its_new_certificate_only(fresh):
    old, where = kept(fresh, "cam1")
    folder.rotate(fresh.path, ["cam1"])
    fresh.reload()

    check_refused(fresh, "cam1", old, where)
    assert fresh.client("cam1").state is ConnectionState.ONLINE


def test_old_certificate_is_good_until_the_next_rotation_if_it_is_kept(fresh):
    old, where = kept(fresh, "cam1")
    folder.rotate(fresh.path, ["cam1"], keeps_old=True)
    fresh.reload()
    assert fresh.client("cam1", at=where, shown=old).state is ConnectionState.ONLINE
    assert fresh.client("cam1").state is ConnectionState.ONLINE
    folder.rotate(fresh.path, ["cam1"])
    fresh.reload()

    check_refused(fresh, "cam1", old, where)


def test_rotated_broker_is_trusted_as_before(fresh):
    before = ssl.get_server_certificate(("localhost", fresh.port))
    folder.rotate_server(fresh.path)
    fresh.reload()

    assert ssl.get_server_certificate(("localhost", fresh.port)) != before
    assert fresh.client("cam1").state is ConnectionState.ONLINE


@pytest.mark.chaos
def test_killed_broker_keeps_what_it_saved_for_a_durable_session(fresh):
    topic = f"{ROOT}/cam1/features"
    leaving = fresh.client("cloud", client_id="durable", session_expiry_s=3600)
    leaving.subscribe(topic)
    leaving.close()
    speaking = fresh.client("cam1")
    for number in range(300):
        speaking.publish(topic, b"%d" % number)
    retained = f"{ROOT}/cam1/birth"
    speaking.publish(retained, b"{}", retain=True)
    assert speaking.flush(SOON_S)
    saved = fresh.path / "server" / "data" / "mosquitto.db"
    before_ns = saved.stat().st_mtime_ns if saved.exists() else 0
    waiting.wait_for(lambda: saved.exists() and saved.stat().st_mtime_ns > before_ns)  # every ten seconds
    fresh.kill()
    fresh.start()

    back = fresh.client("cloud", client_id="durable", session_expiry_s=3600)
    got = []
    while len(got) < 300:
        message = back.receive(SOON_S)
        got.append(int(message.payload))
        back.acknowledge(message)
    assert got == list(range(300))
    back.subscribe(retained)
    assert back.receive(SOON_S).payload == b"{}"


def test_the_list_asks_who_was_seen_last(secured):
    def listed(*options):
        done = CliRunner().invoke(main.cli, ["broker", "list", str(secured.path), "--ask", *options])
        assert done.exit_code == 0, done.output
        return done.output

    def begin(name):
        status = topics.topic(secured_broker.DEPLOYMENT, name, topics.Kind.STATUS)
        client = secured.client(name, presence=presence.Presence(status, 7, since_ms=5000))
        client.say_online()
        assert client.flush(SOON_S)
        return client

    before_ms = time.time_ns() // 1_000_000
    begin("cam1").close(timeout_s=SOON_S)
    begin("cam2")
    told = {each["name"]: each for each in json.loads(listed("--json"))["identities"]}
    rows = [set(line.split()) for line in listed().splitlines()]  # names come last where no terminal is

    assert (told["cam1"]["state"], told["cam1"]["reason"]) == ("offline", "closed")
    assert before_ms <= told["cam1"]["last_seen_ms"] <= time.time_ns() // 1_000_000
    assert [told[name]["state"] for name in ("cam2", "cam10", "observer")] == ["online", None, None]
    assert any({"cam2", "online"} <= row for row in rows)
    assert any({"cam10", "never"} <= row for row in rows)
    assert not any({"cam1", "after"} <= row or {"observer", "never"} <= row for row in rows)


def test_the_list_says_who_may_ask_and_of_a_lost_connection_no_more_than_is_known(tmp_path):
    folder.init(tmp_path / "d", folder.Wanted(("cam1",), consumers=()), deployment="d", hosts=("localhost",))
    refused = CliRunner().invoke(main.cli, ["broker", "list", str(tmp_path / "d"), "--ask"])

    assert "--role consumer" in str(refused.exception)
    assert (
        listing._seen("device", presence.Status("offline", 7, 1, "lost", 5000, 3_600_000)) == "after 1970-01-01 01:00"
    )
    assert listing._seen("device", presence.Status("offline", 7, 1, "closed", 5000)) == "after 1970-01-01 00:00"
    assert listing._seen("device", presence.Status("offline", 7, 1, "lost", 10**30)) == "offline"

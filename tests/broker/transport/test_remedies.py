"""A broker that is not reached, or refuses us, says what to do; a clock that is behind is waited for."""

import datetime
import ipaddress
import logging
import socket
import threading
import time

import ports
import pytest
import waiting
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from broker.amqp import address as amqp_address
from broker.links import reachability
from broker.mqtt.connection import Version
from broker.transport import address
from broker.transport.address import Address, Credentials
from broker.transport.protocol import ConnectionState
from tflsplit import errors
from tflsplit.findings import State

SOON_S = waiting.WAIT_S
DAY = datetime.timedelta(days=1)
NOW = datetime.datetime.now(datetime.timezone.utc)


class Authority:
    """Certificates for 127.0.0.1 that begin when they are told to."""

    def __init__(self, folder, *, begins=NOW - DAY):
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "authority")])
        self.file = folder / "authority.pem"
        self._write(self.file, self._signed(self._name, self._key, begins, is_authority=True))

    def certify(self, *, begins):
        """The lines of Mosquitto's configuration for a certificate that replaces the one before."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "broker")])
        self._write(self._folder / "broker.pem", self._signed(name, key, begins, is_authority=False))
        plain = (serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        (self._folder / "broker.key").write_bytes(key.private_bytes(serialization.Encoding.PEM, *plain))
        return f"certfile {self._folder}/broker.pem", f"keyfile {self._folder}/broker.key"

    def _signed(self, name, key, begins, *, is_authority):
        wanted = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(begins)
            .not_valid_after(begins + 90 * DAY)
            .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
            # Python 3.13 is strict and asks for these.
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(_usage(signs=is_authority), critical=True)
        )
        if not is_authority:
            here = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
            wanted = wanted.add_extension(x509.SubjectAlternativeName([here]), critical=False)
        return wanted.sign(self._key, hashes.SHA256())

    @staticmethod
    def _write(path, certificate):
        path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))


def _usage(*, signs):
    names = ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement", "encipher_only")
    others = dict.fromkeys((*names, "decipher_only"), False)
    return x509.KeyUsage(digital_signature=not signs, key_cert_sign=signs, crl_sign=signs, **others)


@pytest.fixture
def early(mosquitto_with, tmp_path):
    """A broker whose certificate begins tomorrow, its address, and what makes it valid."""
    authority, port = Authority(tmp_path), ports.free_port()
    broker = mosquitto_with(f"listener {port} 127.0.0.1", *authority.certify(begins=NOW + DAY))

    def make_valid():
        authority.certify(begins=NOW - DAY)
        broker.reload()

    return Address("127.0.0.1", port, tls=True), Credentials(ca=authority.file), make_valid


def test_a_certificate_that_is_not_valid_yet_is_waited_for_and_told_once(early, join, caplog):
    caplog.set_level(logging.WARNING)  # the states of the connection, told below it, have the reason too
    where, credentials, make_valid = early
    client = join(where, "client", credentials=credentials, is_connected=False)
    client.begin()
    assert client.wait_for(ConnectionState.WAITING, SOON_S)
    client.publish("t", b"kept meanwhile")
    waiting.wait_for(lambda: client._number > 3)
    assert "clock is behind, and is waited for" in client.last_failure
    make_valid()

    assert client.wait_for(ConnectionState.ONLINE, SOON_S)
    assert client.flush(SOON_S)
    assert [record.levelno for record in caplog.records if "clock is behind" in record.getMessage()] == [
        logging.WARNING
    ]


def test_a_service_waits_for_the_clock_while_it_connects_however_long(early, join):
    where, credentials, make_valid = early
    client = join(where, "client", credentials=credentials, is_connected=False)
    patience_s = 3.0  # for the first attempt, on a busy machine
    options = {"timeout_s": patience_s, "waits_for_clock": True}
    connecting = threading.Thread(target=client.connect, kwargs=options, name="connecting")
    until_s = time.monotonic() + patience_s
    connecting.start()
    waiting.wait_for(lambda: client._number > 3 and time.monotonic() > until_s)
    make_valid()
    connecting.join()

    assert client.state is ConnectionState.ONLINE


def test_who_does_not_wait_for_the_clock_is_refused_at_once(early, join):
    where, credentials, _ = early
    with pytest.raises(errors.BrokerError, match="not yet valid; this machine's clock is behind"):
        join(where, "client", credentials=credentials)


def test_doctor_names_a_clock_that_is_behind(early):
    where, credentials, _ = early
    (found,) = reachability.probe(where, credentials=credentials, timeout_s=SOON_S)

    assert found.state is State.WRONG
    assert "certificate is not yet valid" in found.detail
    assert "timedatectl set-ntp true" in found.remedy


def test_doctor_compares_the_clock_with_the_authority_itself(tmp_path):
    behind = Authority(tmp_path, begins=NOW + DAY)
    nobody = Address("127.0.0.1", ports.free_port(), tls=True)
    clock, _ = reachability.probe(nobody, credentials=Credentials(ca=behind.file), timeout_s=SOON_S)

    assert clock.state is State.WRONG
    assert "every certificate is refused" in clock.detail
    assert "timedatectl" in clock.remedy
    assert reachability.clock(Credentials(ca=Authority(tmp_path).file)) == ()


def test_mqtts_at_a_plain_port_names_mqtt(mosquitto, join):
    where = Address("127.0.0.1", mosquitto.address.port, tls=True)
    with pytest.raises(errors.BrokerError, match=rf"without TLS at this port .*mqtt://127.0.0.1:{where.port} then"):
        join(where, "client")


def test_mqtt_at_a_port_with_tls_names_mqtts(mosquitto_with, tmp_path, join):
    port = ports.free_port()
    mosquitto_with(f"listener {port} 127.0.0.1", *Authority(tmp_path).certify(begins=NOW - DAY))
    with pytest.raises(errors.BrokerError, match=rf"wants TLS at this port .*mqtts://127.0.0.1:{port} then"):
        join(Address("127.0.0.1", port), "client")


@pytest.mark.parametrize(
    ("where", "password", "remedy"),
    [
        (Address("h", 1), None, r"give a user \(mqtt://USER@h:1\) and --password-file, or a certificate with --cert"),
        (Address("h", 1, "cam1"), None, "give the password of 'cam1' with --password-file"),
        (Address("h", 1, "cam1"), "wrong", "look at the user or certificate, the password"),
    ],
)
@pytest.mark.parametrize("code", [0x86, 0x87])
def test_a_refusal_names_what_is_missing(request, where, password, remedy, code):
    scripted, join = request.getfixturevalue("scripted"), request.getfixturevalue("join")
    connack = bytes([0x20, 3, 0, code, 0])
    there = scripted(connack, connack).address
    reached = Address(there.host, there.port, where.user)
    with pytest.raises(errors.BrokerError, match=remedy.replace("h:1", str(there))):
        join(reached, "client", credentials=Credentials(password))


@pytest.mark.parametrize("host", ["::1", "[::1", "::1]", "fe80::1%eth0", "2001:db8::1:1883", "[::1:1883"])
@pytest.mark.parametrize("user", ["", "cam1@"])
def test_an_ipv6_address_without_its_brackets_names_them(host, user):
    with pytest.raises(errors.SettingsError, match=r"in brackets, its port behind them: mqtts://\[2001:db8::1\]:8883"):
        address.parse(f"mqtts://{user}{host}")
    with pytest.raises(errors.SettingsError, match=r"in brackets, its port behind them: amqp://\[2001:db8::1\]:5672"):
        amqp_address.parse(f"amqp://{user}{host}")


def test_a_password_in_an_address_names_the_option_for_it():
    with pytest.raises(errors.SettingsError, match="--password-file FILE"):
        address.parse("mqtt://cam1:secret@host")


def test_a_broker_that_is_not_there_has_no_part_in_tls(join):
    with socket.create_server(("127.0.0.1", 0)) as gone:
        where = Address("127.0.0.1", gone.getsockname()[1], tls=True)
    with pytest.raises(errors.BrokerError, match=r"Connection refused$"):
        join(where, "client")


def test_who_is_reached_and_says_nothing_is_not_taken_for_one_that_wants_tls(join):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        where = Address("127.0.0.1", silent.getsockname()[1])
        options = {"keepalive_s": 1, "connect_timeout_s": SOON_S, "version": Version.MQTT_311}
        with pytest.raises(errors.BrokerError, match=r"did not answer: it hangs, or it is no broker$"):
            join(where, "client", **options)

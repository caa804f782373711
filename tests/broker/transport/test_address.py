import contextlib
import shutil
import socket
import ssl
import subprocess

import pytest
import waiting

from broker.transport import address
from broker.transport.address import Address, Credentials
from tflsplit import errors

SOON_S = waiting.WAIT_S


@pytest.mark.parametrize(
    ("url", "parsed"),
    [
        ("mqtt://localhost", Address("localhost", 1883)),
        ("mqtts://broker.example", Address("broker.example", 8883, tls=True)),
        ("mqtt://10.0.0.1:2000/", Address("10.0.0.1", 2000)),
        ("mqtt://[::1]:1884", Address("::1", 1884)),
        ("mqtts://cam%401@host:1", Address("host", 1, "cam@1", tls=True)),
    ],
)
def test_address_is_read(url, parsed):
    assert address.parse(url) == parsed


def test_address_as_text_names_host_and_port_only():
    assert str(Address("::1", 1883)) == "[::1]:1883"
    assert str(Address("h", 1, "user")) == "h:1"


@pytest.mark.parametrize(
    "url",
    ["", "localhost", "localhost:1883", "http://host", "mqtt://", "mqtt://:1883", "mqtt://h:99999", "mqtt://h:x",
     "mqtt://h:0", "mqtt://h/path", "mqtt://h?x=1", "mqtt://[::1"],
)  # fmt: skip
def test_what_is_no_address_is_refused(url):
    with pytest.raises(errors.SettingsError, match="broker '"):
        address.parse(url)


@pytest.mark.parametrize("url", ["mqtt://user:hunter2@host", "mqtts://u:hunter2@host:1", "http://u:hunter2@h"])
def test_password_in_an_address_is_refused_and_not_repeated(url):
    with pytest.raises(errors.SettingsError) as refusal:
        address.parse(url)
    assert "hunter2" not in str(refusal.value)


def test_password_is_not_shown_by_repr():
    assert "hunter2" not in repr(Credentials(password="hunter2"))


def test_missing_certificate_is_named(tmp_path):
    with pytest.raises(errors.SettingsError, match=r"absent\.crt"):
        Credentials(ca=tmp_path / "absent.crt").ssl_context()


@pytest.fixture
def tls_broker(mosquitto_with, tmp_path):
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=localhost"
    names = ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", tmp_path / "key.pem", "-out", tmp_path / "ca.pem"]
    subprocess.run([*command.split(), *names], check=True, capture_output=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    # As root it would give up its rights before it reads the files of this test, which are root's.
    mosquitto_with(f"listener {port} 127.0.0.1", f"certfile {tmp_path}/ca.pem", f"keyfile {tmp_path}/key.pem")
    return Address("127.0.0.1", port, tls=True)


def test_tls_with_our_own_authority(tls_broker, join, tmp_path):
    client = join(tls_broker, "client", credentials=Credentials(ca=tmp_path / "ca.pem"))
    client.subscribe("t")
    payload = bytes(300_000)  # many TLS records: some wait inside the library where poll cannot see them
    for _ in range(5):
        client.publish("t", payload)
    for _ in range(5):
        message = client.receive(SOON_S)
        assert message.payload == payload
        client.acknowledge(message)


def test_untrusted_certificate_is_refused_at_once(tls_broker, join):
    with pytest.raises(errors.BrokerError, match="certificate not trusted: self-signed certificate"):
        join(tls_broker, "client")


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1 is deprecated")
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_1, ssl.TLSVersion.TLSv1_2])
def test_broker_that_has_only_old_tls_is_not_talked_to(tls_broker, tmp_path, version):
    """The certificate is right, and both sides' libraries are allowed all that they know."""
    ours = Credentials(ca=tmp_path / "ca.pem").ssl_context()
    ours.set_ciphers("ALL:@SECLEVEL=0")
    theirs = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    theirs.load_cert_chain(tmp_path / "ca.pem", tmp_path / "key.pem")
    theirs.set_ciphers("ALL:@SECLEVEL=0")
    theirs.minimum_version = theirs.maximum_version = version
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = ours.wrap_bio(incoming, outgoing, server_hostname="127.0.0.1")
    server = theirs.wrap_bio(outgoing, incoming, server_side=True)

    def shake_hands():
        for _ in range(4):
            for side in (client, server):
                with contextlib.suppress(ssl.SSLWantReadError):
                    side.do_handshake()

    if version is ssl.TLSVersion.TLSv1_1:
        with pytest.raises(ssl.SSLError, match=r"(?i)protocol"):
            shake_hands()
    else:
        shake_hands()
        assert client.version() == "TLSv1.2"

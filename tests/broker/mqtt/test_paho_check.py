"""Another paho than the one we know costs speed only: it is noticed, said once, and what it documents still works."""

import os
import pathlib
import re
import shutil
import subprocess
import sys

import paho
import pytest

from broker.mqtt import paho_check
from broker.mqtt.connection import Connection, Version
from broker.mqtt.fast_client import FastClient
from broker.mqtt.fast_connection import FastConnection

PAHO = pathlib.Path(next(iter(paho.__path__)))

# A round trip in a process of its own, over the paho that it finds first.
ROUND_TRIP = """
import logging, sys
from broker.mqtt import paho_check
from broker.mqtt.transport import MqttTransport
from broker.transport.address import Address

logging.basicConfig(level="WARNING", format="%(message)s")
with MqttTransport(Address("127.0.0.1", int(sys.argv[1])), client_id="c") as client:
    client.connect()
    client.subscribe("t")
    for number in range(100):
        client.publish("t", b"%d" % number)
    for number in range(100):
        message = client.receive(20.0)
        client.acknowledge(message)
        assert message.payload == b"%d" % number
    assert client.flush(20.0)
print(paho_check.connection_type(client.version).__name__)
"""


@pytest.fixture(autouse=True)
def _anew():
    """Each test asks anew, and leaves no answer to the next."""
    for remembered in (paho_check.connection_type, paho_check._say):
        remembered.cache_clear()
    yield
    for remembered in (paho_check.connection_type, paho_check._say):
        remembered.cache_clear()


@pytest.mark.parametrize("version", Version)
def test_the_paho_that_is_installed_is_as_expected(version, caplog):
    assert paho_check.connection_type(version) is FastConnection
    assert not caplog.records


@pytest.mark.parametrize(
    "name", ["_create_socket", "_mid_generate", "_last_bytes_received", "_last_msg_out", "_protocol"]
)
def test_a_paho_with_other_private_names_serves_by_what_it_documents(name, mosquitto, tmp_path):
    shutil.copytree(PAHO, tmp_path / "paho")
    client = tmp_path / "paho" / "mqtt" / "client.py"
    client.write_text(re.sub(rf"\b{name}\b", f"{name}_2", client.read_text()))
    path = os.pathsep.join((str(tmp_path), *filter(None, sys.path)))

    done = subprocess.run(
        [sys.executable, "-c", ROUND_TRIP, str(mosquitto.address.port)],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )

    assert (done.returncode, done.stdout) == (0, "Connection\n"), done.stderr
    assert done.stderr.count("paho-mqtt differs") == 1
    assert name in done.stderr


def _write_other_publish(self, topic, payload, qos, **options):
    return _SEND_PUBLISH(self, topic.upper(), payload, qos, **options)


def _write_other_puback(self, mid):
    self._send(b"\x40\3" + mid.to_bytes(2, "big") + b"\0")


def _read_other(self, received, first, begin, end):
    return _TAKE(self, received, first ^ 1, begin, end)


_SEND_PUBLISH, _TAKE = FastClient.send_publish, FastClient._take


@pytest.mark.parametrize(
    ("method", "altered", "what"),
    [
        ("send_publish", _write_other_publish, "PUBLISH as it is written"),
        ("send_puback", _write_other_puback, "PUBACK as it is written"),
        ("_take", _read_other, "PUBACK and PUBLISH as they are read"),
        ("_create_socket", lambda self: 1 / 0, "division by zero"),
    ],
)
def test_a_difference_in_any_packet_is_noticed_and_said_once(monkeypatch, caplog, method, altered, what):
    monkeypatch.setattr(FastClient, method, altered)

    for _ in range(2):
        assert paho_check.connection_type(Version.MQTT_5) is Connection
    (said,) = caplog.records
    assert what in said.getMessage()


def test_a_paho_that_pings_by_another_clock_is_noticed(monkeypatch, caplog):
    monkeypatch.setattr(paho_check.time, "monotonic", lambda: 1e9)

    assert paho_check.connection_type(Version.MQTT_5) is Connection
    assert "PINGREQ" in caplog.text

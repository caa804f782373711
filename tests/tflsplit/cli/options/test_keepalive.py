"""How soon an edge notices a lost connection: by its promise, or as the option says."""

import contextlib

import pytest

from broker.mqtt import online
from edge_runtime.delivery.settings import Delivery, Settings
from tflsplit.cli.options import connection


@pytest.mark.parametrize(
    ("delivery", "given_s", "keepalive_s"),
    [(Delivery.LATEST, None, 5), (Delivery.ALL, None, 20), (Delivery.LATEST, 60, 60), (Delivery.ALL, 3, 3)],
)
def test_the_promise_decides_unless_the_option_does(monkeypatch, delivery, given_s, keepalive_s):
    asked = {}

    @contextlib.contextmanager
    def connected(*_, **options):
        asked.update(options)
        yield

    monkeypatch.setattr(online, "connected", connected)
    broker = connection.Broker(("mqtt://localhost",), keepalive_s=given_s)
    with connection.of_edge(broker, Settings("d", "cam", delivery=delivery), waits=False):
        assert asked["keepalive_s"] == keepalive_s


def test_every_command_that_connects_takes_the_option(run):
    assert "'--keepalive'" in run("edge", "--keepalive", "0").err

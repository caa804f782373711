"""Workers at a secured broker, with the credentials of their deployment, by the calls of the root."""

import threading

import pytest
import secured_broker
import shared_models
import waiting

import tflsplit
from broker.deploy import folder
from broker.local import server
from broker.messages import topics
from broker.transport.credentials import Role
from broker.transport.protocol import Drop
from tflsplit import errors

pytestmark = pytest.mark.skipif(server.mosquitto_path() is None, reason="mosquitto is not installed")

FRAMES = 20


@pytest.fixture(scope="module")
def secured(tmp_path_factory):
    made = secured_broker.Secured(tmp_path_factory.mktemp("secured") / "deployment")
    folder.add(made.path, ("m1", "m2"), role=Role.WORKER)
    with made as running:
        yield running


def test_workers_meet_at_a_secured_broker_and_nobody_else_may_speak_to_them(secured, tmp_path):
    shared = shared_models.write(tmp_path, 2)
    columns = shared_models.inputs(shared.package, FRAMES)
    clients = secured.path / "clients"
    first, other = (tflsplit.Worker(shared.path, credentials=clients / name, once=True) for name in ("m1", "m2"))
    beside = threading.Thread(target=other.run, daemon=True)
    beside.start()
    summary = first.run(columns)
    beside.join(waiting.WAIT_S)
    assert not beside.is_alive()
    assert summary.answered == FRAMES
    assert repr(other) == "<worker m2 of m1, m2: tiny>"

    stranger = secured.client("cam1")
    for name, kind in (("m2", topics.Kind.PARTS), ("m1", topics.Kind.EPOCH), ("m2", topics.Kind.SHARE)):
        stranger.publish(topics.topic(secured_broker.DEPLOYMENT, name, kind), b"x")
    waiting.wait_for(lambda: stranger.counters.dropped[Drop.REFUSED] == 3)


def test_credentials_of_a_device_are_none_of_a_worker(secured, tmp_path):
    shared = shared_models.write(tmp_path, 2)
    with pytest.raises(errors.SettingsError, match="no machine 'cam1' in this placement"):
        tflsplit.Worker(shared.path, credentials=secured.path / "clients" / "cam1")
    with pytest.raises(errors.SettingsError, match="are those of 'cam1'"):
        tflsplit.Worker(shared.path, credentials=secured.path / "clients" / "cam1", name="m1")

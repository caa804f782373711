"""Workers without a broker: they meet at the addresses of the file of machines, with TLS, and by that alone."""

import threading

import int8_networks
import ports
import pytest
import shared_models
import tiny_models
import waiting

pytest.importorskip("zenoh", reason="eclipse-zenoh is not installed; the extra zenoh brings it")

import tflsplit
from broker.deploy import folder as deployments
from broker.messages import results, topics
from broker.transport import credentials
from broker.transport.credentials import Role
from broker.zenoh.transport import ZenohTransport
from tflsplit import errors
from tflsplit.api import distributing
from tflsplit.placement import folder

DEPLOYMENT, FRAMES = "plant1", 20
MACHINES = """
bandwidth = "1Gbit"

[[machine]]
name = "m1"
speed = 1e7
address = "zenohs://127.0.0.1:{}"

[[machine]]
name = "m2"
speed = 1e7
address = "zenohs://127.0.0.1:{}"
"""


@pytest.fixture(scope="module")
def clients(tmp_path_factory):
    made = tmp_path_factory.mktemp("deployment") / "broker"
    deployments.init(made, deployments.Wanted(("cam1",)), deployment=DEPLOYMENT, hosts=("localhost",))
    deployments.add(made, ("m1", "m2", "m3"), role=Role.WORKER)
    return made / "clients"


@pytest.fixture
def at():
    """The ports where both listen."""
    return [ports.free_port() for _ in range(2)]


@pytest.fixture
def shared(tmp_path, at):
    package = tiny_models.write_package(tmp_path / "net.tflsplit", int8_networks.everything(), labels=())
    (tmp_path / "machines.toml").write_text(MACHINES.format(*at))
    found = tflsplit.distribute(package, machines=tmp_path / "machines.toml")
    assert len(found.used) == 2
    distributing.write(found, package, tmp_path / "shared")
    return folder.open_folder(tmp_path / "shared")


def test_workers_meet_at_the_addresses_that_their_folder_states(shared, clients, at):
    columns = shared_models.inputs(shared.package, FRAMES)
    first, other = (
        tflsplit.Worker(shared.path, credentials=clients / name, once=True, raw_outputs=True) for name in ("m1", "m2")
    )
    everyone = f"zenohs://{','.join(f'127.0.0.1:{port}' for port in at)}"
    beside = threading.Thread(target=other.run, daemon=True)
    beside.start()
    proof = credentials.open_bundle(clients / "m3").credentials
    with ZenohTransport(everyone, deployment=DEPLOYMENT, name="m3", credentials=proof) as listener:
        listener.connect(timeout_s=waiting.WAIT_S)
        listener.subscribe(topics.topic(DEPLOYMENT, "m1", topics.Kind.RESULTS))
        summary = first.run(columns)
        found = []
        while len({each.sequence for each in found}) < FRAMES:
            message = listener.receive(waiting.WAIT_S)
            assert message is not None
            listener.acknowledge(message)
            found.append(results.parse(message.payload))
    beside.join(waiting.WAIT_S)
    assert not beside.is_alive()
    assert (summary.answered, summary.unanswered) == (FRAMES, 0)
    shared_models.check(found, shared_models.expected(shared.package, columns))


def test_without_addresses_and_a_broker_nobody_knows_where_to_meet(tmp_path):
    shared = shared_models.write(tmp_path, 2)
    with pytest.raises(errors.SettingsError, match="broker"):
        tflsplit.Worker(shared.path, deployment=DEPLOYMENT, name="m1")

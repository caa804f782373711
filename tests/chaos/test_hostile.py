"""Devices that are shut out or lie, disks that change what they hold, and updates at the wrong moment."""

import random

import chaos
import numpy as np
import pytest
import secured_broker
import tiny_models
import watching

from broker.deploy import folder
from broker.local import server
from broker.messages import topics
from broker.mqtt import transport
from broker.transport import address
from edge_runtime import head, loop
from edge_runtime.delivery.settings import Settings
from edge_runtime.sources import frames
from tflsplit.package import signing

pytestmark = pytest.mark.chaos

SOON = ("--resend-after", "0.5")
FOR_EVER = ("--count", "1000000")


@pytest.mark.parametrize("file", ["frames.sqlite", "frames.sqlite-wal"])
def test_bits_that_flip_on_the_disk_under_a_delivery_lose_what_they_hit_and_it_is_counted(
    deploy, mosquitto, wide_package, file, record_property
):
    flips = 5
    deployment = deploy(mosquitto().url, wide_package)
    reader = deployment.reader()
    deployment.slow_cloud(0.002)
    spool = ("--spool", deployment.spool, "--spool-sync", "none", *SOON)
    edge = deployment.edge(*spool, "--count", "1500")
    reader.wait_for_results(300)
    edge.kill()
    held = deployment.spooled()
    path = deployment.spool / file
    data = bytearray(path.read_bytes())
    for place in random.Random(1).sample(range(4096, len(data)), flips):
        data[place] ^= 1 << place % 8
    path.write_bytes(data)
    lost = held - deployment.spooled()
    # A kill between a row and its tally makes the tally one too low, and one frame that is lost goes uncounted.
    codes = {0, 1} if len(lost) == 1 else {1 if lost else 0}
    summary = deployment.edge(*spool, "--count", "1").done(code=codes)
    reader.wait_for_keys(held - lost)
    reader.wait_for(lambda: len({boot for boot, _ in reader.keys}) == 2)
    deployment.check(reader, held - lost, without=lost - set(reader.keys))

    record_property("lost", len(lost))
    assert len(lost) <= 2 * flips
    assert summary["dropped"].get("damaged", 0) in {len(lost), max(0, len(lost) - 1)}
    assert summary["unanswered"] == 0


@pytest.fixture
def secured(stack, tmp_path):
    if server.mosquitto_path() is None:
        pytest.skip("mosquitto is not installed: apt install mosquitto")
    return stack.enter_context(secured_broker.Secured(tmp_path / "broker"))


@pytest.fixture
def secured_deployment(deploy, secured):
    return deploy(None, name=secured_broker.DEPLOYMENT, clients=secured.path / "clients")


def test_a_device_that_is_revoked_and_let_in_again_loses_nothing_and_stalls_nobody(secured, secured_deployment):
    deployment = secured_deployment
    reader = deployment.reader()
    deployment.cloud()
    first = deployment.edge("--spool", deployment.spool, *SOON, *FOR_EVER, "--rate", "100")
    reader.wait_for_results(50)
    folder.revoke(secured.path, ["cam1"])
    secured.reload()
    first.wait_to_say("no answers")
    other = deployment.edge(*SOON, "--rate", "100", "--count", "100", device="cam2")
    assert other.done()["results"] == 100
    first.kill()
    kept = deployment.spooled()
    assert kept
    folder.add(secured.path, ["cam1"])
    secured.reload()
    summary = deployment.edge("--spool", deployment.spool, *SOON, "--count", "50").done()
    reader.wait_for_keys(kept)
    deployment.check(reader, kept)

    assert (summary["unanswered"], summary["refused"], summary["dropped"]) == (0, 0, {})


def test_a_device_that_forges_and_sends_anything_at_all_changes_nobodys_results(secured, secured_deployment):
    """`cam10` is let in, and says 4,000 things: frames and results in another's name, and mutated ones in its own."""
    deployment = secured_deployment
    reader = deployment.reader()
    cloud = deployment.cloud()
    observer = secured.client("observer")
    mine, others = (topics.topic(deployment.name, name, topics.Kind.FEATURES) for name in ("cam10", "cam1"))
    forged = topics.topic(deployment.name, "cam1", topics.Kind.RESULTS)
    observer.subscribe(others)
    edge = deployment.edge("--spool", deployment.spool, *SOON, "--rate", "100", "--count", "500")
    sound = observer.receive(secured_broker.SOON_S).payload
    liar = secured.client("cam10")
    randomness = random.Random(1)
    for number in range(4000):
        mutant = bytearray(sound)
        for place in randomness.sample(range(len(mutant)), randomness.randrange(1, 4)):
            mutant[place] ^= randomness.randrange(1, 256)
        if number % 8 > 3:
            del mutant[randomness.randrange(len(mutant)) :]
        liar.publish((mine, mine, others, forged)[number % 4], bytes(mutant))
    summary = edge.done()
    reader.wait_for_results(500)
    cloud.terminate()
    served = cloud.done()

    assert (summary["results"], summary["refused"], summary["unanswered"]) == (500, 0, 0)
    deployment.check(reader)
    assert sum(served["refused"].values()) > 0


def test_a_boot_number_that_is_used_again_gets_its_own_results(deploy, mosquitto, tiny_package):
    """With other inputs each time, and a broker that is killed between."""
    broker = mosquitto()
    deployment = deploy(broker.url)
    deployment.cloud()
    for turn in range(4):
        inputs = np.roll(deployment.inputs, turn, axis=0)
        with (
            transport.MqttTransport(address.parse(broker.url), client_id=f"reused-{turn}") as joined,
            head.Head(tiny_package, tiny_package.cut("op000")) as ready,
        ):
            joined.connect()
            settings = Settings(deployment.name, "cam1", 1, drain_s=chaos.PATIENCE_S, resend_after_s=0.5)
            watcher = watching.Watching()
            edge = loop.Edge(tiny_package, ready, joined, settings, observers=[watcher])
            edge.run(frames.from_arrays((inputs,), tiny_package.manifest, name="test"))
        for result in watcher.answers:
            deployment.check_values(result, result.sequence - turn)
        assert len(watcher.answers) == chaos.DIFFERENT
        broker.kill()
        broker.start()


def test_an_update_that_is_pushed_while_the_broker_stands_still(
    deploy, mosquitto, tiny_package, residual_model, tmp_path
):
    new = tiny_models.write_package(tmp_path / "new.tflsplit", residual_model, labels=("x", "y"))
    public = signing.make(tmp_path / "plant.pem")
    broker = mosquitto()
    deployment = deploy(broker.url)
    reader = deployment.reader()
    deployment.cloud(new.path)
    updates = ("--models", tmp_path / "models", "--update-key", public)
    edge = deployment.edge("--spool", deployment.spool, *SOON, "--rate", "100", *FOR_EVER, *updates)
    reader.wait_for_results(50)
    where = ("--broker", broker.url, "--deployment", deployment.name)
    words = ("push", new.path, *where, "--device", "cam1", "--sign", tmp_path / "plant.pem", "--json")
    push = deployment.begin(chaos.Process(*words))
    push.wait_for(lambda: push.err)
    broker.freeze()
    edge.wait_to_say("no answers")
    broker.thaw()
    (told,) = push.done()
    reader.wait_for_results(len(reader.results) + 50)
    edge.terminate()
    summary = edge.done()
    reader.wait_for_results(summary["results"])
    deployment.check(reader)

    assert told["state"] == "installed"
    # A stop does not wait long for what is in the spool, and a frame may just wait until it is sent again.
    assert summary["frames"] == summary["results"] + summary["unanswered"]
    assert (summary["refused"], summary["dropped"]) == (0, {})
    assert {result.package for result in reader.results} == {tiny_package.digest, new.digest}

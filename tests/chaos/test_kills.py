"""Whatever is killed, with `kill -9` and often: no frame is lost, every result is right, and a reader gets it once."""

import itertools

import chaos
import psutil
import pytest

pytestmark = pytest.mark.chaos

FOR_EVER = ("--count", "1000000")
SOON = ("--resend-after", "0.5")
STEADILY = ("--rate", "100")  # so that frames come all the while that a killed one takes to be back
NUMBERS = itertools.count()


@pytest.fixture
def check_all():
    """Every frame of one run, once and rightly."""

    def check(deployment, reader, edge, scale):
        summary = edge.done()
        reader.wait_for_results(scale.frames)
        deployment.check(reader)

        assert (summary["frames"], summary["results"], summary["unanswered"]) == (scale.frames, scale.frames, 0)
        assert len(reader.results) == scale.frames
        assert deployment.spooled() == set()

    return check


def test_a_broker_that_is_killed_loses_nothing(deploy, mosquitto, scale, check_all):
    broker = mosquitto()
    deployment = deploy(broker.url)
    reader = deployment.reader()
    deployment.cloud()
    edge = deployment.edge("--spool", deployment.spool, *SOON, "--count", scale.frames)
    for number in range(scale.kills):
        reader.wait_for_results((number + 1) * scale.between)
        broker.kill()
        broker.start()

    check_all(deployment, reader, edge, scale)


def test_an_edge_that_is_killed_loses_nothing_it_had_accepted(deploy, mosquitto, scale):
    deployment = deploy(mosquitto().url)
    reader = deployment.reader()
    deployment.cloud()
    accepted = set()
    for number in range(scale.kills):
        edge = deployment.edge("--spool", deployment.spool, *FOR_EVER, "--rate", "400")
        reader.wait_for_results((number + 1) * scale.between)
        edge.kill()
        accepted |= deployment.spooled()
    missing = scale.frames - len(accepted | set(reader.keys))
    summary = deployment.edge("--spool", deployment.spool, "--count", max(1, missing)).done()
    reader.wait_for_keys(accepted)
    reader.wait_for_results(scale.frames)
    deployment.check(reader, accepted)

    assert summary["unanswered"] == 0
    assert deployment.spooled() == set()


def kill_oldest_child(pid):
    """The other one may be starting still, in the place of the last that was killed."""
    oldest = min(psutil.Process(pid).children(), key=psutil.Process.create_time)
    oldest.kill()
    oldest.wait(chaos.PATIENCE_S)


def test_a_worker_that_is_killed_loses_nothing(deploy, heavy_package, mosquitto, scale, check_all):
    deployment = deploy(mosquitto().url, heavy_package)
    reader = deployment.reader()
    cloud = deployment.cloud("--workers", "2")
    edge = deployment.edge("--spool", deployment.spool, *STEADILY, "--count", scale.frames)
    for number in range(scale.kills):
        reader.wait_for_results((number + 1) * scale.between)
        kill_oldest_child(cloud.pid)

    check_all(deployment, reader, edge, scale)
    cloud.terminate()
    assert cloud.done()["workers_replaced"] > scale.kills / 2  # on a busy machine some die before they can serve


def kill_in_turn(begin, reader, scale):
    """Two clouds, of which one after the other is killed and begun anew; yields once both are there at first."""
    names = ("one", "two")
    clouds = [begin("--name", name) for name in names]
    yield
    for number in range(scale.kills):
        reader.wait_for_results((number + 1) * scale.between)
        clouds[number % 2].kill()
        clouds[number % 2] = begin("--name", names[number % 2])


def test_clouds_that_share_a_subscription_and_are_killed_lose_nothing(
    deploy, heavy_package, mosquitto, scale, check_all
):
    deployment = deploy(mosquitto().url, heavy_package)
    reader = deployment.reader()
    killing = kill_in_turn(lambda *name: deployment.cloud("--share", "g", *name), reader, scale)
    next(killing)
    edge = deployment.edge("--spool", deployment.spool, *STEADILY, *SOON, "--count", scale.frames)
    list(killing)

    check_all(deployment, reader, edge, scale)


def test_clouds_at_a_queue_that_are_killed_lose_nothing(deploy, heavy_package, rabbitmq, scale, check_all):
    """Nothing is sent again by the edge in that time: RabbitMQ itself gives another cloud what a dead one held."""
    deployment = deploy(rabbitmq.mqtt_url, heavy_package, name=f"killed-{next(NUMBERS)}")
    reader = deployment.reader()
    killing = kill_in_turn(lambda *name: deployment.cloud_at_queue(rabbitmq, *name), reader, scale)
    next(killing)
    patiently = ("--resend-after", "100")
    edge = deployment.edge("--spool", deployment.spool, *STEADILY, *patiently, "--count", scale.frames)
    list(killing)

    check_all(deployment, reader, edge, scale)

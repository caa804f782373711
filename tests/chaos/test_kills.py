"""Whatever is killed, with `kill -9` and often: no frame is lost, every result is right, and a reader gets it once."""

import chaos
import psutil
import pytest

pytestmark = pytest.mark.chaos

FOR_EVER = ("--count", "1000000")
SOON = ("--resend-after", "0.5")
STEADILY = ("--rate", "100")  # so that frames come all the while that a killed one takes to be back


def test_a_broker_that_is_killed_loses_nothing(deploy, mosquitto, scale, record_property):
    broker = mosquitto()
    deployment = deploy(broker.url)
    reader = deployment.reader()
    cloud = deployment.cloud()
    edge = deployment.edge("--spool", deployment.spool, *SOON, "--count", scale.frames)
    for number in range(scale.kills):
        reader.wait_for_results((number + 1) * scale.between)
        broker.kill()
        broker.start()
    summary = edge.done()
    reader.wait_for_results(scale.frames)
    record_property("counted", (summary, deployment.check(reader)))
    cloud.terminate()
    cloud.done()

    assert (summary["frames"], summary["results"], summary["unanswered"]) == (scale.frames, scale.frames, 0)
    assert len(reader.results) == scale.frames
    assert chaos.spooled(deployment.spool) == set()


def test_an_edge_that_is_killed_loses_nothing_it_had_accepted(deploy, mosquitto, scale, record_property):
    deployment = deploy(mosquitto().url)
    reader = deployment.reader()
    deployment.cloud()
    accepted = set()
    for number in range(scale.kills):
        edge = deployment.edge("--spool", deployment.spool, *FOR_EVER, "--rate", "400")
        reader.wait_for_results((number + 1) * scale.between)
        edge.kill()
        accepted |= chaos.spooled(deployment.spool)
    missing = scale.frames - len(accepted | set(reader.keys))
    summary = deployment.edge("--spool", deployment.spool, "--count", max(1, missing)).done()
    reader.wait_for_keys(accepted)
    reader.wait_for_results(scale.frames)
    record_property("counted", (summary, deployment.check(reader, accepted)))

    assert summary["unanswered"] == 0
    assert len(reader.results) >= scale.frames
    assert chaos.spooled(deployment.spool) == set()


def test_a_worker_that_is_killed_loses_nothing(deploy, heavy_package, mosquitto, scale, record_property):
    deployment = deploy(mosquitto().url, heavy_package)
    reader = deployment.reader()
    cloud = deployment.cloud("--workers", "2")
    edge = deployment.edge("--spool", deployment.spool, *STEADILY, "--count", scale.frames)
    for number in range(scale.kills):
        reader.wait_for_results((number + 1) * scale.between)
        # The other one may be starting still, in the place of the last that was killed.
        min(psutil.Process(cloud.pid).children(), key=psutil.Process.create_time).kill()
        cloud.wait_for(lambda: sum("worker replaced" in line for line in cloud.err) > number)  # noqa: B023
    summary = edge.done()
    reader.wait_for_results(scale.frames)
    record_property("counted", (summary, deployment.check(reader)))
    cloud.terminate()

    assert (summary["frames"], summary["results"], summary["unanswered"]) == (scale.frames, scale.frames, 0)
    assert len(reader.results) == scale.frames
    assert cloud.done()["workers_replaced"] == scale.kills


def test_clouds_that_share_a_subscription_and_are_killed_lose_nothing(
    deploy, heavy_package, mosquitto, scale, record_property
):
    deployment = deploy(mosquitto().url, heavy_package)
    reader = deployment.reader()
    clouds = [deployment.cloud("--share", "g", "--name", name) for name in ("one", "two")]
    edge = deployment.edge("--spool", deployment.spool, *STEADILY, *SOON, "--count", scale.frames)
    for number in range(scale.kills):
        reader.wait_for_results((number + 1) * scale.between)
        clouds[number % 2].kill()
        clouds[number % 2] = deployment.cloud("--share", "g", "--name", ("one", "two")[number % 2])
    summary = edge.done()
    reader.wait_for_results(scale.frames)
    record_property("counted", (summary, deployment.check(reader)))

    assert (summary["frames"], summary["results"], summary["unanswered"]) == (scale.frames, scale.frames, 0)
    assert len(reader.results) == scale.frames

"""Brokers that change their limits, stand still, or drop what they have acknowledged: no frame is lost."""

import os
import signal
import threading

import chaos
import pytest
import stock_mosquitto
from waiting import wait_for

from broker.mqtt import transport

pytestmark = pytest.mark.chaos

WHOLE = (pytest.mark.sweep, pytest.mark.timeout(600))
SOON = ("--resend-after", "0.5")
GROWTH_BYTES = 32 << 20  # of a process that holds what it should not, in the seconds that these tests take


def test_a_broker_that_comes_back_with_a_smaller_packet_limit_gets_chunks(deploy, wide_package, mosquitto, scale):
    broker = mosquitto()
    deployment = deploy(broker.url, wide_package)
    reader = deployment.reader()
    deployment.cloud()
    edge = deployment.edge("--spool", deployment.spool, *SOON, "--rate", "100", "--count", scale.frames)
    reader.wait_for_results(scale.between)
    broker.kill()
    broker.configure((*stock_mosquitto.DURABLE, "max_packet_size 2000"))
    broker.start()
    summary = edge.done()
    reader.wait_for_results(scale.frames)
    deployment.check(reader)

    assert (summary["frames"], summary["results"], summary["unanswered"]) == (scale.frames, scale.frames, 0)


@pytest.mark.parametrize("seconds", [8, pytest.param(30, marks=WHOLE)])
def test_a_broker_that_stands_still_loses_nothing_and_fills_the_disk_not_the_memory(deploy, mosquitto, seconds):
    rate, before = 200, 200
    count = before + rate * seconds
    broker = mosquitto()
    deployment = deploy(broker.url)
    reader = deployment.reader()
    cloud = deployment.cloud()
    edge = deployment.edge("--spool", deployment.spool, *SOON, "--rate", rate, "--count", count)
    reader.wait_for_results(before)
    broker.freeze()
    held_bytes = [process.memory_bytes() for process in (edge, cloud)]
    threading.Event().wait(seconds)
    grown_bytes = [process.memory_bytes() for process in (edge, cloud)]
    waiting = len(deployment.spooled())
    broker.thaw()
    summary = edge.done()
    reader.wait_for_results(count)
    deployment.check(reader)

    assert waiting > rate * seconds / 4
    assert all(after - first < GROWTH_BYTES for first, after in zip(held_bytes, grown_bytes, strict=True))
    assert (summary["frames"], summary["results"], summary["unanswered"]) == (count, count, 0)


class Dropped:
    """What Mosquitto says that it dropped."""

    def __init__(self, stack, broker):
        self._client = stack.enter_context(transport.MqttTransport(broker.address, client_id="sys"))
        self._client.connect()
        self._client.subscribe("$SYS/broker/publish/messages/dropped")

    def wait_for_some(self):
        while (message := self._client.receive(chaos.PATIENCE_S)) is not None:
            self._client.acknowledge(message)
            if int(message.payload):
                return int(message.payload)
        raise AssertionError("nothing was dropped")


@pytest.mark.parametrize(
    ("count", "queue"),
    [pytest.param(800, "max_queued_messages 200", id="short"), pytest.param(5000, "", id="stock", marks=WHOLE)],
)
def test_a_flood_that_a_broker_acknowledges_and_drops_is_answered_all_the_same(deploy, mosquitto, stack, count, queue):
    broker = mosquitto("sys_interval 1", queue)
    deployment = deploy(broker.url)
    dropped = Dropped(stack, broker)
    reader = deployment.reader()
    cloud = deployment.slow_cloud(0.004)
    flood = ("--spool-sync", "none", "--window", "4096", "--count", count)
    edge = deployment.edge("--spool", deployment.spool, *SOON, *flood)
    # All at once, and nobody takes any: else it depends on the machine whether the broker's queue is ever full.
    reader.wait_for_results(1)
    broker.freeze()
    wait_for(lambda: len(deployment.spooled()) >= count * 3 // 4)
    os.kill(cloud.pid, signal.SIGSTOP)
    broker.thaw()
    lost = dropped.wait_for_some()
    os.kill(cloud.pid, signal.SIGCONT)
    summary = edge.done()
    reader.wait_for_results(count)
    deployment.check(reader)

    assert lost > 0
    assert summary["resent"] > 0
    assert (summary["frames"], summary["results"], summary["unanswered"]) == (count, count, 0)
    assert cloud.memory_bytes("VmHWM") < 256 << 20

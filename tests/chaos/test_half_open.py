"""Packets that vanish, both ways and without a word, as behind a router that forgot the connection: the ends of a real
TCP find out by themselves. Each side of the broker in turn."""

import threading
import time

import pytest
import real_link

from broker.links import namespace

pytestmark = pytest.mark.chaos

WHOLE = (pytest.mark.sweep, pytest.mark.timeout(900))
SILENCES_S = [10, pytest.param(60, marks=WHOLE)]
RATE = 20
# An attempt that began in the silence sends its SYN again after 1, 3 and 7 s, and ends after 10; the next is 1 s later.
AT_MOST_S = 4.0 + 1.0
LATE_S = 10.0  # what a busy machine may add


class Swallowing:
    """Makes the link swallow everything, or nothing."""

    def __init__(self, network):
        self._inside = network.inside

    def begin(self):
        self._nft("add table inet swallow")
        for hook, way in (("input", "iifname"), ("output", "oifname")):
            self._nft(f"add chain inet swallow {hook} {{ type filter hook {hook} priority 0; }}")
            self._nft(f'add rule inet swallow {hook} {way} "link" drop')

    def end(self):
        self._nft("delete table inet swallow")

    def _nft(self, rule):
        namespace.run(*self._inside("nft", rule))


@pytest.fixture
def network(stack):
    real_link.skip_where_impossible()
    return stack.enter_context(namespace.shaped(rate_bps=50e6))


@pytest.fixture
def edge_outside(network, deploy, mosquitto):
    """Broker, cloud and reader are on the other side of the link."""
    broker = mosquitto(host=network.address, inside=network.inside())
    return deploy(broker.url, inside=network.inside())


@pytest.fixture
def cloud_outside(network, deploy, mosquitto):
    """The cloud and its reader are on the other side of the link, the edge is beside the broker."""
    broker = mosquitto(host=network.outside)
    return deploy(broker.url, inside=network.inside())


def swallow(network, reader, seconds):
    """How long after the silence the next result came."""
    link = Swallowing(network)
    reader.wait_for_results(2 * RATE)
    link.begin()
    threading.Event().wait(seconds)
    before = len(reader.results)
    link.end()
    ended_s = time.monotonic()
    reader.wait_for_results(before + 1)
    return time.monotonic() - ended_s


@pytest.mark.parametrize("seconds", SILENCES_S)
@pytest.mark.parametrize("side", ["edge_outside", pytest.param("cloud_outside", marks=pytest.mark.sweep)])
def test_latest_is_answered_again_soon_after_packets_stop_to_vanish(request, network, seconds, side, record_property):
    deployment = request.getfixturevalue(side)
    reader = deployment.reader()
    deployment.cloud()
    count = RATE * (seconds + 25)
    edge = deployment.edge("--delivery", "latest", "--rate", RATE, inputs=count)
    back_s = swallow(network, reader, seconds)
    record_property("back_s", back_s)
    summary = edge.done()
    deployment.check(reader, is_whole=False)

    assert back_s < AT_MOST_S + LATE_S
    assert summary["results"] + sum(summary["dropped"].values()) == count
    assert summary["dropped"]


@pytest.mark.parametrize("seconds", SILENCES_S)
@pytest.mark.parametrize("side", ["cloud_outside", pytest.param("edge_outside", marks=pytest.mark.sweep)])
def test_all_loses_nothing_where_packets_vanish(request, network, seconds, side, record_property):
    deployment = request.getfixturevalue(side)
    reader = deployment.reader()
    deployment.cloud()
    count = RATE * (seconds + 10)
    edge = deployment.edge("--spool", deployment.spool, "--rate", RATE, "--count", count)
    record_property("back_s", swallow(network, reader, seconds))
    summary = edge.done()
    reader.wait_for_results(count)
    deployment.check(reader)

    assert (summary["frames"], summary["results"], summary["unanswered"]) == (count, count, 0)
    assert summary["dropped"] == {}

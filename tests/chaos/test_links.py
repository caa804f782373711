"""Links that lose, delay and interrupt: `all` loses nothing, `latest` stays fresh and counts each frame left out."""

import threading
import time

import pytest
import real_link

from broker.links import namespace, relay
from broker.links.shaping import Shape

pytestmark = pytest.mark.chaos

WHOLE = (pytest.mark.sweep, pytest.mark.timeout(900))
SOON = ("--resend-after", "0.5")
RATE = 50
MAX_AGE_S = 2.0  # of a frame in `latest`, by default
LATE_S = 1.0  # what a busy machine may add
WINDOW = 8
PATIENTLY = ("--resend-after", "100")  # where none is to be sent again, however slow the machine


@pytest.fixture
def lossy(stack, tmp_path, deploy, mosquitto):
    """A deployment whose edges are on the other side of a cable that loses a packet in a hundred."""
    real_link.skip_where_impossible()
    network = stack.enter_context(namespace.shaped(rate_bps=50e6, loss=0.01))
    broker = mosquitto(host=network.address, inside=network.inside())
    deployment = deploy(broker.url, inside=network.inside())
    deployment.network = network
    return deployment


@pytest.fixture
def behind(stack, deploy, mosquitto):
    """A deployment whose edges reach their broker through a relay of that shape, and the relay."""

    def make(shape):
        broker = mosquitto()
        link = stack.enter_context(relay.Relay(broker.address, up=shape, down=shape))
        return deploy(broker.url), link

    return make


def ages_s(results):
    return [(result.times.sent_ms - result.times.captured_ms) / 1000 for result in results]


def run_all(deployment, count, *options, meanwhile=lambda: None, url=None):
    """Every frame has its result; the results, the edge's summary, and what `meanwhile` gave once results came."""
    reader = deployment.reader()
    deployment.cloud()
    words = ("--spool", deployment.spool, *SOON, *options, "--rate", RATE, "--count", count)
    edge = deployment.edge(*words, url=url)
    reader.wait_for_results(1)
    seen = meanwhile()
    summary = edge.done()
    reader.wait_for_results(count)
    deployment.check(reader)

    assert (summary["frames"], summary["results"], summary["unanswered"]) == (count, count, 0)
    assert summary["dropped"] == {}
    return reader.results, summary, seen


def run_latest(deployment, count, *, meanwhile=lambda: None, url=None):
    """Every capture became a result that was fresh when it came, or is among those left out; what `run_all` gives."""
    reader = deployment.reader()
    deployment.cloud()
    edge = deployment.edge("--delivery", "latest", "--rate", RATE, inputs=count, url=url)
    reader.wait_for_results(1)
    seen = meanwhile()
    summary = edge.done()
    deployment.check(reader, is_whole=False)

    assert summary["results"] + sum(summary["dropped"].values()) == count
    assert summary["unanswered"] == 0
    assert summary["latency_ms"]["p99"] < (MAX_AGE_S + LATE_S) * 1000
    return reader.results, summary, seen


@pytest.mark.parametrize("count", [150, pytest.param(2000, marks=WHOLE)])
def test_all_loses_nothing_where_packets_are_lost(lossy, count):
    run_all(lossy, count)

    assert lossy.network.lost_packets() > 0


@pytest.mark.parametrize("count", [150, pytest.param(2000, marks=WHOLE)])
def test_latest_stays_fresh_where_packets_are_lost(lossy, count):
    results, _, _ = run_latest(lossy, count)

    assert lossy.network.lost_packets() > 0
    assert max(ages_s(results)) < MAX_AGE_S + LATE_S


FAR_AWAY = Shape(delay_s=0.1)


@pytest.mark.parametrize("count", [100, pytest.param(2000, marks=WHOLE)])
def test_all_loses_nothing_over_200_ms(behind, count):
    deployment, link = behind(FAR_AWAY)
    _, summary, _ = run_all(deployment, count, "--window", "32", *PATIENTLY, url=f"mqtt://{link.address}")

    assert summary["resent"] == 0
    assert summary["latency_ms"]["p50"] >= 200


@pytest.mark.parametrize("count", [100, pytest.param(2000, marks=WHOLE)])
def test_latest_stays_fresh_over_200_ms(behind, count):
    deployment, link = behind(FAR_AWAY)
    results, summary, _ = run_latest(deployment, count, url=f"mqtt://{link.address}")

    assert summary["results"] > count / 4
    assert max(ages_s(results)) < MAX_AGE_S + LATE_S


OUTAGES = [5, pytest.param(60, marks=WHOLE)]
AROUND_S = 6.0  # how much longer frames come, at least


def through_an_outage(run, behind, seconds):
    """The times of the results whose frames were captured while nothing moved, when that was over (ms), and the
    edge's summary."""
    deployment, link = behind(Shape())

    def outage():
        with link.outage():
            began_ms = time.time() * 1000
            threading.Event().wait(seconds)
            return began_ms, time.time() * 1000

    count = int(RATE * (AROUND_S + seconds))
    results, summary, (began_ms, over_ms) = run(deployment, count, meanwhile=outage, url=f"mqtt://{link.address}")
    held = [result.times for result in results if began_ms <= result.times.captured_ms <= over_ms]

    assert all(times.received_ms >= over_ms for times in held)
    assert any(result.times.captured_ms > over_ms for result in results)
    return held, over_ms, summary


@pytest.mark.parametrize("seconds", OUTAGES)
def test_all_loses_nothing_through_an_outage(behind, seconds):
    held, _, _ = through_an_outage(run_all, behind, seconds)

    assert len(held) > WINDOW


@pytest.mark.parametrize("seconds", OUTAGES)
def test_latest_is_fresh_again_after_an_outage_and_counts_what_it_left_out(behind, seconds):
    """What was on its way when the link stood still comes late, and the edge counts it out: a window, and after that
    one frame at a time, until it is too old."""
    held, over_ms, summary = through_an_outage(run_latest, behind, seconds)
    late = [times for times in held if over_ms - times.captured_ms > MAX_AGE_S * 1000]

    assert len(late) <= WINDOW + seconds / MAX_AGE_S + 1
    assert sum(summary["dropped"].values()) > WINDOW

"""Links that lose, delay and interrupt: `all` loses nothing, `latest` stays fresh and counts each frame left out."""

import contextlib

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
    """A deployment whose edges reach their broker through a relay of that shape, at `url`."""

    def make(shape):
        broker = mosquitto()
        link = stack.enter_context(relay.Relay(broker.address, up=shape, down=shape))
        deployment = deploy(broker.url)
        return deployment, f"mqtt://{link.address}"

    return make


def ages_s(reader):
    return sorted((result.times.sent_ms - result.times.captured_ms) / 1000 for result in reader.results)


def run_all(deployment, count, *options, **where):
    """Every frame has its result; the ages of the results, and the edge's summary."""
    reader = deployment.reader()
    deployment.cloud()
    words = ("--spool", deployment.spool, *SOON, *options, "--rate", RATE, "--count", count)
    summary = deployment.edge(*words, **where).done()
    reader.wait_for_results(count)
    deployment.check(reader)

    assert (summary["frames"], summary["results"], summary["unanswered"]) == (count, count, 0)
    assert summary["dropped"] == {}
    return ages_s(reader), summary


def run_latest(deployment, count, **where):
    """Every capture became a result that was fresh when it came, or is among those left out."""
    reader = deployment.reader()
    deployment.cloud()
    summary = deployment.edge("--delivery", "latest", "--rate", RATE, inputs=count, **where).done()
    deployment.check(reader, is_whole=False)

    assert summary["results"] + sum(summary["dropped"].values()) == count
    assert summary["unanswered"] == 0
    assert summary["latency_ms"]["p99"] < (MAX_AGE_S + LATE_S) * 1000
    return ages_s(reader), summary


@pytest.mark.parametrize("count", [150, pytest.param(2000, marks=WHOLE)])
def test_all_loses_nothing_where_packets_are_lost(lossy, count):
    run_all(lossy, count)

    assert lossy.network.lost_packets() > 0


@pytest.mark.parametrize("count", [150, pytest.param(2000, marks=WHOLE)])
def test_latest_stays_fresh_where_packets_are_lost(lossy, count):
    ages, _ = run_latest(lossy, count)

    assert lossy.network.lost_packets() > 0
    assert ages[-1] < MAX_AGE_S + LATE_S


FAR_AWAY = Shape(delay_s=0.1)


@pytest.mark.parametrize("count", [100, pytest.param(2000, marks=WHOLE)])
def test_all_loses_nothing_over_200_ms(behind, count):
    deployment, url = behind(FAR_AWAY)
    _, summary = run_all(deployment, count, "--window", "32", url=url)

    assert summary["resent"] == 0
    assert summary["latency_ms"]["p50"] >= 200


@pytest.mark.parametrize("count", [100, pytest.param(2000, marks=WHOLE)])
def test_latest_stays_fresh_over_200_ms(behind, count):
    deployment, url = behind(FAR_AWAY)
    ages, summary = run_latest(deployment, count, url=url)

    assert summary["results"] > count / 4
    assert ages[-1] < MAX_AGE_S + LATE_S


OUTAGES = [5, pytest.param(60, marks=WHOLE)]
BEGINS_S = 3.0


def interrupted(seconds):
    return Shape(outages=((BEGINS_S, seconds),))


@pytest.mark.parametrize("seconds", OUTAGES)
def test_all_loses_nothing_through_an_outage(behind, seconds):
    deployment, url = behind(interrupted(seconds))
    ages, _ = run_all(deployment, int(RATE * (BEGINS_S + seconds)), url=url)

    assert ages[-1] > seconds / 2


@pytest.mark.parametrize("seconds", OUTAGES)
def test_latest_is_fresh_again_after_an_outage_and_counts_what_it_left_out(behind, seconds):
    """What was on its way when the link stood still comes late, and the edge counts it out: a window, and after that
    one frame at a time, until it is too old."""
    deployment, url = behind(interrupted(seconds))
    ages, summary = run_latest(deployment, int(RATE * (BEGINS_S + seconds + BEGINS_S)), url=url)
    late = [age_s for age_s in ages if age_s > MAX_AGE_S + LATE_S]

    assert sum(summary["dropped"].values()) > RATE * seconds / 2
    assert len(late) <= WINDOW + seconds / MAX_AGE_S + 1
    with contextlib.suppress(IndexError):
        assert late[-1] < seconds + MAX_AGE_S + LATE_S

"""Clouds that share a RabbitMQ queue, as processes: load, deaths, restarts."""

import itertools
import signal
import urllib.parse
import urllib.request

import numpy as np
import ports
import pytest
import rabbit

from broker.amqp import queue_names

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(240)]

SOON = ("--resend-after", "2")
NUMBERS = itertools.count()


@pytest.fixture
def name():
    """A deployment that no other test has used."""
    return f"queue-{next(NUMBERS)}"


@pytest.fixture
def cloud(start, tiny_package, rabbitmq, name):
    """Starts a cloud that takes its frames from the queue and prints its summary as JSON."""

    def begin(*options, url=rabbitmq.amqp_url, package=tiny_package):
        common = ("--deployment", name, "--json", "--password-file", rabbitmq.password_file)
        return start("cloud", package.path, "--queue", url, *common, *options)

    return begin


@pytest.fixture
def edge(start, tiny_package, rabbitmq, name, source):
    def begin(*options, device="n"):
        common = ("--broker", rabbitmq.mqtt_url, "--deployment", name, "--device", device, "--source", source, "--json")
        return start("edge", tiny_package.path, *common, *options)

    return begin


@pytest.fixture
def joined(watch, rabbitmq, name):
    return watch(rabbitmq.mqtt_url, name)


def check(results, expected, count):
    """Each frame has a result, and each result is what the whole model makes of its frame, to the bit."""
    assert {result.sequence for result in results} == set(range(count))
    for result in results:
        right = np.float32(expected[result.sequence % len(expected)])
        assert np.array_equal(np.float32(list(dict(result.values)["c"])), right)


def test_frames_reach_a_cloud_through_the_queue_and_results_come_back(cloud, edge, joined, tiny_results):
    serving = cloud()
    joined.wait_for_cloud()
    summary = edge("--count", "100").done().json()
    joined.wait_for_results(100)
    serving.terminate()
    served = serving.done().json()

    assert (summary["frames"], summary["results"], summary["resent"], summary["duplicates"]) == (100, 100, 0, 0)
    assert served["results"] == 100
    check(joined.results, tiny_results, 100)


def test_two_clouds_share_the_frames_and_one_that_is_killed_loses_none(cloud, edge, joined, tiny_results):
    first, second = cloud(), cloud()
    joined.wait_for_cloud()
    streaming = edge("--resend-after", "100", "--count", "200", "--rate", "100")  # so that nothing else can save them
    joined.wait_for_results(30)
    first.send_signal(signal.SIGSTOP)  # so that it holds frames when it dies
    joined.wait_for_results(60)
    first.kill()
    summary = streaming.done().json()
    joined.wait_for(lambda: len({result.sequence for result in joined.results}) == 200)
    second.terminate()
    served = second.done().json()

    assert (summary["frames"], summary["results"], summary["resent"]) == (200, 200, 0)
    assert served["results"] < 200
    check(joined.results, tiny_results, 200)


def test_a_broker_that_is_killed_and_started_again_loses_nothing(cloud, edge, joined, rabbitmq, tiny_results):
    cloud()
    joined.wait_for_cloud()
    rabbitmq.save_its_queues()
    streaming = edge(*SOON, "--count", "200", "--rate", "100")
    joined.wait_for_results(20)
    rabbitmq.kill()
    rabbitmq.start()
    summary = streaming.done().json()

    assert (summary["frames"], summary["results"], summary["unanswered"]) == (200, 200, 0)


def test_a_cloud_at_a_queue_is_seen_where_it_has_a_broker_too(cloud, joined, rabbitmq):
    serving = cloud("--broker", rabbitmq.mqtt_url.replace("mqtt://", "mqtt://cloud@"), "--name", "tail")
    online = joined.wait_for_status("tail", "online")
    serving.kill()

    lost = joined.wait_for_status("tail", "offline")
    assert {**lost, "at_ms": online["at_ms"]} == {**online, "state": "offline", "reason": "lost"}


def test_a_cloud_at_a_queue_tells_its_health_and_metrics_without_a_broker(cloud, edge, joined, name):
    port = ports.free_port()
    cloud("--metrics", str(port))
    joined.wait_for_cloud()
    edge("--count", "10").done().json()
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/health/ready", timeout=30) as answer:
        assert answer.status == 200
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as answer:
        lines = answer.read().decode().splitlines()

    assert f'tflsplit_cloud_results_total{{deployment="{name}"}} 10.0' in lines
    assert f'tflsplit_cloud_broker_state{{deployment="{name}",state="online"}} 1.0' in lines


def test_its_queue_is_the_one_that_others_are_told_of(cloud, joined, rabbitmq, name):
    cloud()
    joined.wait_for_cloud()
    listed = rabbitmq.ctl("list_queues", "name", "type", "durable").splitlines()

    assert f"{queue_names.frames_of(name).waiting.name}\tquorum\ttrue" in listed


def test_a_wrong_password_is_refused_in_one_line_that_does_not_show_it(cloud, rabbitmq, tmp_path):
    wrong = tmp_path / "wrong"
    wrong.write_text("s3cret")
    wrong.chmod(0o600)
    refused = cloud("--password-file", wrong).done()

    assert f"RabbitMQ {rabbitmq.amqp}: ACCESS_REFUSED" in refused.refusal()
    assert "s3cret" not in refused.err


def test_a_password_in_the_address_is_taken_with_a_warning_that_does_not_show_it(
    start, tiny_package, rabbitmq, name, joined
):
    url = f"amqp://{rabbit.USER}:{urllib.parse.quote(rabbit.PASSWORD)}@{rabbitmq.amqp}"
    serving = start("cloud", tiny_package.path, "--queue", url, "--deployment", name)
    joined.wait_for_cloud()
    serving.terminate()
    done = serving.done()

    assert done.code == 0
    assert "every user of this machine can read the password in --queue" in done.err
    assert rabbit.PASSWORD not in done.err + done.out


def test_share_is_not_for_queues(cloud):
    refused = cloud("--share", "tails").done()

    assert refused.code == 2
    assert "--share is for clouds at a broker" in refused.err

"""Spools, acknowledgements and fresh frames as processes have them, through a real Mosquitto."""

import json
import signal

import pytest

from broker.messages import topics
from broker.mqtt import transport
from broker.transport import address
from edge_runtime.delivery.durable import spool

pytestmark = pytest.mark.chaos

FOR_EVER = ("--count", "1000000")


@pytest.fixture
def typed_edge(typed, tiny_package, source):
    """An edge that is refused before it talks to anybody."""
    common = ("--broker", "mqtt://127.0.0.1:1", "--deployment", "d", "--device", "n", "--source", source)
    return lambda *options: typed("edge", tiny_package.path, *common, *options)


def spooled(folder):
    """The frames that a spool holds which nobody uses."""
    with spool.open_spool(folder, spool.limits(), deployment="d", device="n") as opened:
        held, key = [], None
        while (one := opened.after(key)) is not None:
            held.append(key := one.key)
        return held


def test_an_edge_with_a_spool_works_without_its_broker_and_hands_over_later(edge, cloud, brokers, watch, tmp_path):
    url = brokers.start()
    brokers.kill()
    first = edge(url, "--spool", tmp_path / "s", "--count", "30", "--drain", "0.5")
    assert first.wait(60) == 1
    said = first.done().err
    assert "30 of 30 frames had no answer" in said
    assert "they stay in the spool for the next run" in said
    kept = spooled(tmp_path / "s")
    assert [sequence for _, sequence in kept] == list(range(30))

    brokers.start()
    deployment = watch(url)
    cloud(url)
    deployment.wait_for_cloud()
    second = edge(url, "--spool", tmp_path / "s", "--count", "10").done().json()
    deployment.wait_for_results(40)

    assert (second["frames"], second["replayed"], second["results"], second["spooled"]) == (10, 30, 40, 0)
    assert [(result.boot, result.sequence) for result in deployment.results][:30] == kept


def test_a_stop_leaves_unanswered_frames_on_disk_and_is_no_failure(edge, deployment, tmp_path):
    streaming = edge(deployment.url, "--spool", tmp_path / "s", *FOR_EVER, "--rate", "200")
    deployment.wait_for(lambda: deployment.births.get("n", {}).get("spool") is not None)
    deployment.wait_until_quiet()
    streaming.send_signal(signal.SIGTERM)
    done = streaming.done()
    summary = done.json()

    assert summary["spooled"] == summary["unanswered"] == summary["frames"] > 0
    assert len(spooled(tmp_path / "s")) == summary["spooled"]


def test_a_second_edge_on_one_spool_is_refused(edge, deployment, tmp_path):
    edge(deployment.url, "--spool", tmp_path / "s", *FOR_EVER, "--rate", "50")
    deployment.wait_for(lambda: "n" in deployment.births)
    refused = edge(deployment.url, "--spool", tmp_path / "s").done()

    assert "in use by another process; each edge takes a --spool of its own" in refused.refusal()


def test_people_are_told_what_was_dropped_and_what_is_kept(start, tiny_package, source, deployment, tmp_path):
    common = ("--broker", deployment.url, "--deployment", "d", "--device", "n", "--source", source, "--drain", "0")
    limits = ("--spool", tmp_path / "s", "--spool-bytes", "1K", "--spool-full", "drop-newest")
    done = start("edge", tiny_package.path, *common, *limits).done()
    kept = len(spooled(tmp_path / "s"))

    assert f"{40 - kept} dropped (spool_full), 0 replayed, {kept} left in the spool" in done.out


@pytest.mark.parametrize("is_spooled", [False, True], ids=["memory", "spool"])
def test_until_ack_only_acknowledgements_travel_back(edge, cloud, deployment, tmp_path, is_spooled):
    spool_of = ("--spool", tmp_path / "s") if is_spooled else ()
    cloud(deployment.url)
    deployment.wait_for_cloud()
    summary = edge(deployment.url, "--count", "50", "--until", "ack", *spool_of).done().json()
    deployment.wait_for_results(50)

    assert (summary["frames"], summary["results"], summary["unanswered"], summary["resent"]) == (50, 50, 0, 0)
    assert sorted(result.sequence for result in deployment.results) == list(range(50))


def test_latest_drops_at_the_edge_while_the_broker_is_away_and_goes_on_fresh(edge, cloud, deployment, watch):
    cloud(deployment.url)
    deployment.wait_for_cloud()
    streaming = edge(deployment.url, "--delivery", "latest", *FOR_EVER, "--rate", "100")
    deployment.wait_for_results(20)
    deployment.brokers.kill()
    assert any("connection state=waiting" in line for line in streaming.stderr)
    url = deployment.brokers.start()
    again = watch(url)
    again.wait_for_results(20)
    streaming.terminate()
    summary = streaming.done().json()

    assert summary["resent"] == 0
    assert summary["dropped"]["offline"] > 0
    assert summary["link"]["reconnects"] >= 1
    assert summary["frames"] == summary["results"] + summary["dropped"].get("expired", 0) + summary["dropped"].get(
        "no_room", 0
    )


def test_latest_sends_nothing_twice_and_says_so_when_nobody_answers(edge, deployment):
    features = topics.topic("d", "n", topics.Kind.FEATURES)
    with transport.MqttTransport(address.parse(deployment.url), client_id="seer") as seer:
        seer.connect()
        seer.subscribe(features, qos=0)
        streaming = edge(deployment.url, "--delivery", "latest", "--count", "3", "--max-age", "1s")
        seen = [seer.receive(60) for _ in range(3)]
        done = streaming.done()
        assert seer.receive(0) is None

    assert all(message is not None and message.qos == 0 for message in seen)
    assert done.code == 1
    assert "none of 3 frames was answered within 1 s" in done.err
    assert json.loads(done.out)["dropped"] == {"expired": 3}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--delivery", "latest", "--spool", "s"), "it keeps nothing, leave one out"),
        (("--delivery", "latest", "--qos", "1"), "QoS 1 with delivery latest"),
        (("--spool-bytes", "1M"), "give --spool DIR as well"),
        (("--max-age", "1s"), "--max-age is for --delivery latest"),
        (("--spool", "missing/s"), "give a folder that can be made here"),
        (("--mask",), "does not segment, so results have no mask: leave mask out"),
    ],
)
def test_promises_that_cannot_be_kept_are_refused_in_one_line(typed_edge, options, said):
    assert said in typed_edge(*options).refusal()


def test_sizes_and_times_are_given_as_people_write_them(typed_edge):
    refused = typed_edge("--spool", "s", "--spool-bytes", "lots")

    assert refused.code == 2
    assert "write a number of bytes with K, M, G or T, as 512M" in refused.err


def test_batches_in_a_spool_outlive_the_broker_and_none_is_lost_or_doubled(edge, cloud, brokers, watch, tmp_path):
    url = brokers.start()
    watch(url)
    serving = cloud(url)
    streaming = edge(url, "--spool", tmp_path / "s", "--batch", "4", "--count", "402", "--rate", "200")
    deployment = watch(url)
    deployment.wait_for_results(20)
    brokers.kill()
    assert any("connection state=waiting" in line for line in streaming.stderr)
    brokers.start()
    again = watch(url)
    summary = streaming.done().json()
    again.wait_until_quiet()
    serving.terminate()
    served = serving.done().json()

    assert (summary["frames"], summary["inputs"], summary["results"], summary["spooled"]) == (101, 402, 101, 0)
    assert (summary["unanswered"], summary["refused"], summary["dropped"]) == (0, 0, {})
    assert served["frames"] - served["duplicates"] == 101
    seen = {result.sequence for result in deployment.results} | {result.sequence for result in again.results}
    assert seen <= set(range(402))


def test_batches_are_handed_over_by_the_next_run(edge, cloud, brokers, watch, tmp_path):
    url = brokers.start()
    brokers.kill()
    first = edge(url, "--spool", tmp_path / "s", "--batch", "8", "--count", "30", "--drain", "0.5")
    assert first.wait(60) == 1
    first.done()
    kept = spooled(tmp_path / "s")
    brokers.start()
    deployment = watch(url)
    cloud(url)
    deployment.wait_for_cloud()
    second = edge(url, "--spool", tmp_path / "s", "--count", "10").done().json()
    deployment.wait_for_results(40)

    assert [sequence for _, sequence in kept] == [0, 8, 16, 24]
    assert (second["frames"], second["replayed"], second["results"], second["spooled"]) == (10, 4, 14, 0)
    of_first = {result.sequence for result in deployment.results if result.boot == kept[0][0]}
    assert of_first == set(range(30))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--batch-wait", "1s"), "give --batch as well"),
        (("--batch", "4", "--models", "m", "--update-key", "k"), "--batch with --models"),
        (("--batch", "4", "--cut", "input", "--input-codec", "raw"), "pixels travel one input a frame"),
        (("--batch", "4", "--accelerator", "delegate:/no/such.so"), "it takes one input at a time"),
    ],
)
def test_a_batch_that_does_not_go_with_the_rest_is_refused(typed_edge, options, said):
    assert said in typed_edge(*options).refusal()

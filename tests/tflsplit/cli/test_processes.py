"""Edge, cloud and broker as the processes they are in service, with signals where operators and kernels send them."""

import signal

import numpy as np
import pytest
import tiny_models

pytestmark = pytest.mark.chaos

FOR_EVER = ("--count", "1000000")
SOON = ("--resend-after", "0.5")


def check_results(results, expected, cut=None):
    """Each is what the whole model makes of its frame; inputs repeat after as many frames as there are."""
    for result in results:
        assert np.allclose(dict(result.values)["c"], expected[result.sequence % len(expected)], rtol=1e-6)
        assert cut in (None, result.cut)


def sequences(results, device="n"):
    return [result.sequence for result in results if result.device == device]


@pytest.mark.parametrize("deployment", ["mosquitto", "amqtt"], indirect=True)
@pytest.mark.parametrize("qos", ["0", "1"])
def test_every_result_is_right_and_comes_once(edge, cloud, deployment, tiny_results, qos):
    cloud(deployment.url)
    deployment.wait_for_cloud()
    summary = edge(deployment.url, "--qos", qos, "--count", "100").done().json()
    deployment.wait_for_results(100)
    deployment.wait_until_quiet()

    found, again = sequences(deployment.results), summary["duplicates"]
    if qos == "1" and deployment.brokers.kind == "amqtt":  # it says again what a busy machine is slow to acknowledge
        found, again = set(found), 0
    assert (summary["frames"], summary["results"], summary["resent"], again) == (100, 100, 0, 0)
    assert sorted(found) == list(range(100))
    check_results(deployment.results, tiny_results)


def test_sigterm_ends_an_edge_with_every_frame_answered(edge, cloud, deployment):
    cloud(deployment.url)
    deployment.wait_for_cloud()
    streaming = edge(deployment.url, *FOR_EVER, "--rate", "300")
    deployment.wait_for_results(20)
    streaming.terminate()
    summary = streaming.done().json()

    assert summary["frames"] == summary["results"] >= 20
    assert summary["unanswered"] == 0
    assert deployment.wait_for_status("n", "offline")["reason"] == "closed"


def test_of_two_edges_and_two_clouds_of_one_name_the_later_one_yields(edge, cloud, deployment):
    first_cloud = cloud(deployment.url)
    deployment.wait_for_cloud()
    first = edge(deployment.url, *FOR_EVER, "--rate", "20")
    deployment.wait_for_results(5)
    own = deployment.births["n"]["boot"]
    second_cloud, second = cloud(deployment.url), edge(deployment.url, *FOR_EVER, "--rate", "20", "--cut", "op001")

    for name, later in (("cloud", second_cloud), ("n", second)):
        assert f"another process is '{name}' at this broker since" in later.done().refusal()
        assert deployment.wait_for_status(name, "online")["state"] == "online"
    deployment.wait_for(lambda: deployment.births["n"]["boot"] == own)  # what the other one announced does not stay
    count = len(deployment.results)
    deployment.wait_for_results(count + 20)
    first.terminate()
    summary = first.done().json()
    assert (summary["frames"], summary["unanswered"]) == (summary["results"], 0)
    first_cloud.terminate()
    assert first_cloud.done().json()["results"] >= summary["results"]


def test_sigterm_ends_a_cloud_in_good_order_and_the_next_one_takes_over(edge, cloud, deployment, tiny_results):
    first = cloud(deployment.url)
    deployment.wait_for_cloud()
    streaming = edge(deployment.url, *SOON, "--count", "200", "--rate", "200")
    deployment.wait_for_results(20)
    first.terminate()
    served = first.done().json()
    assert deployment.wait_for_status("cloud", "offline")["reason"] == "closed"
    cloud(deployment.url)
    summary = streaming.done().json()
    deployment.wait_for_results(200)

    assert served["frames"] == served["results"] + served["duplicates"]
    assert (summary["frames"], summary["results"], summary["unanswered"]) == (200, 200, 0)
    check_results(deployment.results, tiny_results)


def test_a_killed_cloud_loses_nothing_and_its_status_tells(edge, cloud, deployment, tiny_results):
    first = cloud(deployment.url)
    deployment.wait_for_cloud()
    streaming = edge(deployment.url, *SOON, "--count", "200", "--rate", "200")
    deployment.wait_for_results(20)
    first.kill()
    assert deployment.wait_for_status("cloud", "offline")["reason"] == "lost"
    cloud(deployment.url)
    deployment.wait_for_status("cloud", "online")
    summary = streaming.done().json()
    deployment.wait_for_results(200)

    assert (summary["frames"], summary["results"], summary["unanswered"]) == (200, 200, 0)
    assert set(sequences(deployment.results)) == set(range(200))
    check_results(deployment.results, tiny_results)


def test_a_killed_edge_is_offline(edge, deployment):
    streaming = edge(deployment.url, *FOR_EVER)
    online = deployment.wait_for_status("n", "online")
    streaming.kill()
    offline = deployment.wait_for_status("n", "offline")

    assert offline["reason"] == "lost"
    assert offline["boot"] == online["boot"]


@pytest.mark.parametrize("qos", ["0", "1"])
def test_a_broker_that_dies_and_comes_back_loses_nothing(edge, cloud, deployment, tiny_results, qos):
    cloud(deployment.url)
    deployment.wait_for_cloud()
    streaming = edge(deployment.url, *SOON, "--count", "300", "--rate", "200", "--qos", qos)
    deployment.wait_for_results(20)
    deployment.brokers.kill()
    deployment.brokers.start()
    summary = streaming.done().json()

    assert (summary["frames"], summary["results"], summary["unanswered"]) == (300, 300, 0)
    check_results(deployment.results, tiny_results)


def test_two_edges_at_different_cuts_share_a_cloud(edge, cloud, deployment, tiny_results):
    cloud(deployment.url)
    deployment.wait_for_cloud()
    streaming = [
        edge(deployment.url, "--count", "60", "--cut", cut, device=device)
        for device, cut in (("one", "op000"), ("two", "op001"))
    ]
    summaries = [process.done().json() for process in streaming]
    deployment.wait_for_results(120)

    assert [(summary["frames"], summary["results"]) for summary in summaries] == [(60, 60), (60, 60)]
    for device, cut in (("one", "op000"), ("two", "op001")):
        assert sorted(sequences(deployment.results, device)) == list(range(60))
        check_results([result for result in deployment.results if result.device == device], tiny_results, cut)


def test_an_edge_that_starts_before_its_cloud_says_so_and_waits(edge, cloud, deployment, tiny_results):
    streaming = edge(deployment.url, *SOON, "--count", "30")
    assert any("no answers deployment=d" in line for line in streaming.stderr)
    cloud(deployment.url)
    summary = streaming.done().json()
    deployment.wait_for_results(30)

    assert (summary["frames"], summary["results"]) == (30, 30)
    check_results(deployment.results, tiny_results)


def test_the_rate_is_kept(edge, cloud, deployment):
    """At most 20 a second; half of that is left to a machine that is busy."""
    cloud(deployment.url)
    deployment.wait_for_cloud()
    edge(deployment.url, "--count", "31", "--rate", "20").done().json()
    deployment.wait_for_results(31)
    captured_ms = [result.times.captured_ms for result in deployment.results]

    assert 30 / 20 * 0.95 <= (max(captured_ms) - min(captured_ms)) / 1000 <= 30 / 20 * 2


@pytest.fixture
def other(residual_model, tmp_path):
    """The tiny model with other labels: another package to every cloud."""
    return tiny_models.write_package(tmp_path / "other.tflsplit", residual_model, labels=("x", "y"))


def test_an_edge_of_another_package_is_refused_by_name(edge, cloud, deployment, tiny_package, other):
    cloud(deployment.url)
    deployment.wait_for_cloud()
    done = edge(deployment.url, package=other).done()
    said = [line for line in done.err.splitlines() if line.startswith("tflsplit: ")]

    assert done.code == 1
    assert len(said) == 1
    assert "the cloud refused 40 of 40 frames" in said[0]
    assert other.digest[:32] in said[0]
    assert f"this cloud serves {tiny_package.digest[:32]} (tiny)" in said[0]
    assert deployment.results == []
    assert done.err.count("frames refused") == 1


def test_neither_side_loads_tensorflow(edge, cloud, deployment):
    serving = cloud(deployment.url)
    deployment.wait_for_cloud()
    streaming = edge(deployment.url, *FOR_EVER, "--rate", "50")
    deployment.wait_for_results(1)

    for process in (serving, streaming):
        with open(f"/proc/{process.pid}/maps", encoding="utf-8") as maps:
            loaded = maps.read()
        assert "ai_edge_litert" in loaded or "tflite_runtime" in loaded
        assert "/tensorflow/" not in loaded
        assert "/h5py/" not in loaded


def test_ctrl_c_ends_both_sides_in_good_order(edge, cloud, deployment):
    serving = cloud(deployment.url)
    deployment.wait_for_cloud()
    streaming = edge(deployment.url, *FOR_EVER, "--rate", "100")
    deployment.wait_for_results(5)
    streaming.send_signal(signal.SIGINT)
    sent = streaming.done().json()
    serving.send_signal(signal.SIGINT)
    served = serving.done().json()

    assert sent["results"] == sent["frames"] == served["results"]


def test_an_edge_without_its_edge_tpu_runs_on_the_cpu_if_it_may(edge, cloud, deployment, tiny_results):
    cloud(deployment.url)
    deployment.wait_for_cloud()
    summary = edge(deployment.url, "--accelerator", "coral", "--fallback", "cpu").done().json()
    deployment.wait_for_results(summary["frames"])

    assert summary["frames"] == summary["results"] > 0
    check_results(deployment.results, tiny_results)


def test_an_edge_without_its_edge_tpu_is_refused_in_one_line(edge, deployment):
    refused = edge(deployment.url, "--cut", "op000", "--accelerator", "coral").done()

    assert "is not compiled for the Edge TPU: run `tflsplit compile" in refused.refusal()

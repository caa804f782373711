"""Clouds as the processes they are in service: workers, several packages and deployments, groups that share."""

import os
import pathlib
import signal
import subprocess

import numpy as np
import pytest
import tiny_models

pytestmark = pytest.mark.chaos

SOON = ("--resend-after", "0.5")


def check_results(deployment, expected, count):
    """Each frame is answered, with what the whole model makes of it."""
    deployment.wait_for(lambda: {result.sequence for result in deployment.results} == set(range(count)))
    for result in deployment.results:
        assert np.allclose(dict(result.values)["c"], expected[result.sequence % len(expected)], rtol=1e-6)


def workers_of(process):
    """Pids of the living worker processes of a cloud."""
    tasks = pathlib.Path(f"/proc/{process.pid}/task").glob("*/children")
    return [int(pid) for children in tasks for pid in children.read_text().split() if is_running(int(pid))]


def is_running(pid):
    stat = pathlib.Path(f"/proc/{pid}/stat")
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z"


def wait_for_workers(deployment, process, count):
    deployment.wait_for(lambda: len(workers_of(process)) == count)
    return workers_of(process)


def test_workers_that_are_killed_lose_no_frame(edge, cloud, deployment, tiny_results):
    serving = cloud(deployment.url, "--workers", "2")
    deployment.wait_for_cloud()
    streaming = edge(deployment.url, "--count", "400", "--rate", "200")
    for kills in range(3):
        deployment.wait_for_results(50 * (kills + 1))
        os.kill(wait_for_workers(deployment, serving, 2)[0], signal.SIGKILL)
    sent = streaming.done().json()
    check_results(deployment, tiny_results, 400)
    serving.terminate()
    served = serving.done().json()

    assert (sent["frames"], sent["results"], sent["unanswered"]) == (400, 400, 0)
    assert (served["results"], served["workers_replaced"]) == (400, 3)


def test_workers_end_with_a_cloud_that_is_killed_and_remove_its_files(cloud, deployment, tmp_path, monkeypatch):
    (tmp_path / "temporary").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    serving = cloud(deployment.url, "--workers", "2")
    deployment.wait_for_cloud()
    pids = wait_for_workers(deployment, serving, 2)
    assert len(list((tmp_path / "temporary").iterdir())) == 1
    serving.kill()
    deployment.wait_for(lambda: not any(map(is_running, pids)))

    assert list((tmp_path / "temporary").iterdir()) == []


def test_sigterm_ends_a_cloud_with_all_its_workers_took_answered(edge, cloud, deployment, tiny_results):
    first = cloud(deployment.url, "--workers", "2")
    deployment.wait_for_cloud()
    streaming = edge(deployment.url, *SOON, "--count", "300", "--rate", "300")
    deployment.wait_for_results(50)
    first.terminate()
    served = first.done().json()
    assert deployment.wait_for_status("cloud", "offline")["reason"] == "closed"
    cloud(deployment.url)
    sent = streaming.done().json()
    check_results(deployment, tiny_results, 300)

    assert served["frames"] == served["results"] + served["duplicates"]
    assert served["unfinished"] == 0
    assert (sent["results"], sent["unanswered"]) == (300, 0)


@pytest.fixture
def other(residual_model, tmp_path):
    return tiny_models.write_package(tmp_path / "other.tflsplit", residual_model, labels=("x", "y"))


def test_several_packages_and_deployments_are_served_by_one_process(  # noqa: PLR0917 - fixtures
    edge, cloud, deployment, watch, tiny_package, other
):
    second = watch(deployment.url, "e")
    serving = cloud(deployment.url, "--workers", "2", deployments=("d", "e"), packages=(tiny_package, other))
    deployment.wait_for_cloud()
    second.wait_for_cloud()
    streaming = [
        edge(deployment.url, "--count", "30", device=f"{name}-{number}", deployment=name, package=package)
        for name in ("d", "e")
        for number, package in enumerate((tiny_package, other))
    ]
    assert [process.done().json()["results"] for process in streaming] == [30] * 4
    for joined in (deployment, second):
        joined.wait_for_results(60)
        assert {result.package for result in joined.results} == {tiny_package.digest, other.digest}
    for name in ("d", "e"):
        watcher = deployment if name == "d" else second
        assert watcher.statuses["cloud"]["state"] == "online"
    serving.terminate()
    served = serving.done().json()

    assert served["results"] == 120
    assert [served["deployments"][name]["results"] for name in ("d", "e")] == [60, 60]


def test_clouds_of_one_group_share_the_frames_and_one_that_is_killed_loses_none(edge, cloud, deployment, tiny_results):
    clouds = {name: cloud(deployment.url, "--share", "g", "--name", name) for name in ("one", "two")}
    for name in clouds:
        deployment.wait_for_status(name, "online")
    deployment.wait_for_cloud()
    streaming = edge(deployment.url, *SOON, "--count", "300", "--rate", "200")
    deployment.wait_for_results(50)
    clouds["one"].kill()
    sent = streaming.done().json()
    check_results(deployment, tiny_results, 300)
    clouds["two"].terminate()
    served = clouds["two"].done().json()

    assert (sent["results"], sent["unanswered"]) == (300, 0)
    assert 150 < served["results"] < 300


def test_a_group_answers_each_frame_once(edge, cloud, deployment, tiny_results):
    clouds = [cloud(deployment.url, "--share", "g", "--name", name) for name in ("one", "two")]
    for name in ("one", "two"):
        deployment.wait_for_status(name, "online")
    deployment.wait_for_cloud()
    sent = edge(deployment.url, "--count", "200").done().json()
    check_results(deployment, tiny_results, 200)
    for process in clouds:
        process.terminate()
    served = [process.done().json()["results"] for process in clouds]

    assert sent["results"] == 200  # a cloud may say the results of its first seconds again
    assert sum(served) == 200
    assert min(served) > 0


def test_a_second_signal_ends_a_cloud_at_once(cloud, edge, deployment):
    serving = cloud(deployment.url, "--workers", "1", "--drain", "600")
    deployment.wait_for_cloud()
    os.kill(wait_for_workers(deployment, serving, 1)[0], signal.SIGSTOP)
    streaming = edge(deployment.url, *SOON, "--count", "5")
    assert any("no answers deployment=d" in line for line in streaming.stderr)
    serving.terminate()
    with pytest.raises(subprocess.TimeoutExpired):
        serving.wait(1.0)
    serving.terminate()

    assert serving.done().code != 0
    streaming.kill()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("PKG", "PKG"), "two of them have the same digest"),
        (("PKG", "--workers", "2", "--deployment", "e/f"), "deployment name 'e/f'"),
        (("PKG", "--share", "a/b"), "share name 'a/b'"),
    ],
)
def test_what_cannot_be_served_is_refused_in_one_line(run, brokers, tiny_package, words, said):
    given = [tiny_package.path if word == "PKG" else word for word in words]

    assert said in run("cloud", *given, "--broker", brokers.start(), "--deployment", "d").refusal()


def test_a_broker_that_knows_no_groups_is_refused(run, brokers, tiny_package):
    url = brokers.start("amqtt")
    refused = run("cloud", tiny_package.path, "--broker", url, "--deployment", "d", "--share", "g").refusal()

    assert "shared subscriptions need a broker of MQTT 5" in refused

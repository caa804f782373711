"""`tflsplit cloud --engine ray` as the processes it is."""

import importlib.util
import os
import signal
import tempfile

import numpy as np
import pytest

needs_ray = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="needs Ray: pip install ray")


@pytest.fixture
def environment():
    """One where no cluster runs; Ray keeps its files, and the token of its clusters, in a folder with a short path."""
    with tempfile.TemporaryDirectory(prefix="tflsplit-ray-test-") as folder:
        ours = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
        yield ours | {"TMPDIR": folder, "HOME": folder, "RAY_USAGE_STATS_ENABLED": "0"}


@needs_ray
@pytest.mark.chaos
def test_a_cloud_on_ray_answers_every_frame_though_an_actor_is_killed(  # noqa: PLR0917 - fixtures
    start, brokers, watch, environment, tiny_package, source, tiny_results
):
    url = brokers.start()
    deployment = watch(url)
    at = ("--broker", url, "--deployment", "d", "--json")
    on_ray = ("--engine", "ray", "--ray-address", "local", "--workers", "2")
    serving = start("cloud", tiny_package.path, *at, *on_ray, env=environment)
    deployment.wait_for_cloud()
    rate = ("--count", "200", "--rate", "100")
    streaming = start("edge", tiny_package.path, *at, "--device", "n", "--source", source, *rate)
    deployment.wait_for_results(50)
    os.kill(actors_of(environment["TMPDIR"])[0], signal.SIGKILL)
    sent = streaming.done().json()
    deployment.wait_for_results(200)
    serving.terminate()
    served = serving.done().json()

    for result in deployment.results:
        assert np.allclose(dict(result.values)["c"], tiny_results[result.sequence % len(tiny_results)], rtol=1e-6)
    assert (sent["results"], sent["unanswered"]) == (200, 0)
    assert (served["results"], served["unfinished"], served["workers_replaced"]) == (200, 0, 1)


def actors_of(folder):
    """Pids of the actors that keep their files there."""
    found = []
    for process in os.listdir("/proc"):
        try:
            with open(f"/proc/{process}/cmdline", "rb") as command, open(f"/proc/{process}/environ", "rb") as its:
                if command.read().startswith(b"ray::_Actor") and f"TMPDIR={folder}".encode() in its.read():
                    found.append(int(process))
        except OSError:  # no process, or one that has gone
            continue
    return found


@needs_ray
def test_where_no_cluster_runs_it_is_one_line(run, environment, tiny_package):
    done = run(
        *("cloud", tiny_package.path, "--broker", "mqtt://127.0.0.1:1", "--deployment", "d", "--engine", "ray"),
        env=environment,
    )

    assert "Ray at auto" in done.refusal()


def test_an_address_without_the_engine_is_wrong_usage(run, tiny_package):
    done = run("cloud", tiny_package.path, "--deployment", "d", "--ray-address", "h:1")

    assert done.code == 2
    assert "--ray-address goes with --engine ray" in done.err

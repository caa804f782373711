"""Stateful packages on real processes and a real Mosquitto: each device gets what the whole model gives it alone."""

import chaos
import psutil
import pytest
import tiny_models

from tflsplit.graph.interpreter import Interpreter

pytestmark = pytest.mark.chaos

FRAMES = 300
SOON = ("--resend-after", "0.5")


@pytest.fixture
def package(tmp_path):
    return tiny_models.write_package(tmp_path / "m.tflsplit", tiny_models.remembering_model(), is_stateful=True)


@pytest.fixture
def deployment(deploy, mosquitto, package):
    return deploy(mosquitto().url, package)


def check(deployment, package, results):
    """Of results of one run of one edge: each step from the one before, from where its state began."""
    results = sorted(results, key=lambda result: result.sequence)
    output = package.manifest.outputs[0]
    with Interpreter(package.model_bytes()) as whole:
        for result in results:
            row = deployment.inputs[result.sequence % chaos.DIFFERENT]
            expected = whole.run(row[None], goes_on=result.step > 1)[0].ravel().tolist()
            ((_, values),) = result.values
            assert [round(value / output.scale) + output.zero_point for value in values] == expected, result


@pytest.mark.parametrize("workers", [(), ("--workers", "2")], ids=["one process", "two workers"])
def test_two_devices_at_once_each_have_a_stream_of_their_own(deployment, package, workers):
    reader = deployment.reader()
    deployment.cloud(*workers)
    edges = [deployment.edge("--count", FRAMES, "--cut", cut, device=cut) for cut in ("op000", "op001")]
    summaries = [edge.done() for edge in edges]
    reader.wait_for_results(2 * FRAMES)

    assert [(each["results"], each["restarts"]) for each in summaries] == [(FRAMES, 0)] * 2
    for device in ("op000", "op001"):
        results = [each for each in reader.results if each.device == device]
        assert sorted(each.step for each in results) == list(range(1, FRAMES + 1))
        check(deployment, package, results)


def test_workers_that_are_killed_lose_no_state(deployment, package):
    reader = deployment.reader()
    cloud = deployment.cloud("--workers", "2")
    edge = deployment.edge("--count", FRAMES, "--rate", "100", *SOON)
    for number in range(3):
        reader.wait_for_results((number + 1) * 60)
        children = psutil.Process(cloud.pid).children()
        max(children, key=lambda child: child.cpu_times().user).kill()
    summary = edge.done()
    reader.wait_for_results(FRAMES)
    cloud.terminate()

    assert (summary["results"], summary["restarts"]) == (FRAMES, 0)
    assert cloud.done()["workers_replaced"] >= 1
    check(deployment, package, reader.results)
    assert sorted(each.step for each in reader.results) == list(range(1, FRAMES + 1))


def test_a_broker_that_is_killed_changes_nothing(deploy, mosquitto, package):
    broker = mosquitto()
    deployment = deploy(broker.url, package)
    reader = deployment.reader()
    deployment.cloud()
    edge = deployment.edge("--spool", deployment.spool, "--count", FRAMES, "--rate", "200", *SOON)
    for number in range(2):
        reader.wait_for_results((number + 1) * 60)
        broker.kill()
        broker.start()
    summary = edge.done()
    reader.wait_for_results(FRAMES)

    assert (summary["results"], summary["restarts"]) == (FRAMES, 0)
    check(deployment, package, reader.results)


def test_a_cloud_that_is_killed_begins_the_stream_anew_and_every_frame_is_accounted_for(deployment, package):
    reader = deployment.reader()
    cloud = deployment.cloud()
    edge = deployment.edge("--count", FRAMES, "--rate", "100", *SOON)
    reader.wait_for_results(60)
    cloud.kill()
    deployment.cloud()
    summary = edge.done(code=1)
    reader.wait_for_results(summary["results"])

    assert summary["restarts"] == 1
    assert summary["results"] + summary["refused"] == FRAMES
    # What was out when the cloud ended, and what left before the edge heard of it.
    assert 1 <= summary["refused"] <= 20
    check(deployment, package, [each for each in reader.results if each.step is not None])


def test_an_edge_that_is_killed_ends_its_stream_and_the_next_one_is_its_own(deployment, package):
    reader = deployment.reader()
    deployment.cloud()
    first = deployment.edge("--spool", deployment.spool, "--count", "1000000", "--rate", "200")
    reader.wait_for_results(60)
    first.kill()
    summary = deployment.edge("--spool", deployment.spool, "--count", FRAMES).done()
    accepted = summary["frames"] + summary["replayed"]
    reader.wait_for_results(accepted)

    assert (summary["results"], summary["restarts"]) == (accepted, 0)
    boots = {each.boot for each in reader.results}
    assert len(boots) == 2
    for boot in boots:
        check(deployment, package, [each for each in reader.results if each.boot == boot])


def test_clouds_that_divide_the_frames_refuse_at_the_start(deployment, package):
    process = deployment.begin(chaos.Process("cloud", package.path, *deployment._where("cloud"), "--share", "g"))
    process.wait_for(lambda: any("it is stateful" in line for line in process.err))
    (line,) = [line for line in process.err if "it is stateful" in line]
    assert "serve it by one cloud with --workers" in line

"""Two faults at a time, which meet in states that neither makes alone: nothing is lost, doubled or wrong."""

import pathlib
import shutil
import subprocess

import chaos
import pytest
import tiny_models

pytestmark = pytest.mark.chaos

SUPPORT = pathlib.Path(chaos.__file__).parent
SOON = ("--resend-after", "0.5")
HOUR_S = 3600


def check_all(deployment, reader, edge, count):
    """Every frame of one run, once and rightly; the edge's summary."""
    summary = edge.done()
    reader.wait_for_results(count)
    deployment.check(reader)

    assert (summary["frames"], summary["results"], summary["unanswered"]) == (count, count, 0)
    assert len(reader.results) == count
    assert deployment.spooled() == set()
    return summary


@pytest.fixture
def stepped(stack, tmp_path):
    """What is put before a command to make its wall clock one that `step` sets."""
    if shutil.which("gcc") is None:
        pytest.skip("no C compiler: apt install gcc libc6-dev")
    library, file = tmp_path / "clock_step.so", tmp_path / "clock_step"
    command = ["gcc", "-shared", "-fPIC", "-o", library, SUPPORT / "clock_step.c", "-ldl"]
    subprocess.run(command, check=True, capture_output=True)
    file.write_text("0")
    return ("env", f"LD_PRELOAD={library}", f"CLOCK_STEP={file}"), lambda seconds: file.write_text(str(seconds))


def test_a_broker_and_its_cloud_that_die_together_while_the_spool_drains(deploy, mosquitto, scale):
    """The edge gets everything. What the broker had neither saved nor handed to the reader died with both: a reader may
    lack it (docs/brokers.md), and gets nothing twice or wrong."""
    broker = mosquitto()
    deployment = deploy(broker.url)
    reader = deployment.reader()
    # At that pace there are frames left, and so results to wait for, after each loss.
    edge = deployment.edge("--spool", deployment.spool, *SOON, "--rate", "100", "--count", scale.frames)
    edge.wait_until_online()
    for number in range(scale.kills):
        cloud = deployment.cloud("--name", f"cloud{number}")
        reader.wait_for_results((number + 1) * scale.between // 2)
        broker.kill()
        cloud.kill()
        broker.start()
    deployment.cloud()
    summary = edge.done()
    deployment.catch_up(reader)
    ((boot, _), *_) = reader.keys
    lacking = {(boot, sequence) for sequence in range(scale.frames)} - set(reader.keys)
    deployment.figures["reader lacks"] = len(lacking)
    deployment.check(reader, without=lacking)

    assert (summary["frames"], summary["results"], summary["unanswered"]) == (scale.frames, scale.frames, 0)
    assert summary["dropped"] == {}
    assert deployment.spooled() == set()


def test_a_cloud_of_another_package_beside_the_right_one_and_a_broker_that_restarts(deploy, mosquitto, scale, tmp_path):
    """What one refuses the other answers, whoever of them is there first again."""
    broker = mosquitto()
    deployment = deploy(broker.url)
    other = deploy(broker.url, tiny_models.write_package(tmp_path / "other.tflsplit", tiny_models.wide_model()))
    reader = deployment.reader()
    deployment.cloud("--name", "right")
    other.cloud("--name", "wrong")
    edge = deployment.edge("--spool", deployment.spool, *SOON, "--rate", "100", "--count", scale.frames)
    for number in range(scale.kills):
        reader.wait_for_results((number + 1) * scale.between)
        broker.kill()
        broker.start()

    assert check_all(deployment, reader, edge, scale.frames)["refused"] == 0


@pytest.mark.parametrize("side", ["edge", "cloud"])
def test_a_clock_that_steps_while_the_broker_is_away(deploy, mosquitto, stepped, scale, side):
    """An hour forth, and back to an hour before what it was."""
    prefix, step = stepped
    broker = mosquitto()
    deployment = deploy(broker.url)
    reader = deployment.reader()
    begun = {"edge": (), "cloud": (), side: prefix}
    deployment.cloud(before=begun["cloud"])
    spool = ("--spool", deployment.spool, *SOON, "--rate", "100", "--count", scale.frames)
    edge = deployment.edge(*spool, before=begun["edge"])
    for number in range(scale.kills):
        reader.wait_for_results((number + 1) * scale.between)
        broker.kill()
        step(-HOUR_S if number % 2 else HOUR_S)
        broker.start()

    summary = check_all(deployment, reader, edge, scale.frames)
    assert 0 <= summary["latency_ms"]["p50"] <= summary["latency_ms"]["p99"] < chaos.PATIENCE_S * 1000


def test_a_disk_that_is_full_while_the_cloud_is_away(mounted, deploy, mosquitto, wide_package):
    """The source waits; what was accepted is kept, and all of it is answered once there is a cloud."""
    count = 2000  # of 5 KB each
    deployment = deploy(mosquitto().url, wide_package)
    deployment.spool = mounted("size=20m") / "spool"  # of which the spool leaves 16
    reader = deployment.reader()
    edge = deployment.edge("--spool", deployment.spool, *SOON, "--count", count)
    edge.wait_to_say("spool disk_full")
    deployment.cloud()

    check_all(deployment, reader, edge, count)

"""A cut that moves, with edges and clouds as the processes they are in service, over real brokers."""

import pytest
import rabbit
from invented_plans import FIGURES, costing, write_plan

from tflsplit import bundle
from tflsplit.coding.input_codec import Pixels
from tflsplit.package import reading

pytestmark = pytest.mark.chaos

WITHOUT_END = ("--count", "1000000", "--rate", "50", "--resend-after", "0.5")


@pytest.fixture
def edge(start, tiny_package, source, tmp_path):
    def begin(url, *options, package=tiny_package, figures=FIGURES):
        common = ("--broker", url, "--deployment", "d", "--device", "n", "--source", source, "--json")
        plan = write_plan(tmp_path, package, figures)
        return start("edge", package.path, "--plan", plan, "--adapt", *common, *options)

    return begin


@pytest.fixture
def cloud(start, tiny_package):
    def begin(url, *options, name="cloud", package=tiny_package):
        common = ("--broker", url, "--deployment", "d", "--name", name, "--json")
        return start("cloud", package.path, *common, *options)

    return begin


def moved_to(deployment, cut):
    """Waits for results of that cut, which come after those that are there."""
    seen = len(deployment.results)
    deployment.wait_for(lambda: cut in {result.cut for result in deployment.results[seen:]})


@pytest.mark.parametrize("options", [(), ("--workers", "2")], ids=["inline", "workers"])
def test_a_cut_moves_once_every_worker_has_its_tail(edge, cloud, deployment, options):
    cloud(deployment.url, *options)
    streaming = edge(deployment.url, *WITHOUT_END)
    moved_to(deployment, "op001")
    streaming.terminate()
    told = streaming.done().json()

    assert told["frames"] == told["results"] + told["unanswered"]
    assert (told["refused"], told["unanswered"]) == (0, 0)


def test_a_cut_whose_tail_one_cloud_lacks_is_used_only_once_that_is_gone(
    edge, cloud, deployment, tiny_package, tmp_path
):
    part = bundle.write(tmp_path / "part.tflsplit", tiny_package, "cloud", ("op000",))
    cloud(deployment.url, name="whole")
    lacking = cloud(deployment.url, name="part", package=part)
    deployment.wait_for_status("whole", "online")
    deployment.wait_for_status("part", "online")
    streaming = edge(deployment.url, *WITHOUT_END)
    deployment.wait_for_results(100)
    assert {result.cut for result in deployment.results} == {"op000"}
    lacking.terminate()
    assert "tail not opened before its first frame cut=op001" in lacking.done().err
    moved_to(deployment, "op001")
    streaming.terminate()
    told = streaming.done().json()

    assert (told["refused"], told["unanswered"]) == (0, 0)


def test_bundles_that_are_made_for_it_are_all_that_a_cut_needs_to_move(  # noqa: PLR0917 - fixtures
    run, edge, cloud, deployment, tiny_package, tmp_path
):
    plan = write_plan(tmp_path, tiny_package)
    parts = {role: tmp_path / f"{role}.tflsplit" for role in ("edge", "cloud")}
    for role, made in parts.items():
        assert run("bundle", "--plan", plan, "--adapt", "--role", role, "-o", made).code == 0
    cloud(deployment.url, package=reading.open_package(parts["cloud"]))
    streaming = edge(deployment.url, *WITHOUT_END, package=reading.open_package(parts["edge"]))
    moved_to(deployment, "op001")
    streaming.terminate()
    told = streaming.done().json()

    assert (told["refused"], told["unanswered"]) == (0, 0)


def test_clouds_at_a_queue_move_with_a_device_that_was_there_before(start, edge, rabbitmq, watch, tiny_package):
    url = rabbitmq.mqtt_url
    joined = watch(url)
    streaming = edge(url, *WITHOUT_END)
    joined.wait_for(lambda: "n" in joined.births)
    queue = rabbitmq.amqp_url.replace("@", f":{rabbit.PASSWORD.replace(' ', '%20')}@")
    for name in ("one", "two"):
        start(*("cloud", tiny_package.path, "--queue", queue, "--broker", url, "--deployment", "d", "--name", name))
    moved_to(joined, "op001")
    streaming.terminate()
    told = streaming.done().json()

    assert told["refused"] == 0


# Each is the best under some link, and none takes long to load.
BOTH = (costing("op000", 900_000, load_s=0.05), costing("op001", 300, load_s=0.05), costing("output", 0, 3600.0))


@pytest.mark.parametrize("fallback", [(), ("--fallback", "cpu")], ids=["alone", "fallback"])
def test_a_delegate_that_is_taken_by_one_process_loads_the_head_that_the_cut_moves_to(  # noqa: PLR0917 - fixtures
    edge, cloud, deployment, library, tmp_path, fallback
):
    cloud(deployment.url)
    accelerator = f"delegate:{library}?alone={tmp_path / 'lock'}"
    streaming = edge(deployment.url, "--accelerator", accelerator, *fallback, *WITHOUT_END, figures=BOTH)
    moved_to(deployment, "op001")

    def is_there():
        birth = deployment.births["n"]
        return (birth["cut"], birth["accelerator"]["runs_on"]) == ("op001", f"delegate:{library}")

    deployment.wait_for(is_there)
    streaming.terminate()
    done = streaming.done()
    told = done.json()

    assert (told["refused"], told["unanswered"]) == (0, 0)
    assert "the device takes one head at a time cut=op001" in done.err
    assert ("a frame waited for its head cut=op001" in done.err) == (not fallback)
    assert "timings of another accelerator" in done.err


def test_a_picture_travels_as_pixels_where_that_is_cheaper(start, cloud, deployment, digits, tmp_path):
    package = reading.open_package(digits)
    figures = (
        costing("input", 900_000, input_codec="int8"),
        costing("input", 300, input_codec="raw"),
        costing("output", 0, 3600.0),
    )
    plan = write_plan(tmp_path, package, figures, cut="input")
    cloud(deployment.url, package=package)
    common = ("--broker", deployment.url, "--deployment", "d", "--device", "n", "--json")
    source = digits.parent / "test.npy"
    streaming = start("edge", digits, "--plan", plan, "--adapt", *common, "--source", source, *WITHOUT_END)
    deployment.wait_for(lambda: any(result.pixels is Pixels.RAW for result in deployment.results))
    deployment.wait_for(lambda: deployment.births["n"].get("input_codec") == "raw")
    streaming.terminate()
    told = streaming.done().json()

    assert (told["refused"], told["unanswered"]) == (0, 0)

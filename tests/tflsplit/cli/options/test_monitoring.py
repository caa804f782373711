"""Edges and clouds that are observed, as the processes they are in service."""

import json
import os
import re
import socket

import ports
import pytest
import waiting
from scraped import get, scrape

from broker.cloud import engine, subscriber
from broker.cloud import metrics as broker_watch
from broker.transport import memory
from edge_runtime.monitoring import frame_trace
from tflsplit import extras
from tflsplit.cli.options import cloud_metrics, connection

WAIT_S = 60.0
COMMON = ("--deployment", "d")


@pytest.fixture
def url(brokers):
    return brokers.start()


@pytest.fixture
def edge(start, tiny_package, source, url):
    """Starts an edge named n, of deployment d."""
    words = ("--broker", url, *COMMON, "--device", "n", "--source", source, "--json")
    return lambda *options, **others: start("edge", tiny_package.path, *words, *options, **others)


@pytest.fixture
def cloud(start, tiny_package, url):
    """Starts a cloud of deployment d."""
    return lambda *options: start("cloud", tiny_package.path, "--broker", url, *COMMON, "--json", *options)


def test_an_edge_a_cloud_and_each_device_are_seen_from_outside(edge, cloud, url, watch, start):
    at_edge, at_cloud = ports.free_port(), ports.free_port()
    deployment = watch(url)
    cloud("--metrics", at_cloud, "--workers", "1")
    waiting.wait_for(lambda: get(at_cloud, "/health/ready")[0] == 200)
    running = edge(
        "--metrics",
        at_edge,
        "--telemetry",
        "1",
        "--count",
        "1000000",
        "--rate",
        "200",
    )
    deployment.wait_for_results(20)
    waiting.wait_for(lambda: scrape(at_edge)["tflsplit_edge_results_total",] >= 20)
    waiting.wait_for(lambda: scrape(at_cloud)["tflsplit_fleet_results_total", ("deployment", "d")] > 0)
    at_fleet, of_device = ports.free_port(), (("deployment", "d"), ("device", "n"))
    listing = start("fleet", "--broker", url, *COMMON, "--metrics", at_fleet)
    waiting.wait_for(lambda: get(at_fleet, "/health/ready")[0] == 200)
    waiting.wait_for(lambda: scrape(at_fleet).get(("tflsplit_device_results_total", *of_device), 0) > 0)
    assert ("tflsplit_device_results_total", *of_device) not in scrape(at_cloud)
    listing.terminate()
    assert listing.done().code == 0
    seen, served = scrape(at_edge), scrape(at_cloud)
    state, said = get(at_edge, "/health")

    assert (state, json.loads(said)["state"]) == (200, "ok")
    assert get(at_edge, "/health/live")[0] == 200
    assert seen["tflsplit_edge_latency_seconds_count",] >= 20
    assert seen["tflsplit_edge_broker_state", ("state", "online")] == 1
    assert seen["process_resident_memory_bytes",] > 0
    assert served["tflsplit_cloud_results_total", ("deployment", "d")] >= 20
    assert served["tflsplit_cloud_workers",] == 1
    assert served["tflsplit_cloud_bad_telemetry_total", ("deployment", "d")] == 0
    running.terminate()
    summary = running.done().json()
    assert summary["frames"] == summary["results"]


def test_a_trace_says_where_the_time_went(edge, cloud, run, tmp_path):
    cloud()
    # The cloud answers now: of a frame that is sent again nobody knows which sending was answered.
    edge(
        "--count", "1"
    ).done()  # the cloud answers: of a frame that is sent again nobody knows which sending was answered
    done = edge("--trace", tmp_path / "t.jsonl", "--count", "50").done()
    summary = run("trace", tmp_path / "t.jsonl", "--json", "--perfetto", tmp_path / "p.json").json()
    table = run("trace", tmp_path / "t.jsonl")
    lines = list(frame_trace.read(tmp_path / "t.jsonl"))

    assert done.json()["results"] == summary["frames"] == len(lines) == 50
    assert set(summary["parts_ms"]) == {"wait", "head", "out", "queue", "decode", "tail", "reply", "back"}
    for line in lines:
        assert sum(line["parts_ms"].values()) == pytest.approx(line["total_ms"], abs=0.02)
        assert abs(line["offset_ms"]) <= line["offset_error_ms"] + 0.01  # both ends have one clock
    assert len(json.loads((tmp_path / "p.json").read_text())["traceEvents"]) == 2 * 8 * 50
    assert table.code == 0
    assert "longest part of" in table.out


def test_a_device_is_announced_to_home_assistant(edge, url, watch):
    joined = watch(url)
    joined._client.subscribe("homeassistant/#")
    running = edge("--count", "1", "--drain", "60", "--home-assistant")
    message = None
    while message is None or not message.topic.startswith("homeassistant"):
        message = joined._client.receive(WAIT_S)
    running.kill()

    assert message.topic == "homeassistant/device/tflsplit-d-n/config"
    assert json.loads(message.payload)["device"]["name"] == "n"


@pytest.mark.parametrize("command", ["edge", "cloud"])
def test_a_port_that_is_taken_is_refused(request, command):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        refused = request.getfixturevalue(command)("--metrics", port).done().refusal()

    assert re.search(rf"metrics address 127.0.0.1:{port}: .*Address already in use.*--metrics", refused)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (("--metrics", "nowhere"), "metrics address 'nowhere': give PORT, HOST:PORT"),
        (("--metrics", "203.0.113.1:9"), "metrics address 203.0.113.1:9"),
        (("--trace", "/proc/nothing/t"), "trace /proc/nothing/t: cannot be written"),
        (("--home-assistant", "a b"), "Home Assistant prefix 'a b'"),
    ],
)
def test_what_cannot_be_done_is_refused_in_one_line(edge, options, reason):
    assert reason in edge(*options).done().refusal()


def test_a_configuration_is_checked_for_what_could_not_be_observed(run, tmp_path):
    lines = ('metrics = "box"', 'home-assistant = "a b"', "telemetry = 0.1", "trace-limit = 0")
    (tmp_path / "edge.toml").write_text("\n".join(("[edge]", *lines)))
    checked = run("config", "check", tmp_path / "edge.toml")

    for key, reason in (
        ("metrics", "give PORT"),
        ("home-assistant", "prefix"),
        ("telemetry", "0.1"),
        ("trace-limit", "0"),
    ):
        assert re.search(rf"{key}: .*{reason}", checked.err + checked.out)


def test_metrics_without_their_library_are_refused_with_what_to_install(edge, tmp_path):
    (tmp_path / "hidden").mkdir()
    (tmp_path / "hidden" / "prometheus_client.py").write_text("raise ImportError('hidden')")
    environment = os.environ | {"PYTHONPATH": str(tmp_path / "hidden")}
    refused = edge("--metrics", "0", env=environment).done()

    assert extras.install("metrics") in refused.refusal()


def test_an_edge_that_nobody_observes_imports_nothing_of_it(edge, cloud):
    cloud()
    imported = edge("--count", "1", env=os.environ | {"PYTHONPROFILEIMPORTTIME": "1"}).done()
    names = {line.rpartition("|")[2].strip() for line in imported.err.splitlines() if line.startswith("import time:")}
    observing = {
        "prometheus_client",
        "http.server",
        "tflsplit.observing",
        "edge_runtime.monitoring.frame_trace",
        "broker.messages.telemetry",
    }

    assert imported.code == 0, imported.err
    assert "edge_runtime.loop" in names
    assert not names & observing


def test_a_cloud_at_a_queue_without_a_broker_is_watched_and_hears_no_telemetry(tiny_package):
    transport = memory.MemoryTransport(memory.MemoryBroker(), client_id="cloud")
    inline = engine.Inline.of(tiny_package)
    pairs = [(subscriber.Cloud(inline, transport, "d"), transport)]
    watching = broker_watch.CloudMetrics()
    with cloud_metrics.of_clouds(watching, [tiny_package], inline, pairs, (connection.Broker(), "cloud", 7)):
        shown = {family.name for family in watching.families()}
    inline.close()

    assert "tflsplit_cloud_frames_total" in shown
    assert "tflsplit_cloud_devices" not in shown


@pytest.mark.parametrize("text", ["", "{}\n"])
def test_a_file_that_is_no_trace_is_refused(run, tmp_path, text):
    (tmp_path / "t.jsonl").write_text(text)

    assert "t.jsonl" in run("trace", tmp_path / "t.jsonl").refusal()

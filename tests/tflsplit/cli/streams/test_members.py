"""Several `[[stream]]` tables: real processes, a real broker, and what fails in one of them."""

import json
import os
import shutil
import signal
import subprocess
import urllib.error
import urllib.request

import ports
import pytest
import secured_broker
import supervisors
import waiting

from broker.local import server
from edge_runtime.service import credentials

pytestmark = pytest.mark.chaos

WAIT_S = 60.0


@pytest.fixture
def cloud(start, tiny_package, brokers):
    """A broker with a cloud that answers; gives the broker's address."""
    url = brokers.start()
    start("cloud", tiny_package.path, "--broker", url, "--deployment", "d")
    return url


@pytest.fixture
def configure(tmp_path, tiny_package, source, cloud):
    """Writes a file with streams; what they have alike is given by `alike`."""

    def table(header, fields):
        return [header, *(f"{key} = {json.dumps(value)}" for key, value in fields.items()), ""]

    def write(*streams, **alike):
        shared = {"package": str(tiny_package.path), "deployment": "d", "source": str(source), "cut": "op001"}
        lines = table("[edge]", {**shared, "broker": cloud, "resend-after": 0.5, **alike})
        for stream in streams:
            lines += table("[[stream]]", stream)
        file = tmp_path / "edge.toml"
        file.write_text("\n".join(lines))
        return file

    return write


def health_when(port, is_so):
    """What `/health` tells once something is so."""
    told = {}

    def look():
        try:
            answer = urllib.request.urlopen(f"http://127.0.0.1:{port}/health").read()
        except urllib.error.HTTPError as refused:
            answer = refused.read()
        except urllib.error.URLError:  # it is not there yet
            return False
        told.update(json.loads(answer))
        return is_so(told)

    waiting.wait_for(look)
    return told


def summaries(done):
    return {each["device"]: each for each in map(json.loads, done.out.splitlines())}


def test_each_stream_is_an_edge_of_its_own(run, configure):
    file = configure({"device": "door", "count": 30}, {"device": "yard", "count": 20, "rate": 100}, {"device": "hall"})
    done = run("edge", "--config", file, "--json")
    assert done.code == 0, done.err
    found = summaries(done)
    assert {name: each["results"] for name, each in found.items()} == {"door": 30, "yard": 20, "hall": 40}


def test_one_that_fails_is_named_and_tried_again_while_the_others_go_on(start, configure, source, tmp_path):
    port = ports.free_port()
    missing = tmp_path / "later.npy"
    missing.write_bytes(b"no array yet")
    file = configure(
        {"device": "door", "count": 1_000_000, "rate": 50},
        {"device": "yard", "source": str(missing), "count": 1_000_000, "rate": 50},
        {"device": "hall", "source": str(tmp_path / "never.npy")},
        metrics=str(port),
    )
    with open(tmp_path / "log", "w+") as log:
        edge = start("edge", "--config", file, "--json", stderr=log)
        waiting.wait_for(lambda: "stream failed device=yard" in (tmp_path / "log").read_text())
        health = health_when(port, lambda found: found["streams"]["door"]["state"] == "ok")
        assert health["why"].startswith("yard: ")
        assert "never.npy" in health["streams"]["hall"]["why"]
        scraped = urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics").read().decode()
        assert 'tflsplit_edge_results_total{device="door"}' in scraped
        assert "later.npy" in health["streams"]["yard"]["why"]
        shutil.copy(source, missing)
        health_when(port, lambda found: found["streams"]["yard"]["state"] == "ok")
        edge.send_signal(signal.SIGTERM)
        assert edge.wait(WAIT_S) == 1  # one of them never ran
    assert "1 stream failed: hall: " in (tmp_path / "log").read_text()


@pytest.mark.parametrize(
    ("streams", "alike", "said"),
    [
        (({"device": "a"}, {"device": "a"}), {}, "two streams are of device 'a'"),
        (({"device": "a"}, {"device": "b", "sorce": "x"}), {}, "stream 2): there is no key 'sorce'; did you mean"),
        (({"device": "a", "weight": 0},), {}, "stream 1): weight: 0"),
        (({"device": "a"}, {"device": "b"}), {"accelerator": "auto"}, "accelerator auto: several streams share one"),
        (({"device": "a"}, {"device": "b", "accelerator": "toaster"}), {}, "accelerator 'toaster'"),
        (({"device": "a"}, {"device": "b", "rate": 0}), {}, "stream 2: rate of 0.0 frames a second: give more than 0"),
        (({"device": "a"}, {"device": "b", "update-key": "k.pub"}), {}, "k.pub: give --models DIR too"),
        (({"device": "a"}, {"device": "b", "adapt": True}), {}, "stream 2: a cut moves by a plan"),
    ],
)
def test_what_is_wrong_is_said_before_any_stream_begins(run, configure, streams, alike, said):
    done = run("edge", "--config", configure(*streams, **alike))
    assert done.code == 1
    assert said in done.err
    assert "edge runs" not in done.err


def test_a_check_says_what_the_edge_would_and_which_stream_it_is(run, configure):
    """What all of them have wrong is said once."""
    checked = run("config", "check", configure({"device": "a"}, {"device": "b", "rate": -1, "cut": "nosuch"}))
    assert checked.code == 1
    assert "edge.toml (stream 2): no cut or layer 'nosuch'" in checked.err
    checked = run("config", "check", configure({"device": "a"}, {"device": "b", "rate": -1}))
    assert "edge.toml (stream 2): rate of -1.0 frames a second: give more than 0" in checked.err
    checked = run("config", "check", configure({"device": "a"}, {"device": "b"}, cut="nosuch"))
    assert checked.err.count("edge.toml: no cut or layer 'nosuch'") == 1


def test_streams_share_a_device_that_one_process_may_open_once(run, configure, library, tmp_path):
    file = configure(
        {"device": "door", "count": 40, "weight": 2},
        {"device": "yard", "count": 40},
        accelerator=f"delegate:{library}?alone={tmp_path}/taken",
    )
    done = run("edge", "--config", file, "--json")
    assert done.code == 0, done.err
    assert {name: each["results"] for name, each in summaries(done).items()} == {"door": 40, "yard": 40}
    assert done.err.count("accelerator served") == 1


def test_a_device_takes_as_many_streams_as_there_are(run, configure, library):
    names = [f"camera{number}" for number in range(17)]
    streams = [{"device": name, "count": 2} for name in names]
    done = run("edge", "--config", configure(*streams, accelerator=f"delegate:{library}"), "--json")
    assert done.code == 0, done.err
    assert {name: each["results"] for name, each in summaries(done).items()} == dict.fromkeys(names, 2)


def test_a_stream_that_hangs_starves_the_watchdog_of_all(start, configure, library, tmp_path):
    hang = tmp_path / "hang"
    with supervisors.listening(tmp_path / "notify") as supervisor:
        file = configure(
            {"device": "door", "count": 1_000_000, "rate": 20},
            {
                "device": "yard",
                "count": 1_000_000,
                "rate": 20,
                "accelerator": f"delegate:{library}?invoke=hang&while={hang}",
            },
        )
        edge = start("edge", "--config", file, env=supervisor.environment)
        ready = supervisor.wait_for(lambda message: "READY=1" in message)
        assert "door: connected, " in ready
        assert "yard: connected, " in ready
        supervisor.wait_for(lambda message: message == "WATCHDOG=1")
        hang.touch()
        supervisor.wait_for_status("yard: connected, 0.0 frames/s")
        assert supervisor.is_silent_for(2 * supervisors.WATCHDOG_S, "WATCHDOG=1")
        edge.kill()


def test_a_reload_reaches_each_stream(start, configure, tmp_path):
    with supervisors.listening(tmp_path / "notify") as supervisor:
        streams = [{"device": name, "count": 1_000_000, "rate": 5} for name in ("door", "yard")]
        edge = start("edge", "--config", configure(*streams), env=supervisor.environment)
        supervisor.wait_for_status(r"door: .* [3-6]\.\d frames/s.*; yard: .* [3-6]\.\d frames/s")
        configure(streams[0], streams[1] | {"rate": 200})
        edge.send_signal(signal.SIGHUP)
        supervisor.wait_for_status(r"door: .* [3-6]\.\d frames/s.*; yard: .* \d{3}\.\d frames/s")
        edge.terminate()
        assert edge.done().code == 0


def test_what_cannot_change_while_a_stream_runs_begins_that_stream_again_and_no_other(start, configure, tmp_path):
    streams = [{"device": name, "count": 1_000_000, "rate": 50} for name in ("door", "yard")]
    with supervisors.listening(tmp_path / "notify") as supervisor, open(tmp_path / "log", "w+") as log:
        edge = start("edge", "--config", configure(*streams), "--json", stderr=log, env=supervisor.environment)
        supervisor.wait_for_status(r"door: .* [1-9]\d* results.*; yard: .* [1-9]\d* results")
        configure(streams[0], streams[1] | {"cut": "op000"})
        edge.send_signal(signal.SIGHUP)
        waiting.wait_for(lambda: "edge runs cut=op000" in (tmp_path / "log").read_text())
        supervisor.wait_for_status(r"yard: connected, .* [1-9]\d* results")
        configure(*streams, {"device": "hall"})
        edge.send_signal(signal.SIGHUP)
        refused = "the file has 3 streams now, 2 when this began: restart it"
        waiting.wait_for(lambda: refused in (tmp_path / "log").read_text())
        edge.terminate()
        done = edge.done()
    said = (tmp_path / "log").read_text()

    assert done.code == 0, said
    assert [json.loads(line)["device"] for line in done.out.splitlines()].count("yard") == 2
    assert "stream begins again device=yard changed=cut" in said
    assert "device=door changed=" not in said


def test_streams_begin_without_their_device_and_go_over_to_it_when_it_is_there(start, configure, library, tmp_path):
    port, there = ports.free_port(), tmp_path / "libthere.so"
    file = configure(
        {"device": "door", "count": 1_000_000, "rate": 20},
        {"device": "yard", "count": 1_000_000, "rate": 20},
        accelerator=f"delegate:{there}",
        fallback="cpu",
        metrics=str(port),
    )
    edge = start("edge", "--config", file, "--json", stderr=subprocess.DEVNULL)

    def are_on(name):
        return lambda found: all(
            (each.get("accelerator", {}).get("runs_on") or "").startswith(name) for each in found["streams"].values()
        )

    health_when(port, are_on("cpu"))
    shutil.copy(library, there)
    health_when(port, are_on("served:"))
    edge.terminate()
    ended = summaries(edge.done())
    assert {device for device, each in ended.items() if each["accelerator"]["frames_on_fallback"]} == {"door", "yard"}


@pytest.mark.skipif(server.mosquitto_path() is None, reason="mosquitto is not installed")
def test_each_stream_takes_its_credentials_from_where_systemd_shows_them(start, run, tiny_package, source, tmp_path):
    with secured_broker.Secured(tmp_path / "secured") as secured:
        clients = secured.path / "clients"
        deployment = ("--deployment", secured_broker.DEPLOYMENT)
        start("cloud", tiny_package.path, "--credentials", clients / "cloud", *deployment)
        shown = tmp_path / "shown"
        shown.mkdir()
        lines = ["[edge]", f'package = "{tiny_package.path}"', f'source = "{source}"', "count = 20"]
        for name in secured_broker.DEVICES[:2]:
            place = tmp_path / "nowhere" / name
            lines += ["[[stream]]", f'credentials = "{place}"']
            for one in credentials.of({"--credentials": clients / name}).credentials:
                (shown / "-".join((*place.parts[1:], one.name))).write_bytes(one.file.read_bytes())
        (tmp_path / "edge.toml").write_text("\n".join(lines))
        environment = {**os.environ, "CREDENTIALS_DIRECTORY": str(shown)}
        done = run("edge", "--config", tmp_path / "edge.toml", "--json", env=environment)

    assert {name: each["results"] for name, each in summaries(done).items()} == dict.fromkeys(
        secured_broker.DEVICES[:2], 20
    ), done.err

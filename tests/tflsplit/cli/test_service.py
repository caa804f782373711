"""The edge as a service: what it tells its supervisor, when it is well, hangs, is reloaded and stops.

The supervisor is a socket of the test's own that takes what systemd would.
"""

import pathlib
import re
import signal
import time

import pytest
import secured_broker
import supervisors
import waiting
from supervisors import WATCHDOG_S

from broker.deploy.ledger import Proof
from broker.local import server

pytestmark = pytest.mark.chaos

WAIT_S = 60.0


@pytest.fixture
def supervisor(tmp_path):
    with supervisors.listening(tmp_path / "notify") as made:
        yield made


@pytest.fixture
def configure(tmp_path, tiny_package, source):
    """Writes the configuration of an edge; `configure(rate=5)` changes it."""

    def write(**settings):
        fields = {
            "package": str(tiny_package.path),
            "deployment": "d",
            "device": "n",
            "source": str(source),
            "count": 1_000_000,
            "rate": 50,
            "resend-after": 0.5,
            "cut": "op000",
            **settings,
        }
        lines = [f"{key} = {value!r}".replace("'", '"') for key, value in fields.items() if value is not None]
        file = tmp_path / "edge.toml"
        file.write_text("\n".join(["[edge]", *lines, ""]))
        return file

    return write


@pytest.fixture
def serve(start, supervisor):
    """Starts an edge as its supervisor would."""
    return lambda file, *options: start("edge", "--config", file, *options, env=supervisor.environment)


@pytest.fixture
def cloud(start, tiny_package, brokers):
    """A broker with a cloud that answers; gives the broker's address."""
    url = brokers.start()
    start("cloud", tiny_package.path, "--broker", url, "--deployment", "d")
    return url


def test_ready_is_said_after_a_first_inference_and_then_state_and_food_for_the_watchdog(
    serve, configure, supervisor, cloud
):
    edge = serve(configure(broker=cloud))
    ready = supervisor.wait_for(lambda message: "READY=1" in message)
    before = [message.split("STATUS=")[1] for message in supervisor.messages[:-1]]

    assert before == ["opening the package", "first inference", "connecting to the broker"]
    assert all("EXTEND_TIMEOUT_USEC=90000000" in message for message in supervisor.messages[:-1])
    assert "STATUS=connected, " in ready
    for _ in range(3):
        supervisor.wait_for(lambda message: message == "WATCHDOG=1")
    told = supervisor.wait_for_status(r"[1-9]\d* results")
    assert re.search(r"STATUS=connected, \d+\.\d frames/s, \d+ results, \d+ waiting, head on cpu", told)
    began_s = time.monotonic()
    edge.terminate()
    assert edge.done().code == 0
    assert "STOPPING=1" in supervisor.wait_for(lambda message: "STOPPING=1" in message)
    assert time.monotonic() - began_s < 30.0, "it waited for answers that were there"


def test_a_service_comes_up_before_its_broker_and_goes_on_when_it_is_there(
    serve, configure, supervisor, brokers, watch
):
    url = brokers.start()
    brokers.kill()
    serve(configure(broker=url))
    ready = supervisor.wait_for(lambda message: "READY=1" in message)
    assert "STATUS=waiting for the broker" in ready
    supervisor.wait_for(lambda message: message == "WATCHDOG=1")
    brokers.start()
    supervisor.wait_for_status("connected")

    assert watch(url).wait_for_status("n", "online")["state"] == "online"


def test_without_a_supervisor_a_broker_that_is_not_there_is_refused(run, configure):
    assert "Connection refused" in run("edge", "--config", configure(broker="mqtt://127.0.0.1:1")).refusal()


@pytest.fixture
def hanging(library, tmp_path):
    """An accelerator whose inferences hang as long as a file is there, and that file."""
    return f"delegate:{library}?invoke=hang&while={tmp_path}/hang", tmp_path / "hang"


def test_an_accelerator_that_hangs_starves_the_watchdog(serve, configure, supervisor, cloud, hanging):
    accelerator, switch = hanging
    edge = serve(configure(broker=cloud, accelerator=accelerator))
    supervisor.wait_for(lambda message: "READY=1" in message)
    supervisor.wait_for(lambda message: message == "WATCHDOG=1")
    switch.touch()
    supervisor.wait_for_status("0.0 frames/s")

    assert supervisor.is_silent_for(2 * WATCHDOG_S, "WATCHDOG=1")
    assert "head on nothing" in supervisor.wait_for_status("head on nothing")
    edge.kill()


def test_a_reload_takes_over_what_may_change_and_names_what_takes_a_restart(serve, configure, supervisor, cloud):
    edge = serve(configure(broker=cloud, rate=5))
    supervisor.wait_for_status(r"\b[3-6]\.\d frames/s")
    configure(broker=cloud, rate=200, window=64, cut="op001")
    edge.send_signal(signal.SIGHUP)
    reloading = supervisor.wait_for(lambda message: "RELOADING=1" in message)
    assert re.search(r"MONOTONIC_USEC=\d+", reloading)
    supervisor.wait_for(lambda message: "READY=1" in message)
    supervisor.wait_for_status(r"\d{3}\.\d frames/s")
    edge.terminate()
    done = edge.done()

    assert "configuration read again changed=rate_fps,window" in done.err
    assert "changed settings need a restart keys=cut" in done.err


def test_a_reload_of_a_wrong_configuration_changes_nothing(serve, configure, supervisor, cloud):
    edge = serve(configure(broker=cloud, rate=50))
    supervisor.wait_for(lambda message: "READY=1" in message)
    configure(broker=cloud, rate="fast", windwo=3)
    edge.send_signal(signal.SIGHUP)
    supervisor.wait_for(lambda message: "RELOADING=1" in message)
    supervisor.wait_for(lambda message: "READY=1" in message)
    supervisor.wait_for_status(r"[2-5]\d\.\d frames/s")
    edge.terminate()
    done = edge.done()

    assert done.code == 0
    assert "the old one stays reason=" in done.err
    assert "rate: 'fast', expected a number" in done.err
    assert "'windwo'; did you mean 'window'?" in done.err


def test_a_reload_changes_the_log_level_and_works_without_a_supervisor(start, configure, cloud, tmp_path):
    with open(tmp_path / "log", "w+") as log:
        edge = start("edge", "--config", configure(broker=cloud, rate=5, **{"log-level": "error"}), stderr=log)
        waiting.wait_for(lambda: catches(edge.pid, signal.SIGHUP))
        configure(broker=cloud, rate=6, **{"log-level": "info"})
        edge.send_signal(signal.SIGHUP)
        waiting.wait_for(lambda: "configuration read again changed=rate_fps" in (tmp_path / "log").read_text())
    edge.terminate()

    assert edge.wait(WAIT_S) == 0
    assert "edge runs cut=" not in (tmp_path / "log").read_text()


def catches(pid, number):
    """By what the kernel tells of a process's handlers: before, the signal would end it."""
    caught = re.search(r"SigCgt:\s*(\w+)", pathlib.Path(f"/proc/{pid}/status").read_text())[1]
    return int(caught, 16) >> (number - 1) & 1


@pytest.mark.skipif(server.mosquitto_path() is None, reason="mosquitto is not installed")
def test_a_service_that_the_broker_refuses_ends_in_one_line(serve, configure, supervisor, tmp_path):
    """For good: another attempt with the same password would be refused as well."""
    with secured_broker.Secured(tmp_path / "secured", proof=Proof.PASSWORD) as secured:
        folder = secured.path / "clients" / "cam1"
        (folder / "password").write_text("guessed\n")
        named = {"deployment": secured_broker.DEPLOYMENT, "device": "cam1"}
        refused = serve(configure(credentials=str(folder), **named)).done().refusal()

    assert "refused: " in refused
    assert not any("READY=1" in message for message in supervisor.messages)


def test_a_secured_broker_takes_credentials_from_where_systemd_puts_them(serve, configure, supervisor, tmp_path):
    """The unit's --credentials %d counts before the folder of the configuration, which the service may not read."""
    with secured_broker.Secured(tmp_path / "secured") as secured:
        named = {"deployment": secured_broker.DEPLOYMENT, "device": "cam1"}
        serve(configure(credentials="/nowhere", **named), "--credentials", secured.path / "clients" / "cam1")

        assert "STATUS=connected" in supervisor.wait_for(lambda message: "READY=1" in message)

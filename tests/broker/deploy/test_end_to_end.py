"""A secured deployment as its people run it: commands, processes and folders of credentials."""

import contextlib
import json
import signal
import subprocess
import sys

import numpy as np
import ports
import pytest
from secured_broker import SOON_S

from broker.local import server
from broker.mqtt import transport
from broker.transport import credentials

pytestmark = pytest.mark.skipif(server.mosquitto_path() is None, reason="mosquitto is not installed")

TFLSPLIT = (sys.executable, "-m", "tflsplit.cli.main")
WAIT_S = 60.0
FRAMES = 40


@pytest.fixture
def start():
    with contextlib.ExitStack() as stack:

        def begin(*words):
            command = [*TFLSPLIT, *map(str, words)]
            process = stack.enter_context(
                subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            )
            stack.callback(process.kill)
            return process

        yield begin


@pytest.fixture
def run(start):
    def finish(*words):
        process = start(*words)
        out, err = process.communicate(timeout=WAIT_S)
        return process.returncode, out, err

    return finish


@pytest.fixture(params=[(), ("--password-auth",)], ids=["certificate", "password"])
def deployment(request, run, start, tmp_path):
    """A running broker, made and started by commands; the folder and the process."""
    path, port = tmp_path / "broker", ports.free_port()
    names = ("--deployment", "plant1", "--device", "cam1", "--device", "cam2", "--host", "localhost", "--port", port)
    code, out, err = run("broker", "init", path, *names, *request.param)
    assert (code, err) == (0, "")
    assert f"at mqtts://localhost:{port}" in out
    process = start("broker", "run", path)
    ports.await_server(port, process)
    return path, process


def connected(stack, folder):
    bundle = credentials.open_bundle(folder)
    made = stack.enter_context(
        transport.MqttTransport(bundle.address, client_id="test", credentials=bundle.credentials)
    )
    made.connect(timeout_s=SOON_S)
    return made


def await_status(listener, name):
    while (message := listener.receive(SOON_S)) is not None:
        listener.acknowledge(message)
        if message.topic.endswith(f"/{name}/status") and b'"online"' in message.payload:
            return
    raise AssertionError(f"{name} did not come online")


def test_edge_and_cloud_work_over_a_secured_broker_and_take_their_names_from_its_folders(
    deployment, run, start, tiny_package, tmp_path
):
    path, broker = deployment
    np.save(tmp_path / "inputs.npy", np.random.default_rng(0).integers(-128, 128, (FRAMES, 4), dtype=np.int8))
    there = ("--count", FRAMES, "--json")
    with contextlib.ExitStack() as stack:
        consumer = connected(stack, path / "clients" / "consumer")
        consumer.subscribe("tflsplit/v1/plant1/+/status")
        cloud = start("cloud", tiny_package.path, "--credentials", path / "clients" / "cloud", *there)
        await_status(consumer, "cloud")
        consumer.subscribe("tflsplit/v1/plant1/+/results")
        edge = ("edge", tiny_package.path, "--cut", "op000", "--source", tmp_path / "inputs.npy")
        code, out, err = run(*edge, "--credentials", path / "clients" / "cam1", *there, "--resend-after", "1")
        seen = set()
        while len(seen) < FRAMES:
            message = consumer.receive(SOON_S)
            if message.topic.endswith("/results"):
                seen.add(json.loads(message.payload)["sequence"])
    cloud_out, cloud_err = cloud.communicate(timeout=WAIT_S)

    assert code == 0, err
    assert json.loads(out)["results"] == FRAMES
    assert json.loads(out)["dropped"] == {}
    assert cloud.returncode == 0, cloud_err
    assert json.loads(cloud_out)["frames"] >= FRAMES
    assert "refused" not in err + cloud_err
    broker.send_signal(signal.SIGTERM)
    assert broker.wait(WAIT_S) == 0


def test_one_cannot_speak_for_another(deployment, run, tiny_package, tmp_path):
    path, _ = deployment
    np.save(tmp_path / "inputs.npy", np.zeros((1, 4), np.int8))
    edge = (
        "edge",
        tiny_package.path,
        "--deployment",
        "plant1",
        "--device",
        "cam2",
        "--source",
        tmp_path / "inputs.npy",
    )
    code, _, err = run(*edge, "--credentials", path / "clients" / "cam1")

    assert code == 1
    assert "are those of 'cam1' in deployment 'plant1', not of 'cam2';" in err.splitlines()[-1]


def test_identities_come_and_go_while_the_broker_runs(deployment, run):
    path, _ = deployment
    doctor = ("doctor", "--role", "cloud", "--json", "--credentials")
    code, out, _ = run("broker", "add-device", path, "cam3", "gate-7")
    assert code == 0
    assert f"copy {path}/clients/cam3 to cam3, for --credentials" in out
    assert "the broker reads its files again" in out
    kept = path.parent / "kept"
    kept.mkdir()
    for file in (path / "clients" / "gate-7").iterdir():
        (kept / file.name).write_bytes(file.read_bytes())
    assert state_of_broker(run(*doctor, kept)) == "ok"
    code, out, _ = run("broker", "revoke", path, "gate-7")

    assert code == 0
    assert "revoked: gate-7" in out
    assert state_of_broker(run(*doctor, kept)) == "wrong"
    assert state_of_broker(run(*doctor, path / "clients" / "cam3")) == "ok"
    code, out, _ = run("broker", "rotate", path, "cam1", "--server")
    assert code == 0
    assert "the broker has a new certificate" in out
    assert state_of_broker(run(*doctor, path / "clients" / "cam1")) == "ok"


def state_of_broker(done):
    findings = {finding["name"]: finding for finding in json.loads(done[1])["findings"]}
    return findings["broker"]["state"]


def test_files_may_be_given_one_by_one(deployment, run):
    path, _ = deployment
    mine = path / "clients" / "cam1"
    url = json.loads((mine / "broker.json").read_text())["url"]
    if (mine / "password").exists():
        given = ("--broker", url, "--ca", mine / "ca.crt", "--password-file", mine / "password")
    else:
        given = ("--broker", url, "--ca", mine / "ca.crt", "--cert", mine / "client.crt", "--key", mine / "client.key")

    assert state_of_broker(run("doctor", "--json", *given)) == "ok"
    assert state_of_broker(run("doctor", "--json", *given[:2])) == "wrong"  # signed by nobody whom the system trusts


def test_what_is_refused_is_refused_in_one_line(run, tmp_path):
    init = ("broker", "init", tmp_path / "x", "--deployment", "d")
    for words, reason in (
        ((*init, "--device", "../../etc"), "identity name '../../etc'"),
        ((*init, "--device", "a", "--host", "b:1"), "broker host 'b:1'"),
        (("broker", "run", tmp_path), "no deployment"),
        (("broker", "add-device", tmp_path, "a"), "no deployment"),
        (("doctor", "--credentials", tmp_path), "broker.json cannot be read"),
        (("doctor", "--broker", "mqtt://h", "--ca", "f"), "give its address as mqtts://"),
        (("doctor", "--broker", "mqtts://h", "--key", "f"), "a certificate goes with it"),
        (("doctor", "--broker", "mqtts://h", "--password-file", tmp_path / "absent"), "cannot be read"),
    ):
        code, out, err = run(*words)

        assert (code, out, len(err.splitlines())) == (1, "", 1), err
        assert reason in err
    for words in (
        ("broker", "rotate", tmp_path),
        ("broker", "run", tmp_path, "--port", "1"),
        init,
        ("probe", "--deployment", "d"),
    ):
        assert run(*words)[0] == 2
    assert not (tmp_path / "x").exists()

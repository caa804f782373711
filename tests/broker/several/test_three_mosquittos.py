"""Three secured Mosquittos of one deployment, as `broker init --brokers` writes them, one of which is killed."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading

import numpy as np
import ports
import pytest
import tiny_models
import updatable
import waiting

import tflsplit
from broker.clients.results_reader import ResultsReader
from broker.deploy import folder, layout, process
from broker.local import server
from broker.messages import presence, topics
from broker.messages import results as parsing
from broker.messages.topics import Kind
from broker.mqtt import online
from broker.mqtt.transport import MqttTransport
from broker.transport import address, credentials
from broker.transport.memory import MemoryBroker
from tflsplit import errors
from tflsplit.cli.commands import doctor
from tflsplit.cli.options.connection import Broker
from tflsplit.findings import State
from tflsplit.package import signing

FRAMES = 120
INPUTS = np.random.default_rng(3).integers(-128, 128, (FRAMES, 4), dtype=np.int8)


class Three:
    def __init__(self, path):
        self.path = path
        self.ports = [ports.free_port() for _ in range(3)]
        # Two devices for each, whatever the ports.
        brokers = [f"localhost:{port}" for port in self.ports]
        assigned = [(f"cam{number}", address.assigned(brokers, f"cam{number}")) for number in range(200)]
        self.devices = {place: [name for name, at in assigned if at == place][:2] for place in range(3)}
        self.names = tuple(name for names in self.devices.values() for name in names)
        wanted = folder.Wanted(self.names)
        others = [("localhost", port) for port in self.ports[1:]]
        terms = {"deployment": "plant", "hosts": ("localhost",), "port": self.ports[0], "others": others}
        self.homes = [path / each.folder for each in folder.init(path, wanted, **terms).servers]
        self._running = {}
        for place in range(3):
            self.start(place)

    def start(self, place):
        command = [server.mosquitto_path(), "-c", "mosquitto.conf"]
        log = (self.path / f"{place}.log").open("ab")
        with log:
            self._running[place] = subprocess.Popen(command, cwd=self.homes[place] / "server", stderr=log)
        waiting.wait_for(lambda: process.running(self.homes[place]) is not None)

    def kill(self, place):
        os.kill(self._running[place].pid, signal.SIGKILL)
        self._running[place].wait()

    def end(self):
        for each in self._running.values():
            each.kill()
            each.wait()

    def client(self, name):
        return self.path / layout.CLIENTS / name


@pytest.fixture
def three(tmp_path):
    if server.mosquitto_path() is None:
        pytest.skip("mosquitto is not installed: apt install mosquitto")
    made = Three(tmp_path / "plant")
    yield made
    made.end()


def reader(three):
    opened = credentials.open_bundle(three.client("consumer"))

    def to(broker):
        kept = {"client_id": "archive", "session_expiry_s": 3600}
        return MqttTransport(broker, credentials=opened.credentials, keepalive_s=5, **kept)

    return online.opened(opened.addresses, to)


def streamed(package, broker, on_result, **who):
    with tflsplit.Edge(package, broker, **who) as edge:
        return edge.run(INPUTS, on_result=on_result)


def test_killed_broker_stops_only_its_devices_and_nothing_is_lost_doubled_or_wrong(three, tiny_package):
    truth = {}
    alone = MemoryBroker()
    with tflsplit.Cloud(tiny_package, alone, deployment="d"):
        streamed(tiny_package, alone, lambda got: truth.update({got.sequence: said(got)}), deployment="d", device="x")
    assert len(truth) == FRAMES

    stopped, others = three.devices[0], [*three.devices[1], *three.devices[2]]
    dead, came, summaries = threading.Event(), [], {}

    def kill_once(got):
        if got.sequence >= 10 and not dead.is_set():
            dead.set()
            three.kill(0)

    def run(name):
        on_result = kill_once if name == stopped[0] else None
        summaries[name] = streamed(tiny_package, None, on_result, credentials=three.client(name))

    threads = {name: threading.Thread(target=run, args=(name,), name=name) for name in (*stopped, *others)}
    with (
        tflsplit.Cloud(tiny_package, credentials=three.client("cloud")) as cloud,
        reader(three) as reading,
        contextlib.ExitStack() as stack,
    ):
        reading.connect()
        results = ResultsReader(reading, "plant")
        stack.callback(results.stop)
        total = len(threads) * FRAMES
        listening = threading.Thread(target=results.run, args=(came.append,), kwargs={"count": total}, name="reader")
        listening.start()
        threads[stopped[0]].start()
        assert dead.wait(waiting.WAIT_S)
        for name in others:
            threads[name].start()
        for name in others:
            threads[name].join(waiting.WAIT_S)
            assert summaries[name].results == FRAMES
        assert threads[stopped[0]].is_alive()
        assert reading.absent.startswith("1 of 3 brokers away, with some 33% of the devices")

        three.start(0)
        threads[stopped[1]].start()
        for name in stopped:
            threads[name].join(waiting.WAIT_S)
            assert summaries[name].results == FRAMES
        listening.join(waiting.WAIT_S)
        assert results.summary.results == total
        assert cloud.summary.frames >= total

    read = [parsing.parse(line) for line in came]
    assert len({(each.device, each.boot, each.sequence) for each in read}) == total
    assert all(said(each) == truth[each.sequence] for each in read)


def test_a_rollout_goes_on_without_a_broker_that_is_away_and_ends_when_it_is_back(three, tiny_package, tmp_path):
    new = tiny_models.write_package(tmp_path / "new.tflsplit", tiny_models.residual_model(), labels=("x", "y"))
    verifier = signing.open_public(signing.make(tmp_path / "key.pem"))
    canary = three.devices[1][0]
    (tmp_path / "names").write_text("\n".join((canary, *(name for name in three.names if name != canary))))
    run = ["rollout", "run", new.path, "--state", tmp_path / "state", "--devices", tmp_path / "names"]
    run += ["--sign", tmp_path / "key.pem", "--credentials", three.client("operator")]
    run += ["--canary", "1", "--wave", "100%", "--json"]

    def have_it(*names):
        return all(any(new.digest.startswith(each.package) for each in on[name].settles.all) for name in names)

    with contextlib.ExitStack() as stack:
        stack.enter_context(tflsplit.Cloud([tiny_package, new], credentials=three.client("cloud")))
        on = {}
        for name in three.names:
            clients, who = joining(three.client(name), name), ("plant", name)
            on[name] = updatable.Device(clients, tmp_path / name, tiny_package, verifier, who=who, rate_fps=50.0)
            stack.callback(on[name].stop)
        waiting.wait_for(lambda: all(each.settles.all for each in on.values()))
        command = [sys.executable, "-m", "tflsplit.cli.main", *map(str, run)]
        rollout = stack.enter_context(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
        stack.callback(rollout.kill)
        waiting.wait_for(lambda: have_it(canary))
        three.kill(0)
        waiting.wait_for(lambda: have_it(*three.devices[1], *three.devices[2]))
        three.start(0)
        said, _ = rollout.communicate(timeout=waiting.WAIT_S)

    assert rollout.returncode == 0
    assert {each["name"]: each["state"] for each in json.loads(said)["devices"]} == dict.fromkeys(on, "installed")
    assert have_it(*on)


def joining(folder, device):
    """Transports of a device to its broker, as its edge makes them."""
    opened = credentials.open_bundle(folder)

    def join(client):
        told = presence.Presence(topics.topic("plant", device, Kind.STATUS), 7) if client == "edge" else None
        return MqttTransport(
            opened.address, client_id=f"{client}-{device}", credentials=opened.credentials, presence=told
        )

    return join


def said(result):
    assert result.top or result.values
    return result.top, result.values


def test_changes_of_identities_reach_every_broker(three):
    gone = three.devices[1][0]
    folder.add(three.path, ["new"])
    assert process.reload(three.path)
    folder.revoke(three.path, [gone])
    for home, port in zip(three.homes, three.ports, strict=True):
        rules = (home / "server" / "access.acl").read_text()
        assert "user new\n" in rules
        assert f"user {gone}\n" not in rules
        assert f'"{port}:{port}"' in (home / "compose.yaml").read_text()
        assert f"WorkingDirectory={home}/server" in (home / "tflsplit-broker.service").read_text()
    opened = credentials.open_bundle(three.client("new"))
    assert [each.port for each in opened.addresses] == three.ports
    with pytest.raises(errors.SettingsError, match="is of several brokers: run each on its machine, out of "):
        process.running(three.path)


def test_doctor_says_which_broker_is_a_devices_own_and_looks_at_all_for_a_cloud(three):
    name, own = three.devices[2][0], f"localhost:{three.ports[2]}"
    found = {each.name: each for each in doctor._broker(Broker(folder=three.client(name)))}
    assert found["own broker"].detail == f"{own}: of 3, by the name {name!r}"
    assert found["broker"].detail.startswith(f"{own} speaks MQTT 5")

    three.kill(0)
    told = doctor._broker(Broker(folder=three.client("cloud")))
    assert [each.state for each in told if each.name == "broker"] == [State.WRONG, State.OK, State.OK]
    of_brokers = [each.detail for each in told if each.name in ("broker", "broker round trip")]
    assert all(any(f"localhost:{port}" in detail for port in three.ports) for detail in of_brokers)


def test_machines_that_share_a_model_meet_at_one_broker(three):
    folder.add(three.path, ["m1"], role=credentials.Role.WORKER)
    with pytest.raises(errors.SettingsError, match="machines that share a model meet at one broker"):
        Broker(folder=three.client("m1")).resolve(("plant", "m1"), role=credentials.Role.WORKER)

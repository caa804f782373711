"""Workers as processes that do not fit each other, and a link between them that is not as it should be."""

import contextlib
import random
import threading

import int8_networks
import numpy as np
import pytest
import shared_models
import tiny_models

from broker.local import server
from broker.messages import topics
from broker.messages.topics import Kind
from broker.mqtt.transport import MqttTransport
from broker.transport import address
from tflsplit.graph.interpreter import Interpreter
from tflsplit.placement import folder

FRAMES = 40
ENDLESS = 10**6


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    return shared_models.write(tmp_path_factory.mktemp("shared"), 2)


@pytest.fixture(scope="module")
def inputs(shared, tmp_path_factory):
    columns = shared_models.inputs(shared.package, FRAMES)
    path = tmp_path_factory.mktemp("inputs") / "inputs.npz"
    np.savez(path, *columns)
    return path, columns


@pytest.fixture
def worker(start, shared):
    """Starts the worker of that name; with `inputs` and how many of them the one that has them."""

    def begin(url, name, inputs=None, count=FRAMES, *, at=shared, deployment="d", more=()):
        given = () if inputs is None else ("--source", inputs[0], "--count", count, "--raw-outputs", "--no-replan")
        where = ("--broker", url, "--deployment", deployment, "--name", name)
        return start("worker", at.path, *where, "--once", "--json", *given, *more)

    return begin


def is_right(shared, columns, seen):
    """Whether each result is the whole model's, once, in order."""
    with Interpreter(shared.package.model_bytes()) as whole:
        wanted = [whole.run(*(column[row : row + 1] for column in columns)) for row in range(FRAMES)]
    assert [each.sequence for each in seen] == list(range(len(seen)))
    return all(
        output.data == array.tobytes()
        for result in seen
        for output, array in zip(result.outputs, wanted[result.sequence % FRAMES], strict=True)
    )


def test_a_worker_with_another_folder_ends_with_a_line_and_is_named_at_the_source(
    worker, inputs, brokers, watch, tmp_path
):
    other = shared_models.write(tmp_path, 2, model=int8_networks.pyramid)
    url = brokers.start()
    wrong = worker(url, "m2", at=other)
    refused = worker(url, "m1", inputs).done().refusal()
    assert f"machine m2 cannot take part: it has another bundle, {other.digest[:16]} in place of" in refused
    assert "give it what the others have, or leave it out of the machines" in refused
    wrong.terminate()
    assert wrong.done().code == 0

    seen, alone = watch(url), worker(url, "m1", inputs, ENDLESS, more=("--wait", "1ms"))
    seen.wait_for_results(5)
    late = worker(url, "m2", at=other).done().refusal()
    assert f"this one is {other.digest[:16]}: give all machines the same folder" in late
    seen.wait_for_results(len(seen.results) + 5)
    alone.terminate()
    assert alone.done().json()["unanswered"] == 0


def test_a_worker_of_another_deployment_is_waited_for_by_name_and_never_used(worker, inputs, brokers, watch):
    url = brokers.start()
    seen, elsewhere = watch(url), worker(url, "m2", deployment="e")
    done = worker(url, "m1", inputs, more=("--wait", "3s")).done()
    told = done.json()
    seen.wait_for_results(FRAMES)
    assert (told["answered"], told["epochs"], told["bytes_sent"]) == (FRAMES, ["started without m2"], 0)
    assert "waiting for machines=m2" in done.err
    elsewhere.terminate()
    ended = elsewhere.done()
    assert ended.json()["frames"] == 0
    assert "waiting for a placement source=m1 deployment=e" in ended.err


def test_of_two_workers_under_one_name_the_later_one_ends_with_a_line(worker, inputs, brokers, watch):
    url = brokers.start()
    seen, one = watch(url), worker(url, "m2")
    source = worker(url, "m1", inputs, ENDLESS)
    seen.wait_for_results(5)
    refused = worker(url, "m2").done().refusal()
    assert "another process is 'm2' at this broker since" in refused
    seen.wait_for_results(len(seen.results) + 5)
    source.terminate()
    assert source.done().json()["unanswered"] == 0
    assert one.done().json()["frames"] > 0


@pytest.mark.sweep  # ten processes
def test_of_more_machines_than_rows_and_channels_some_have_no_part_and_are_not_needed(worker, run, brokers, tmp_path):
    net = int8_networks.Network(9)
    data = net.bytes(net.conv(net.conv(net.input(3, 3, 4), 5, 1), 3, 1))
    package = tiny_models.write_package(tmp_path / "net.tflsplit", data, labels=())
    even = ("--devices", 12, "--speed", 1e4, "--bandwidth", "1Gbit")
    made = run("distribute", package.path, *even, "-o", tmp_path / "twelve", "--json").json()
    used, idle = made["used"], [each for each in made["machines"] if each not in made["used"]]
    assert 1 < len(used) < 12
    columns = shared_models.inputs(package, FRAMES)
    np.savez(tmp_path / "inputs.npz", *columns)
    at, url = folder.open_folder(tmp_path / "twelve"), brokers.start()
    others = {name: worker(url, name, at=at) for name in (*used[1:], idle[-1])}
    told = worker(url, used[0], (tmp_path / "inputs.npz", columns), at=at).done().json()
    assert (told["answered"], told["epochs"]) == (FRAMES, ["start"])
    assert {name: process.done().json()["frames"] for name, process in others.items()} == {
        **dict.fromkeys(used[1:], FRAMES),
        idle[-1]: 0,
    }


class OddLink:
    """Joins two brokers: what machine m1 says at the first one reaches m2 at the second, and back. Letters come in
    another order, and every other one comes twice."""

    def __init__(self, *urls):
        self._ends = [MqttTransport(address.parse(url), client_id=f"link-{number}") for number, url in enumerate(urls)]
        self.reordered = self.repeated = 0
        self._is_over = threading.Event()
        self._threads = [threading.Thread(target=self._carry, args=way) for way in (self._ends, self._ends[::-1])]

    def __enter__(self):
        for end, speaker, hearer in zip(self._ends, ("m1", "m2"), ("m2", "m1"), strict=True):
            end.connect()
            for name, kind in ((speaker, Kind.SHARE), (speaker, Kind.STATUS), (speaker, Kind.EPOCH)):
                end.subscribe(topics.topic("d", name, kind))
            end.subscribe(topics.topic("d", hearer, Kind.PARTS))
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._is_over.set()
        for thread in self._threads:
            thread.join()
        for end in self._ends:
            end.close(timeout_s=0)

    def _carry(self, here, there):
        chance, held = random.Random(1), []
        while not self._is_over.is_set():
            message = here.receive(0.02)
            if message is not None:
                here.acknowledge(message)
                if topics.parse(message.topic).kind is not Kind.PARTS:
                    there.publish(message.topic, message.payload, qos=1, retain=True)
                    continue
                held.append(message)
            if message is None or len(held) > 3:
                self._let_go(held, chance, there)

    def _let_go(self, held, chance, there):
        order = sorted(range(len(held)), key=lambda _: chance.random())
        self.reordered += order != sorted(order)
        for number in order:
            copies = chance.choice((1, 2))
            self.repeated += copies - 1
            for _ in range(copies):
                there.publish(held[number].topic, held[number].payload, qos=1)
        held.clear()


def test_a_link_that_reorders_and_repeats_letters_changes_no_result(worker, shared, inputs, brokers, watch):
    with contextlib.ExitStack() as stack:
        urls = brokers.start(), stack.enter_context(server.run(port=0)).url
        link = stack.enter_context(OddLink(*urls))
        seen, other = watch(urls[0]), worker(urls[1], "m2")
        told = worker(urls[0], "m1", inputs, 5 * FRAMES).done().json()
        ended = other.done().json()
        seen.wait_for_results(5 * FRAMES)
    assert is_right(shared, inputs[1], seen.results)
    assert (told["answered"], told["epochs"]) == (5 * FRAMES, ["start"])
    assert link.reordered > 0
    # The last ones may come when their worker has ended.
    assert 0 < told["repeats"] + ended["repeats"] + told["stale"] + ended["stale"] <= link.repeated

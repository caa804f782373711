"""Edges and clouds of several kernel classes, over the in-memory broker: what runs, what is said, what is refused."""

import logging
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import kernel_classes
import numpy as np
import pytest
import watching
from kernel_classes import HERE
from memory_cloud import birth_of, cloud_for
from waiting import wait_for

from broker.messages import announcements, topics
from broker.transport import memory
from edge_runtime import head, loop
from edge_runtime.delivery.settings import Delivery, Settings
from edge_runtime.sources import frames
from tflsplit import errors
from tflsplit.kernels.classes import KernelClass
from tflsplit.kernels.heads import Exact, HeadKernels, Standing

INPUTS = np.random.default_rng(0).integers(-128, 128, (10, 4), dtype=np.int8)
WAIT_S = 60.0
UNLIKE = kernel_classes.unlike("ADD/int8")


@contextmanager
def in_thread(function):
    """Gives a call that waits for its result."""
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(function)
        yield lambda: running.result(WAIT_S)


@pytest.fixture
def network():
    return memory.MemoryBroker()


class Running:
    """An edge of an invented class."""

    def __init__(self, package, network, cut="op000", kernel_class=HERE, **changes):
        self.watcher = watching.Watching()
        self._package = package
        self._transport = memory.MemoryTransport(network, client_id="edge")
        self._head = head.Head(package, cut, kernel_class=kernel_class)
        self.settings = Settings("d", "n", boot=7, drain_s=WAIT_S, **changes)
        self.edge = loop.Edge(package, self._head, self._transport, self.settings, observers=[self.watcher])

    def run(self):
        with self._transport, self._head:
            self._transport.connect()
            summary = self.edge.run(frames.from_arrays((INPUTS,), self._package.manifest, name="test"))
        assert summary.results == len(INPUTS)
        return {result.is_exact for result in self.watcher.answers}


@pytest.mark.parametrize(
    ("cut", "kernel_class"),
    [("op000", HERE), ("op000", kernel_classes.unlike("SOFTMAX/int8")), ("op000", UNLIKE), ("input", UNLIKE)],
)
def test_results_birth_and_summary_say_whether_the_head_is_exact(tiny_package, network, caplog, cut, kernel_class):
    is_exact = cut == "input" or kernel_class is not UNLIKE
    caplog.set_level(logging.INFO)
    with cloud_for(tiny_package, network, kernel_class=HERE) as cloud:
        running = Running(tiny_package, network, cut, kernel_class)
        assert running.run() == {is_exact}
        wait_for(lambda: cloud.summary.exactness.total() == len(INPUTS))

    standing = Standing.of(is_exact)
    assert cloud.summary.exactness == {standing: len(INPUTS)}
    assert f"({len(INPUTS)} {standing.value})" in str(cloud.summary)
    assert cloud.exactness.devices[standing] == 1
    told = HeadKernels.from_json(birth_of(network))
    assert told.kinds == (() if cut == "input" else ("ADD/int8",))
    assert told.kernel_class == kernel_class
    ours = [record for record in caplog.records if record.name == "edge_runtime.exactness"]
    assert [record.levelname for record in ours] == ["INFO" if is_exact else "WARNING"]


def test_any_says_nothing(tiny_package, network, caplog):
    caplog.set_level(logging.INFO)
    with cloud_for(tiny_package, network, kernel_class=HERE):
        assert Running(tiny_package, network, kernel_class=UNLIKE, exact=Exact.ANY).run() == {False}

    assert not [record for record in caplog.records if record.name == "edge_runtime.exactness"]


def test_required_and_there_the_edge_runs(tiny_package, network):
    with cloud_for(tiny_package, network, kernel_class=HERE):
        assert Running(tiny_package, network, exact=Exact.REQUIRE).run() == {True}


@pytest.mark.parametrize("delivery", Delivery)
def test_required_and_not_there_the_edge_ends_and_sends_nothing(tiny_package, network, delivery):
    with cloud_for(tiny_package, network, kernel_class=HERE) as cloud:
        running = Running(tiny_package, network, "op001", UNLIKE, exact=Exact.REQUIRE, delivery=delivery)
        with pytest.raises(errors.PeerError) as refused:
            running.run()

    said = str(refused.value)
    assert said.startswith("exact is required, and at op001 ADD/int8 may differ by a step or more; ")
    assert f"kernels here are {UNLIKE}, those of cloud cloud {HERE}" in said
    assert said.endswith("exact would be input, or run with --exact prefer")
    assert cloud.summary.frames == 0


def test_required_of_a_cloud_that_tells_no_class_is_refused(tiny_package, network):
    with (
        cloud_for(tiny_package, network, kernel_class=None),
        pytest.raises(errors.PeerError, match="at op000 the cloud tells no kernel class"),
    ):
        Running(tiny_package, network, exact=Exact.REQUIRE).run()


def test_required_frames_wait_for_a_cloud_that_tells(tiny_package, network):
    """The first cloud serves another package, so it is none for these frames."""
    running = Running(tiny_package, network, exact=Exact.REQUIRE)
    with memory.MemoryTransport(network, client_id="other") as other:
        other.connect()
        elsewhere = announcements.Announcement(1, (("ab" * 32, "other"),), UNLIKE)
        other.publish(topics.topic("d", "other", topics.Kind.SERVES), elsewhere.as_json(), retain=True)
        with in_thread(running.run) as ended:
            wait_for(lambda: birth_of(network)["cut"] == "op000")
            assert running.edge.exactness.is_awaited
            with cloud_for(tiny_package, network, kernel_class=HERE):
                assert ended() == {True}


def test_a_cloud_of_another_class_ends_an_edge_that_requires(tiny_package, network):
    """Even while the first cloud still answers: frames go to both."""
    settings = {"exact": Exact.REQUIRE, "rate_fps": 2.0}
    with cloud_for(tiny_package, network, kernel_class=HERE):
        running = Running(tiny_package, network, **settings)
        with in_thread(running.run) as ended:
            wait_for(lambda: running.watcher.answers)
            with (
                cloud_for(tiny_package, network, name="second", kernel_class=UNLIKE),
                pytest.raises(errors.PeerError, match="those of cloud second"),
            ):
                ended()


def test_a_model_that_would_not_be_exact_is_not_exchanged_where_that_is_required(tiny_package, network):
    with cloud_for(tiny_package, network, kernel_class=HERE):
        running = Running(tiny_package, network, "input", UNLIKE, exact=Exact.REQUIRE)
        running.run()
        with (
            head.Head(tiny_package, "op000", kernel_class=UNLIKE) as other,
            pytest.raises(errors.SettingsError, match="exact is required, and at op000 ADD/int8"),
        ):
            running.edge.exchange(tiny_package, other)


@pytest.mark.parametrize(("cut", "waits"), [("op000", True), ("input", False)])
def test_nothing_computed_at_the_edge_is_exact_without_any_cloud(tiny_package, network, cut, waits):
    running = Running(tiny_package, network, cut, exact=Exact.REQUIRE)
    running.edge.exactness.look(tiny_package, running._head)

    assert running.edge.exactness.is_awaited == waits


def test_a_birth_that_a_broker_would_not_take_whole_goes_without_the_class(tiny_package, caplog):
    network = memory.MemoryBroker(max_packet_bytes=1000)
    with cloud_for(tiny_package, network, kernel_class=None):
        many = KernelClass("ai-edge-litert 2.3.0", "x86_64", True, {f"OP_{n}/int8": "00000001" for n in range(60)})
        assert Running(tiny_package, network, kernel_class=many).run() == {None}

    assert birth_of(network)["kernel_class"] is None
    assert [record.levelname for record in caplog.records if "birth without kernel class" in record.getMessage()]

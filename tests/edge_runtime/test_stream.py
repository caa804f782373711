"""An edge with a stateful package: head and tail together are the whole model on the stream, whatever gets lost."""

import threading
from contextlib import ExitStack, contextmanager

import memory_cloud
import numpy as np
import pytest
import tiny_models
import watching
from memory_cloud import WAIT_S

from broker.cloud import engine, subscriber
from broker.cloud.turns import streams
from broker.messages import results, wire
from broker.transport import memory
from edge_runtime import head, loop
from edge_runtime.accelerators.delegate import Delegate
from edge_runtime.delivery import routes
from edge_runtime.delivery.durable import spool
from edge_runtime.delivery.settings import Delivery, Settings, Until
from edge_runtime.sources import frames
from tflsplit import errors
from tflsplit.graph.interpreter import Interpreter

INPUTS = np.random.default_rng(0).integers(-128, 128, (2, 30, 4), dtype=np.int8)
CUTS = ("input", "op000", "op001", "output")


@pytest.fixture
def package(tmp_path):
    return tiny_models.write_package(tmp_path / "m.tflsplit", tiny_models.remembering_model(), is_stateful=True)


def whole(package, inputs):
    """What the model gives for inputs as a stream."""
    spec = package.manifest.outputs[0]
    with Interpreter(package.model_bytes()) as opened:
        found = [opened.run(row[None], goes_on=place > 0)[0] for place, row in enumerate(inputs)]
    return [((output.astype(float) - spec.zero_point) * spec.scale).ravel().tolist() for output in found]


def values(answers, boot=7):
    """By sequence."""
    found = [each for each in answers if isinstance(each, results.Result) and each.boot == boot]
    return {answer.sequence: list(answer.values[0][1]) for answer in sorted(found, key=lambda each: each.sequence)}


@contextmanager
def serving(package, network, name="cloud"):
    with memory.MemoryTransport(network, client_id=name) as transport:
        transport.connect()
        cloud = subscriber.Cloud(streams.around(engine.Inline.of(package), [package]), transport, "d")
        with memory_cloud.running(cloud):
            yield cloud


class Running:
    """An edge on the in-memory broker. `before` is called with the number of each input."""

    def __init__(self, package, network, *, cut="op001", device="n", inputs=INPUTS[0], kept=None, **changes):
        self.answered = threading.Condition()
        self.watcher = watching.Watching(self._on_answer)
        self._package, self._network, self._cut, self._inputs, self._kept = package, network, cut, inputs, kept
        named = {"deployment": "d", "device": device, "boot": 7, "drain_s": WAIT_S, "resend_after_s": 0.2}
        self._settings = Settings(**named | changes)

    def run(self, before=lambda number: None):
        def make():
            for number, row in enumerate(self._inputs):
                before(number)
                yield (row[None],)

        with (
            memory.MemoryTransport(self._network, client_id=self._settings.device) as transport,
            head.Head(self._package, self._package.cut(self._cut)) as ready,
        ):
            transport.connect()
            self.edge = loop.Edge(
                *(self._package, ready, transport, self._settings), observers=[self.watcher], spool=self._kept
            )
            self.summary = self.edge.run(frames.Source(make, lambda raw: raw, is_live=False))
        return self

    def wait_for_answers(self, count):
        with self.answered:
            assert self.answered.wait_for(lambda: len(self.watcher.answers) >= count, WAIT_S)

    def _on_answer(self, answer):
        with self.answered:
            self.answered.notify_all()

    @property
    def values(self):
        return values(self.watcher.answers)

    @property
    def steps(self):
        return [(each.sequence, each.step) for each in self.watcher.answers if isinstance(each, results.Result)]


def are_close(found, expected):
    return len(found) == len(expected) and np.allclose(list(found), expected, rtol=1e-6)


@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize("until", Until)
def test_every_cut_gives_the_whole_models_results_on_the_stream(package, cut, until):
    network = memory.MemoryBroker()
    with serving(package, network), memory.MemoryTransport(network, client_id="reader") as reader:
        reader.connect()
        reader.subscribe("tflsplit/v1/d/n/results")
        summary = Running(package, network, cut=cut, until=until).run().summary
        got = [results.parse(reader.receive(WAIT_S).payload) for _ in INPUTS[0]]

    assert (summary.results, summary.restarts, summary.early) == (30, 0, 0)
    assert are_close(values(got).values(), whole(package, INPUTS[0]))
    assert [answer.step for answer in got] == list(range(1, 31))


def test_two_devices_at_once_each_get_what_the_model_gives_them_alone(package):
    network = memory.MemoryBroker()
    with serving(package, network):
        edges = [Running(package, network, device=f"n{place}", inputs=rows) for place, rows in enumerate(INPUTS)]
        threads = [threading.Thread(target=edge.run) for edge in edges]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(WAIT_S)

    for edge, rows in zip(edges, INPUTS, strict=True):
        assert are_close(edge.values.values(), whole(package, rows))


def losing(lost, doubled=()):
    """A broker that loses the first sending of frames, by sequence, and doubles others."""
    left = set(lost)

    def copies(topic, payload):
        sequence = wire.peek(payload).sequence if topic.endswith("/features") else None
        if sequence in left:
            left.discard(sequence)
            return 0
        return 2 if sequence in doubled else 1

    return memory.MemoryBroker(copies=copies)


def test_lost_and_doubled_frames_change_nothing(package):
    network = losing({0, 4, 5, 11, 20}, {2, 7, 12})
    with serving(package, network) as cloud:
        edge = Running(package, network).run()

    assert (edge.summary.results, edge.summary.refused, edge.summary.restarts) == (30, 0, 0)
    assert edge.summary.early > 0
    assert are_close(edge.values.values(), whole(package, INPUTS[0]))
    assert cloud.summary.results == 30


def test_another_cloud_begins_the_stream_anew_and_all_say_so(package):
    network = memory.MemoryBroker()
    edge = Running(package, network, window=1)
    with ExitStack() as first, ExitStack() as second:
        first.enter_context(serving(package, network))

        def before(number):
            if number == 10:
                edge.wait_for_answers(10)
                first.close()
                second.enter_context(serving(package, network, "other"))

        edge.run(before)

    # The next frame may have left before this edge heard that the tenth was refused.
    refused = edge.summary.refused
    assert (edge.summary.results + refused, edge.summary.restarts) == (30, 1)
    assert refused in (1, 2)
    assert are_close([edge.values[number] for number in range(10)], whole(package, INPUTS[0][:10]))
    ran = range(10 + refused, 30)
    assert are_close([edge.values[number] for number in ran], whole(package, INPUTS[0][10 + refused :]))
    assert [step for _, step in edge.steps] == [*range(1, 11), *range(1, 21 - refused)]
    assert "its state began anew 1 time" in edge.summary.in_words()
    assert edge.summary.as_json()["restarts"] == 1


@pytest.mark.parametrize("window", [1, 8])
def test_a_frame_that_is_not_accepted_is_not_in_the_stream(package, monkeypatch, window):
    dropped, accept = {3, 4, 17}, routes.InMemory.accept
    monkeypatch.setattr(
        routes.InMemory, "accept", lambda route, packed: packed.sequence not in dropped and accept(route, packed)
    )
    network = memory.MemoryBroker()
    with serving(package, network):
        edge = Running(package, network, window=window).run()

    left = [row for number, row in enumerate(INPUTS[0]) if number not in dropped]
    assert edge.summary.restarts == 0
    assert are_close(edge.values.values(), whole(package, left))


def test_with_latest_a_frame_that_is_lost_on_the_way_begins_the_stream_anew(package):
    network = losing({6})
    edge = Running(package, network, delivery=Delivery.LATEST, window=1, max_age_s=0.5)
    with serving(package, network):
        # One at a time, so that none is replaced; the seventh has no answer, and the next one is refused.
        edge.run(lambda number: edge.wait_for_answers(min(number, 6)))

    begins = [sequence for sequence, step in edge.steps if step == 1]
    assert edge.summary.dropped["expired"] == 1
    assert (edge.summary.restarts, len(begins), begins[0]) == (1, 2, 0)
    assert are_close([edge.values[number] for number in range(6)], whole(package, INPUTS[0][:6]))
    ran = [sequence for sequence, _ in edge.steps if sequence >= begins[1]]
    assert are_close([edge.values[number] for number in ran], whole(package, INPUTS[0][ran]))


@pytest.fixture
def kept(tmp_path):
    def opened(**limits):
        return spool.open_spool(tmp_path / "spool", spool.limits(**limits), deployment="d", device="n")

    return opened


def test_what_an_earlier_run_left_in_its_spool_is_its_own_stream(package, kept):
    network = memory.MemoryBroker()
    with kept() as opened:  # without a cloud
        first = Running(package, network, kept=opened, drain_s=0.0, boot=1).run()
    with serving(package, network), kept() as opened:
        second = Running(package, network, kept=opened, inputs=INPUTS[1], boot=2).run()

    assert first.summary.spooled == 30
    assert (second.summary.replayed, second.summary.results, second.summary.restarts) == (30, 60, 0)
    for boot, rows in enumerate(INPUTS, 1):
        assert are_close(values(second.watcher.answers, boot).values(), whole(package, rows))


@pytest.mark.parametrize("limits", [{"full": "drop-oldest"}, {"age_s": 60.0}], ids=str)
def test_a_spool_that_takes_frames_out_of_the_middle_is_refused(package, kept, limits):
    with kept(**limits) as opened, pytest.raises(errors.SettingsError, match="it is stateful, and with --spool-"):
        Running(package, memory.MemoryBroker(), kept=opened).run()


def test_a_head_that_keeps_state_runs_on_the_cpu_alone(package):
    delegate = Delegate("/usr/lib/none.so", {})
    with pytest.raises(errors.DeviceError, match="the head of op000 keeps state, which is possible on the CPU only"):
        head.Head(package, "op000", accelerator=delegate)


@pytest.mark.parametrize("is_stateful", [False, True])
def test_another_package_between_two_frames_begins_its_own_stream(package, tmp_path, is_stateful):
    model = tiny_models.remembering_model()
    other = tiny_models.write_package(tmp_path / "o.tflsplit", model, is_stateful=is_stateful, labels=("one", "two"))
    network = memory.MemoryBroker()
    edge = Running(package, network, window=1)
    with serving(package, network), serving(other, network, "other"), head.Head(other, "op000") as exchanged:

        def before(number):
            if number == 10:
                edge.wait_for_answers(10)
                edge.edge.exchange(other, exchanged)

        edge.run(before)

    assert edge.summary.results == 30
    assert edge.summary.restarts == 1
    assert are_close([edge.values[number] for number in range(10)], whole(package, INPUTS[0][:10]))
    alone = [whole(package, [row])[0] for row in INPUTS[0][10:]]
    expected = whole(package, INPUTS[0][10:]) if is_stateful else alone
    assert are_close([edge.values[number] for number in range(10, 30)], expected)


def test_without_stateful_each_frame_is_alone_in_whatever_order(tmp_path):
    package = tiny_models.write_package(tmp_path / "m.tflsplit", tiny_models.remembering_model())
    network = memory.MemoryBroker()
    alone = [whole(package, [row])[0] for row in INPUTS[0]]
    with serving(package, network):
        forth = Running(package, network, inputs=INPUTS[0]).run()
        back = Running(package, network, inputs=INPUTS[0][::-1], boot=8).run()

    assert are_close(forth.values.values(), alone)
    assert are_close(values(back.watcher.answers, 8).values(), alone[::-1])
    assert {step for _, step in forth.steps} == {None}

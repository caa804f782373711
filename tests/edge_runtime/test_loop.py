"""The edge loop and the cloud loop together, over the in-memory transport."""

import threading

import numpy as np
import pytest
import tiny_models
import watching
from memory_cloud import birth_of, cloud_for
from running_edge import settings

from broker.cloud import engine, subscriber
from broker.messages import results, topics, wire
from broker.transport import memory
from edge_runtime import head, loop
from edge_runtime.delivery.settings import Until
from edge_runtime.sources import frames
from tflsplit import errors
from tflsplit.coding import feature_codec, input_codec
from tflsplit.graph.interpreter import Interpreter
from tflsplit.graph.tensors import dequantise
from tflsplit.package import outputs

INPUTS = np.random.default_rng(0).integers(-128, 128, (40, 4), dtype=np.int8)
WAIT_S = 60.0


def stream(package, network, cut, arrays=INPUTS, **changes):
    """Run an edge to its end; its summary and the results it got."""
    watcher = watching.Watching()
    with (
        memory.MemoryTransport(network, client_id="edge") as transport,
        head.Head(package, package.cut(cut), batch=changes.get("batch", 1)) as ready,
    ):
        transport.connect()
        edge = loop.Edge(package, ready, transport, settings(**changes), observers=[watcher])
        summary = edge.run(frames.from_arrays((arrays,), package.manifest, name="test"))
    return summary, watcher.answers


def expected_values(package):
    with Interpreter(package.model_bytes()) as whole:
        spec = package.manifest.outputs[0]
        given = [whole.run(row[None])[0] for row in INPUTS]
    return [[float(np.float32(spec.scale)) * int(value) for value in output.ravel()] for output in given]


@pytest.mark.parametrize("cut", ["input", "op000", "op001", "output"])
@pytest.mark.parametrize("qos", [0, 1])
def test_every_cut_gives_the_whole_models_results(tiny_package, cut, qos):
    network = memory.MemoryBroker()
    with cloud_for(tiny_package, network):
        summary, got = stream(tiny_package, network, cut, qos=qos)

    assert (summary.frames, summary.results, summary.unanswered, summary.duplicates) == (40, 40, 0, 0)
    by_sequence = {result.sequence: result for result in got}
    for sequence, expected in enumerate(expected_values(tiny_package)):
        values = dict(by_sequence[sequence].values)["c"]
        assert np.allclose(values, expected, rtol=1e-6)
        assert by_sequence[sequence].cut == cut


@pytest.mark.parametrize("cut", ["input", "op000", "op001", "output"])
def test_a_cloud_with_float_tails_answers_in_real_values(tmp_path, cut):
    network = memory.MemoryBroker()
    made = tiny_models.write_float_package(tmp_path / "float.tflsplit")
    with cloud_for(made, network):
        summary, got = stream(made, network, cut)

    assert summary.results == 40
    chosen = made.cut(cut)
    for result in got:
        with head.Head(made, chosen) as ready:
            stored = ready.run((INPUTS[result.sequence][None],))
        real = [dequantise(array, spec) for array, spec in zip(stored, chosen.boundary, strict=True)]
        expected = {"input": lambda x: 6 * x, "op000": lambda a: 3 * a, "op001": np.add, "output": lambda c: c}[cut](
            *real
        )
        assert np.allclose(dict(result.values)["c"], expected.ravel(), rtol=1e-6)
        assert result.top[0].label == outputs.read(made.manifest.results, (expected,), made.manifest.labels).label


def test_an_edge_is_refused_where_no_float_tail_could_go_on(tmp_path):
    made = tiny_models.write_float_package(tmp_path / "float.tflsplit", without="op001")

    with pytest.raises(errors.CutError, match="op001 has no float tail: fused differently"):
        head.Head(made, made.cut("op001"))


def test_unsigned_inputs_and_outputs_travel_and_are_answered_like_signed_ones(builder, tmp_path):
    x = builder.tensor("x", (1, 4), scale=0.5, zero_point=128, kind="UINT8")
    y = builder.tensor("y", (1, 4), scale=0.5, zero_point=120, kind="UINT8")
    z = builder.tensor("z", (1, 4), scale=1.0, zero_point=110, kind="UINT8")
    for source, output in ((x, y), (y, z)):
        builder.operator(
            "ADD", (source, source), (output,), tiny_models.schema.AddOptionsT(), options_type="AddOptions"
        )
    made = tiny_models.write_package(tmp_path / "u.tflsplit", builder.build((x,), (z,)), preprocessing=None)
    arrays = np.random.default_rng(0).integers(0, 256, (8, 4), dtype=np.uint8)
    network = memory.MemoryBroker()
    with cloud_for(made, network):
        summary, got = stream(made, network, "op000", arrays)

    assert (summary.results, len(got)) == (8, 8)
    with Interpreter(made.model_bytes()) as whole:
        for result in got:
            (expected,) = whole.run(arrays[result.sequence][None])
            assert dict(result.values)["z"] == tuple(dequantise(expected, made.manifest.outputs[0]).ravel())


def losing(count, kind):
    """A broker that loses the first messages of a kind."""
    left = iter(range(count))
    return lambda topic, payload: 0 if topic.endswith(kind) and next(left, None) is not None else 1


def test_a_lost_frame_is_sent_again_until_its_result_is_back(tiny_package):
    network = memory.MemoryBroker(copies=losing(5, "/features"))
    with cloud_for(tiny_package, network):
        summary, _ = stream(tiny_package, network, "op000", resend_after_s=0.05)

    assert summary.results == 40
    assert summary.resent >= 5


def test_a_lost_result_is_answered_from_memory_and_not_computed_again(tiny_package):
    network = memory.MemoryBroker(copies=losing(3, "/results"))
    with cloud_for(tiny_package, network) as cloud:
        summary, _ = stream(tiny_package, network, "op000", resend_after_s=0.05)

    assert summary.results == 40
    assert cloud.summary.results == 40
    assert cloud.summary.duplicates >= 3


def test_doubled_messages_are_counted_and_answered_once(tiny_package):
    network = memory.MemoryBroker(copies=lambda topic, payload: 2)
    with cloud_for(tiny_package, network) as cloud:
        summary, got = stream(tiny_package, network, "op001")

    assert sorted(result.sequence for result in got) == list(range(40))
    assert summary.duplicates > 0
    assert cloud.summary.results == 40


def test_frames_over_the_packet_limit_travel_in_chunks(builder, tmp_path):
    x = builder.tensor("x", (1, 4000))
    a = builder.add(x, x, "a", (1, 4000))
    y = builder.add(a, a, "y", (1, 4000), scale=0.4)
    package = tiny_models.write_package(tmp_path / "wide.tflsplit", builder.build((x,), (y,)))
    network = memory.MemoryBroker(max_packet_bytes=1500)
    with cloud_for(package, network):
        summary, _ = stream(package, network, "op000", arrays=np.zeros((5, 4000), np.int8))

    assert (summary.frames, summary.results) == (5, 5)


def test_at_most_a_window_of_frames_is_unanswered(tiny_package):
    network = memory.MemoryBroker()
    with (
        memory.MemoryTransport(network, client_id="watcher") as watcher,
        memory.MemoryTransport(network, client_id="edge") as transport,
        head.Head(tiny_package, tiny_package.cut("op000")) as ready,
    ):
        watcher.connect()
        watcher.subscribe(topics.every_device("d", topics.Kind.FEATURES))
        transport.connect()
        edge = loop.Edge(tiny_package, ready, transport, settings(window=3, drain_s=0.0))
        source = frames.from_arrays((INPUTS,), tiny_package.manifest, name="test")
        running = threading.Thread(target=edge.run, args=(source,))
        running.start()
        for _ in range(3):
            assert watcher.receive(WAIT_S) is not None
        assert watcher.receive(0.5) is None
        edge.stop()
        running.join(WAIT_S)

    assert edge.summary.frames == 3
    assert edge.summary.unanswered == 3


def test_a_frame_of_another_package_is_refused_by_name_and_not_sent_again(tiny_package, residual_model, tmp_path):
    other = tiny_models.write_package(tmp_path / "other.tflsplit", residual_model, labels=("x", "y"))
    network = memory.MemoryBroker()
    with cloud_for(other, network) as cloud:
        summary, _ = stream(tiny_package, network, "op000")

    assert (summary.results, summary.refused, summary.resent) == (0, 40, 0)
    assert cloud.summary.refused["wrong_package"] == 40


def frame_for(package, /, **changes) -> wire.Frame:
    fields = {
        "package": bytes.fromhex(package.digest)[:16],
        "cut": 1,
        "boot": 1,
        "sequence": 0,
        "captured_ns": 0,
        "head_us": 0,
        "boundary": package.cut("op000").boundary,
    }
    return wire.Frame(**fields | changes)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"package": b"\x00" * 16}, "this cloud serves"),
        ({"cut": 77}, "after 77 operators, where this package has no cut"),
        ({"cut": 2}, "frame at cut op001 carries"),
    ],
)
def test_a_frame_that_does_not_fit_is_answered_with_the_reason(tiny_package, changes, reason):
    network = memory.MemoryBroker()
    frame = frame_for(tiny_package, **changes)
    encoded = wire.encode(frame, (np.zeros((1, 4), np.int8),), feature_codec.Plain())
    answer = ask(tiny_package, network, encoded)

    assert isinstance(answer, results.Refusal)
    assert (answer.boot, answer.sequence) == (1, 0)
    assert reason in answer.error


def test_bytes_that_are_no_frame_are_answered_without_a_sequence(tiny_package):
    answer = ask(tiny_package, memory.MemoryBroker(), b"hello, is this an image?")

    assert isinstance(answer, results.Refusal)
    assert answer.sequence is None


def test_the_raw_output_comes_back_on_request(tiny_package):
    frame = frame_for(tiny_package, wants_raw=True)
    answer = ask(
        tiny_package, memory.MemoryBroker(), wire.encode(frame, (np.ones((1, 4), np.int8),), feature_codec.Plain())
    )

    with Interpreter(tiny_package.tail_bytes(tiny_package.cut("op000"))) as alone:
        assert np.array_equal(answer.outputs[0].array(), alone.run(np.ones((1, 4), np.int8))[0])


def test_the_raw_output_of_a_float_tail_is_float(tmp_path):
    made = tiny_models.write_float_package(tmp_path / "float.tflsplit")
    encoded = wire.encode(frame_for(made, wants_raw=True), (np.ones((1, 4), np.int8),), feature_codec.Plain())
    (output,) = ask(made, memory.MemoryBroker(), encoded).outputs

    assert (output.spec.dtype, output.spec.scale) == ("float32", 0.0)
    assert np.allclose(output.array(), 3 * made.cut("op000").boundary[0].scale)


def ask(package, network, payload: bytes):
    """One raw message to a cloud, and its answer."""
    with cloud_for(package, network), memory.MemoryTransport(network, client_id="stranger") as stranger:
        stranger.connect()
        stranger.subscribe(topics.topic("d", "n", topics.Kind.RESULTS))
        stranger.publish(topics.topic("d", "n", topics.Kind.FEATURES), payload)
        message = stranger.receive(WAIT_S)
        assert message is not None
        return results.parse(message.payload)


def test_the_birth_says_in_words_what_the_device_sends(tiny_package):
    network = memory.MemoryBroker()
    with cloud_for(tiny_package, network):
        stream(tiny_package, network, "op001")
    birth = birth_of(network)

    assert birth["package"] == tiny_package.digest
    assert (birth["cut"], birth["payload_bytes"]) == ("op001", 8)
    assert [spec["name"] for spec in birth["boundary"]] == ["a", "b"]


STALE = ("n", 999, 0, "op000", "ab" * 32, results.Times(*[0.0] * len(results.Times.__slots__)))


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (results.Result(*STALE), "answer_to_another_run"),
        (results.Refusal("n", None, None, "frame is damaged", 0.0, "bad_frame"), "refusal_of_a_damaged_frame"),
    ],
)
def test_answers_to_none_of_our_frames_are_dropped_under_their_own_names(tiny_package, said, reason):
    network = memory.MemoryBroker()
    with memory.MemoryTransport(network, client_id="edge") as transport:
        transport.connect()
        with head.Head(tiny_package, tiny_package.cut("op000")) as ready:
            edge = loop.Edge(tiny_package, ready, transport, settings(drain_s=0.5))
            with memory.MemoryTransport(network, client_id="ghost") as ghost:
                ghost.connect()
                ghost.subscribe(topics.topic("d", "n", topics.Kind.FEATURES))
                running = threading.Thread(target=edge.run, args=(one_frame(tiny_package),))
                running.start()
                ghost.receive(WAIT_S)
                ghost.publish(topics.topic("d", "n", topics.Kind.RESULTS), said.as_json())
                running.join(WAIT_S)

    assert edge.summary.results == 0
    assert edge.summary.dropped == {reason: 1}


def one_frame(package):
    return frames.from_arrays((INPUTS[:1],), package.manifest, name="test")


@pytest.mark.parametrize("changes", [{"qos": 2}, {"window": 0}, {"count": 0}, {"rate_fps": 0.0}, {"device": "a/b"}])
def test_settings_that_cannot_be_used_are_refused(changes):
    with pytest.raises(errors.SettingsError):
        settings(**changes)


def test_count_repeats_a_source_that_is_shorter(tiny_package):
    network = memory.MemoryBroker()
    with cloud_for(tiny_package, network):
        summary, _ = stream(tiny_package, network, "op000", count=101)

    assert (summary.frames, summary.results) == (101, 101)


def test_a_topic_that_names_no_device_does_not_stop_the_cloud(tiny_package):
    network = memory.MemoryBroker()
    with cloud_for(tiny_package, network) as cloud, memory.MemoryTransport(network, client_id="stranger") as stranger:
        stranger.connect()
        stranger.publish("tflsplit/v1/d/not a name!/features", b"whatever")
        summary, _ = stream(tiny_package, network, "op000")

    assert summary.results == 40
    assert cloud.summary.refused["bad_topic"] == 1


def test_a_stopped_cloud_answers_what_had_arrived(tiny_package):
    network = memory.MemoryBroker()
    with memory.MemoryTransport(network, client_id="cloud") as transport:
        transport.connect()
        cloud = subscriber.Cloud(engine.Inline.of(tiny_package), transport, "d")
        transport.subscribe(topics.every_device("d", topics.Kind.FEATURES))
        with memory.MemoryTransport(network, client_id="edge") as sender:
            sender.connect()
            for sequence in range(5):
                frame = frame_for(tiny_package, sequence=sequence)
                encoded = wire.encode(frame, (np.zeros((1, 4), np.int8),), feature_codec.Plain())
                sender.publish(topics.topic("d", "n", topics.Kind.FEATURES), encoded)
        cloud.stop()
        summary = cloud.run()

    assert (summary.frames, summary.results) == (5, 5)


def test_a_failure_while_taking_results_ends_the_edge_with_its_error(tiny_package):
    def fails(result):
        raise RuntimeError("the caller's callback is broken")

    network = memory.MemoryBroker()
    with (
        cloud_for(tiny_package, network),
        memory.MemoryTransport(network, client_id="edge") as transport,
        head.Head(tiny_package, tiny_package.cut("op000")) as ready,
    ):
        transport.connect()
        edge = loop.Edge(tiny_package, ready, transport, settings(), observers=[watching.Watching(fails)])
        with pytest.raises(RuntimeError, match="callback is broken"):
            edge.run(frames.from_arrays((INPUTS,), tiny_package.manifest, name="test"))


@pytest.mark.parametrize("cut", ["input", "op000", "op001", "output"])
@pytest.mark.parametrize("batch", range(2, 9))
def test_inputs_that_travel_together_have_results_of_their_own(tiny_package, cut, batch):
    network = memory.MemoryBroker()
    with cloud_for(tiny_package, network) as cloud:
        summary, got = stream(tiny_package, network, cut, batch=batch)
        birth = birth_of(network)

    frame_count = -(-40 // batch)
    assert (summary.frames, summary.inputs, summary.results) == (frame_count, 40, frame_count)
    assert (summary.unanswered, summary.duplicates, cloud.summary.frames) == (0, 0, frame_count)
    assert sorted(result.sequence for result in got) == list(range(40))
    by_sequence = {result.sequence: result for result in got}
    for sequence, expected in enumerate(expected_values(tiny_package)):
        result = by_sequence[sequence]
        assert dict(result.values)["c"] == pytest.approx(expected)
        assert result.first == (None if 40 % batch == 1 and sequence == 39 else sequence - sequence % batch)
    captured = [by_sequence[sequence].times.captured_ms for sequence in range(40)]
    assert captured == sorted(captured)
    assert birth["batch"] == batch
    assert repr(summary).startswith(f"<{frame_count} frames of 40 inputs, ")


def test_a_count_is_of_inputs_and_the_last_frame_holds_what_is_left(tiny_package):
    network = memory.MemoryBroker()
    with cloud_for(tiny_package, network):
        summary, got = stream(tiny_package, network, "op001", batch=4, count=10)

    assert (summary.frames, summary.inputs, len(got)) == (3, 10, 10)


def test_a_frame_that_is_not_full_is_sent_after_a_while(tiny_package):
    network = memory.MemoryBroker()
    with cloud_for(tiny_package, network):
        summary, got = stream(tiny_package, network, "op001", INPUTS[:6], batch=8, batch_wait_s=0.0)

    assert (summary.frames, summary.inputs, len(got)) == (6, 6, 6)
    assert {result.first for result in got} == {None}


def test_a_refusal_or_an_acknowledgement_is_of_the_whole_frame(tiny_package, tmp_path):
    network = memory.MemoryBroker()
    other = tiny_models.write_package(
        tmp_path / "o.tflsplit", tiny_models.residual_model(), labels=("a", "b", "c", "d")
    )
    with cloud_for(other, network):
        refused, _ = stream(tiny_package, network, "op001", INPUTS[:8], batch=4)
    network = memory.MemoryBroker()
    with cloud_for(tiny_package, network):
        acknowledged, _ = stream(tiny_package, network, "op001", INPUTS[:8], batch=4, until=Until.ACK)

    assert (refused.frames, refused.refused, refused.results) == (2, 2, 0)
    assert (acknowledged.frames, acknowledged.inputs, acknowledged.results) == (2, 8, 2)


def test_what_a_source_gave_before_it_failed_is_counted(tiny_package):
    def failing():
        yield from INPUTS[:3]
        raise errors.DataError("the source broke")

    source = frames.from_arrays((INPUTS,), tiny_package.manifest, name="test")
    source._make = lambda: ((row[None],) for row in failing())
    network = memory.MemoryBroker()
    with (
        cloud_for(tiny_package, network),
        memory.MemoryTransport(network, client_id="edge") as transport,
        head.Head(tiny_package, "op001", batch=2) as ready,
    ):
        transport.connect()
        edge = loop.Edge(tiny_package, ready, transport, settings(batch=2))
        with pytest.raises(errors.DataError, match="the source broke"):
            edge.run(source)

    assert (edge.summary.inputs, edge.summary.results, edge.summary.dropped["batch_unfilled"]) == (2, 1, 1)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"batch": 0}, "batch of 0 inputs: give 1 to 64"),
        ({"batch": 65}, "batch of 65 inputs: give 1 to 64"),
        ({"batch_wait_s": 1.0}, "batch-wait says how long"),
        ({"batch": 2, "batch_wait_s": -1.0}, "give 0 or more"),
        ({"batch": 2, "input_codec": input_codec.parse("jpeg:75")}, "pixels travel one input a frame"),
    ],
)
def test_a_batch_that_cannot_be_is_refused(changes, said):
    with pytest.raises(errors.SettingsError, match=said):
        settings(**changes)


def test_an_edge_that_sends_batches_keeps_its_package(tiny_package):
    network = memory.MemoryBroker()
    with head.Head(tiny_package, "op001", batch=2) as ready:
        edge = loop.Edge(tiny_package, ready, memory.MemoryTransport(network, client_id="e"), settings(batch=2))
        with pytest.raises(errors.SettingsError, match="or sends batches, keeps its"):
            edge.exchange(tiny_package, ready)


def test_a_stream_takes_one_input_a_frame(tmp_path):
    package = tiny_models.write_package(tmp_path / "s.tflsplit", tiny_models.residual_model(), is_stateful=True)
    network = memory.MemoryBroker()
    with (
        head.Head(package, "input", batch=2) as ready,
        pytest.raises(errors.SettingsError, match="it is stateful, and a batch of 2"),
    ):
        loop.Edge(package, ready, memory.MemoryTransport(network, client_id="e"), settings(batch=2))

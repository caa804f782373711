"""The input sent as pixels, raw or as JPEG, and preprocessed in the cloud."""

import threading
from contextlib import contextmanager

import numpy as np
import pytest
import tiny_models

from broker import memory, subscriber, tail, topics, wire
from edge_runtime import frames, head, loop
from tflsplit import inputcodec, preprocessing

SHAPE = (16, 24, 3)
PIXELS = np.random.default_rng(0).integers(0, 256, (12, *SHAPE), dtype=np.uint8)
WAIT_S = 60.0


@pytest.fixture
def picture_package(builder, tmp_path):
    """Colour pictures in BGR order with a mean for each channel, so that a wrong table would show."""
    x = builder.tensor("x", (1, *SHAPE), scale=1.0, zero_point=-4)
    y = builder.add(x, x, "y", (1, *SHAPE), scale=2.0)
    model = builder.build((x,), (y,))
    return tiny_models.write_package(
        tmp_path / "p.tflsplit", model, preprocessing=preprocessing.NAMED["caffe"], codec="zstd"
    )


@contextmanager
def cloud_for(package, network):
    with memory.MemoryTransport(network, client_id="cloud") as transport:
        transport.connect()
        cloud = subscriber.Cloud(tail.Tails(package), transport, "d")
        transport.subscribe(topics.every_device("d", topics.Kind.FEATURES))
        thread = threading.Thread(target=cloud.run)
        thread.start()
        try:
            yield cloud
        finally:
            cloud.stop()
            thread.join(WAIT_S)


def stream(package, how, *, network=None, pixels=PIXELS):
    """Every frame as it travelled and its result, by sequence."""
    network = network or memory.MemoryBroker()
    chosen = inputcodec.parse(how)
    sent, got = {}, {}
    with (
        cloud_for(package, network),
        memory.MemoryTransport(network, client_id="edge") as transport,
        head.Head(package, package.cut("input")) as ready,
    ):
        transport.connect()
        settings = loop.Settings("d", "n", 7, drain_s=WAIT_S, input_codec=chosen)
        edge = loop.Edge(package, ready, transport, settings, on_result=lambda one: got.update({one.sequence: one}))
        publish = transport.publish

        def spied(topic, payload, **options):
            if topic.endswith("/features") and payload[:4] == wire.MAGIC:
                sent[wire.describe(payload).sequence] = payload
            publish(topic, payload, **options)

        transport.publish = spied
        source = frames.from_arrays((pixels,), package.manifest, name="test", as_pixels=chosen.pixels is not None)
        summary = edge.run(source)
    assert (summary.results, summary.refused) == (len(pixels), 0)
    return sent, got


def answered(got):
    return [(got[number].top, got[number].values) for number in sorted(got)]


def test_raw_pixels_give_bit_for_bit_what_int8_gives(picture_package):
    sent, raw = stream(picture_package, "raw")
    _, stored = stream(picture_package, "int8")

    assert answered(raw) == answered(stored)
    frame, (pixels,) = wire.decode(sent[3])
    assert frame.pixels is inputcodec.Pixels.RAW
    assert np.array_equal(pixels[0], PIXELS[3])

"""Masks of a model that segments: asked for by an edge, made by a cloud, left out where the broker takes no such."""

import io

import numpy as np
import pytest
import tiny_models
import watching
from memory_cloud import cloud_for
from PIL import Image

from broker.transport import memory
from edge_runtime import head, loop
from edge_runtime.delivery.settings import Settings
from edge_runtime.sources import frames
from tflsplit import errors
from tflsplit.decoding.forms import Decoding, Form

SHAPE = (24, 32, 3)
INPUTS = np.random.default_rng(1).integers(-100, 100, (3, *SHAPE), dtype=np.int8)


def settings(**changes):
    return Settings("d", "n", **changes)


def stream(package, network, cut, **changes):
    """Runs an edge on the inputs to its end; its summary and the results that it got."""
    watcher, batch = watching.Watching(), changes.get("batch", 1)
    with (
        memory.MemoryTransport(network, client_id="edge") as transport,
        head.Head(package, package.cut(cut), batch=batch) as ready,
    ):
        transport.connect()
        edge = loop.Edge(package, ready, transport, settings(**changes), observers=[watcher])
        summary = edge.run(frames.from_arrays((INPUTS,), package.manifest, name="test"))
    return summary, watcher.answers


@pytest.fixture
def segmenter(tmp_path):
    """Its scores of three classes are its input: sums whose scales double with them."""
    made = tiny_models.Builder()
    x = made.tensor("x", (1, *SHAPE))
    a = made.add(x, x, "a", (1, *SHAPE))
    model = made.build((x,), (made.add(a, a, "b", (1, *SHAPE), scale=0.4),))
    labels, decoding = ("sky", "road", "cat"), Decoding(Form.SCORES, (0,))
    return tiny_models.write_package(tmp_path / "segmenter.tflsplit", model, labels=labels, decoding=decoding)


def pixels(png):
    with Image.open(io.BytesIO(png)) as read:
        assert (read.format, read.mode) == ("PNG", "P")
        return np.asarray(read)


@pytest.mark.parametrize(("cut", "batch"), [("input", 1), ("op000", 1), ("op000", 3), ("output", 1)])
def test_the_mask_of_a_result_is_the_best_class_of_each_place(segmenter, cut, batch):
    network = memory.MemoryBroker()
    with cloud_for(segmenter, network) as cloud:
        summary, got = stream(segmenter, network, cut, wants_mask=True, batch=batch)

    assert (summary.results, cloud.summary.masks_left_out) == (3 // batch, 0)
    found = {result.sequence: pixels(result.mask) for result in got if result.mask is not None}
    assert len(found) == 3
    for sequence, mask in found.items():
        assert np.array_equal(mask, np.argmax(INPUTS[sequence], axis=-1))


def test_without_the_wish_there_is_none(segmenter):
    network = memory.MemoryBroker()
    with cloud_for(segmenter, network):
        _, got = stream(segmenter, network, "op000")

    assert {result.mask for result in got} == {None}
    assert all(result.found.shares for result in got)


@pytest.mark.parametrize("batch", [1, 3])
def test_a_mask_that_the_broker_would_not_take_is_left_out_and_counted(segmenter, batch):
    network = memory.MemoryBroker(max_packet_bytes=900)
    with cloud_for(segmenter, network) as cloud:
        _, got = stream(segmenter, network, "op000", wants_mask=True, batch=batch)

    assert {result.mask for result in got} == {b""}  # null: asked for, and not there
    assert [len(result.found.shares) for result in got] == [3, 3, 3]
    assert cloud.summary.masks_left_out == 3
    assert not cloud.summary.refused


def test_an_edge_refuses_packages_that_do_not_segment_at_its_start_and_while_it_runs(segmenter, tiny_package):
    with (
        memory.MemoryTransport(memory.MemoryBroker(), client_id="edge") as transport,
        head.Head(tiny_package, tiny_package.cut("op000")) as other,
        head.Head(segmenter, segmenter.cut("op000")) as ready,
    ):
        with pytest.raises(errors.SettingsError, match="does not segment, so results have no mask: leave mask out"):
            loop.Edge(tiny_package, other, transport, settings(wants_mask=True))
        edge = loop.Edge(segmenter, ready, transport, settings(wants_mask=True))
        with pytest.raises(errors.SettingsError, match="does not segment"):
            edge.exchange(tiny_package, other)

"""Workers of models that find something: their results say it as a cloud's do, of the picture that was captured."""

import dataclasses
import io

import numpy as np
import pytest
import shared_models
import tiny_models
import ways_to_share
from PIL import Image

from broker.messages import results
from broker.transport.memory import MemoryBroker
from edge_runtime.sources import frames
from tflsplit import errors
from tflsplit.decoding.forms import Decoding, Form
from tflsplit.inputs import preprocessing, resizing
from tflsplit.placement import folder
from tflsplit.placement.rewriting.network import Network

SHAPE = (64, 64, 3)
INPUTS = np.random.default_rng(1).integers(-100, 100, (3, *SHAPE), dtype=np.int8)


def segmenter(folder_of, *, sink=0, **changes):
    """Its rows over two machines; its scores of three classes are its input: sums whose scales double with them."""
    made = tiny_models.Builder()
    x = made.tensor("x", (1, *SHAPE))
    a = made.add(x, x, "a", (1, *SHAPE))
    model = made.build((x,), (made.add(a, a, "b", (1, *SHAPE), scale=0.4),))
    labels, decoding = ("sky", "road", "cat"), Decoding(Form.SCORES, (0,))
    path = folder_of / "segmenter.tflsplit"
    package = tiny_models.write_package(path, model, labels=labels, decoding=decoding, **changes)
    placed = dataclasses.replace(ways_to_share.way("rows", Network(package.graph), 2), sink=sink)
    return folder.open_folder(ways_to_share.write(package, ways_to_share.cluster(2), placed, folder_of / "shared"))


def answered(shared, *, most_bytes=None, **settings):
    """The results of all inputs, and the summary of the machine that published them."""
    made = shared_models.Machines(shared, MemoryBroker(max_packet_bytes=most_bytes))
    made.start("m1")
    source = made.start("m0", (INPUTS,), **settings)
    made.join()
    found = made.take_results()
    made.close()
    assert made.failures == {}
    assert [each.sequence for each in found] == [0, 1, 2]
    return found, source.summary


def test_a_result_has_the_mask_that_was_asked_for(tmp_path):
    found, summary = answered(segmenter(tmp_path), wants_mask=True)
    for result, scores in zip(found, INPUTS, strict=True):
        with Image.open(io.BytesIO(result.mask)) as read:
            assert np.array_equal(np.asarray(read), np.argmax(scores, axis=-1))
        assert sum(share.share for share in result.found.shares) == pytest.approx(1.0, abs=1e-3)
    assert summary.masks_left_out == 0


def test_without_the_wish_there_is_none_but_what_was_found_is_said(tmp_path):
    found, _ = answered(segmenter(tmp_path))
    assert {result.mask for result in found} == {None}
    assert all(len(result.found.shares) == 3 for result in found)


def test_a_mask_that_the_broker_would_not_take_is_left_out_and_counted(tmp_path):
    found, summary = answered(segmenter(tmp_path), wants_mask=True, most_bytes=1950)
    assert {result.mask for result in found} == {b""}  # null: asked for, and not there
    assert summary.masks_left_out == 3


def test_a_result_that_the_broker_would_not_take_is_refused_and_the_next_ones_go_on(tmp_path):
    made = shared_models.Machines(segmenter(tmp_path), MemoryBroker(max_packet_bytes=1950))
    made.start("m1")
    source = made.start("m0", (INPUTS,), wants_raw=True)
    made.join()
    found = made.take_results()
    made.close()
    assert made.failures == {}
    assert [(each.sequence, each.refused) for each in found] == [(place, results.TOO_LARGE) for place in range(3)]
    assert "does not fit the broker's packet limit" in found[0].error
    assert (source.summary.answered, source.summary.dropped) == (3, {results.TOO_LARGE: 3})


def test_a_mask_of_a_model_that_does_not_segment_is_refused(tmp_path):
    shared = shared_models.write(tmp_path, 2)
    made = shared_models.Machines(shared, MemoryBroker())
    made.start("m1", shared_models.inputs(shared.package, 1), wants_mask=True)
    made.join("m1")
    made.close()
    assert isinstance(made.failures["m1"], errors.SettingsError)
    assert "does not segment, so results have no mask: leave mask out" in str(made.failures["m1"])


def test_the_mask_is_without_what_a_letterbox_added(tmp_path):
    """The picture is lower than the model's input: its size goes with the letters to the machine that answers."""
    letterbox = preprocessing.Preprocessing("symmetric", (1 / 127.5,), (-1.0,), resize=resizing.Resize.LETTERBOX)
    shared = segmenter(tmp_path, preprocessing=letterbox, sink=1)
    Image.fromarray(np.full((24, 64, 3), 90, np.uint8)).save(tmp_path / "picture.png")
    opened = frames.open_source(str(tmp_path / "picture.png"), shared.package.manifest)
    made = shared_models.Machines(shared, MemoryBroker())
    made.start("m1")
    made.start("m0", opened, wants_mask=True)
    made.join()
    (result,) = made.take_results()
    made.close()
    with Image.open(io.BytesIO(result.mask)) as read:
        assert read.size == (64, 24)

"""Pictures that travel as they are, as JPEG, as the model stores them, or as features: whatever the frame needs."""

import contextlib
import logging

import numpy as np
import pictured
import pytest
import watching
from memory_cloud import WAIT_S, cloud_for
from moving_edge import USUAL, Restless
from pictured import outputs_of, pictures_package

from broker.messages import wire
from broker.transport import memory
from edge_runtime import loop
from edge_runtime.adapting import adaptation, candidates
from edge_runtime.delivery.settings import Settings
from edge_runtime.sources import frames
from tflsplit import errors
from tflsplit.coding import input_codec
from tflsplit.coding.input_codec import Pixels
from tflsplit.inputs import preprocessing
from tflsplit.switching.choices import Choice
from tflsplit.switching.controller import Tuning
from tflsplit.switching.goal import Goal

PIXELS = pictured.PIXELS[:11]  # no multiple of the forms, so that each picture travels in every form
FORMS = ("input", "input:raw", "input:jpeg:95", "output")


@pytest.fixture
def picture_package(builder, tmp_path):
    return pictures_package(builder, tmp_path, preprocessing=preprocessing.NAMED["caffe"])


@contextlib.contextmanager
def moving(package, start):
    listed = [Choice(form, 0.0, 0.0 if form == "output" else 1000.0, 0.0, 0.0) for form in FORMS]
    controller = Restless(listed, USUAL, Goal(), Tuning(probing=None), start=start)
    with candidates.opened(package, listed) as opened:
        yield adaptation.Adaptation(opened, controller, start)


def stream(package, mover, source, codec=None):
    got, sent = [], []
    network = memory.MemoryBroker()
    with cloud_for(package, network) as cloud, memory.MemoryTransport(network, client_id="edge") as online:
        online.connect()
        publish = online.try_publish

        def spied(topic, payload, **options):
            if topic.endswith("/features"):
                sent.append(payload)
            return publish(topic, payload, **options)

        online.try_publish = spied
        settings = Settings("d", "n", 7, drain_s=WAIT_S, count=200, input_codec=codec)
        watcher = watching.Watching(got.append)
        edge = loop.Edge(package, mover.first, online, settings, observers=[watcher], adaptation=mover)
        summary = edge.run(source)
    assert (summary.results, summary.refused, cloud.summary.refused.total()) == (200, 0, 0)
    assert sorted(result.sequence for result in got) == list(range(200))
    return got, sent


@pytest.mark.parametrize(("start", "codec"), [("output", None), ("input:raw", "raw"), ("input:jpeg:95", "jpeg:95")])
def test_each_form_but_jpeg_gives_the_same_result(picture_package, start, codec):
    source = frames.open_either(PIXELS, picture_package.manifest)
    assert source.gives_pixels
    with moving(picture_package, start) as mover:
        got, sent = stream(picture_package, mover, source, codec and input_codec.parse(codec))

    forms = {(result.cut, result.pixels) for result in got}
    assert forms == {("input", None), ("input", Pixels.RAW), ("input", Pixels.JPEG), ("output", None)}
    by_picture = {}
    for encoded in sent:
        frame = wire.describe(encoded)
        if frame.pixels is not Pixels.JPEG:
            outputs = by_picture.setdefault(frame.sequence % len(PIXELS), set())
            outputs.add(tuple(outputs_of(picture_package, encoded)))
    assert {len(outputs) for outputs in by_picture.values()} == {1}
    assert len(set().union(*by_picture.values())) == len(PIXELS)


def test_a_source_without_pixels_leaves_pictures_out_and_says_so(picture_package, caplog):
    caplog.set_level(logging.WARNING)
    stored = np.zeros((4, *PIXELS.shape[1:]), np.float32)
    source = frames.open_either(stored, picture_package.manifest)
    assert not source.gives_pixels
    with moving(picture_package, "output") as mover:
        got, _ = stream(picture_package, mover, source)

    assert {result.pixels for result in got} == {None}
    assert {result.cut for result in got} == {"input", "output"}
    assert "cuts not used cuts=input:raw,input:jpeg:95 reason=the source gives no pixels" in caplog.text


def test_a_plan_that_begins_with_pixels_needs_them(picture_package):
    stored = np.zeros((4, *PIXELS.shape[1:]), np.float32)
    source = frames.open_either(stored, picture_package.manifest)
    with (
        moving(picture_package, "input:raw") as mover,
        pytest.raises(errors.SettingsError, match=r"the plan sends pixels \(input:raw\), and the source gives none"),
    ):
        stream(picture_package, mover, source, input_codec.parse("raw"))

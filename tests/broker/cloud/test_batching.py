"""Batches: used where they pay and give the same bits, and then only with enough frames."""

import logging

import numpy as np
import pytest
import tiny_models

from broker.cloud import answerer, batching, tail
from broker.messages import results, wire
from tflsplit import errors
from tflsplit.coding import feature_codec
from tflsplit.graph.interpreter import Interpreter
from tflsplit.package import verify


@pytest.fixture
def pays(monkeypatch):
    """A batch of eight that takes as long as two frames and a half; real times would make the test depend on them."""
    monkeypatch.setattr(batching, "_timed", lambda *_: (1.0, 2.5))


@pytest.fixture
def logged(caplog):
    caplog.set_level(logging.INFO, "broker.cloud.batching")
    return caplog


def measured(model, one=None):
    return batching.measured(model, one or Interpreter(model), threads=1, name="t")


@pytest.mark.parametrize("count", [1, 3, batching.SIZE])
def test_a_batch_gives_the_bits_of_its_frames(residual_model, pays, count):
    one, batch = Interpreter(residual_model), measured(residual_model)
    frames = verify.random_samples(one.inputs, count, seed=3)
    together = batch.run(frames)

    assert len(together) == count
    for frame, outputs in zip(frames, together, strict=True):
        np.testing.assert_array_equal(outputs, one.run(*frame))
    assert batch.fewest == 3


def test_what_is_measured_decides_and_is_logged(residual_model, monkeypatch, logged):
    monkeypatch.setattr(batching, "_timed", lambda *_: (1e-3, 7e-3))

    assert measured(residual_model) is None
    assert "batches off tail='t' frames=8 one_ms=1.000 batch_ms=7.000 gain=1.14" in logged.text


def test_a_batch_that_gives_other_bits_is_not_used(residual_model, pays, logged):
    other = tiny_models.Builder()
    x = other.tensor("x", (1, 4))
    another = other.build((x,), (other.add(x, x, "c", (1, 4), scale=0.4),))

    assert measured(residual_model, Interpreter(another)) is None
    assert "they give other bits than single frames" in logged.text


def test_a_model_that_cannot_grow_is_run_one_by_one(pays, logged):
    made = tiny_models.Builder()
    x = made.tensor("x", (2, 4))
    model = made.build((x,), (made.add(x, x, "y", (2, 4)),))

    assert measured(model) is None
    assert "has an input without a leading 1" in logged.text
    with pytest.raises(errors.DeviceError, match="cannot take 8 frames"):
        Interpreter(model, batch=8)


def encoded(package, sequence, cut="op000", value=0):
    at = package.cut(cut)
    frame = wire.Frame(bytes.fromhex(package.digest)[:16], at.position, 1, sequence, 0, 0, at.boundary)
    return wire.encode(frame, [np.full(spec.shape, value, spec.dtype) for spec in at.boundary], feature_codec.Plain())


def told(answers):
    """What the answers say but for their times."""
    return [
        (answer.key, answer.refused, None if answer.refused else results.parse(answer.result).values)
        for answer in answers
    ]


def test_frames_of_several_cuts_and_bad_ones_between_are_answered_in_their_order(tiny_package, pays):
    single = answerer.Answerer([tail.Tails(tiny_package)])
    several = answerer.Answerer([tail.Tails(tiny_package, wants_batches=True)])
    frames = [encoded(tiny_package, number, ("op000", "op001")[number % 3 == 0], number) for number in range(20)]
    frames[4:4] = [b"no frame", encoded(tiny_package, 99, "input", 5)]
    jobs = [answerer.Job("n", frame, 0.0) for frame in frames]

    assert told(several.answer_all(jobs)) == told([single.answer(job) for job in jobs])
    assert several.batches_from(jobs[0]) == 3
    assert single.batches_from(jobs[0]) == several.batches_from(jobs[4]) == 0

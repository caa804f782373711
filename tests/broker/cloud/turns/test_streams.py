"""The frames of a stream run once and in order, each from what the one before has left, whoever else sends."""

import random

import numpy as np
import pytest
import tiny_models

from broker.cloud import engine as cloud_engine
from broker.cloud.answerer import Job, Refused
from broker.cloud.turns import streams
from broker.messages import results, wire
from tflsplit import errors
from tflsplit.coding import feature_codec
from tflsplit.graph.interpreter import Interpreter

STEPS = np.random.default_rng(0).integers(-128, 128, (4, 30, 1, 4), dtype=np.int8)


@pytest.fixture
def package(tmp_path):
    return tiny_models.write_package(tmp_path / "m.tflsplit", tiny_models.remembering_model(), is_stateful=True)


class Held:
    """An engine that answers when it is told to."""

    def __init__(self, inner):
        self._inner, self.submitted = inner, []
        self.counters, self.workers, self.waiting = inner.counters, None, 0

    def submit(self, job, done):
        self.submitted.append((job, done))

    def answer_next(self):
        self._inner.submit(*self.submitted.pop(0))


class Frames:
    """Frames of a package at its cut `op001` by device: the head is run in order, as at an edge."""

    def __init__(self, package, device="n", boot=1, steps=STEPS[0]):
        self.device, self._boot, self._steps, self._package = device, boot, steps, package
        self._cut = package.cut("op001")
        with Interpreter(package.model_bytes()) as whole:
            run = whole.stream(is_stateful=True)
            self.expected = [run(step)[0].ravel() for step in steps]
        self._head = Interpreter(package.head_bytes(self._cut))
        self._run = self._head.stream(is_stateful=True)
        self._made = [self._run(step) for step in steps]

    def job(self, sequence, follows=None):
        follows = max(0, sequence - 1) if follows is None else follows
        digest = bytes.fromhex(self._package.digest)[:16]
        frame = wire.Frame(
            digest, self._cut.position, self._boot, sequence, 0, 0, self._cut.boundary, follows=follows, wants_raw=True
        )
        return Job(self.device, wire.encode(frame, self._made[sequence], feature_codec.Plain()), 0.0)


class Answers(list):
    def __call__(self, answer):
        self.append(answer)

    @property
    def values(self):
        return [results.parse(answer.result).outputs[0].array().ravel().tolist() for answer in self]

    @property
    def refused(self):
        return [answer.refused for answer in self]


def around(package, **options):
    return streams.Streams(cloud_engine.Inline.of(package), [package], **options)


def test_devices_that_take_turns_each_get_what_the_whole_model_gives_them_alone(package):
    engine = around(package)
    devices = [Frames(package, f"n{number}", 1, steps) for number, steps in enumerate(STEPS)]
    got = [Answers() for _ in devices]
    randomness, left = random.Random(0), [0] * len(devices)
    while any(done < 30 for done in left):
        number = randomness.choice([number for number, done in enumerate(left) if done < 30])
        engine.submit(devices[number].job(left[number]), got[number])
        left[number] += 1

    for device, answers in zip(devices, got, strict=True):
        assert answers.values == [expected.tolist() for expected in device.expected]
        assert [results.parse(answer.result).step for answer in answers] == list(range(1, 31))
        assert all(answer.kept is None for answer in answers)


def test_a_frame_that_comes_again_is_not_run_again(package):
    engine, device, got = around(package), Frames(package), Answers()
    for sequence in (0, 1, 1, 0, 2):
        engine.submit(device.job(sequence), got)

    assert got.refused == [None, None, Refused.STATE, Refused.STATE, None]
    assert results.parse(got[-1].result).outputs[0].array().ravel().tolist() == device.expected[2].tolist()


def test_a_frame_before_its_time_is_refused_and_runs_when_it_comes_again(package):
    engine, device, got = around(package), Frames(package), Answers()
    for sequence in (0, 2, 3, 1, 2, 3):
        engine.submit(device.job(sequence), got)

    assert got.refused == [None, Refused.STATE, Refused.STATE, None, None, None]
    assert Answers(answer for answer in got if not answer.refused).values == [
        expected.tolist() for expected in device.expected[:4]
    ]


def test_frames_that_were_dropped_at_the_edge_leave_no_gap(package):
    engine, device, got = around(package), Frames(package), Answers()
    for sequence, follows in ((0, 0), (5, 0), (9, 5)):
        engine.submit(device.job(sequence, follows), got)

    assert got.refused == [None] * 3


def test_a_stream_begins_anew_where_its_frame_says_so(package):
    engine, got = around(package), Answers()
    device, other = Frames(package), Frames(package, steps=STEPS[0][2:])
    for sequence in (0, 1):
        engine.submit(device.job(sequence), got)
    # Both halves begin anew with the third input.
    device._made[2:] = other._made
    for sequence, follows in ((2, 2), (3, 2)):
        engine.submit(device.job(sequence, follows), got)

    assert got.values[2:] == [expected.tolist() for expected in other.expected[:2]]
    assert [results.parse(answer.result).step for answer in got] == [1, 2, 1, 2]


def test_what_follows_a_frame_that_failed_is_refused(package):
    held = Held(cloud_engine.Inline.of(package))
    engine, device, got = streams.Streams(held, [package]), Frames(package), Answers()
    engine.submit(device.job(0), got)
    held.answer_next()
    broken = device.job(1)
    engine.submit(Job(broken.device, broken.encoded[:-1] + bytes([broken.encoded[-1] ^ 1]), 0.0), got)
    for sequence in (2, 3):
        engine.submit(device.job(sequence), got)
    engine.submit(device.job(4, follows=4), got)

    assert len(held.submitted) == 1
    assert engine.waiting == 3
    held.answer_next()
    assert got.refused == [None, Refused.BAD_FRAME, Refused.STATE, Refused.STATE]
    held.answer_next()
    assert got.refused[-1] is None
    engine.submit(device.job(5), got)
    held.answer_next()
    assert got.refused[-1] is None


def test_one_frame_of_a_stream_runs_at_a_time_and_streams_run_beside_each_other(package):
    held = Held(cloud_engine.Inline.of(package))
    engine, got = streams.Streams(held, [package]), Answers()
    one, other = Frames(package, "a"), Frames(package, "b")
    for sequence in range(3):
        engine.submit(one.job(sequence), got)
        engine.submit(other.job(sequence), got)

    while held.submitted:
        devices = [job.device for job, _ in held.submitted]
        assert len(set(devices)) == len(devices)
        held.answer_next()
    assert got.refused == [None] * 6


def test_states_are_bounded_and_what_falls_out_is_counted(package):
    engine, got = around(package, most_bytes=2400), Answers()
    devices = [Frames(package, f"n{number}") for number in range(3)]
    for device in devices:
        engine.submit(device.job(0), got)

    assert engine.counters.states_forgotten == 1
    for device in devices:
        engine.submit(device.job(1), got)
    assert got.refused == [None] * 3 + [Refused.STATE, None, None]


def test_the_same_device_after_a_restart_is_another_stream(package):
    engine, got = around(package), Answers()
    before, after = Frames(package, boot=1), Frames(package, boot=2)
    for job in (before.job(0), after.job(0), before.job(1), after.job(1)):
        engine.submit(job, got)

    assert got.values == [each.tolist() for each in (*before.expected[:1] * 2, *before.expected[1:2] * 2)]


def test_packages_without_state_pass_as_they_are(package, tiny_package):
    plain = cloud_engine.Inline.of(tiny_package)
    assert streams.around(plain, [tiny_package]) is plain
    assert isinstance(streams.around(plain, [tiny_package, package]), streams.Streams)


@pytest.mark.parametrize("follows", [0, None])
def test_a_frame_in_the_way_of_another_kind_of_package_is_refused(package, tiny_package, follows):
    served = tiny_package if follows is not None else package
    engine, got = streams.Streams(cloud_engine.Inline.of(tiny_package, package), [package]), Answers()
    cut = served.cut("op001")
    frame = wire.Frame(bytes.fromhex(served.digest)[:16], cut.position, 1, 0, 0, 0, cut.boundary, follows=follows)
    arrays = [np.zeros(spec.shape, spec.dtype) for spec in cut.boundary]
    engine.submit(Job("n", wire.encode(frame, arrays, feature_codec.Plain()), 0.0), got)

    assert got.refused == [Refused.WRONG_CUT]


@pytest.mark.parametrize(("share", "words"), [("g", "the clouds of --share g"), ("queue", "clouds at one queue")])
def test_clouds_that_divide_frames_refuse_stateful_packages(package, tiny_package, share, words):
    with pytest.raises(errors.SettingsError, match=f"it is stateful, .*{words} divide them"):
        streams.check_alone([tiny_package, package], share)
    streams.check_alone([tiny_package], share)
    streams.check_alone([package], None)

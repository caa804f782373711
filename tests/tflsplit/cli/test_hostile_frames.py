"""A cloud as a process, and devices that send it anything at all: it answers the honest ones, and counts the rest."""

import io
import itertools
import re
import struct
import zlib

import hypothesis
import numpy as np
import pytest
import tiny_models
import zstandard
from hypothesis import strategies as st
from PIL import Image

from broker.messages import chunks, results, topics, wire
from broker.mqtt import transport
from broker.transport import address
from tflsplit.coding import feature_codec
from tflsplit.coding.input_codec import Pixels
from tflsplit.graph import tensors
from tflsplit.graph.interpreter import Interpreter
from tflsplit.inputs import preprocessing

SOON_S = 60.0
SHAPE = (16, 24, 3)
INPUT = np.random.default_rng(0).integers(-128, 128, (1, *SHAPE), dtype=np.int8)
FEATURES, RESULTS = topics.Kind.FEATURES, topics.Kind.RESULTS


@pytest.fixture
def package(builder, tmp_path):
    """Takes pictures, so that frames may be features, pixels and JPEG."""
    x = builder.tensor("x", (1, *SHAPE), scale=1.0, zero_point=-4)
    y = builder.add(x, x, "y", (1, *SHAPE), scale=2.0)
    model = builder.build((x,), (y,))
    return tiny_models.write_package(tmp_path / "p.tflsplit", model, preprocessing=preprocessing.NAMED["caffe"])


class Frames:
    """Sound frames of a package, and what its model makes of them."""

    def __init__(self, package):
        self._digest = bytes.fromhex(package.digest)[: wire.PACKAGE_BYTES]
        self._boundary = tuple(package.cuts[0].boundary)
        self._numbers = itertools.count(1_000_000)
        with Interpreter(package.model_bytes()) as whole:
            self.expected = whole.run(INPUT)[0].tobytes()

    def describe(self, sequence, boundary=None, **changes):
        fields = {"boot": 7, "captured_ns": 0, "head_us": 0, "boundary": boundary or self._boundary, "wants_raw": True}
        return wire.Frame(self._digest, 0, sequence=sequence, **fields | changes)

    def sound(self, sequence, coder=None):
        return wire.encode(self.describe(sequence), (INPUT,), coder or feature_codec.Plain())

    def holding(self, payload, *, boundary=None, codec_id=feature_codec.CodecId.ZSTD, pixels=None):
        """A frame whose header and checksum are right, with any payload."""
        frame = self.describe(next(self._numbers), boundary, pixels=pixels)
        encoded = bytearray(wire.encode(frame, [np.zeros(s.shape, s.dtype) for s in frame.boundary], Said(codec_id)))
        del encoded[-len(Said.PAYLOAD) :]
        struct.pack_into("<I", encoded, 58, len(payload))
        return with_checksum(encoded + payload)

    def jpeg(self, payload):
        pixels = (tensors.TensorSpec("", (1, *SHAPE), "uint8"),)
        return self.holding(payload, boundary=pixels, codec_id=feature_codec.CodecId.JPEG, pixels=Pixels.JPEG)


class Said:
    """A coder that says what it is told to, whatever it is given."""

    PAYLOAD = b"payload"

    def __init__(self, codec_id):
        self.id = codec_id

    def encode(self, _):
        return self.PAYLOAD


def with_checksum(encoded):
    """The lie behind a right checksum is reached."""
    at = wire.HEADER_BYTES - 4
    if len(encoded) >= wire.HEADER_BYTES:
        struct.pack_into("<I", encoded, at, zlib.crc32(encoded[at + 4 :], zlib.crc32(encoded[:at])))
    return bytes(encoded)


def coded_picture():
    coded = io.BytesIO()
    Image.fromarray(np.zeros(SHAPE, np.uint8)).save(coded, "JPEG")
    return coded.getvalue()


class Cloud:
    """A cloud under attack, and an honest device beside the attacker."""

    def __init__(self, start, url, package):
        self.frames = Frames(package)
        self._client = transport.MqttTransport(address.parse(url), client_id="devices")
        self._client.connect()
        self._client.subscribe(topics.every_device("d", RESULTS))
        self._process = start("cloud", package.path, "--broker", url, "--deployment", "d", "--json")
        self._sequence = 0
        self._wait_until_it_serves()

    def close(self):
        self._client.close(timeout_s=0)

    def attack(self, *payloads, device="mallory"):
        for payload in payloads:
            self._client.publish(topics.topic("d", device, FEATURES), payload)

    def check_serves(self, others=0):
        """The honest device's next frame is answered, and rightly; what is said to others: `others` answers or more.

        Devices take turns, so that its answer may come before theirs.
        """
        self._sequence += 1
        self.attack(self.frames.sound(self._sequence), device="honest")
        found, is_answered = [], False
        while not is_answered or len(found) < others:
            answer = self._next()
            if not is_answered and answer.device == "honest" and answer.sequence == self._sequence:
                assert [output.data for output in answer.outputs] == [self.frames.expected]
                is_answered = True
            else:
                found.append(answer)
        return found

    def peak_bytes(self):
        with open(f"/proc/{self._process.pid}/status", encoding="ascii") as status:
            return int(re.search(r"VmHWM:\s+(\d+) kB", status.read())[1]) * 1024

    def end(self):
        """Its summary; it must have ended in good order and met no bug of ours."""
        self._process.terminate()
        done = self._process.done()
        assert "Traceback" not in done.err
        assert "frame failed" not in done.err
        return done.json()

    def _next(self):
        message = self._client.receive(SOON_S)
        assert message is not None
        self._client.acknowledge(message)
        return results.parse(message.payload)

    def _wait_until_it_serves(self):
        message = None
        while message is None:
            self.attack(self.frames.sound(0), device="first")
            message = self._client.receive(0.2)


@pytest.fixture
def cloud(start, brokers, package):
    made = Cloud(start, brokers.start(), package)
    yield made
    made.close()


NUMBERS = st.sampled_from([0, 1, 255, 65_535, 2**31, 2**32 - 1])
EDITS = st.lists(st.tuples(st.integers(0, 1 << 16), st.integers(0, 255)), min_size=1, max_size=5)
FIELDS = st.sampled_from([7, 24, 54, 58, 66, 67, 72, 76, 80, 84])


@st.composite
def hostile(draw, originals):
    """Noise, or a sound frame or chunk that was cut, edited, or lies about its sizes, often with a right checksum."""
    if draw(st.integers(0, 5)) == 0:
        return draw(st.sampled_from([b"", wire.MAGIC, chunks.MAGIC])) + draw(st.binary(max_size=200))
    data = bytearray(draw(st.sampled_from(originals)))
    match draw(st.integers(0, 3)):
        case 0:
            for place, value in draw(EDITS):
                data[place % len(data)] = value
        case 1:
            struct.pack_into("<I", data, min(draw(FIELDS), len(data) - 4), draw(NUMBERS))
        case 2:
            del data[draw(st.integers(0, len(data) - 1)) :]
        case 3:
            data += draw(st.binary(min_size=1, max_size=20))
    return with_checksum(data) if draw(st.booleans()) else bytes(data)


def test_whatever_arrives_the_cloud_goes_on_and_answers_honest_devices(cloud):
    sound = cloud.frames.sound(1)
    originals = [
        sound,
        cloud.frames.sound(1, feature_codec.Zstd()),
        cloud.frames.jpeg(coded_picture()),
        *chunks.split(sound, 600),
    ]
    sent = 0

    @hypothesis.settings(max_examples=100, suppress_health_check=list(hypothesis.HealthCheck))
    @hypothesis.given(st.lists(hostile(originals), min_size=1, max_size=20))
    def attack(payloads):
        nonlocal sent
        cloud.attack(*payloads)
        cloud.check_serves()
        sent += len(payloads)

    attack()
    summary = cloud.end()

    assert sent > 200
    assert sum(summary["refused"].values()) > sent / 4
    assert "failed" not in summary["refused"]


def zstd_bomb(content_bytes, declared_bytes):
    """One zstd frame that says it holds little and holds much."""
    coder = zstandard.ZstdCompressor(level=1)
    honest, large = coder.compress(bytes(declared_bytes)), coder.compress(bytes(content_bytes))
    header = zstandard.frame_header_size
    return honest[: header(honest)] + large[header(large) :]


def test_bombs_are_refused_before_they_take_memory(cloud):
    """Each would come to between 64 MB and 12 GB (65,000 by 65,000 pixels in three colours)."""
    cloud.attack(cloud.frames.sound(1, feature_codec.Zstd()), cloud.frames.jpeg(coded_picture()))
    cloud.check_serves(2)
    before_bytes = cloud.peak_bytes()
    payload_bytes = int(np.prod(SHAPE))
    huge = coded_picture()
    at = huge.index(b"\xff\xc0") + 5
    huge = huge[:at] + struct.pack(">HH", 65_000, 65_000) + huge[at + 4 :]
    many = 64 << 20
    foreign = (tensors.TensorSpec("", (many,), "int8"),)
    bombs = [
        cloud.frames.holding(zstd_bomb(1 << 30, payload_bytes)),
        cloud.frames.holding(zstandard.ZstdCompressor().compress(bytes(1 << 30))),
        cloud.frames.holding(zstandard.ZstdCompressor().compress(bytes(many)), boundary=foreign),
        cloud.frames.jpeg(huge),
    ]
    cloud.attack(*bombs)
    refused = cloud.check_serves(len(bombs))

    assert len(refused) == len(bombs)
    assert all(isinstance(answer, results.Refusal) for answer in refused)
    assert cloud.peak_bytes() - before_bytes < 32 << 20
    cloud.end()


def test_an_enormous_frame_is_refused_and_costs_a_few_times_its_size(cloud):
    """It comes in by a broker without a packet limit; a secured one takes no packet above 2 MB."""
    before_bytes = cloud.peak_bytes()
    size = 32 << 20
    cloud.attack(bytes(size), cloud.frames.holding(bytes(size)))
    refused = cloud.check_serves(2)

    assert [isinstance(answer, results.Refusal) for answer in refused] == [True, True]
    assert cloud.peak_bytes() - before_bytes < 16 * size
    cloud.end()


def test_a_captured_frame_that_is_sent_again_is_computed_once(cloud):
    captured = cloud.frames.sound(3)
    cloud.attack(*[captured] * 50, device="honest")
    answers = cloud.check_serves(1)  # a copy that comes while the first is computed has its answer
    summary = cloud.end()

    assert len({answer.as_json() for answer in answers}) == 1
    assert summary["duplicates"] >= 49


def test_a_frame_is_its_topics_devices_whoever_made_it(cloud):
    """Frames carry no name to lie about: another device's frame, sent as one's own, is answered as one's own."""
    captured = cloud.frames.sound(1)
    cloud.attack(captured, device="mallory")
    (answer,) = cloud.check_serves(1)

    assert (answer.device, answer.sequence) == ("mallory", 1)
    cloud.end()


def test_topics_that_name_no_device_are_ignored_and_counted(cloud):
    for name in ("ma llory", "mällory", "..", "x" * 65):
        cloud._client.publish(f"tflsplit/v1/d/{name}/features", cloud.frames.sound(1))
    others = cloud.check_serves()
    summary = cloud.end()

    assert not others
    assert summary["refused"]["bad_topic"] == 4

"""The input sent as pixels, raw or as JPEG, and preprocessed in the cloud."""

import contextlib
import dataclasses
import io
import json
import re
import struct

import hypothesis
import numpy as np
import pytest
import watching
from hypothesis import strategies as st
from memory_cloud import birth_of, cloud_for
from pictured import PIXELS, SHAPE, outputs_of, pictures_package
from PIL import Image

from broker.cloud import tail
from broker.messages import wire
from broker.transport import memory
from edge_runtime import head, loop
from edge_runtime.delivery import framing
from edge_runtime.delivery.settings import Settings
from edge_runtime.sources import frames
from tflsplit import errors
from tflsplit.coding import feature_codec, input_codec, jpeg
from tflsplit.coding.input_codec import Pixels
from tflsplit.graph.tensors import TensorSpec
from tflsplit.inputs import preprocessing

WAIT_S = 60.0


@pytest.fixture
def picture_package(builder, tmp_path):
    """In BGR order with a mean for each channel, so that a wrong table would show."""
    return pictures_package(builder, tmp_path, preprocessing=preprocessing.NAMED["caffe"])


def stream(package, how, *, network=None, pixels=PIXELS):
    """Every frame as it travelled and its result, by sequence."""
    network = network or memory.MemoryBroker()
    chosen = input_codec.parse(how)
    sent, got = {}, {}
    with (
        cloud_for(package, network),
        memory.MemoryTransport(network, client_id="edge") as transport,
        head.Head(package, package.cut("input")) as ready,
    ):
        transport.connect()
        settings = Settings("d", "n", 7, drain_s=WAIT_S, input_codec=chosen)
        edge = loop.Edge(
            package,
            ready,
            transport,
            settings,
            observers=[watching.Watching(lambda one: got.update({one.sequence: one}))],
        )
        publish = transport.try_publish

        def spied(topic, payload, **options):
            if topic.endswith("/features") and payload[:4] == wire.MAGIC:
                sent[wire.describe(payload).sequence] = payload
            return publish(topic, payload, **options)

        transport.try_publish = spied
        source = frames.from_arrays((pixels,), package.manifest, name="test", as_pixels=chosen.pixels is not None)
        summary = edge.run(source)
    assert (summary.results, summary.refused) == (len(pixels), 0)
    return sent, got


def table_of(package):
    return preprocessing.PixelTable(package.manifest.preprocessing, package.manifest.inputs[0])


@pytest.mark.parametrize("name", sorted(preprocessing.NAMED))
def test_raw_pixels_give_bit_for_bit_what_int8_gives(builder, tmp_path, name):
    package = pictures_package(builder, tmp_path, preprocessing=preprocessing.NAMED[name])
    as_pixels, raw = stream(package, "raw")
    as_stored, stored = stream(package, "int8")

    for number, pixels in enumerate(PIXELS):
        assert outputs_of(package, as_pixels[number]) == outputs_of(package, as_stored[number])
        assert raw[number].top == stored[number].top
        frame, (sent,) = wire.decode(as_pixels[number])
        assert frame.pixels is Pixels.RAW
        assert np.array_equal(sent[0], pixels)
        assert wire.decode(as_stored[number])[0].pixels is None


def test_a_result_says_how_its_picture_travelled_and_whether_that_loses(picture_package):
    told = {how: json.loads(stream(picture_package, how)[1][0].as_json()) for how in ("raw", "int8", "jpeg:50")}

    assert (told["raw"]["input_codec"], told["raw"]["lossy"]) == ("raw", False)
    assert (told["jpeg:50"]["input_codec"], told["jpeg:50"]["lossy"]) == ("jpeg", True)
    assert "input_codec" not in told["int8"]


@pytest.mark.parametrize(
    ("how", "dtype", "coder", "is_lossy"),
    [("int8", "int8", "zstd", False), ("raw", "uint8", "none", False), ("jpeg:50", "uint8", "jpeg", True)],
)
def test_the_birth_says_what_travels(picture_package, how, dtype, coder, is_lossy):
    network = memory.MemoryBroker()
    stream(picture_package, how, network=network)
    birth = birth_of(network)

    assert (birth["cut"], birth["input_codec"], birth["codec"], birth["lossy"]) == ("input", how, coder, is_lossy)
    assert [spec["dtype"] for spec in birth["boundary"]] == [dtype]
    assert birth["uncoded_bytes"] == PIXELS[0].nbytes
    assert birth["payload_bytes"] == (None if how.startswith("jpeg") else PIXELS[0].nbytes)


def test_a_jpeg_travels_at_its_coded_size_and_comes_back_near_its_pixels(picture_package):
    flat = np.full((1, *SHAPE), (200, 30, 90), np.uint8)
    sent, _ = stream(picture_package, "jpeg:95", pixels=flat)
    _, (pixels,) = wire.decode(sent[0])

    assert len(sent[0]) < flat.nbytes
    assert np.abs(pixels.astype(int) - flat).max() <= 3  # one step of each of three colour channels' rounding


def test_frames_of_jpeg_are_cut_into_chunks_by_their_coded_size(picture_package):
    limit_bytes = 800
    flat = np.full((1, *SHAPE), 90, np.uint8)
    for pixels, is_small in ((PIXELS, False), (flat, True)):
        network = memory.MemoryBroker(max_packet_bytes=limit_bytes)
        sent, got = stream(picture_package, "jpeg:90", network=network, pixels=pixels)

        assert len(got) == len(pixels)
        assert bool(sent) == is_small  # chunks are no frames


def coded(shape=SHAPE, **options):
    mode = "L" if shape[2] == 1 else "RGB"
    pixels = np.random.default_rng(1).integers(0, 256, shape, dtype=np.uint8)
    stream = io.BytesIO()
    Image.frombytes(mode, (shape[1], shape[0]), pixels.tobytes()).save(stream, options.pop("format", "JPEG"), **options)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("payload", "said"),
    [
        (b"", "damaged"),
        (b"hello, is this an image?", "damaged"),
        (coded(format="PNG"), "damaged"),
        (coded()[:-200], "damaged"),
        (coded((24, 16, 3)), "JPEG of 16x24 pixels (RGB), expected 24x16 (RGB)"),
        (coded((16, 24, 1)), "JPEG of 24x16 pixels (L), expected 24x16 (RGB)"),
        (coded((2000, 2000, 3)), "JPEG of 2000x2000 pixels"),
        (coded(progressive=True), "progressive"),
    ],
)
def test_a_jpeg_that_is_not_the_picture_it_should_be_is_refused(payload, said):
    with pytest.raises(errors.FrameError, match=re.escape(said)):
        jpeg.decode(payload, SHAPE)


def test_a_jpeg_that_claims_to_be_huge_is_refused_before_it_is_decoded():
    bomb = bytearray(coded())
    size_at = bomb.index(b"\xff\xc0") + 5
    struct.pack_into(">HH", bomb, size_at, 65_000, 65_000)

    with pytest.raises(errors.FrameError, match="JPEG of 65000x65000 pixels"):
        jpeg.decode(bomb, SHAPE)


MARKED = coded()


@hypothesis.given(
    st.lists(st.tuples(st.integers(0, len(MARKED) - 1), st.integers(0, 255)), min_size=1, max_size=6),
    st.integers(0, len(MARKED)),
)
@hypothesis.settings(max_examples=400)
def test_a_mutated_jpeg_gives_a_picture_of_that_shape_or_our_error(edits, length):
    mutated = bytearray(MARKED)
    for place, value in edits:
        mutated[place] = value
    for payload in (mutated, mutated[:length]):
        with contextlib.suppress(errors.FrameError):
            assert len(jpeg.decode(payload, SHAPE)) == np.prod(SHAPE)


@hypothesis.given(st.binary(max_size=300))
def test_any_bytes_behind_a_jpegs_beginning_give_a_picture_or_our_error(noise):
    with contextlib.suppress(errors.FrameError):
        jpeg.decode(MARKED[:20] + noise, SHAPE)


def frame_of(package, **changes):
    spec = TensorSpec("", (1, *SHAPE), "uint8")
    fields = {"cut": 0, "boot": 1, "sequence": 0, "captured_ns": 0, "head_us": 0, "boundary": (spec,)}
    digest = bytes.fromhex(package.digest)[: wire.PACKAGE_BYTES]
    return wire.Frame(package=digest, **fields | {"pixels": Pixels.RAW} | changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"cut": 1},
        {"boundary": (TensorSpec("", (1, *SHAPE), "int8"),)},
        {"boundary": (TensorSpec("", (1, *SHAPE), "uint8", 0.5),)},
        {"boundary": (TensorSpec("", (1, 16, 24, 4), "uint8"),)},
        {"boundary": (TensorSpec("", (4,), "uint8"),)},
        {"boundary": (TensorSpec("", (1, *SHAPE), "uint8"),) * 2},
    ],
)
def test_pixels_are_one_uint8_picture_at_the_input(picture_package, changes):
    with pytest.raises(ValueError, match="pixels"):
        frame_of(picture_package, **changes)


def test_pixels_of_another_shape_and_jpeg_for_features_are_refused_by_name(picture_package, tiny_package):
    tails = tail.Tails(picture_package)
    other = frame_of(picture_package, boundary=(TensorSpec("", (1, 24, 16, 3), "uint8"),))
    with pytest.raises(errors.FrameError, match="frame at cut input carries"):
        tails.cut_of(other)
    with pytest.raises(errors.FrameError, match="frame of pixels, package tiny takes no pictures"):
        tail.Tails(tiny_package).cut_of(frame_of(tiny_package))
    with pytest.raises(errors.FrameError, match="holds features, not pixels"):
        feature_codec.decode(feature_codec.CodecId.JPEG, MARKED, 4)


def test_frames_of_pixels_begin_as_these_bytes_for_ever():
    """Flag 0x02, codec 0 or 16: devices in the field speak it."""
    spec = TensorSpec("", (1, 1, 1, 3), "uint8")
    frame = wire.Frame(bytes(16), 0, 1, 2, 3, 4, (spec,), pixels=Pixels.RAW)
    encoded = wire.encode(frame, (np.array([[[[7, 8, 9]]]], np.uint8),), feature_codec.Plain())

    assert encoded[:8].hex() == "5446534601020001"
    assert encoded[wire.HEADER_BYTES :].hex() == "0304" + "00000000" * 2 + "01000000" * 3 + "03000000" + "070809"
    assert wire.decode(encoded)[0] == frame
    as_jpeg = dataclasses.replace(frame, pixels=Pixels.JPEG)
    assert wire.encode(as_jpeg, (np.zeros((1, 1, 1, 3), np.uint8),), jpeg.Jpeg((1, 1, 3), 75))[5:7].hex() == "0210"


@pytest.mark.parametrize(
    "text", ["png", "jpeg", "jpeg:0", "jpeg:96", "jpeg:x", "jpeg:²", "jpeg:" + "9" * 5000, "RAW", ""]
)
def test_what_is_no_input_codec_is_refused(text):
    with pytest.raises(errors.SettingsError, match="write raw, int8 or jpeg:QUALITY"):
        input_codec.parse(text)


@pytest.mark.parametrize("how", ["raw", "int8", "jpeg:75"])
def test_other_cuts_refuse_an_input_codec(picture_package, how):
    with pytest.raises(errors.SettingsError, match=f"input codec {how} is for the cut input"):
        framing.of(picture_package, picture_package.cut("output"), input_codec.parse(how))


def test_only_pixels_can_be_sent_as_pixels(picture_package, tiny_package):
    with pytest.raises(errors.DataError, match="float32 data; to send pixels"):
        frames.from_arrays((PIXELS.astype(np.float32),), picture_package.manifest, name="x", as_pixels=True)
    with pytest.raises(errors.DataError, match="takes no picture"):
        frames.from_arrays((np.zeros((3, 4), np.uint8),), tiny_package.manifest, name="x", as_pixels=True)
    plain = dataclasses.replace(picture_package.manifest, preprocessing=None)
    with pytest.raises(errors.DataError, match="preprocessing not stated"):
        frames.from_arrays((PIXELS,), plain, name="x", as_pixels=True)


def test_a_source_of_another_kind_than_the_edge_sends_is_refused(picture_package):
    source = frames.from_arrays((PIXELS,), picture_package.manifest, name="x")
    settings = Settings("d", "n", 7, input_codec=input_codec.parse("raw"))
    with (
        memory.MemoryTransport(memory.MemoryBroker(), client_id="edge") as transport,
        head.Head(picture_package, picture_package.cut("input")) as ready,
    ):
        transport.connect()
        edge = loop.Edge(picture_package, ready, transport, settings)
        with pytest.raises(errors.SettingsError, match="open it for input codec raw"):
            edge.run(source)


def test_a_folder_gives_the_pixels_that_the_table_would_have_taken(picture_package, tmp_path):
    Image.fromarray(PIXELS[0]).save(tmp_path / "a.png")
    manifest = picture_package.manifest
    ((pixels,),) = [taken.arrays for taken in frames.open_source(str(tmp_path), manifest, as_pixels=True).inputs()]
    ((stored,),) = [taken.arrays for taken in frames.open_source(str(tmp_path), manifest).inputs()]

    assert np.array_equal(pixels[0], PIXELS[0])
    assert np.array_equal(table_of(picture_package).apply(pixels), stored)

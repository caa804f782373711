"""One table of frames read both ways, bytes that must never change, and frames that must be refused."""

import dataclasses
import struct
import subprocess
import sys
import zlib

import hypothesis
import in_bits
import numpy as np
import pytest
from hypothesis import strategies
from hypothesis.extra import numpy as array_strategies

from broker.messages import wire
from tflsplit import errors
from tflsplit.coding import bit_codec, feature_codec, levels
from tflsplit.graph import tensors
from tflsplit.graph.tensors import TensorSpec

SCALE = float(np.float32(0.0235))
PACKAGE = bytes(range(16))


def frame(*boundary, **fields):
    known = {"cut": 7, "boot": 0xC0FFEE, "sequence": 42, "captured_ns": 1_700_000_000_000_000_000, "head_us": 3100}
    return wire.Frame(package=PACKAGE, boundary=boundary, **{**known, **fields})


def features(*boundary):
    generator = np.random.default_rng(0)
    return tuple(
        np.frombuffer(generator.bytes(spec.bytes), np.uint8).view(spec.dtype).reshape(spec.shape)
        if spec.dtype not in ("bool", "float16", "float32", "float64")
        else generator.integers(0, 2, spec.shape).astype(spec.dtype)
        for spec in boundary
    )


ONE = TensorSpec("", (1, 2, 3), "int8", SCALE, -5)
LEVELS = (10, 128, 250)
CASES = [
    frame(ONE),
    frame(ONE, wants_raw=True),
    frame(ONE, wants_mask=True),
    frame(ONE, wants_ack=True),
    frame(ONE, TensorSpec("", (1, 4), "int8", 1.0, 127), TensorSpec("", (2,), "int32", SCALE, 0)),
    frame(TensorSpec("", (), "float32")),
    frame(TensorSpec("", (1, 1, 1, 1, 1, 1, 1, 2), "uint8", SCALE, 255)),
    frame(ONE, cut=0, boot=0, sequence=0, captured_ns=0, head_us=0),
    frame(ONE, cut=2**16 - 1, boot=2**64 - 1, sequence=2**53 - 1, captured_ns=2**64 - 1, head_us=2**32 - 1),
    *(frame(TensorSpec("", (3, 5), dtype)) for dtype in tensors.CODE_OF_DTYPE),
    frame(*[ONE] * wire.MAX_TENSORS),
    frame(ONE, later_ns=(5,)),
    frame(ONE, sizes=((1920, 1080),)),
    frame(ONE, later_ns=(5, 6), sizes=((1, 2), (3, 4), (2**32 - 1, 6)), wants_ack=True),
    frame(ONE, follows=0),
    frame(ONE, follows=42, wants_ack=True),
    frame(ONE, TensorSpec("", (1, 4), "int32"), wants_ack=True, later_ns=tuple(range(63))),
]


# Made by version 1 and never to be made anew: devices in the field speak it.
GOLDEN = (
    "54465346"  # magic
    "01"  # version
    "01"  # flags
    "00"  # codec
    "02"  # tensors
    "000102030405060708090a0b0c0d0e0f"  # package
    "0700"  # cut
    "eeffc00000000000"  # boot
    "2a00000000000000"  # sequence
    "00002a36fe9c9717"  # captured_ns
    "1c0c0000"  # head_us
    "08000000"  # raw bytes
    "08000000"  # coded bytes
    "37d98948"  # crc
    "09031283c03cfbffffff"  # tensor 0
    "010000000200000003000000"  # its extents
    "03020000803f03000000"  # tensor 1
    "0100000002000000"  # its extents
    "000102030405"  # payload 0
    "feff"  # payload 1
)

CODERS = (feature_codec.Plain(), feature_codec.Zstd())


@pytest.mark.parametrize("sent", CASES)
@pytest.mark.parametrize("coder", CODERS)
def test_frame_reads_back_as_it_was_written(sent, coder):
    arrays = features(*sent.carried)

    encoded = wire.encode(sent, arrays, coder)
    received, views = wire.decode(encoded)

    assert received == sent
    assert wire.describe(encoded) == sent
    assert wire.key(encoded) == (sent.boot, sent.sequence)
    for view, array in zip(views, arrays, strict=True):
        assert view.dtype == array.dtype
        np.testing.assert_array_equal(view, array)


def test_golden_bytes():
    sent = frame(ONE, TensorSpec("", (1, 2), "uint8", 1.0, 3), wants_raw=True)
    arrays = (np.arange(6, dtype=np.int8).reshape(1, 2, 3), np.array([[254, 255]], np.uint8))

    assert wire.encode(sent, arrays, feature_codec.Plain()).hex() == GOLDEN
    received, views = wire.decode(bytes.fromhex(GOLDEN))
    assert received == sent
    assert [view.tobytes() for view in views] == [array.tobytes() for array in arrays]


@pytest.mark.parametrize("follows", [None, 0, 41, 42])
def test_a_label_says_which_frame_it_follows(follows):
    sent = frame(ONE, follows=follows)
    encoded = wire.encode(sent, features(ONE), feature_codec.Plain())
    assert wire.peek(encoded).follows == wire.peek(wire.with_ack(encoded, wanted=True)).follows == follows


def test_a_frame_follows_none_that_comes_later_and_says_all_of_whom_it_follows():
    with pytest.raises(ValueError, match=r"follows 43 is outside 0\.\.42"):
        frame(ONE, follows=43)
    encoded = wire.encode(frame(ONE, follows=41), features(ONE), feature_codec.Plain())
    with pytest.raises(errors.FrameError, match="ends before the sequence of the one that it follows"):
        wire.peek(encoded[: wire.HEADER_BYTES + 5])


def test_names_of_tensors_do_not_travel():
    named = frame(TensorSpec("block_6_expand/relu", (2,), "int8", SCALE, 1))
    received, _ = wire.decode(wire.encode(named, features(*named.boundary), feature_codec.Plain()))
    assert received.boundary == (TensorSpec("", (2,), "int8", SCALE, 1),)


def test_plain_payload_is_viewed_not_copied_and_read_only():
    sent = frame(TensorSpec("", (4,), "int8"))
    encoded = bytearray(wire.encode(sent, (np.zeros(4, np.int8),), feature_codec.Plain()))
    _, (view,) = wire.decode(encoded)
    encoded[-1] = 9
    assert view[3] == 9
    assert not view.flags.writeable


def test_big_endian_and_strided_arrays_travel_as_their_values():
    values = np.arange(12, dtype=">i4").reshape(3, 4).T
    sent = frame(TensorSpec("", (4, 3), "int32"))
    _, (received,) = wire.decode(wire.encode(sent, (values.astype("i4"),), feature_codec.Plain()))
    np.testing.assert_array_equal(received, values)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"package": b"short"}, "package digest is 5 bytes"),
        ({"cut": 1 << 16}, "cut 65536 is outside"),
        ({"cut": -1}, "cut -1"),
        ({"boot": 1 << 64}, "boot"),
        ({"sequence": -1}, "sequence"),
        ({"sequence": 2**53}, "sequence 9007199254740992 is outside 0..9007199254740991"),
        ({"captured_ns": 1 << 64}, "captured_ns"),
        ({"head_us": 1 << 32}, "head_us"),
        ({"boundary": ()}, "boundary has 0 tensors"),
        ({"boundary": (ONE,) * 65}, "boundary has 65 tensors"),
        ({"boundary": (TensorSpec("", (1,) * 9, "int8"),)}, "rank 9"),
        ({"boundary": (TensorSpec("", (0, 3), "int8"),)}, r"shape \(0, 3\)"),
        ({"boundary": (TensorSpec("", (1 << 32,), "int8"),)}, "extents of 1 to"),
        ({"boundary": (TensorSpec("", (1,), "int8", 0.1),)}, "not a 32-bit float"),
        ({"boundary": (TensorSpec("", (1,), "int8", SCALE, 1 << 31),)}, "zero point"),
    ],
)
def test_frame_cannot_hold_what_cannot_travel(fields, expected):
    known = {"package": PACKAGE, "cut": 1, "boot": 1, "sequence": 1, "captured_ns": 1, "head_us": 1, "boundary": (ONE,)}
    with pytest.raises(ValueError, match=expected):
        wire.Frame(**{**known, **fields})


@pytest.mark.parametrize(
    "arrays",
    [(), (np.zeros((1, 2, 4), np.int8),), (np.zeros((1, 2, 3), np.uint8),), (np.zeros((1, 2, 3), np.int8),) * 2],
)
def test_arrays_other_than_the_boundary_are_a_bug_of_the_caller(arrays):
    with pytest.raises(ValueError):
        wire.encode(frame(ONE), arrays, feature_codec.Plain())


def edited(offset, layout, *values, without=0):
    """A valid frame with some bytes replaced and the checksum put right, so that what lies behind it is reached."""
    encoded = bytearray(wire.encode(frame(ONE), (np.zeros((1, 2, 3), np.int8),), feature_codec.Plain()))
    struct.pack_into(layout, encoded, offset, *values)
    del encoded[len(encoded) - without :]
    return with_checksum(encoded)


def with_checksum(encoded):
    at = wire.HEADER_BYTES - 4
    if len(encoded) >= wire.HEADER_BYTES:
        struct.pack_into("<I", encoded, at, zlib.crc32(encoded[at + 4 :], zlib.crc32(encoded[:at])))
    return bytes(encoded)


TABLE = wire.HEADER_BYTES


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", "frame is 0 bytes, shorter than the header of 66"),
        (bytes(65), "frame is 65 bytes"),
        (bytes(100), r"not a frame: it begins with b'\\x00\\x00\\x00\\x00', expected b'TFSF'"),
        (edited(4, "<B", 2), "frame version 2 is not known here, only 1; is the sender newer"),
        (edited(5, "<B", 0x82), "frame flags 0x82 are not known here"),
        (edited(6, "<B", 9), "codec 9 is not known here"),
        (edited(7, "<B", 0), "frame has 0 tensors, expected 1 to 64"),
        (edited(7, "<B", 65), "frame has 65 tensors"),
        (edited(7, "<B", 3), "frame ends within the description of tensor 1"),
        (edited(54, "<I", 7), "tensors take 6 bytes, its header says 7"),
        (edited(54, "<I", 2**32 - 1), "tensors take 4294967295 bytes, at most 67108864 are accepted"),
        (edited(58, "<I", 5), "frame has 6 payload bytes, its header says 5"),
        (edited(TABLE, "<B", 5), "tensor 0 has data type code 5"),
        (edited(TABLE + 1, "<B", 9), "tensor 0 has rank 9, at most 8"),
        (edited(TABLE + 2, "<f", float("nan")), "scale nan is not a finite number"),
        (edited(TABLE + 2, "<f", -1.0), "scale -1.0"),
        (edited(TABLE + 10, "<I", 0), "tensors take 0 bytes, its header says 6"),
        (edited(TABLE + 10, "<III", 2**32 - 1, 2**32 - 1, 2**32 - 1), "its header says 6"),
        (edited(0, "<0s", b"", without=20), "ends within the description of tensor 0"),
        (edited(0, "<0s", b"", without=1), "frame has 5 payload bytes, its header says 6"),
    ],
)
def test_frame_that_is_wrong_behind_its_checksum_is_refused(data, expected):
    with pytest.raises(errors.FrameError, match=expected):
        wire.decode(data)


def test_trailing_bytes_are_refused():
    encoded = wire.encode(frame(ONE), (np.zeros((1, 2, 3), np.int8),), feature_codec.Plain())
    with pytest.raises(errors.FrameError, match="damaged"):
        wire.decode(encoded + b"\0")
    with pytest.raises(errors.FrameError, match="frame has 7 payload bytes, its header says 6"):
        wire.decode(with_checksum(bytearray(encoded + b"\0")))


def test_any_flipped_bit_is_noticed():
    encoded = wire.encode(frame(ONE), features(ONE), feature_codec.Plain())
    for bit in range(len(encoded) * 8):
        flipped = bytearray(encoded)
        flipped[bit // 8] ^= 1 << bit % 8
        with pytest.raises(errors.FrameError):
            wire.decode(flipped)


def test_payload_limit_is_the_callers():
    encoded = wire.encode(frame(ONE), features(ONE), feature_codec.Plain())
    with pytest.raises(errors.FrameError, match="take 6 bytes, at most 5 are accepted"):
        wire.decode(encoded, max_payload_bytes=5)


def test_wire_and_topics_need_no_mqtt_library():
    names = "chunks, results, topics, wire"
    script = f"import sys; from broker.messages import {names}; sys.exit('paho' in str(list(sys.modules)))"
    subprocess.run([sys.executable, "-W", "error", "-c", script], check=True)


@strategies.composite
def boundaries_with_arrays(draw):
    boundary, arrays = [], []
    for _ in range(draw(strategies.integers(1, 4))):
        dtype = draw(strategies.sampled_from(sorted(tensors.CODE_OF_DTYPE)))
        shape = draw(array_strategies.array_shapes(min_dims=0, max_dims=5, min_side=1, max_side=4))
        scale = draw(strategies.floats(0, 2.0**100, width=32))
        boundary.append(TensorSpec("", shape, dtype, scale, draw(strategies.integers(-(2**31), 2**31 - 1))))
        arrays.append(draw(array_strategies.arrays(dtype, shape)))
    return tuple(boundary), tuple(arrays)


U53, U64 = strategies.integers(0, 2**53 - 1), strategies.integers(0, 2**64 - 1)


@hypothesis.given(
    boundaries_with_arrays(), strategies.tuples(U64, U53, U64), strategies.booleans(), strategies.sampled_from(CODERS)
)
@hypothesis.settings(deadline=None, max_examples=150)
def test_every_frame_comes_back(contents, numbers, wants_raw, coder):
    boundary, arrays = contents
    boot, sequence, captured_ns = numbers
    sent = frame(*boundary, boot=boot, sequence=sequence, captured_ns=captured_ns, wants_raw=wants_raw)

    received, views = wire.decode(wire.encode(sent, arrays, coder))

    assert received == sent
    assert [view.tobytes() for view in views] == [array.tobytes() for array in arrays]


@pytest.mark.parametrize("repair", [False, True], ids=["checksum left", "checksum put right"])
def test_ten_thousand_mutated_frames_raise_nothing_but_our_error(repair):
    generator = np.random.default_rng(20_24)
    originals = [wire.encode(sent, features(*sent.carried), coder) for sent in CASES[:6] for coder in CODERS]
    refusals = []
    for round_ in range(6_000):
        mutated = mutate(bytearray(originals[round_ % len(originals)]), generator)
        try:
            wire.decode(with_checksum(mutated) if repair else mutated)
        except errors.FrameError as refusal:
            refusals.append(str(refusal))
    assert len(refusals) > 2_000
    assert not any("\n" in refusal for refusal in refusals)


def mutate(data, generator):
    for _ in range(generator.integers(1, 4)):
        place = int(generator.integers(0, len(data)))
        match generator.integers(0, 6):
            case 0:
                data[place] ^= 1 << int(generator.integers(0, 8))
            case 1:
                del data[place:]
            case 2:
                del data[place : place + int(generator.integers(1, 9))]
            case 3:
                data[place:place] = generator.bytes(int(generator.integers(1, 9)))
            case 4:  # a length field of the header, or anything in the table, gets an extreme value
                at = int(generator.choice([7, 54, 58, 66, 67, 72, 76, 80, 84]))
                data[at : at + 4] = struct.pack("<I", int(generator.choice([0, 1, 255, 65_535, 2**31, 2**32 - 1])))
            case 5:
                data[place : place + 4] = generator.bytes(4)
        if not data:
            return data
    return data


@pytest.mark.parametrize("bits", levels.BITS)
def test_a_frame_says_in_how_many_bits_its_features_travel_and_that_it_loses(bits):
    sent = frame(ONE, bits=bits)
    array = np.array([[[-128, -100, 0], [1, 60, 127]]], np.int8)
    encoded = wire.encode(sent, (array,), bit_codec.Bits((ONE,), (LEVELS,), bits))
    found, (decoded,) = wire.decode(encoded)

    assert (found, found.bits, found.is_lossy, encoded[6]) == (sent, bits, True, 32 + bits)
    assert wire.peek(encoded).is_lossy
    assert np.array_equal(decoded, in_bits.received(array, LEVELS))
    assert not wire.peek(wire.encode(frame(ONE), (array,), feature_codec.Plain())).is_lossy


def test_the_bits_of_a_frame_and_of_its_coder_are_the_same():
    coder = bit_codec.Bits((ONE,), (LEVELS,), 4)

    for bits in (None, 3):
        with pytest.raises(ValueError, match="BITS_4 for a frame of"):
            wire.encode(frame(ONE, bits=bits), features(ONE), coder)


def test_a_reader_that_does_not_know_the_bits_refuses_them_by_name():
    encoded = wire.encode(frame(ONE, bits=4), features(ONE), bit_codec.Bits((ONE,), (LEVELS,), 4))
    newer = bytearray(encoded)
    newer[6] = 37
    newer[wire.HEADER_BYTES - 4 : wire.HEADER_BYTES] = struct.pack("<I", wire.checksum(newer))

    with pytest.raises(errors.FrameError, match="codec 37 is not known here"):
        wire.decode(bytes(newer))


def test_the_rows_of_several_inputs_travel_together_and_the_table_describes_one():
    sent = frame(ONE, later_ns=(7, 8))
    array = np.arange(18, dtype=np.int8).reshape(3, 2, 3)
    encoded = wire.encode(sent, (array,), feature_codec.Plain())
    found, (decoded,) = wire.decode(encoded)

    assert (found.inputs, found.boundary, wire.unseal(encoded).raw_bytes) == (3, (ONE,), 18)
    assert np.array_equal(decoded, array)
    assert encoded[5] == 0x10
    assert len(encoded) == len(wire.encode(frame(ONE), (array[:1],), feature_codec.Plain())) + 2 + 16 + 12


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"later_ns": (0,) * 64}, "count of further inputs 64"),
        ({"later_ns": (0,), "sequence": wire.MAX_SEQUENCE}, "sequence"),
        ({"later_ns": (0,), "boundary": (TensorSpec("", (4,), "int8"),)}, "no leading 1"),
        ({"later_ns": (0,), "follows": 41}, "of pixels or of a stream"),
        ({"later_ns": (0,), "sizes": ((1, 1),)}, "of 2 inputs"),
        ({"sizes": ((0, 1),)}, "two extents"),
    ],
)
def test_several_inputs_that_no_frame_holds_are_refused(changes, said):
    with pytest.raises(ValueError, match=said):
        dataclasses.replace(frame(ONE), **changes)


def resealed(data):
    sealed = bytearray(data)
    sealed[wire.HEADER_BYTES - 4 : wire.HEADER_BYTES] = struct.pack("<I", wire.checksum(sealed))
    return bytes(sealed)


@pytest.mark.parametrize("count", [0, 2, 64, 65535])
def test_a_count_of_inputs_that_the_frame_does_not_hold_is_refused(count):
    encoded = bytearray(wire.encode(frame(ONE, later_ns=(7,)), (np.zeros((2, 2, 3), np.int8),), feature_codec.Plain()))
    place = wire.HEADER_BYTES + 10 + 12
    encoded[place : place + 2] = struct.pack("<H", count)

    with pytest.raises(errors.FrameError, match="frame"):
        wire.decode(resealed(encoded))


def test_sizes_that_the_frame_does_not_hold_are_refused():
    plain = wire.encode(frame(ONE), (np.zeros((1, 2, 3), np.int8),), feature_codec.Plain())
    flagged = bytearray(plain[:-3])
    flagged[5] |= 0x20

    with pytest.raises(errors.FrameError, match="ends before the sizes of 1 pictures"):
        wire.decode(resealed(flagged))

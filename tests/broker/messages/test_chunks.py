import struct
import zlib

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies

from broker.messages import chunks, wire
from tflsplit import errors
from tflsplit.coding import feature_codec
from tflsplit.graph.tensors import TensorSpec


def encoded(size=1000, boot=7, sequence=1):
    spec = TensorSpec("", (size,), "uint8")
    sent = wire.Frame(bytes(16), 1, boot, sequence, 0, 0, (spec,))
    array = np.random.default_rng(sequence).integers(0, 256, size, np.uint8)
    return wire.encode(sent, (array,), feature_codec.Plain())


def with_checksum(chunk):
    at = chunks.HEADER_BYTES - 4
    struct.pack_into("<I", chunk, at, zlib.crc32(chunk[at + 4 :], zlib.crc32(chunk[:at])))
    return bytes(chunk)


def altered(chunk, offset, layout, value):
    changed = bytearray(chunk)
    struct.pack_into(layout, changed, offset, value)
    return with_checksum(changed)


def test_frame_that_fits_is_not_cut_and_passes_straight_through():
    frame = encoded()
    assert chunks.split(frame, len(frame)) == [frame]
    reassembler = chunks.Reassembler()
    assert reassembler.add("cam", frame, 0.0) is frame
    assert reassembler.counters == chunks.Counters()


@pytest.mark.parametrize("limit", [34, 100, 999, 1079])
def test_chunks_fit_the_limit_and_make_the_frame_again_in_any_order(limit):
    frame = encoded()
    parts = chunks.split(frame, limit)
    assert len(parts) > 1
    assert all(len(part) <= limit and chunks.is_chunk(part) for part in parts)

    for order in (parts, parts[::-1], sorted(parts, key=zlib.crc32)):
        reassembler = chunks.Reassembler()
        *unfinished, whole = [reassembler.add("cam", part, 0.0) for part in order]
        assert whole == frame
        assert unfinished == [None] * (len(parts) - 1)
        assert (reassembler.unfinished, reassembler.held_bytes) == (0, 0)
        assert reassembler.counters.completed == 1


def test_golden_chunk():
    (first, *_) = chunks.split(encoded(size=8, boot=0xC0FFEE, sequence=42), 60)
    assert first.hex() == (
        "54465343"  # magic
        "01"  # version
        "eeffc00000000000"  # boot
        "2a00000000000000"  # sequence
        "0000"  # index
        "0400"  # count
        "58000000"  # frame bytes
        "1e0378ba"  # crc
        "5446534601000001000000000000000000000000000000000100ee"  # the first bytes of the frame
    )


@pytest.mark.parametrize("limit", [0, 1, 33])
def test_limit_without_room_for_a_chunk_is_refused(limit):
    with pytest.raises(errors.SettingsError, match="raise the limit"):
        chunks.split(encoded(), limit)


def test_more_chunks_than_can_be_numbered_are_refused():
    with pytest.raises(errors.SettingsError, match="needs over 65535 packets of 34 bytes"):
        chunks.split(encoded(70_000), 34)


def test_frames_of_several_devices_do_not_mix():
    first, second = chunks.split(encoded(sequence=1), 600)
    other_first, other_second = chunks.split(encoded(2000, sequence=1), 1100)
    reassembler = chunks.Reassembler()
    reassembler.add("a", first, 0.0)
    reassembler.add("b", other_first, 0.0)
    assert reassembler.add("a", second, 0.0) == encoded(sequence=1)
    assert reassembler.add("b", other_second, 0.0) == encoded(2000, sequence=1)


def test_duplicate_chunk_is_counted_and_changes_nothing():
    first, second = chunks.split(encoded(), 600)
    reassembler = chunks.Reassembler()
    assert reassembler.add("cam", first, 0.0) is None
    assert reassembler.add("cam", first, 0.0) is None
    assert reassembler.add("cam", second, 0.0) == encoded()
    assert reassembler.counters == chunks.Counters(completed=1, duplicates=1)


@pytest.mark.parametrize(
    ("offset", "layout", "value"), [(23, "<H", 3), (25, "<I", 1079), (40, "<B", 0)], ids=["count", "size", "contents"]
)
def test_contradictory_chunk_gives_the_frame_up(offset, layout, value):
    first, second = chunks.split(encoded(), 600)
    liar = altered(first, offset, layout, value)
    reassembler = chunks.Reassembler()
    reassembler.add("cam", first, 0.0)
    with pytest.raises(errors.FrameError, match="chunk 0 of frame 0000000000000007/1 from cam contradicts"):
        reassembler.add("cam", liar, 0.0)
    assert reassembler.counters.contradicted == 1
    assert (reassembler.unfinished, reassembler.held_bytes) == (0, 0)
    assert reassembler.add("cam", second, 0.0) is None


def test_chunks_that_do_not_add_up_are_refused():
    parts = [altered(part, 25, "<I", 2000) for part in chunks.split(encoded(), 600)]
    reassembler = chunks.Reassembler()
    reassembler.add("cam", parts[0], 0.0)
    with pytest.raises(errors.FrameError, match="hold 1080 bytes, expected 2000"):
        reassembler.add("cam", parts[1], 0.0)


def test_old_unfinished_frame_is_given_up_by_the_clock_of_the_caller():
    first, second = chunks.split(encoded(), 600)
    reassembler = chunks.Reassembler(chunks.Limits(age_s=10.0))
    reassembler.add("cam", first, 100.0)
    assert reassembler.add("cam", second, 110.1) is None
    assert reassembler.counters.expired == 1
    assert reassembler.add("cam", first, 110.2) == encoded()


def test_unfinished_frames_are_bounded_in_number_and_bytes():
    reassembler = chunks.Reassembler(chunks.Limits(frames=3, bytes=3000))
    for sequence in range(50):
        reassembler.add("cam", chunks.split(encoded(sequence=sequence), 600)[0], 0.0)
        assert reassembler.unfinished <= 3
        assert reassembler.held_bytes <= 3000
    assert reassembler.counters.evicted == 47


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"TFSC", "chunk is 4 bytes"),
        (chunks.split(encoded(), 600)[0][: chunks.HEADER_BYTES], "expected more than its header of 33"),
        (chunks.split(encoded(), 600)[0][:-1], "damaged"),
        (altered(chunks.split(encoded(), 600)[0], 4, "<B", 2), "chunk version 2 is not known here, only 1"),
        (altered(chunks.split(encoded(), 600)[0], 21, "<H", 2), "chunk 2 of 2"),
        (altered(chunks.split(encoded(), 600)[0], 23, "<H", 0), "chunk 0 of 0"),
        (altered(chunks.split(encoded(), 600)[0], 25, "<I", 1), "chunked frame of 1 bytes: expected 2 to"),
        (altered(chunks.split(encoded(), 600)[0], 25, "<I", 2**32 - 1), "chunked frame of 4294967295 bytes"),
    ],
)
def test_damaged_chunk_is_refused(data, expected):
    with pytest.raises(errors.FrameError, match=expected):
        chunks.Reassembler().add("cam", data, 0.0)


@hypothesis.given(
    strategies.integers(1, 3000), strategies.integers(34, 3200), strategies.randoms(use_true_random=False)
)
@hypothesis.settings(deadline=None, max_examples=100)
def test_every_split_comes_together_in_any_order_with_duplicates(size, limit, randomness):
    frame = encoded(size)
    parts = chunks.split(frame, limit)
    arriving = parts + randomness.sample(parts, len(parts) // 2)
    randomness.shuffle(arriving)
    reassembler = chunks.Reassembler()
    wholes = [whole for part in arriving if (whole := reassembler.add("cam", part, 0.0)) is not None]
    assert frame in wholes


def test_ten_thousand_mutated_chunks_raise_nothing_but_our_error_and_stay_bounded():
    generator = np.random.default_rng(7)
    limits = chunks.Limits(frames=8, bytes=20_000, age_s=50.0)
    reassembler = chunks.Reassembler(limits)
    originals = [chunks.split(encoded(sequence=sequence), 400) for sequence in range(5)]
    refusals = 0
    for step in range(10_000):
        parts = originals[step % len(originals)]
        mutated = bytearray(parts[int(generator.integers(0, len(parts)))])
        for _ in range(int(generator.integers(0, 3))):
            place = int(generator.integers(5, len(mutated)))
            if generator.random() < 0.3:
                del mutated[place:]
            elif generator.random() < 0.5:
                at = int(generator.choice([5, 13, 21, 23, 25]))
                mutated[at : at + 2] = struct.pack("<H", int(generator.choice([0, 1, 2, 3, 65_535])))
            else:
                mutated[place : place + 1] = generator.bytes(1)
            if len(mutated) <= chunks.HEADER_BYTES:
                break
        if len(mutated) >= chunks.HEADER_BYTES and generator.random() < 0.8:
            mutated = with_checksum(mutated)
        try:
            reassembler.add("cam", mutated, float(step))
        except errors.FrameError:
            refusals += 1
        assert reassembler.held_bytes <= limits.bytes
        assert reassembler.unfinished <= limits.frames
    assert refusals > 1_000
    assert reassembler.counters.completed > 100

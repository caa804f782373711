"""A letter (`tflsplit.placement.letters`) on its way to another machine, in one message or in several.

    parcel  4s magic · u8 version · u8 phase · u16 step · u8 sender · u64 run · u32 epoch · u32 place · u64 sequence
            u64 captured_ns · u32 width · u32 height · u16 index · u16 count · u32 CRC-32 of everything else · the bytes

`run` is the random id of the source's start, `epoch` counts the placements that it has declared since, and `place` the
frames of that epoch; `width` and `height` are of the picture that the input was made of, 0 where it was none. What a
letter holds follows from the placement, so it is not described. Step `ANSWERED`, which no placement has, tells the
source that all who read the frame's result have it. Little endian; pure.
"""

import struct
import zlib
from collections.abc import Iterator, Sequence

from broker.messages import wire
from tflsplit import errors
from tflsplit.coding import feature_codec
from tflsplit.values.classes import dataclass

MAGIC = b"TFSL"
VERSION = 2  # 1 knew no ANSWERED and no size
_HEAD = struct.Struct("<4sBBHBQIIQQIIHH")
_CRC = struct.Struct("<I")
HEADER_BYTES = _HEAD.size + _CRC.size
MOST_PARCELS = (1 << 16) - 1
ANSWERED = (1 << 16) - 1


@dataclass(frozen=True, slots=True)
class Stamp:
    """A frame: of which run and epoch, its place there, its sequence in the run, and when it was captured. `size` is
    width and height of its picture, None where it was made of none."""

    run: int
    epoch: int
    place: int
    sequence: int
    captured_ns: int
    size: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class Parcel:
    """`letter` is step, phase and sender; these bytes are the `index`-th of `count` parts of it."""

    stamp: Stamp
    letter: tuple[int, int, int]
    index: int
    count: int
    body: memoryview


def pack(
    stamp: Stamp, letter: tuple[int, int, int], contents: Sequence[feature_codec.Buffer], most_bytes: int
) -> Iterator[bytes]:
    """Messages of at most `most_bytes`, of byte buffers one after the other, which are copied once; SettingsError where
    that is too little for any."""
    views = [view for each in contents if (view := memoryview(each)).nbytes]
    total, room = sum(view.nbytes for view in views), most_bytes - HEADER_BYTES
    count = max(1, -(-total // room)) if room > 0 else MOST_PARCELS + 1
    if count > MOST_PARCELS:
        raise errors.SettingsError(
            f"{total} bytes for another machine need over {MOST_PARCELS} messages of {most_bytes} bytes; "
            "raise the broker's limit"
        )
    step, phase, sender = letter
    key = (stamp.run, stamp.epoch, stamp.place, stamp.sequence, stamp.captured_ns, *(stamp.size or (0, 0)))
    for index in range(count):
        head = _HEAD.pack(MAGIC, VERSION, phase, step, sender, *key, index, count)
        body = _within(views, index * room, (index + 1) * room)
        crc = zlib.crc32(head)
        for part in body:
            crc = zlib.crc32(part, crc)
        yield b"".join((head, _CRC.pack(crc), *body))


def answered(stamp: Stamp, sender: int) -> bytes:
    """What the sink says of a frame."""
    (message,) = pack(stamp, (ANSWERED, 0, sender), (), HEADER_BYTES + 1)
    return message


def _within(views: Sequence[memoryview], start: int, stop: int) -> list[memoryview]:
    """These bytes of all together."""
    found, before = [], 0
    for view in views:
        part = view[max(0, start - before) : max(0, stop - before)]
        if part.nbytes:
            found.append(part)
        before += view.nbytes
    return found


def parse(data: feature_codec.Buffer) -> Parcel:
    """FrameError says what is wrong with anything else."""
    view = memoryview(data)
    if view.nbytes < HEADER_BYTES or bytes(view[:4]) != MAGIC:
        raise errors.FrameError(f"{view.nbytes} bytes that are no part of a letter between machines")
    _, version, phase, step, sender, run, epoch, place, sequence, captured_ns, *size, index, count = _HEAD.unpack_from(
        view
    )
    if version != VERSION:
        raise errors.FrameError(f"letter version {version} is not known here, only {VERSION}; is the sender newer?")
    (said,) = _CRC.unpack_from(view, _HEAD.size)
    body = view[HEADER_BYTES:]
    found = zlib.crc32(body, zlib.crc32(view[: _HEAD.size]))
    if found != said:
        raise errors.FrameError(f"letter is damaged: checksum {found:08x}, expected {said:08x}")
    if index >= count or sequence > wire.MAX_SEQUENCE:
        raise errors.FrameError(f"part {index} of {count} of frame {sequence}, which cannot be")
    width, height = size
    stamp = Stamp(run, epoch, place, sequence, captured_ns, (width, height) if width and height else None)
    return Parcel(stamp, (step, phase, sender), index, count, body)

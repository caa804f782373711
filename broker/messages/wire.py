"""One frame on the wire: a fixed header, a table of tensors, the payload. Little endian throughout.

    header   4s magic · u8 version · u8 flags · u8 codec · u8 tensors · 16s package · u16 cut · u64 boot · u64 sequence
             u64 captured_ns · u32 head_us · u32 raw bytes · u32 coded bytes · u32 CRC-32 of everything else
    follows  u64 sequence, with flag 0x08 only
    tensor   u8 dtype (TFLite's code) · u8 rank · f32 scale · i32 zero point · rank × u32 extents
    batch    with flag 0x10 only: u16 count of further inputs · for each u64 captured_ns
    sizes    with flag 0x20 only: for each input u32 width · u32 height
    payload  the tensors' bytes one after another, C order, coded as a whole

Flag 0x01 asks for the raw outputs. Flag 0x02 says that a frame at cut 0 holds the pixels of a picture before they are
preprocessed: one uint8 tensor, not quantised, which may be coded as JPEG. Flag 0x04 asks for an acknowledgement, for
devices that do not receive results; consumers still do. Flag 0x08 says that frames of this boot are a stream: `follows`
is the one before in it, or the frame itself where the stream begins. Flag 0x10 says that a frame holds several inputs:
the table describes one of them, and the payload has the rows of all, tensor by tensor; their sequences follow one
another. Flag 0x20 gives the size of the pictures that the inputs were made of, where answers have places in them and
these cannot be told without it. Flag 0x40 asks for the mask of a model that segments. A reader refuses frames with
flags that it does not know. The codec says in how many bits features travel, where these are fewer than they are stored
in.

Pure: no I/O, no clock, no logging, and nothing about MQTT, so that a frame can use any transport.
"""

import struct
import zlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from broker.messages import boundaries
from tflsplit import errors
from tflsplit.coding import bit_codec, feature_codec, jpeg
from tflsplit.coding.input_codec import Pixels
from tflsplit.graph import tensors
from tflsplit.inputs import pictures
from tflsplit.values.classes import dataclass, field

MAGIC = b"TFSF"
VERSION = 1

PACKAGE_BYTES = 16
MAX_TENSORS, MAX_RANK = boundaries.MAX_TENSORS, boundaries.MAX_RANK
MAX_SEQUENCE = (1 << 53) - 1  # results repeat it as a JSON number, which JavaScript reads exactly up to this
MAX_INPUTS = 64  # in a frame: their answers are as many messages
DEFAULT_MAX_PAYLOAD_BYTES = 64 << 20

_WANTS_RAW = 0x01
_HAS_PIXELS = 0x02
_WANTS_ACK = 0x04
_FOLLOWS = 0x08
_HAS_MORE = 0x10
_HAS_SIZES = 0x20
_WANTS_MASK = 0x40
_KNOWN_FLAGS = _WANTS_RAW | _HAS_PIXELS | _WANTS_ACK | _FOLLOWS | _HAS_MORE | _HAS_SIZES | _WANTS_MASK

_HEAD = struct.Struct("<4sBBBB16sHQQQIII")  # all but the checksum
_CRC = struct.Struct("<I")
_MORE, _CAPTURED, _SIZE = struct.Struct("<H"), struct.Struct("<Q"), struct.Struct("<II")
_LABEL = struct.Struct("<4sBBBx16sHQQ")  # the same header up to the sequence
_KEY = struct.Struct("<QQ")
_SEQUENCE = struct.Struct("<Q")
_KEY_OFFSET = 26
_FLAGS_OFFSET = 5
HEADER_BYTES = _HEAD.size + _CRC.size

_U16, _U32, _U64 = (1 << 16) - 1, (1 << 32) - 1, (1 << 64) - 1


@dataclass(slots=True)
class Frame:
    """The header of a frame; its arrays are passed beside it, in the order of `boundary`.

    `package` is the first 16 bytes of the package's SHA-256. `cut` is the number of operators in the head (0: the input
    travels). `boot` is random for each start of an edge, `sequence` counts its frames. `wants_raw` asks for the raw
    output tensors in the result, `wants_ack` for an acknowledgement after the result is published. `pixels` says how a
    picture travels before its preprocessing; None: as stored, or features. `bits` is in how many bits features travel;
    None: as they are. `follows` is the sequence of the frame before in a stream, its own where the stream begins; None:
    it is alone. `later_ns` are the capture times of further inputs in the frame, whose sequences follow its own;
    `boundary` is that of one input, `carried` that of all, as its arrays have it. `sizes` are width and height of the
    pictures that its inputs were made of, one each or none. `wants_mask` asks for the class of each place as a picture,
    of a model that segments. Names of tensors are not transmitted: in a decoded boundary they are empty.
    """

    package: bytes
    cut: int
    boot: int
    sequence: int
    captured_ns: int
    head_us: int
    boundary: tuple[tensors.TensorSpec, ...]
    wants_raw: bool = False
    pixels: Pixels | None = None
    wants_ack: bool = False
    bits: int | None = None
    follows: int | None = None
    later_ns: tuple[int, ...] = ()
    sizes: tuple[tuple[int, int], ...] = ()
    wants_mask: bool = False
    inputs: int = field(init=False, compare=False, repr=False)
    carried: tuple[tensors.TensorSpec, ...] = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        if len(self.package) != PACKAGE_BYTES:
            raise ValueError(f"package digest is {len(self.package)} bytes, expected {PACKAGE_BYTES}")
        more = len(self.later_ns)
        self.inputs = 1 + more
        for what, value, most in (
            ("cut", self.cut, _U16),
            ("boot", self.boot, _U64),
            ("sequence", self.sequence + more, MAX_SEQUENCE),
            ("follows", self.follows or 0, self.sequence),
            ("captured_ns", self.captured_ns, _U64),
            ("head_us", self.head_us, _U32),
            ("count of further inputs", more, MAX_INPUTS - 1),
        ):
            if not 0 <= value <= most:
                raise ValueError(f"{what} {value} is outside 0..{most}")
        boundaries.check(self.boundary)
        if self.pixels is not None:
            _check_pixels(self.cut, self.boundary)
        if self.later_ns and (self.pixels is not None or self.follows is not None):
            raise ValueError("several inputs of pixels or of a stream, expected one")
        if self.sizes and (
            len(self.sizes) != self.inputs or not all(0 < side <= _U32 for size in self.sizes for side in size)
        ):
            raise ValueError(f"sizes {self.sizes} of {self.inputs} inputs, expected two extents for each")
        self.carried = tensors.widened(self.boundary, self.inputs) if more else self.boundary

    @property
    def is_lossy(self) -> bool:
        """Whether its arrays are near what was sent, and not that."""
        return self.bits is not None or (self.pixels is not None and self.pixels.is_lossy)


class Label(NamedTuple):
    """The identity of a frame, the package and cut that it is for, whether its coding loses detail, and its place in a
    stream (None: it is alone)."""

    package: bytes
    cut: int
    boot: int
    sequence: int
    wants_ack: bool
    is_lossy: bool = False
    follows: int | None = None


def encode(frame: Frame, arrays: Sequence[tensors.Array], codec: feature_codec.Codec) -> bytes:
    """The frame as one packet; ValueError when the arrays are not what `frame.carried` says (a bug of ours)."""
    if (codec.id == feature_codec.CodecId.JPEG) != (frame.pixels is Pixels.JPEG):
        raise ValueError(f"codec {codec.id.name} for a frame whose pixels are {frame.pixels}")
    if bit_codec.bits_of(codec.id) != frame.bits:
        raise ValueError(f"codec {codec.id.name} for a frame of {frame.bits} bits")
    parts: list[feature_codec.Buffer] = [
        _bytes_of(array, spec) for array, spec in zip(arrays, frame.carried, strict=True)
    ]
    raw_bytes = sum(map(len, parts))
    if codec.id != feature_codec.CodecId.NONE:
        parts = [codec.encode(parts[0] if len(parts) == 1 else b"".join(parts))]
    head = _HEAD.pack(
        MAGIC,
        VERSION,
        (_WANTS_RAW if frame.wants_raw else 0)
        | (_HAS_PIXELS if frame.pixels else 0)
        | (_WANTS_ACK if frame.wants_ack else 0)
        | (0 if frame.follows is None else _FOLLOWS)
        | (_HAS_MORE if frame.later_ns else 0)
        | (_HAS_SIZES if frame.sizes else 0)
        | (_WANTS_MASK if frame.wants_mask else 0),
        codec.id,
        len(frame.boundary),
        frame.package,
        frame.cut,
        frame.boot,
        frame.sequence,
        frame.captured_ns,
        frame.head_us,
        raw_bytes,
        sum(map(len, parts)),
    )
    table = boundaries.packed(frame.boundary)
    if frame.later_ns:
        table = b"".join((table, _MORE.pack(len(frame.later_ns)), *map(_CAPTURED.pack, frame.later_ns)))
    if frame.sizes:
        table = b"".join((table, *(_SIZE.pack(*size) for size in frame.sizes)))
    if frame.follows is not None:
        table = _SEQUENCE.pack(frame.follows) + table
    crc = zlib.crc32(table, zlib.crc32(head))
    for part in parts:
        crc = zlib.crc32(part, crc)
    return b"".join((head, _CRC.pack(crc), table, *parts))


def describe(data: feature_codec.Buffer, *, max_payload_bytes: int = DEFAULT_MAX_PAYLOAD_BYTES) -> Frame:
    """The checked header of a frame; the payload is not decoded."""
    return unseal(data, max_payload_bytes=max_payload_bytes).frame


def peek(data: feature_codec.Buffer) -> Label:
    """The label of a frame, at a thirtieth of the cost of `describe`. Only the magic and the version are checked, so
    the frame must still go through `decode`. FrameError if they are wrong."""
    if len(data) < HEADER_BYTES:
        raise errors.FrameError(f"frame is {len(data)} bytes, shorter than the header of {HEADER_BYTES}")
    magic, version, flags, codec_id, package, cut, boot, sequence = _LABEL.unpack_from(data)
    _check_version(magic, version)
    is_lossy = codec_id >= feature_codec.CodecId.JPEG
    return Label(package, cut, boot, sequence, bool(flags & _WANTS_ACK), is_lossy, _follows(data, flags))


def decode(
    data: feature_codec.Buffer, *, max_payload_bytes: int = DEFAULT_MAX_PAYLOAD_BYTES
) -> tuple[Frame, tuple[tensors.Array, ...]]:
    """The frame and its arrays; FrameError for anything else. See `unseal`."""
    unsealed = unseal(data, max_payload_bytes=max_payload_bytes)
    return unsealed.frame, unsealed.arrays()


def unseal(
    data: feature_codec.Buffer, *, max_payload_bytes: int = DEFAULT_MAX_PAYLOAD_BYTES, found: int | None = None
) -> "Unsealed":
    """The frame with its payload still coded; everything else is checked. FrameError for anything that is no frame.

    Every length in `data` is checked against the size of `data` or `max_payload_bytes` before it is used. `found` is
    the `checksum` of `data`, where that was worked out already.
    """
    return Unsealed(*_parse(memoryview(data), max_payload_bytes, checksum(data) if found is None else found))


@dataclass(slots=True)
class Unsealed:
    """A checked frame whose payload is not decoded yet, so that it takes no memory before the frame is accepted."""

    frame: Frame
    codec_id: int
    coded: memoryview
    raw_bytes: int

    def arrays(self) -> tuple[tensors.Array, ...]:
        """FrameError if the payload is not what the frame says. Read-only views of the data where it is not coded."""
        boundary = self.frame.carried
        if self.frame.pixels is Pixels.JPEG:
            raw: feature_codec.Buffer = jpeg.decode(self.coded, pictures.picture_shape(boundary[0].shape, name="frame"))
        elif self.frame.bits is not None:
            raw = bit_codec.decode(self.coded, boundary, self.frame.bits)
        else:
            raw = feature_codec.decode(self.codec_id, self.coded, self.raw_bytes)
        return tensors.views(memoryview(raw).toreadonly(), boundary)


def with_ack(encoded: bytes, *, wanted: bool) -> bytes:
    """One of our encoded frames, changed to ask for an acknowledgement or not."""
    flags = encoded[_FLAGS_OFFSET] | _WANTS_ACK if wanted else encoded[_FLAGS_OFFSET] & ~_WANTS_ACK
    if flags == encoded[_FLAGS_OFFSET]:
        return encoded
    head = encoded[:_FLAGS_OFFSET] + bytes([flags]) + encoded[_FLAGS_OFFSET + 1 : _HEAD.size]
    rest = encoded[HEADER_BYTES:]
    return b"".join((head, _CRC.pack(zlib.crc32(rest, zlib.crc32(head))), rest))


def checksum(data: feature_codec.Buffer) -> int:
    """The CRC-32 that a frame should carry, of everything but itself: 2 µs for 12.5 KB. Shorter data has one too."""
    view = memoryview(data)
    return zlib.crc32(view[HEADER_BYTES:], zlib.crc32(view[: _HEAD.size]))


def key(encoded: feature_codec.Buffer) -> tuple[int, int]:
    """(boot, sequence) of an encoded frame of our own; nothing is checked."""
    boot, sequence = _KEY.unpack_from(encoded, _KEY_OFFSET)
    return int(boot), int(sequence)


def _check_pixels(cut: int, boundary: Sequence[tensors.TensorSpec]) -> None:
    if cut != 0 or len(boundary) != 1:
        raise ValueError(f"pixels in {len(boundary)} tensors at cut {cut}, expected one at cut 0")
    spec = boundary[0]
    if spec.dtype != "uint8" or spec.scale or spec.zero_point:
        raise ValueError(f"pixels are {spec.dtype} of scale {spec.scale}, expected uint8, not quantised")
    try:
        pictures.picture_shape(spec.shape, name="pixels")
    except errors.DataError as problem:
        raise ValueError(f"pixels of shape {spec.shape} are no picture, grey or RGB") from problem


def _bytes_of(array: tensors.Array, spec: tensors.TensorSpec) -> memoryview:
    if array.dtype != spec.dtype or array.shape != spec.shape:
        raise ValueError(f"array is {array.dtype}{array.shape}, expected {spec.dtype}{spec.shape}")
    little = np.ascontiguousarray(array, dtype=tensors.little_endian(spec.dtype))
    return little.reshape(-1).view(np.uint8).data


def _parse(data: memoryview, max_payload_bytes: int, found: int) -> tuple[Frame, int, memoryview, int]:
    """The frame, its codec id, its coded payload, and the bytes of its tensors."""
    if data.nbytes < HEADER_BYTES:
        raise errors.FrameError(f"frame is {data.nbytes} bytes, shorter than the header of {HEADER_BYTES}")
    magic, version, flags, codec_id, count, *label, raw_bytes, coded_bytes = _HEAD.unpack_from(data)
    package, cut, boot, sequence, captured_ns, head_us = label
    _check_version(magic, version)
    _check_crc(data, found)
    if flags & ~_KNOWN_FLAGS:
        raise errors.FrameError(f"frame flags {flags:#04x} are not known here; is the sender newer?")
    follows = _follows(data, flags)
    begins = HEADER_BYTES + (0 if follows is None else _SEQUENCE.size)
    offset = boundaries.ends_at(data, begins, count)
    boundary, boundary_bytes = boundaries.parse(bytes(data[begins:offset]), count)
    later_ns, offset = _parse_more(data, offset) if flags & _HAS_MORE else ((), offset)
    boundary_bytes *= 1 + len(later_ns)
    sizes, offset = _parse_sizes(data, offset, 1 + len(later_ns)) if flags & _HAS_SIZES else ((), offset)
    if coded_bytes != data.nbytes - offset:
        raise errors.FrameError(f"frame has {data.nbytes - offset} payload bytes, its header says {coded_bytes}")
    if raw_bytes > max_payload_bytes:
        raise errors.FrameError(f"frame's tensors take {raw_bytes} bytes, at most {max_payload_bytes} are accepted")
    if raw_bytes != boundary_bytes:
        raise errors.FrameError(f"frame's tensors take {boundary_bytes} bytes, its header says {raw_bytes}")
    try:
        wants_raw, wants_ack = bool(flags & _WANTS_RAW), bool(flags & _WANTS_ACK)
        pixels = None
        if flags & _HAS_PIXELS:
            pixels = Pixels.JPEG if codec_id == feature_codec.CodecId.JPEG else Pixels.RAW
        bits = None if pixels else bit_codec.bits_of(codec_id)
        options = (wants_raw, pixels, wants_ack, bits, follows, later_ns, sizes, bool(flags & _WANTS_MASK))
        frame = Frame(package, cut, boot, sequence, captured_ns, head_us, boundary, *options)
    except ValueError as problem:
        raise errors.FrameError(f"frame {boot:016x}/{sequence}: {problem}") from problem
    return frame, codec_id, data[offset:], raw_bytes


def _follows(data: feature_codec.Buffer, flags: int) -> int | None:
    """FrameError where it is missing."""
    if not flags & _FOLLOWS:
        return None
    if len(data) < HEADER_BYTES + _SEQUENCE.size:
        raise errors.FrameError(f"frame is {len(data)} bytes, and ends before the sequence of the one that it follows")
    return int(_SEQUENCE.unpack_from(data, HEADER_BYTES)[0])


def _parse_more(data: memoryview, offset: int) -> tuple[tuple[int, ...], int]:
    """The capture times of further inputs, and where they end."""
    begin = offset + _MORE.size
    count = _MORE.unpack_from(data, offset)[0] if begin <= data.nbytes else 0
    end = begin + count * _CAPTURED.size
    if not 1 <= count < MAX_INPUTS or end > data.nbytes:
        raise errors.FrameError(f"frame of {count} further inputs, expected 1 to {MAX_INPUTS - 1} with their times")
    return tuple(captured for (captured,) in _CAPTURED.iter_unpack(data[begin:end])), end


def _parse_sizes(data: memoryview, offset: int, count: int) -> tuple[tuple[tuple[int, int], ...], int]:
    """Width and height for each input, and where they end."""
    end = offset + count * _SIZE.size
    if end > data.nbytes:
        raise errors.FrameError(f"frame is {data.nbytes} bytes, and ends before the sizes of {count} pictures")
    return tuple((width, height) for width, height in _SIZE.iter_unpack(data[offset:end])), end


def _check_version(magic: bytes, version: int) -> None:
    if magic != MAGIC:
        raise errors.FrameError(f"not a frame: it begins with {magic!r}, expected {MAGIC!r}")
    if version != VERSION:
        raise errors.FrameError(f"frame version {version} is not known here, only {VERSION}; is the sender newer?")


def _check_crc(data: memoryview, found: int) -> None:
    (said,) = _CRC.unpack_from(data, _HEAD.size)
    if found != said:
        raise errors.FrameError(f"frame is damaged: checksum {found:08x}, expected {said:08x}")

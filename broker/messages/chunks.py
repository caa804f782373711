"""Splits frames that are larger than a broker's packet limit into chunks, and reassembles them.

    chunk   4s magic · u8 version · u64 boot · u64 sequence · u16 index · u16 count · u32 frame bytes
            u32 CRC-32 of everything else · the bytes

All chunks of a frame must reach the same subscriber, which a shared subscription does not guarantee. Pure, like `wire`:
the clock comes in as an argument.
"""

import struct
import zlib

from broker.messages import wire
from tflsplit import errors
from tflsplit.coding import feature_codec
from tflsplit.values.classes import dataclass, field

MAGIC = b"TFSC"
VERSION = 1

_HEAD = struct.Struct("<4sBQQHHI")
_CRC = struct.Struct("<I")
HEADER_BYTES = _HEAD.size + _CRC.size
MAX_CHUNKS = (1 << 16) - 1

# What Python needs to hold a chunk besides its bytes: an object and its place in a dict. It is counted, or chunks of
# one byte would take a hundred times the counted memory.
_ENTRY_BYTES = 128


@dataclass(frozen=True, slots=True)
class Limits:
    """What a reassembler holds at most; beyond it the oldest unfinished frame is given up."""

    frames: int = 64
    bytes: int = 64 << 20
    age_s: float = 10.0
    frame_bytes: int = wire.DEFAULT_MAX_PAYLOAD_BYTES + 65_536  # the payload and any header


@dataclass(slots=True)
class Counters:
    """`completed` counts frames, `duplicates` chunks, the others unfinished frames that were given up, by reason."""

    completed: int = 0
    duplicates: int = 0
    expired: int = 0
    evicted: int = 0
    contradicted: int = 0

    @property
    def given_up(self) -> dict[str, int]:
        """Frames that were given up, by reason."""
        return {"expired": self.expired, "evicted": self.evicted, "contradicted": self.contradicted}

    def add(self, other: "Counters") -> None:
        for name in self.__slots__:
            setattr(self, name, getattr(self, name) + getattr(other, name))

    def as_json(self) -> dict[str, object]:
        given_up = {reason: count for reason, count in self.given_up.items() if count}
        return {"completed": self.completed, "duplicates": self.duplicates, "given_up": given_up}


@dataclass(frozen=True, slots=True)
class _Chunk:
    key: tuple[int, int]
    index: int
    count: int
    frame_bytes: int
    body: memoryview


@dataclass(slots=True)
class _Unfinished:
    count: int
    frame_bytes: int
    since_s: float
    bodies: dict[int, bytes] = field(default_factory=dict)
    held_bytes: int = 0


def split(encoded: bytes, max_bytes: int) -> list[bytes]:
    """The packets of a frame: the frame itself if it fits `max_bytes`, otherwise chunks of at most `max_bytes` each."""
    if len(encoded) <= max_bytes:
        return [encoded]
    room = max_bytes - HEADER_BYTES
    count = -(-len(encoded) // room) if room > 0 else MAX_CHUNKS + 1
    if count > MAX_CHUNKS:
        raise errors.SettingsError(
            f"a frame of {len(encoded)} bytes needs over {MAX_CHUNKS} packets of {max_bytes} bytes; raise the limit"
        )
    key = wire.key(encoded)
    view = memoryview(encoded)
    return [_pack(key, index, count, len(encoded), view[index * room : (index + 1) * room]) for index in range(count)]


def is_chunk(data: feature_codec.Buffer) -> bool:
    return bytes(data[:4]) == MAGIC


def peek(data: feature_codec.Buffer) -> tuple[tuple[int, int], bool, memoryview]:
    """(boot, sequence) of a chunk's frame, whether it is the frame's first, and its bytes; FrameError if damaged."""
    chunk = _parse(memoryview(data), Limits().frame_bytes)
    return chunk.key, chunk.index == 0, chunk.body


class Reassembler:
    """Holds unfinished frames of all senders, within `limits`. One thread at a time."""

    def __init__(self, limits: Limits | None = None) -> None:
        self.counters = Counters()
        self._limits = limits or Limits()
        self._unfinished: dict[tuple[str, int, int], _Unfinished] = {}
        self._held_bytes = 0

    @property
    def held_bytes(self) -> int:
        return self._held_bytes

    @property
    def unfinished(self) -> int:
        return len(self._unfinished)

    def add(self, sender: str, data: feature_codec.Buffer, now_s: float) -> feature_codec.Buffer | None:
        """The whole frame once its last chunk has arrived, before that None; data that is no chunk is returned as it
        is.

        `sender` names the device, `now_s` is by any clock that never goes back. FrameError for a damaged chunk, and for
        one that contradicts an earlier chunk of its frame, which is then given up.
        """
        if not is_chunk(data):
            return data
        self.expire(now_s)
        chunk = _parse(memoryview(data), self._limits.frame_bytes)
        key = (sender, *chunk.key)
        frame = self._unfinished.setdefault(key, _Unfinished(chunk.count, chunk.frame_bytes, now_s))
        self._check_agrees(key, frame, chunk)
        if chunk.index in frame.bodies:
            self.counters.duplicates += 1
            return None
        frame.bodies[chunk.index] = bytes(chunk.body)
        frame.held_bytes += len(chunk.body)
        self._held_bytes += len(chunk.body) + _ENTRY_BYTES
        if len(frame.bodies) == frame.count:
            return self._finish(key, frame)
        self._make_room()
        return None

    def expire(self, now_s: float) -> None:
        """Gives up what is too old. To be called regularly, since its other chunks may never come."""
        while self._unfinished:
            oldest = next(iter(self._unfinished))
            if now_s - self._unfinished[oldest].since_s <= self._limits.age_s:
                return
            self._give_up(oldest)
            self.counters.expired += 1

    def _check_agrees(self, key: tuple[str, int, int], frame: _Unfinished, chunk: _Chunk) -> None:
        is_same_frame = (frame.count, frame.frame_bytes) == (chunk.count, chunk.frame_bytes)
        if not is_same_frame or frame.bodies.get(chunk.index, chunk.body) != chunk.body:
            self._give_up(key)
            self.counters.contradicted += 1
            raise errors.FrameError(
                f"chunk {chunk.index} of frame {key[1]:016x}/{key[2]} from {key[0]} contradicts an earlier chunk of it"
            )

    def _finish(self, key: tuple[str, int, int], frame: _Unfinished) -> bytes:
        self._give_up(key)
        if frame.held_bytes != frame.frame_bytes:
            self.counters.contradicted += 1
            raise errors.FrameError(
                f"chunks of frame {key[1]:016x}/{key[2]} hold {frame.held_bytes} bytes, expected {frame.frame_bytes}"
            )
        self.counters.completed += 1
        return b"".join(frame.bodies[index] for index in range(frame.count))

    def _make_room(self) -> None:
        while len(self._unfinished) > self._limits.frames or self._held_bytes > self._limits.bytes:
            self._give_up(next(iter(self._unfinished)))
            self.counters.evicted += 1

    def _give_up(self, key: tuple[str, int, int]) -> None:
        frame = self._unfinished.pop(key)
        self._held_bytes -= frame.held_bytes + _ENTRY_BYTES * len(frame.bodies)


def _pack(key: tuple[int, int], index: int, count: int, frame_bytes: int, body: memoryview) -> bytes:
    head = _HEAD.pack(MAGIC, VERSION, *key, index, count, frame_bytes)
    crc = zlib.crc32(body, zlib.crc32(head))
    return b"".join((head, _CRC.pack(crc), body))


def _parse(data: memoryview, max_frame_bytes: int) -> _Chunk:
    if data.nbytes <= HEADER_BYTES:
        raise errors.FrameError(f"chunk is {data.nbytes} bytes, expected more than its header of {HEADER_BYTES}")
    _, version, boot, sequence, index, count, frame_bytes = _HEAD.unpack_from(data)
    if version != VERSION:
        raise errors.FrameError(f"chunk version {version} is not known here, only {VERSION}; is the sender newer?")
    (said,) = _CRC.unpack_from(data, _HEAD.size)
    found = zlib.crc32(data[HEADER_BYTES:], zlib.crc32(data[: _HEAD.size]))
    if found != said:
        raise errors.FrameError(f"chunk is damaged: checksum {found:08x}, expected {said:08x}")
    if index >= count:
        raise errors.FrameError(f"chunk {index} of {count}: expected an index below the count")
    if sequence > wire.MAX_SEQUENCE:
        raise errors.FrameError(f"chunk of frame {sequence}: expected a sequence of at most {wire.MAX_SEQUENCE}")
    if not count <= frame_bytes <= max_frame_bytes:
        raise errors.FrameError(f"chunked frame of {frame_bytes} bytes: expected {count} to {max_frame_bytes}")
    return _Chunk((boot, sequence), index, count, frame_bytes, data[HEADER_BYTES:])

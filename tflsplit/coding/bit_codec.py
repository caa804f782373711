"""Features in fewer bits: each stored byte is replaced by the nearest of a few levels, and its place is sent. Lossy.

    payload  for each tensor: u8 count of levels (0: it travels as stored) · that many stored bytes, the levels
             the places in the levels, `bits` each, of all coded tensors one after another, the first in the low bits
             the bytes of the tensors that travel as stored

The levels are in the frame, so whoever decodes it needs nothing else. Decoding is a look-up: it gives the same bytes on
every machine.
"""

import copy
from collections.abc import Sequence

import numpy as np

from tflsplit import errors
from tflsplit.coding import levels
from tflsplit.coding.feature_codec import Buffer, CodecId
from tflsplit.graph.tensors import Array, TensorSpec

_NO_BITS = 32
# So many codes fill whole bytes, whatever their bits.
_GROUP = 8
# Levels of one tensor, counted from the least value of its data type; None where it travels as stored.
Levels = tuple[tuple[int, ...] | None, ...]


def codec_id(bits: int) -> CodecId:
    return CodecId(_NO_BITS + bits)


def bits_of(codec: int) -> int | None:
    """In how many bits that codec sends features; None for one that loses nothing, or codes pictures."""
    bits = codec - _NO_BITS
    return bits if bits in levels.BITS else None


def payload_bytes(boundary: Sequence[TensorSpec], chosen: Levels, bits: int) -> int:
    """The bytes of every frame's payload."""
    pairs = list(zip(boundary, chosen, strict=True))
    codes = sum(spec.elements for spec, own in pairs if own is not None)
    stored = sum(spec.bytes for spec, own in pairs if own is None)
    return sum(1 + len(own or ()) for own in chosen) + _packed_bytes(codes, bits) + stored


class Bits:
    """Codes the bytes of one boundary's tensors. `chosen` has the levels of each, at most 2^bits."""

    def __init__(self, boundary: Sequence[TensorSpec], chosen: Levels, bits: int) -> None:
        self.id = codec_id(bits)
        self._bits = bits
        self._sizes = [spec.bytes for spec in boundary]
        self._head = b"".join(_described(spec, own) for spec, own in zip(boundary, chosen, strict=True))
        # From a stored byte, taken as unsigned, to the place of its level.
        self._places = [
            None if own is None else np.roll(levels.nearest(own), _least(spec))
            for spec, own in zip(boundary, chosen, strict=True)
        ]

    def widened(self, inputs: int) -> "Bits":
        """The same for so many inputs at once."""
        made = copy.copy(self)
        made._sizes = [inputs * size for size in self._sizes]
        return made

    def encode(self, raw: Buffer) -> Buffer:
        codes, stored = [], []
        offset = 0
        for size, places in zip(self._sizes, self._places, strict=True):
            part = np.frombuffer(raw, np.uint8, size, offset)
            offset += size
            if places is None:
                stored.append(part)
            else:
                codes.append(places[part])
        packed = _packed(codes[0] if len(codes) == 1 else np.concatenate(codes), self._bits) if codes else b""
        return b"".join((self._head, packed, *(part.tobytes() for part in stored)))


def decode(coded: Buffer, boundary: Sequence[TensorSpec], bits: int) -> bytes:
    """The tensors' bytes one after another; FrameError for a payload that is not of this boundary."""
    view = memoryview(coded)
    found: list[Array | None] = []
    offset = 0
    for spec in boundary:
        own, offset = _parse_levels(view, offset, spec, bits)
        found.append(own)
    counts = [spec.elements for spec, own in zip(boundary, found, strict=True) if own is not None]
    packed_end = offset + _packed_bytes(sum(counts), bits)
    stored = sum(spec.bytes for spec, own in zip(boundary, found, strict=True) if own is None)
    if len(view) != packed_end + stored:
        raise errors.FrameError(f"payload in {bits} bits is {len(view)} bytes, expected {packed_end + stored}")
    codes = _unpacked(view[offset:packed_end], sum(counts), bits)
    parts, place, offset = [], 0, packed_end
    for spec, own in zip(boundary, found, strict=True):
        if own is None:
            parts.append(bytes(view[offset : offset + spec.bytes]))
            offset += spec.bytes
            continue
        mine = codes[place : place + spec.elements]
        place += spec.elements
        if len(own) < 1 << bits and mine.size and int(mine.max()) >= len(own):
            raise errors.FrameError(f"payload in {bits} bits names level {int(mine.max())} of {len(own)}")
        parts.append(own[mine].tobytes())
    return b"".join(parts)


def _least(spec: TensorSpec) -> int:
    return int(np.iinfo(spec.dtype).min)


def _described(spec: TensorSpec, own: tuple[int, ...] | None) -> bytes:
    if own is None:
        return b"\0"
    stored = (np.asarray(own) + _least(spec)).astype(spec.dtype)
    return bytes([len(own)]) + stored.tobytes()


def _parse_levels(view: memoryview, offset: int, spec: TensorSpec, bits: int) -> "tuple[Array | None, int]":
    count = view[offset] if offset < len(view) else 0
    begin, end = offset + 1, offset + 1 + count
    if end > len(view):
        raise errors.FrameError(f"payload in {bits} bits ends within the levels of a tensor")
    if count > 1 << bits or (count and not levels.can_be_coded(spec)):
        raise errors.FrameError(f"payload in {bits} bits has {count} levels for a tensor of {spec.dtype}")
    return (np.frombuffer(view[begin:end], np.uint8) if count else None), end


def _packed_bytes(codes: int, bits: int) -> int:
    """Whole groups: the last one is filled up."""
    return -(-codes // _GROUP) * bits


def _packed(codes: Array, bits: int) -> bytes:
    """Eight codes at a time become one number, of which `bits` bytes are kept."""
    if codes.size % _GROUP:
        codes = np.concatenate((codes, np.zeros(-codes.size % _GROUP, np.uint8)))
    groups = codes.reshape(-1, _GROUP)
    words = np.zeros(len(groups), np.uint64)
    for place in range(_GROUP):
        words |= groups[:, place].astype(np.uint64) << np.uint64(place * bits)
    return words.astype("<u8", copy=False).view(np.uint8).reshape(-1, 8)[:, :bits].tobytes()


def _unpacked(packed: memoryview, count: int, bits: int) -> Array:
    rows = np.frombuffer(packed, np.uint8).reshape(-1, bits)
    wide = np.zeros((len(rows), 8), np.uint8)
    wide[:, :bits] = rows
    words = wide.view("<u8")[:, 0]
    codes = np.empty((len(rows), _GROUP), np.uint8)
    mask = np.uint64((1 << bits) - 1)
    for place in range(_GROUP):
        codes[:, place] = (words >> np.uint64(place * bits)) & mask
    found: Array = codes.reshape(-1)[:count]
    return found

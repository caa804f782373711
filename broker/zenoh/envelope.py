"""What goes beside a message between two members, and what they tell each other of themselves; pure.

    u8 version · u8 kind · u8 flags · 16s sender · u64 number · topic, where the message's key is not it

A sender numbers all that it publishes, so that what comes twice is known by it. A hello is JSON:

    {"member": "<32 hex>", "filters": ["tflsplit/v1/…"], "fetch": […], "leaves": false}

`filters` is all that the member takes, `fetch` those of which it wants what is retained.
"""

import enum
import json
import struct
from typing import Any

from tflsplit import errors, strict_json
from tflsplit.values.classes import dataclass

_VERSION = 1
_HEAD = struct.Struct("<BBB16sQ")
_KEPT, _AGAIN = 1, 2
MEMBER_BYTES = 16
_MOST_HELLO_BYTES = 1 << 20


class Kind(enum.IntEnum):
    """`RETAINED` and `WILL` answer a hello."""

    LIVE = 0
    RETAINED = 1
    WILL = 2


@dataclass(frozen=True, slots=True)
class Envelope:
    """`keeps` for a message that its sender retains, `again` for one that may have come before."""

    sender: bytes
    number: int
    kind: Kind = Kind.LIVE
    keeps: bool = False
    again: bool = False
    topic: str = ""

    def encode(self) -> bytes:
        flags = _KEPT * self.keeps | _AGAIN * self.again
        return _HEAD.pack(_VERSION, self.kind, flags, self.sender, self.number) + self.topic.encode()


def decode(data: bytes) -> Envelope:
    """FrameError for anything that no member of ours would send."""
    try:
        version, kind, flags, sender, number = _HEAD.unpack_from(data)
        topic = data[_HEAD.size :].decode()
        if version != _VERSION or flags > (_KEPT | _AGAIN):
            raise ValueError(f"version {version}, flags {flags}")
        return Envelope(sender, number, Kind(kind), bool(flags & _KEPT), bool(flags & _AGAIN), topic)
    except (struct.error, ValueError) as problem:
        raise errors.FrameError(f"envelope is {bytes(data[:40])!r}: {problem}") from problem


@dataclass(frozen=True, slots=True)
class Hello:
    """Of one that `leaves`, no last will is to be read out."""

    member: bytes
    filters: tuple[str, ...] = ()
    fetch: tuple[str, ...] = ()
    leaves: bool = False

    def encode(self) -> bytes:
        fields = {"member": self.member.hex(), "filters": self.filters, "fetch": self.fetch, "leaves": self.leaves}
        return json.dumps(fields, separators=(",", ":")).encode()


def parse_hello(data: bytes) -> Hello:
    """FrameError for anything else."""
    try:
        if len(data) > _MOST_HELLO_BYTES:
            raise ValueError(f"{len(data)} bytes")
        fields: Any = strict_json.parse(data)
        member, leaves = bytes.fromhex(fields["member"]), fields["leaves"]
        filters, fetch = tuple(fields["filters"]), tuple(fields["fetch"])
        if len(member) != MEMBER_BYTES or not isinstance(leaves, bool) or not all(map(_is_text, filters + fetch)):
            raise TypeError("its fields are others")
        return Hello(member, filters, fetch, leaves)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as problem:
        raise errors.FrameError(f"hello is {bytes(data[:60])!r}: {problem!r:.100}") from problem


def _is_text(value: object) -> bool:
    return isinstance(value, str)
